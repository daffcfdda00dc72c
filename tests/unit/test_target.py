"""The target: opened once, with everything that a run needs, or refused in one sentence."""

from __future__ import annotations

import atexit
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rekindle import target
from rekindle.budget import Budget
from rekindle.embedded import EmbeddedCloud
from rekindle.errors import Misconfigured
from rekindle.settings import Settings
from rekindle.snapshot_sweeping import SnapshotSweeper, SweptSnapshots
from rekindle.target import Target
from sandbox.environment import quoted

# What the market says to the right key.
NOTHING = {
    "/api/v0/users/current/": {"credit": 1},
    "/api/v1/instances/": {"instances": [], "total_instances": 0},
    "/api/v0/volumes/": {"volumes": []},
    "/api/v1/instances": {"instances": []},  # at Dumont Cloud
}


class _Clouds(BaseHTTPRequestHandler):
    """A Dumont API that lets everybody in, and a market that has one key and no machine."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer(200, {"token": "t"})

    def do_GET(self) -> None:
        if self.headers["authorization"] in {"Bearer key", "Bearer t"}:
            self._answer(200, NOTHING[self.path.partition("?")[0]])
        else:
            self._answer(401, {"msg": "This is no key."})

    def _answer(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(autouse=True)
def bucket_without_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SnapshotSweeper, "sweep", lambda _: SweptSnapshots())


@pytest.fixture
def product() -> Iterator[str]:
    """The address of a Dumont API and a market."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Clouds) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def own_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(target, "STATE_DIR", tmp_path)
    yield
    target.close()


@pytest.fixture
def variables(product: str, tmp_path: Path) -> dict[str, str]:
    """What a live target is given."""
    key = tmp_path / "key"
    key.touch(mode=0o600)
    return {
        "DUMONT_API_URL": product,
        "DUMONT_EMAIL": "test@test.com",
        "DUMONT_PASSWORD": "password",
        "VAST_URL": product,
        "VAST_API_KEY": "key",
        "B2_KEY_ID": "id",
        "B2_APPLICATION_KEY": "key",
        "B2_BUCKET": "bucket",
        "B2_ENDPOINT": "http://127.0.0.1:9",
        "RESTIC_REPOSITORY": "s3:http://127.0.0.1:9/bucket/some/where",
        "RESTIC_PASSWORD": "password",
        "SSH_KEY_PATH": str(key),
    }


def opened(variables: dict[str, str], **changes: str) -> Target:
    return target.open_target("live", budget_usd=1, environment=variables | changes)


def test_nothing_is_open_at_first() -> None:
    with pytest.raises(Misconfigured, match="No target is open"):
        target.current()
    target.close()


def test_an_opened_target_is_shared(variables: dict[str, str]) -> None:
    first = opened(variables)
    assert opened(variables) is first
    assert target.current() is first
    assert first.repository_prefix == "some/where"
    assert first.repository_password == "password"  # noqa: S105 - see above
    assert first.market is not None


def test_a_closed_target_leaves_no_file(variables: dict[str, str]) -> None:
    folder = opened(variables).private_folder.path
    assert folder.is_dir()
    target.close()
    assert not folder.exists()
    with pytest.raises(Misconfigured, match="No target is open"):
        target.current()


def test_another_target_has_to_wait(variables: dict[str, str]) -> None:
    opened(variables)
    with pytest.raises(Misconfigured) as raised:
        target.open_target("sandbox", budget_usd=2, declined=["restic", "market"], state_dir=Path("/d"))
    assert str(raised.value) == (
        "The target live (BUDGET_USD 1) is open, and a process has one at a time: `Close Target` must come before the "
        "target sandbox (BUDGET_USD 2, STATE_DIR /d, declined market, restic) is opened."
    )


def test_another_budget_is_another_choice(variables: dict[str, str]) -> None:
    opened(variables)
    with pytest.raises(Misconfigured, match=r"live \(BUDGET_USD 1\) is open.* live \(BUDGET_USD 2\) is opened"):
        target.open_target("live", budget_usd=2, environment=variables)


def test_a_budget_of_nothing_is_a_budget(variables: dict[str, str]) -> None:
    assert target.open_target("live", budget_usd=0, environment=variables).machines == {}


def test_without_a_budget_no_live_target_is_opened() -> None:
    with pytest.raises(Misconfigured, match=r"^BUDGET_USD is not set.*--variable BUDGET_USD:3$"):
        target.open_target("live", budget_usd=None)


