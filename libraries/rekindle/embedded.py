"""The embedded cloud as its users meet it: a command line that starts it and an HTTP API that breaks it."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import httpx2

from rekindle.errors import Misconfigured, RekindleError
from rekindle.settings import Settings
from rekindle.waiting import Clock, wait_until

PROJECT_DIR = Path(__file__).resolve().parents[2]
PARTS = {"control": "DUMONT_API_URL", "market": "VAST_URL"}
NETWORK = "TOXIPROXY_URL"  # the variable that only a cloud with proxies has
WATCH = 60.0  # seconds that a watch waits for its moment
REFUSED = 2  # exit code of its command line when the user's own input is wrong
# What its command line may inherit: no credentials of a live target, which the user may have set as well.
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")


class CloudDown(RekindleError):
    """The embedded cloud does not start or does not answer."""


class EmbeddedCloud:
    """One embedded cloud, by its state directory. Knows of it only what its command line tells everybody."""

    def __init__(self, state_dir: Path | None = None, *, breakable: bool = False) -> None:
        """Starts nothing. `state_dir` is the default one of the command line when None; `breakable`: its network can
        be broken as well, and its clocks set."""
        self._breakable = breakable
        self._state_dir = state_dir.expanduser().absolute() if state_dir else None
        self._options = ["--state-dir", str(self._state_dir)] if self._state_dir else []
        self._environment: dict[str, str] = {}
        self._called_off = threading.Event()
        self._watches: list[threading.Thread] = []
        self._stopped: set[str] = set()
        self._bucket_is_broken = False
        self._clocks_set: set[str] = set()

    def up(self, *, profile: str | None = None, lease: int | None = None) -> Settings:
        """Starts the cloud, or joins the one that runs, and returns its addresses and credentials.

        Args:
            profile: `instant` or `realistic`; the cloud's own default when None.
            lease: the process that needs the cloud; it stops by itself some time after that process has ended.

        Raises:
            Misconfigured: what the user gave is wrong, such as the state directory.
            CloudDown: it did not come up; the message is what its command line says.
        """
        options = ["--detach", *self._options, "--lease", str(lease or os.getpid())]
        if profile:
            options += ["--profile", profile]
        if self._breakable:
            options += ["--proxied", "--settable-clocks"]
        self._call("up", *options)
        self._environment = json.loads(self._call("env", "--json", *self._options))
        return Settings.from_mapping(self._environment)

    def up_again(self) -> None:
        """Starts the cloud after it has stopped or died. Its machines boot again.

        Raises:
            CloudDown: it did not come up, or has other addresses now, because its ports were taken meanwhile.
        """
        before = self.environment
        self.up()
        moved = sorted(name for name, value in self._environment.items() if before.get(name) != value)
        if moved:
            raise CloudDown(
                f"The embedded cloud came up with another {', '.join(moved)} than before, because its ports were taken "
                "meanwhile: close the target and open it again."
            )

    @property
    def state_dir(self) -> Path | None:
        """Its state directory; None if it is the default one of the command line."""
        return self._state_dir

    @property
    def environment(self) -> dict[str, str]:
        """Its addresses and credentials, under the names that a live target reads.

        Raises:
            CloudDown: this run has not started it.
        """
        if not self._environment:
            raise CloudDown("The embedded cloud has not been started by this run: call `Open Target` first.")
        return self._environment

    @property
    def control_token(self) -> str:
        """Opens the control API, through which the cloud is broken and mended. Raises CloudDown as `environment`."""
        return self.environment["SANDBOX_CONTROL_TOKEN"]

    def down(self) -> None:
        """Stops the cloud; its state is kept."""
        self._call("down", *self._options)

    def remove(self) -> None:
        """Stops the cloud and forgets everything of it; a state directory of its own is removed."""
        self.down()
        self._call("reset", *self._options)
        if self._state_dir:
            self._state_dir.rmdir()

    def status(self) -> str:
        """What the cloud says of its parts, machines and bill."""
        return self._run("status", *self._options).stdout

    def process_of(self, part: str) -> int:
        """The number of the process that runs a part, as `status` names it.

        Raises:
            CloudDown: there is none.
        """
        status = self.status()
        found = re.search(rf"^\s*{re.escape(part)}\s.*\bprocess (\d+)", status, re.MULTILINE)
        if not found:
            raise CloudDown(f"The embedded cloud has no running part {part!r}:\n{status}")
        return int(found[1])

    def kill(self, part: str) -> None:
        """Kills the process of a part with SIGKILL, as a crash does."""
        os.kill(self.process_of(part), signal.SIGKILL)

    def kill_when(self, part: str, due: Callable[[], bool]) -> None:
        """Returns at once, and kills a part as soon as something has happened, unless `mend` is called before.

        Args:
            part: which one.
            due: looks whether it has happened. An error of its own ends the watch.
        """
        process = os.pidfd_open(self.process_of(part))

        def kill() -> None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)

        self._when(due, kill, finally_=lambda: os.close(process))

    def stop_part(self, part: str) -> None:
        """Stops one part in order, while the others run on, until `start_part` or `mend`."""
        self._stopped.add(part)
        self._call("stop", part, *self._options)

    def start_part(self, part: str) -> None:
        """Starts a part that was stopped, and returns when it answers. One that runs is left alone.

        Raises:
            CloudDown: it did not come up.
        """
        self._call("start", part, *self._options)
        self._stopped.discard(part)

    def stop_part_when(self, part: str, due: Callable[[], bool], back_after: float | None) -> None:
        """Returns at once, and stops a part as soon as something has happened, unless `mend` is called before.

        Args:
            part: which one.
            due: looks whether it has happened. An error of its own ends the watch.
            back_after: seconds from then on until it is started again; None leaves it stopped.
        """
        called_off = self._called_off

        def stop() -> None:
            self.stop_part(part)
            if back_after is not None:
                called_off.wait(back_after)
                self.start_part(part)

        self._when(due, stop)

    def break_bucket(self, state: Literal["read-only", "full"]) -> None:
        """Makes the bucket of the snapshots read-only or full, until `mend`."""
        self._bucket_is_broken = True
        self._call("bucket", state, *self._options)

    def preempt(self, instance_id: int) -> None:
        """Has the market take a machine away: it is killed and its disk wiped; the contract stays, stopped."""
        self._ask("market", "POST", f"/_sandbox/instances/{instance_id}/preempt")

    def preempt_when(self, instance_id: int, due: Callable[[], bool]) -> None:
        """Returns at once, and has a machine taken away as soon as something has happened, unless `mend` is called.

        Args:
            instance_id: which machine.
            due: looks whether it has happened. An error of its own ends the watch.
        """
        self._when(due, lambda: self.preempt(instance_id))

    def _when(
        self, due: Callable[[], bool], act: Callable[[], None], *, finally_: Callable[[], None] = lambda: None
    ) -> None:
        called_off = self._called_off

        def pause(seconds: float) -> None:
            called_off.wait(seconds)

        def watch() -> None:
            with suppress(RekindleError):
                wait_until(
                    "the moment to act", lambda: called_off.is_set() or due(), bool,
                    timeout=WATCH, floor=0.01, clock=Clock(pause=pause),
                )  # fmt: skip
                if not called_off.is_set():
                    act()
            finally_()

        thread = threading.Thread(target=watch, daemon=True)
        self._watches.append(thread)
        thread.start()

    def add_fault(self, part: str, fault: Mapping[str, Any]) -> None:
        """Breaks a part in one named way (see `sandbox/faults.py`) until the fault is removed."""
        self._ask(part, "POST", "/_sandbox/faults", dict(fault))

    def add_toxic(self, way: str, toxic: Mapping[str, Any]) -> None:
        """Spoils one way of the cloud's network, in the words of Toxiproxy, until `mend` or `clear_way`.

        Raises:
            Misconfigured: the cloud has no network of its own: it was not started as `breakable`.
            CloudDown: there is no such way, or the toxic makes no sense.
        """
        self._network("POST", f"/proxies/{way}/toxics", toxic)

    def cut_way(self, way: str) -> None:
        """Ends all connections on a way, and refuses new ones, until `mend` or `clear_way`. Errors as `add_toxic`."""
        self._network("POST", f"/proxies/{way}", {"enabled": False})

    def clear_way(self, way: str) -> None:
        """Makes a way good again. Errors as `add_toxic`."""
        for toxic in self._network("GET", f"/proxies/{way}/toxics"):
            self._network("DELETE", f"/proxies/{way}/toxics/{toxic['name']}")
        self._network("POST", f"/proxies/{way}", {"enabled": True})

    def cut_way_when(self, way: str, due: Callable[[], bool], back_after: float | None) -> threading.Event:
        """Returns at once, and cuts a way as soon as something has happened, unless `mend` is called before.

        Args:
            way: which one.
            due: looks whether it has happened. An error of its own ends the watch.
            back_after: seconds from then on until it is good again; None leaves it cut.

        Returns:
            What is set once the way was cut.
        """
        called_off, struck = self._called_off, threading.Event()

        def cut() -> None:
            self.cut_way(way)
            struck.set()
            if back_after is not None:
                called_off.wait(back_after)
                self.clear_way(way)

        self._when(due, cut)
        return struck

    def set_clock(self, part: str, ahead: float) -> None:
        """Lets the wall clock of a part be so many seconds ahead of the right time, until `mend`."""
        self._clocks_set.add(part)
        self._call("clock", part, str(ahead), *self._options)

    def faults(self, part: str) -> list[str]:
        """The names of the faults that a part has now; those that have struck as often as they should are gone."""
        return [fault["name"] for fault in self._ask(part, "GET", "/_sandbox/faults")]

    def mend(self) -> None:
        """Undoes what was done to the cloud: faults, its network, clocks, stopped parts, a bucket that refuses, and
        what was yet to come.

        What has died stays dead: a part that was killed (see `up_again`), a machine that was taken away.
        """
        self._called_off.set()
        for watch in self._watches:
            watch.join()
        self._watches.clear()
        self._called_off = threading.Event()
        if NETWORK in self._environment:
            self._network("POST", "/reset")
        for part in sorted(self._clocks_set):
            self.set_clock(part, 0)
        self._clocks_set.clear()
        for part in sorted(self._stopped):
            self.start_part(part)
        if self._bucket_is_broken:
            self._call("bucket", "usable", *self._options)
            self._bucket_is_broken = False
        for part in PARTS:
            self._ask(part, "DELETE", "/_sandbox/faults")

    def _ask(self, part: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        if part not in PARTS:
            raise Misconfigured(
                f"The embedded cloud has no part {part!r} that takes faults. Parts: {', '.join(PARTS)}."
            )
        url = self.environment[PARTS[part]]
        if NETWORK in self._environment:  # past the network, which may be broken
            url = f"http://{self._network('GET', f'/proxies/{part}')['upstream']}"
        return self._request(part, url, method, path, body)

    def _network(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        if NETWORK not in self.environment:
            raise Misconfigured("The network of this embedded cloud cannot be broken: it was started without proxies.")
        return self._request("network", self._environment[NETWORK], method, path, body)

    def _request(self, part: str, url: str, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        headers = {"Authorization": f"Bearer {self.control_token}"}
        try:
            answer = httpx2.request(
                method, url + path, json=body, headers=headers, timeout=10, trust_env=False,
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # an empty one, as there is no TLS: it costs nothing
            )  # fmt: skip
        except httpx2.TransportError as error:
            raise CloudDown(f"The embedded cloud's {part} does not answer at {url}{path}: {error}.") from error
        if answer.is_error:
            raise CloudDown(f"The embedded cloud's {part} refused {method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def _call(self, *arguments: str) -> str:
        done = self._run(*arguments)
        if done.returncode == REFUSED:
            raise Misconfigured(f"`python -m sandbox {arguments[0]}` was refused: {done.stderr.strip()}")
        if done.returncode:
            words = _cause_first(done.stderr) or f"It ended without a message (exit status {done.returncode})."
            raise CloudDown(f"{words}\nThis command failed: `python -m sandbox {' '.join(arguments)}`")
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sandbox", *arguments],
            cwd=PROJECT_DIR,
            env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def _cause_first(words: str) -> str:
    """Return the error output of a command; that of a Python traceback begins with its exception."""
    lines = words.strip().splitlines()
    if lines and lines[0].startswith("Traceback"):
        lines.insert(0, lines[-1])
    return "\n".join(lines)
