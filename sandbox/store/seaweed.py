"""How SeaweedFS (`weed mini`) is started: its settings, its credentials and its walls. And how its shell is.

It runs in a bubblewrap that can write to its own directory only. That also gives it a private /tmp, where it insists on
putting its sockets, and ends it with the process that started it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from pydantic import BaseModel

from sandbox.ports import LOOPBACK, PortPicker
from sandbox.state import CloudConfig, Secrets, StateDir, write_private

GRPC_OFFSET = 10000  # each of its servers opens a second port, this much higher, by which the others find it


class InnerPorts(BaseModel):
    """The ports by which the servers inside SeaweedFS talk to each other, and the entrance (`front`) to its S3.

    All but the first two have a companion.
    """

    s3: int
    s3_grpc: int
    master: int
    volume: int
    filer: int
    admin: int

    @classmethod
    def pick(cls, picker: PortPicker, store: Path) -> InnerPorts:
        """Picks the ports, those of the last run where they are free, and keeps them in the store's directory."""
        file = store / "ports.json"
        last = json.loads(file.read_text()) if file.exists() else {}
        ports = cls(
            s3=picker.pick(last.get("s3")),
            s3_grpc=picker.pick(last.get("s3_grpc")),
            **{
                name: picker.pick(last.get(name), companion=GRPC_OFFSET)
                for name in ("master", "volume", "filer", "admin")
            },
        )
        write_private(file, ports.model_dump_json(indent=1))
        return ports


def program() -> Path:
    """The `weed` program that pip installed beside this Python."""
    return Path(sys.executable).with_name("weed")


def prepare(state: StateDir, config: CloudConfig, secrets: Secrets, ports: InnerPorts) -> list[str]:
    """Writes the settings of the store and returns the command that starts it, free of secrets."""
    home = state.store
    data, logs, tmp = home / "data", home / "log", home / "tmp"
    shutil.rmtree(tmp, ignore_errors=True)  # sockets of the last run
    shutil.rmtree(logs, ignore_errors=True)  # its log goes to stdout; here it leaves a file a run
    for folder in (data, logs, tmp):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(home / "s3.json", json.dumps(_identities(secrets), indent=1))
    write_private(home / "security.toml", _security(secrets))
    write_private(home / "options", "".join(f"{name}={value}\n" for name, value in _options(secrets, ports)))
    weed = program().resolve()
    return [
        *(sys.executable, "-u", "-m", "sandbox.store.front", "--bucket", secrets.b2_bucket),
        *("--listen", str(config.ports.store), "--upstream", str(ports.s3)),
        *("--folder", str(state.root)),
        *("bwrap", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev"),
        *("--bind", str(tmp), "/tmp"),  # noqa: S108 - this is the store's own
        *("--ro-bind", str(weed.parent), str(weed.parent), "--bind", str(home), str(home), "--chdir", str(home)),
        # Its options split paths at commas, so it gets none.
        *(str(weed), f"-logdir={logs.name}", "mini", f"-dir={data.name}", "-options=options"),
    ]


def shell(state: StateDir) -> list[str]:
    """The command that starts the administrator's shell of the store that runs; it reads lines from its input."""
    ports = InnerPorts.model_validate_json((state.store / "ports.json").read_text())
    servers = (f"-master={LOOPBACK}:{ports.master}", f"-filer={LOOPBACK}:{ports.filer}")
    return [str(program()), f"-logdir={state.store / 'log'}", "shell", *servers]


def _options(secrets: Secrets, ports: InnerPorts) -> list[tuple[str, object]]:
    return [
        ("ip", LOOPBACK),
        ("ip.bind", LOOPBACK),
        ("master.telemetry", "false"),
        ("master.port", ports.master),
        ("master.vacuumIntervalSeconds", 60),  # clouds live for minutes: give the room of deleted objects back in time
        ("volume.port", ports.volume),
        ("volume.preStopSeconds", 0),  # nobody else to tell
        ("filer.port", ports.filer),
        ("filer.localSocket", "/tmp/filer.sock"),  # noqa: S108 - the store's own /tmp
        ("s3.port", ports.s3),
        ("s3.port.grpc", ports.s3_grpc),
        ("s3.port.iceberg", 0),
        ("s3.port.lance", 0),
        ("s3.localSocket", "/tmp/s3.sock"),  # noqa: S108 - the store's own /tmp
        ("s3.config", "s3.json"),
        ("bucket", f"{secrets.b2_bucket},{secrets.r2_bucket}"),  # made when they are missing
        ("admin.ui", "false"),
        ("admin.port", ports.admin),
        ("admin.password", secrets.store_admin_key),
        ("webdav", "false"),
    ]


def _identities(secrets: Secrets) -> dict[str, object]:
    def identity(name: str, key_id: str, key: str, actions: list[str]) -> dict[str, object]:
        return {"name": name, "credentials": [{"accessKey": key_id, "secretKey": key}], "actions": actions}

    def within(bucket: str) -> list[str]:
        return [f"{action}:{bucket}" for action in ("Read", "Write", "List", "Tagging")]

    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    return {
        "identities": [
            identity("admin", secrets.store_admin_key_id, secrets.store_admin_key, everything),
            identity("b2", secrets.b2_key_id, secrets.b2_application_key, within(secrets.b2_bucket)),
            identity("r2", secrets.r2_access_key, secrets.r2_secret_key, within(secrets.r2_bucket)),
        ]
    }


def _security(secrets: Secrets) -> str:
    """Closes the back doors: the inner servers take HTTP requests only from those who share these keys."""
    return "".join(
        f'[{table}]\nkey = "{secrets.store_admin_key}-{table}"\n'
        for table in ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    )
