"""The market alone, as a process of its own, and what a test needs to look at machines from outside."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2

from rekindle.quoting import ssh_path
from rekindle.waiting import wait_until
from sandbox.state import CloudConfig, Ports, StateDir

PATIENCE = 60.0


def identity(key: Path) -> list[str]:
    """The option that names a private key. Not `-i`, which takes no path with a per cent sign."""
    return ["-o", f"IdentityFile={ssh_path(key)}"]


def ssh_command(port: int, key: Path, script: str) -> list[str]:
    """The command that runs a script on a machine."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
    return ["ssh", *identity(key), "-p", str(port), *(f"-o{option}" for option in options), "root@127.0.0.1", script]


def ssh(port: int, key: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script on a machine. A refused connection is exit code 255."""
    command = ssh_command(port, key, script)
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def host_key(port: int) -> str:
    command = ["ssh-keyscan", "-p", str(port), "-t", "ed25519", "127.0.0.1"]
    scan = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return scan.stdout.split()[-1]


def make_key(path: Path) -> str:
    """Makes a key pair and returns the public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_about(path: Path) -> list[int]:
    """The processes of this host that have a path in their command line or see a part of it mounted.

    So all processes of a machine are found by its disk, bubblewrap among them.
    """
    mount_point = next(parent for parent in (path, *path.parents) if parent.is_mount())
    mounted = f"{path.relative_to(mount_point)}/"  # as mountinfo names it: from the root of its file system
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            mounts = [line.split(" ")[3] + "/" for line in (process / "mountinfo").read_text().splitlines()]
            command_line = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has ended, or is somebody else's
            continue
        if str(path) in command_line or any(mounted in _unescaped(mount) for mount in mounts):
            found.append(int(process.name))
    return found


def _unescaped(mount: str) -> str:
    """A path of mountinfo, in which the kernel writes spaces and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mount)


def wait_until_none_is_about(path: Path) -> None:
    wait_until("all processes to be gone", lambda: processes_about(path), lambda pids: not pids, timeout=PATIENCE)


class MarketUnderTest:
    """`python -m sandbox.programs.market` on a state directory of its own."""

    def __init__(self, folder: Path, profile: str = "instant") -> None:
        self.state = StateDir(folder)
        self.state.create()
        ports = Ports(control=free_port(), market=free_port(), store=free_port())
        self.state.write_config(CloudConfig(cloud_id="under-test", ports=ports, profile=profile))
        self.secrets = self.state.secrets()
        self.url = self.state.config().market_url
        self.http = self.client(self.secrets.vast_api_key)
        self.admin = self.client(self.secrets.admin_token)
        self._process: subprocess.Popen[bytes] | None = None

    def client(self, key: str | None) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=PATIENCE, trust_env=False)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "sandbox.programs.market", "--state-dir", str(self.state.root)]

    def start(self) -> None:
        with (self.state.logs / "market.log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until("the market to answer", self._answers, bool, timeout=PATIENCE, hopeless=self._ended)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the process and returns its exit code. The state is kept."""
        assert self._process
        self._process.send_signal(how)
        return self._process.wait(timeout=PATIENCE)

    def close(self) -> None:
        if self._process and self._process.poll() is None:
            self.end()
        self.http.close()
        self.admin.close()

    def offers(self, **query: Any) -> list[dict[str, Any]]:
        search = {"order": [["dph_total", "asc"]], **query}
        rows: list[dict[str, Any]] = self._json(self.http.post("/api/v0/bundles/", json=search))["offers"]
        return rows

    def rent(self, offer_id: int | None = None, **order: Any) -> int:
        """Rents an offer, the cheapest by default, and returns the instance's id."""
        body = {"client_id": "me", "image": "i", "disk": 10, **order}
        chosen = self.offers(limit=1)[0]["id"] if offer_id is None else offer_id
        return int(self._json(self.http.put(f"/api/v0/asks/{chosen}/", json=body))["new_contract"])

    def instance(self, instance_id: int) -> dict[str, Any] | None:
        row: dict[str, Any] | None = self._json(self.http.get(f"/api/v0/instances/{instance_id}/"))["instances"]
        return row

    def there(self, instance_id: int) -> dict[str, Any]:
        row = self.instance(instance_id)
        assert row, f"instance {instance_id} is not there"
        return row

    def until(self, instance_id: int, status: str = "running") -> dict[str, Any]:
        """Waits for a machine's actual status and returns its row."""
        return wait_until(
            f"instance {instance_id} to be {status}",
            lambda: self.there(instance_id),
            lambda row: bool(row["actual_status"] == status),
            timeout=PATIENCE,
            describe=lambda row: f"{row['actual_status']}: {row['status_msg']}",
        ).value

    def change(self, instance_id: int, **change: Any) -> None:
        self._json(self.http.put(f"/api/v0/instances/{instance_id}/", json=change))

    def destroy(self, instance_id: int) -> None:
        self._json(self.http.request("DELETE", f"/api/v0/instances/{instance_id}/", json={}))

    def charges(self, instance_id: int) -> list[dict[str, Any]]:
        filters = f'{{"instance_id": {{"eq": {instance_id}}}}}'
        parameters = {"select_filters": filters, "limit": "100"}
        rows: list[dict[str, Any]] = self._json(self.http.get("/api/v0/charges/", params=parameters))["results"]
        return rows

    def balance(self) -> float:
        return float(self._json(self.http.get("/api/v0/users/current/"))["balance"])

    def put_fault(self, **fault: Any) -> None:
        self._json(self.admin.post("/_sandbox/faults", json={"name": "trouble", **fault}))

    def ssh(self, instance_id: int, script: str) -> subprocess.CompletedProcess[str]:
        return ssh(self.there(instance_id)["ssh_port"], self.state.user_key, script)

    @staticmethod
    def _json(answer: httpx2.Response) -> Any:
        assert answer.is_success, f"{answer.request.method} {answer.request.url.path}: {answer.text}"
        return answer.json()

    def _answers(self) -> bool:
        try:
            return self.http.get("/health").is_success
        except httpx2.TransportError:
            return False

    def _ended(self, _: bool) -> str | None:
        assert self._process
        if self._process.poll() is None:
            return None
        return f"it ended: {(self.state.logs / 'market.log').read_text()[-2000:]}"
