"""The market's own command line, unmodified, on the embedded market.

It ends with exit code 0 on every HTTP error, so what it printed is what is looked at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.market_under_test import PATIENCE, MarketUnderTest, ssh

OFFERS = "gpu_name=RTX_4090 num_gpus=1 reliability>0.98 dph<1.0"


class CommandLine:
    """`vastai` with a home of its own. It knows the key from its environment, as its users do."""

    def __init__(self, market: MarketUnderTest, home: Path) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
            "XDG_CACHE_HOME": str(home),
            "TMPDIR": str(home),
            "VAST_URL": market.url,
            "VAST_API_KEY": market.secrets.vast_api_key,
            "COLUMNS": "200",
        }

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "vastai"), *arguments],
            env=self._environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def text(self, *arguments: str) -> str:
        return self.run(*arguments).stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--raw").stdout)

    def error(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """The HTTP status and the sentence of a refusal, which it prints as JSON among its advice."""
        lines = self.run(*arguments, "--raw", **environment).stderr.replace("\x1b[K", "").splitlines()
        error = next(json.loads(line) for line in lines if line.startswith("{"))
        assert error["error"] is True
        return error["status_code"], error["msg"]


@pytest.fixture
def vastai(market: MarketUnderTest, tmp_path: Path) -> CommandLine:
    return CommandLine(market, tmp_path)


def test_it_is_the_one_from_the_package_index() -> None:
    assert version("vastai") == "1.9.1"


@pytest.mark.nightly
def test_a_machine_from_search_to_end(market: MarketUnderTest, vastai: CommandLine) -> None:
    offers = vastai.json("search", "offers", OFFERS, "-o", "dph", "--limit", "5")
    assert 0 < len(offers) <= 5
    assert {(offer["gpu_name"], offer["num_gpus"]) for offer in offers} == {("RTX 4090", 1)}
    assert offers == sorted(offers, key=lambda offer: offer["dph_total"])
    cheapest = str(offers[0]["id"])

    order = ["--image", "pytorch/pytorch", "--disk", "40", "--ssh", "--direct", "--label", "from the shell"]
    order += ["--env", "-e A=1 -p 8080:8080", "--onstart-cmd", "echo on >/workspace/started"]
    created = vastai.json("create", "instance", cheapest, *order)
    assert created["success"] is True
    machine = created["new_contract"]
    name = str(machine)
    market.until(machine)

    status, sentence = vastai.error("create", "instance", cheapest, *order)
    assert status == 400
    assert "not available" in sentence
    assert int(cheapest) not in {offer["id"] for offer in vastai.json("search", "offers", OFFERS)}

    row = vastai.json("show", "instance", name)
    assert (row["id"], row["label"], row["actual_status"]) == (machine, "from the shell", "running")
    assert row["extra_env"] == {"A": "1", "-p 8080:8080": "1"}
    assert [row["id"] for row in vastai.json("show", "instances")] == [machine]
    table = vastai.text("show", "instances", "--no-color")
    assert name in table
    assert "RTX 4090" in table

    address = vastai.text("ssh-url", name).split()[-1]
    port = address.rpartition(":")[2]
    assert address == f"ssh://root@127.0.0.1:{row['ssh_port']}"
    wait_and_read = "until [ -s /workspace/started ]; do sleep 0.05; done; cat /workspace/started; echo $A"
    assert ssh(int(port), market.state.user_key, wait_and_read).stdout == "on\n1\n"

    assert "label for" in vastai.text("label", "instance", name, "renamed")
    assert "stopping" in vastai.text("stop", "instance", name)
    row = vastai.json("show", "instance", name)
    assert (row["label"], row["intended_status"], row["actual_status"]) == ("renamed", "stopped", "exited")
    assert "starting" in vastai.text("start", "instance", name)
    market.until(machine)
    assert "destroying" in vastai.text("destroy", "instance", name, "-y")
    assert vastai.json("show", "instances") == []
    assert vastai.error("destroy", "instance", name, "-y") == (404, f"Instance {machine} not found.")

    charges = vastai.json("show", "invoices-v1", "--charges")
    assert {row["source"] for row in charges["results"]} == {f"instance-{machine}"}
    assert [row["type"] for row in charges["results"]] == ["disk", "gpu", "gpu"]
    assert name in vastai.text("show", "invoices-v1", "--charges", "--no-color")
    assert name in vastai.text("show", "invoices-v1", "--charges", "--format", "tree", "--no-color")


def test_all_pages_are_shown(market: MarketUnderTest, vastai: CommandLine) -> None:
    market.put_fault(kind="machine", machine="boot_hangs")
    rented = {market.rent() for _ in range(27)}
    assert rented <= {row["id"] for row in vastai.json("show", "instances")}
    for machine in rented:
        market.destroy(machine)
    market.admin.delete("/_sandbox/faults")


def test_searches_of_its_manual(vastai: CommandLine) -> None:
    query = 'gpu_name in ["RTX 4090", "RTX 3090"] geolocation notin [CN,VN] driver_version >= 535.86.05 gpu_ram>10'
    offers = vastai.json("search", "offers", query)
    assert {offer["gpu_name"] for offer in offers} == {"RTX 4090", "RTX 3090"}
    assert not [offer for offer in offers if offer["geolocation"].endswith(("CN", "VN"))]
    assert offers == sorted(offers, key=lambda offer: offer["score"], reverse=True)
    table = vastai.text("search", "offers", "num_gpus>=4 verified=any", "-o", "num_gpus-", "--limit", "3")
    assert table.count("Model") == 1
    assert vastai.json("search", "offers", "--new", "num_gpus=8", "-n")[0]["num_gpus"] == 8


def test_the_account(market: MarketUnderTest, vastai: CommandLine) -> None:
    assert vastai.json("show", "user")["balance"] == pytest.approx(market.balance(), abs=0.01)
    assert [key["id"] for key in vastai.json("show", "ssh-keys")] == [1]


def test_a_wrong_key_is_refused(vastai: CommandLine) -> None:
    for verb in (("show", "user"), ("search", "offers", OFFERS), ("show", "instances")):
        assert vastai.error(*verb, VAST_API_KEY="0" * 64) == (401, "Invalid user key.")