def test_the_sandbox_is_free_and_needs_no_budget(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def up(cloud: EmbeddedCloud) -> Settings:
        cloud._environment = variables
        return Settings.from_mapping(variables)

    monkeypatch.setattr(EmbeddedCloud, "up", up)
    assert target.open_target("sandbox", budget_usd=None).budget.limit_usd == math.inf


def test_a_live_target_has_no_state_directory(variables: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match=r"^STATE_DIR \(/d\) is a directory of the embedded cloud"):
        target.open_target("live", budget_usd=1, state_dir=Path("/d"), environment=variables)


def test_a_live_target_has_no_switches(variables: dict[str, str]) -> None:
    target_ = opened(variables)
    with pytest.raises(Misconfigured, match="A live target has no switches"):
        _ = target_.embedded


def test_a_declined_market_needs_no_key_and_is_not_asked(variables: dict[str, str]) -> None:
    keyless = variables | {"VAST_API_KEY": "", "VAST_URL": ""}
    with pytest.raises(Misconfigured) as raised:
        target.open_target("live", budget_usd=1, environment=keyless)
    assert "VAST_URL" in str(raised.value)
    assert "VAST_API_KEY" in str(raised.value)
    target_ = target.open_target("live", budget_usd=1, declined=["market"], environment=keyless)
    assert target_.market is None
    assert target_.declined == {"market"}


def test_a_wrong_key_for_the_market_is_told_when_the_target_is_opened(variables: dict[str, str]) -> None:
    with pytest.raises(Misconfigured) as told:
        opened(variables, VAST_API_KEY="wrong")
    assert str(told.value) == (
        f"The market at {variables['VAST_URL']} refused the key: This is no key. Check VAST_API_KEY."
    )


def test_a_market_in_trouble_is_no_reason_not_to_begin(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NOTHING, "/api/v1/instances/", {"success": False})
    target_ = opened(variables)
    assert target_.swept is None
    (warning,) = target_.warnings
    assert warning == (
        "It could not be seen whether earlier runs have left machines: UNKNOWN: It cannot be told which machines "
        "exist: the market's answer to GET /api/v1/instances/ has no list `instances`."
    )


def test_a_market_that_is_declined_is_not_asked_although_there_is_a_key(variables: dict[str, str]) -> None:
    assert target.open_target("live", budget_usd=1, declined=["market"], environment=variables).market is None


@pytest.mark.parametrize("repository", ["s3:http://127.0.0.1:9/another/where", "/local", "http://127.0.0.1:9/bucket/x"])
def test_a_repository_elsewhere_is_told(variables: dict[str, str], repository: str) -> None:
    target_ = opened(variables, RESTIC_REPOSITORY=repository)
    with pytest.raises(Misconfigured) as raised:
        _ = target_.repository_prefix
    assert str(raised.value) == (
        "RESTIC_REPOSITORY must be s3:https://<endpoint>/bucket/<folder>, in the bucket that B2_BUCKET names; it is "
        f"{repository}."
    )


@pytest.mark.parametrize("server", ["http://127.0.0.1:8", "http://localhost:9", "https://127.0.0.1", "127.0.0.1"])
def test_a_repository_on_another_store_is_told(variables: dict[str, str], server: str) -> None:
    target_ = opened(variables, RESTIC_REPOSITORY=f"s3:{server}/bucket/some/where")
    with pytest.raises(Misconfigured) as raised:
        _ = target_.repository_prefix
    assert str(raised.value) == (
        f"RESTIC_REPOSITORY (s3:{server}/bucket/some/where) and B2_ENDPOINT (http://127.0.0.1:9) must name the same "
        "object store: check which of them is wrong."
    )


def test_a_repository_may_be_written_without_a_scheme(variables: dict[str, str]) -> None:
    store = {"B2_ENDPOINT": "s3.example.com", "RESTIC_REPOSITORY": "s3:s3.example.com/bucket/some/where"}
    assert opened(variables, **store).repository_prefix == "some/where"


def test_a_file_brings_what_the_environment_lacks(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("B2_BUCKET", "from the environment")
    file = tmp_path / "staging.env"
    file.write_text("".join(f"{name}={quoted(value)}\n" for name, value in variables.items()))
    file.chmod(0o644)
    target_ = target.open_target("live", budget_usd=1, env_file=file)
    assert target_.settings.b2_bucket == "from the environment"
    assert target_.settings.dumont_email == "test@test.com"
    (warning,) = target_.warnings
    assert warning.startswith(f"{file} holds credentials and can be read by others (mode 644): chmod 600 ")


def test_the_choice_of_a_target_shows_no_credential(variables: dict[str, str]) -> None:
    choice = opened(variables).choice
    assert "password" not in repr(choice) + str(choice)


def test_the_budget_is_the_one_that_was_given(variables: dict[str, str]) -> None:
    budget = opened(variables).renter._budget
    assert isinstance(budget, Budget)
    assert budget.limit_usd == 1


@pytest.mark.parametrize(
    ("text", "names"),
    [("", set()), ("market", {"market"}), (" restic , market ", {"market", "restic"}), ("market,,", {"market"})],
)
def test_witnesses_are_read_by_their_names(text: str, names: set[str]) -> None:
    assert target.witnesses(text) == names


def test_a_witness_that_does_not_exist_is_told() -> None:
    with pytest.raises(Misconfigured) as raised:
        target.witnesses("market, sun, moon")
    assert str(raised.value) == (
        "DECLINED_WITNESSES must be empty, or any of market, restic, gcp with commas between them, such as "
        "DECLINED_WITNESSES:market; it is 'market, sun, moon'."
    )


def test_a_temporary_cloud_is_one_for_the_whole_process(monkeypatch: pytest.MonkeyPatch) -> None:
    at_exit: list[tuple[Any, ...]] = []
    monkeypatch.setattr(atexit, "register", lambda *call: at_exit.append(call))
    target._temporary_cloud.cache_clear()
    first = target.embedded_cloud("temporary")
    assert target.embedded_cloud("temporary") is first
    assert target.embedded_cloud(None) is not first
    ((at_end, removed, folder),) = at_exit
    assert (at_end, removed, folder.path) == (target._remove, first, first.state_dir)
    folder.remove()
    target._temporary_cloud.cache_clear()
