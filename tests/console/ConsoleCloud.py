"""A cloud of its own for the tests of the console, and what its API and its market say: the page's witnesses."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops
from robot.api.deco import keyword, library
from robot.api.types import Secret

from tests.cloud_under_test import CloudUnderTest
from tests.control_api import ControlApi, eventually

# A browser does not draw the edge of a rounded corner twice in the very same shade: levels of 256.
SHADES = 8


@library(scope="GLOBAL")
class ConsoleCloud:
    _cloud: CloudUnderTest
    api: ControlApi

    @keyword
    def start_cloud(self) -> str:
        """Returns the address of the console."""
        self._cloud = CloudUnderTest(Path(tempfile.mkdtemp(prefix="console-")))
        self._cloud.up()
        self.api = ControlApi(self._cloud.environment)
        return self._cloud.environment["DUMONT_CONSOLE_URL"]

    @keyword
    def stop_cloud(self) -> None:
        """Stops it and removes all it leaves."""
        self.api.close()
        self._cloud.down()
        shutil.rmtree(self._cloud.state_dir)

    @keyword
    def account_of_cloud(self) -> tuple[str, Secret]:
        """The e-mail and the password with which its user enters."""
        return self._cloud.environment["DUMONT_EMAIL"], Secret(self._cloud.environment["DUMONT_PASSWORD"])

    @keyword
    def rent(self, label: str, files: str = "true") -> str:
        """The id of a machine that runs; `files` is a command that fills its workspace."""
        return str(self.api.rent(label, files))

    @keyword
    def protect(self, instance_id: int) -> dict[str, Any]:
        """Gives a machine a CPU standby and waits until that is in step."""
        return dict(self.api.call("POST", f"/standby/provision/{instance_id}")["association"])

    @keyword
    def run_on(self, instance_id: int, command: str) -> str:
        return self.api.run(instance_id, command)

    @keyword
    def preempt(self, instance_id: int) -> None:
        """The market takes the machine away."""
        url = f"{self.api.market_url}/_sandbox/instances/{instance_id}/preempt"
        self.api.admin.post(url).raise_for_status()

    @keyword
    def ask_api(self, path: str, method: str = "GET", status: int = 200) -> Any:
        return self.api.call(method, path, status)

    @keyword
    def machines_of_market(self) -> list[str]:
        """The ids of all that is rented, as the market itself lists them."""
        key = {"Authorization": f"Bearer {self._cloud.environment['VAST_API_KEY']}"}
        rows = self.api.http.get(f"{self.api.market_url}/api/v1/instances/", headers=key).json()["instances"]
        return sorted(str(row["id"]) for row in rows)

    @keyword
    def hold_answers(self, match: str, seconds: float) -> None:
        """The API takes its time for what matches "METHOD /path"."""
        self._break(self.api.root, kind="delay", match=match, seconds=seconds)

    @keyword
    def hold_answers_of_market(self, match: str, seconds: float) -> None:
        self._break(self.api.market_url, kind="delay", match=match, seconds=seconds)

    @keyword
    def break_answers_of_api(self, match: str, status: int, error: str) -> None:
        self._break(self.api.root, kind="answer", match=match, status=status, body={"error": error, "detail": error})

    def _break(self, part: str, **fault: Any) -> None:
        self.api.admin.post(f"{part}/_sandbox/faults", json={"name": "test", **fault}).raise_for_status()

    @keyword
    def mend_api(self) -> None:
        for part in (self.api.root, self.api.market_url):
            self.api.admin.delete(f"{part}/_sandbox/faults").raise_for_status()

    @keyword
    def end_all_machines(self) -> None:
        """Leaves nothing rented, whatever a test has done."""
        self.mend_api()
        eventually("no failover is under way", lambda: not self.ask_api("/standby/failover/active")["active_count"])
        for row in self.ask_api("/instances")["instances"]:
            self.api.http.delete(f"/instances/{row['id']}")
        eventually("the market has no machine", lambda: not self.machines_of_market())

    @keyword
    def pictures_should_look_the_same(self, one: Path, other: Path) -> None:
        """Fails when a dot of one picture has another shade in the other, or they differ in size."""
        with Image.open(one) as first, Image.open(other) as second:
            assert first.size == second.size, f"{first.size} and {second.size} dots"
            apart = ImageChops.difference(first.convert("L"), second.convert("L"))
        most = max(level for level, dots in enumerate(apart.histogram()) if dots)
        assert most <= SHADES, f"They differ by up to {most} levels of 255 within {apart.getbbox()}."
