"""The real parts of a cloud that do not start: the first line of the message is the cause, in the part's own words."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

import pytest

from sandbox.cloud import Wishes, _choose_ports, _choose_ways
from sandbox.leases import Leases
from sandbox.parts import parts_of
from sandbox.ports import PortPicker
from sandbox.state import CloudConfig, StateDir
from sandbox.store import seaweed
from sandbox.supervisor import PartFailed, Supervisor
from tests.nightly import nightly_but


class Doomed:
    """A cloud whose ports are chosen before it starts, so that one of them can be taken meanwhile."""

    def __init__(self, root: Path) -> None:
        self.state = StateDir(root)
        self.state.create()
        with PortPicker() as picker:
            self.config = CloudConfig(
                cloud_id=secrets.token_hex(16),
                ports=_choose_ports(Wishes(), None, picker),
                proxies=_choose_ways(None, picker),
            )
            inner = seaweed.InnerPorts.pick(picker, self.state.store)
        self.state.write_config(self.config)
        self._store = seaweed.prepare(self.state, self.config, self.state.secrets(), inner)

    def port_of(self, what: str) -> int:
        if what == "network":
            assert self.config.proxies is not None
            return self.config.proxies.api
        return int(getattr(self.config.ports, what))

    def start(self) -> str:
        """Returns why it does not start."""
        leases = Leases(self.state.root / "leases")
        leases.add(None)
        parts = parts_of(self.state, self.config, self.state.secrets(), self._store)
        with pytest.raises(PartFailed) as raised:
            Supervisor(self.state, parts, leases, lambda _: None).run(ready=lambda: None)
        return str(raised.value)


@pytest.mark.parametrize(
    "case",
    nightly_but(
        ("store", "store"),
        [
            ("control", "control"),
            ("console", "control"),
            ("market", "marketplace"),
            ("store", "store"),
            ("network", "network"),
        ],
    ),
)
def test_a_port_that_was_taken_meanwhile(tmp_path: Path, case: tuple[str, str]) -> None:
    taken, part = case
    cloud = Doomed(tmp_path / "cloud")
    with socket.create_server(("127.0.0.1", cloud.port_of(taken))):
        first, second, *_ = cloud.start().splitlines()
    assert first.startswith(f"{part}: ")
    assert "ddress already in use" in first
    assert second.startswith(f"The {part} has died (exit code ")


@pytest.mark.parametrize(
    "case",
    nightly_but(
        ("cpu-cloud.db", "marketplace"),
        [("control.db", "control"), ("market.db", "marketplace"), ("cpu-cloud.db", "marketplace")],
    ),
)
def test_a_damaged_database(tmp_path: Path, case: tuple[str, str]) -> None:
    file, part = case
    cloud = Doomed(tmp_path / "cloud")
    (cloud.state.root / file).write_text("damaged" * 100)
    first, second, *_ = cloud.start().splitlines()
    assert first == (f"{part}: sqlite3.DatabaseError: {cloud.state.root / file} cannot be used: file is not a database")
    assert second.startswith(f"The {part} has died (exit code 1), ")


@pytest.mark.nightly
def test_data_that_the_store_cannot_write(tmp_path: Path) -> None:
    cloud = Doomed(tmp_path / "cloud")
    data = cloud.state.store / "data"
    data.chmod(0)
    first, second, *_ = cloud.start().splitlines()
    data.chmod(0o700)
    assert first.startswith("store: ")
    assert "Not writable" in first
    assert second.startswith("The store has died (exit code 255), ")


@pytest.mark.nightly
def test_keys_that_the_store_refuses(tmp_path: Path) -> None:
    cloud = Doomed(tmp_path / "cloud")
    (cloud.state.store / "s3.json").write_text("{ refused")
    first, second, *_ = cloud.start().splitlines()
    assert first.startswith("store: ")
    assert "fail to load config file s3.json" in first
    assert second.startswith("The store has died (exit code 255), ")
