"""The state directory: where one embedded cloud keeps its addresses, credentials, databases and disks.

Everything in it is private to the user who started the cloud (mode 700, secrets 600). It is kept between runs, so
that a machine hibernated today can be woken tomorrow.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
from pathlib import Path

from pydantic import BaseModel, Field

from sandbox.endings import in_words

PROJECT_DIR = Path(__file__).resolve().parent.parent
DEFAULT_STATE_DIR = PROJECT_DIR / ".rekindle" / "cloud"


class Ports(BaseModel):
    """The TCP ports on 127.0.0.1 that a person or a client connects to."""

    control: int
    market: int
    store: int
    console: int | None = Field(default=None, description="the page, and the API too; None: on the control port alone")


class Proxies(BaseModel):
    """The ports on 127.0.0.1 of the network (`sandbox.toxics`): its API, and the beginning of each way through it.

    `control`, `market` and `store` are what users of the cloud see; `agents` is what the machines see of Dumont Cloud,
    `product_market` and `product_store` what Dumont Cloud sees of the others.
    """

    api: int
    control: int
    market: int
    store: int
    agents: int
    product_market: int
    product_store: int


class Seen(BaseModel):
    """The addresses of a cloud as somebody sees them."""

    control: str
    console: str
    market: str
    store: str


class CloudConfig(BaseModel):
    """What every part of a cloud must know of the others. Written by the supervisor before it starts them."""

    cloud_id: str = Field(description="random; part of every health answer: a stranger on the port is noticed")
    ports: Ports
    profile: str = "instant"
    seed: int = 1
    proxies: Proxies | None = Field(default=None, description="the network between the parts; None: they meet directly")
    settable_clocks: bool = Field(default=False, description="the dates of some parts can be set (`sandbox.clocks`)")

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.control}"

    @property
    def console_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.console or self.ports.control}"

    @property
    def market_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.market}"

    @property
    def store_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.store}"

    @property
    def network_url(self) -> str | None:
        return f"http://127.0.0.1:{self.proxies.api}" if self.proxies else None

    @property
    def for_users(self) -> Seen:
        """What a client of the cloud sees: the way through the network, where there is one."""
        if ways := self.proxies:
            return _seen(ways.control, ways.control, ways.market, ways.store)
        return Seen(control=self.control_url, console=self.console_url, market=self.market_url, store=self.store_url)

    @property
    def for_product(self) -> Seen:
        """What Dumont Cloud sees; `control` is itself, as its agents on the machines see it."""
        if ways := self.proxies:
            return _seen(ways.agents, ways.agents, ways.product_market, ways.product_store)
        return self.for_users


def _seen(*ports: int) -> Seen:
    return Seen(**dict(zip(Seen.model_fields, (f"http://127.0.0.1:{port}" for port in ports), strict=True)))


def _token(length: int) -> str:
    return Field(default_factory=lambda: secrets.token_hex(length // 2))


class Secrets(BaseModel):
    """The credentials of one cloud, generated once for its state directory."""

    dumont_email: str = "test@test.com"
    dumont_password: str = _token(24)
    jwt_secret: str = _token(64)
    admin_token: str = _token(48)
    vast_api_key: str = _token(64)
    dumont_vast_api_key: str = _token(64)
    b2_key_id: str = _token(24)
    b2_application_key: str = _token(32)
    b2_bucket: str = "dumontcloud-snapshots"
    r2_access_key: str = _token(32)
    r2_secret_key: str = _token(64)
    r2_bucket: str = "dumont-r2"
    store_admin_key_id: str = _token(24)
    store_admin_key: str = _token(32)
    restic_password: str = _token(32)
    gcp_project: str = "dumont-standby"
    gcp_access_token: str = _token(48)


class StateDir:
    """Names every file of a state directory in one place."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def create(self) -> None:
        """Make the directory, its folders, its secrets and its key pairs where they are missing.

        Raises:
            OSError: one of them cannot be made; names it.
        """
        for folder in (self.root, self.logs, self.keys, self.machines, self.store):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._complete_secrets()
        for key in (self.control_key, self.user_key):
            if not key.exists():
                made = subprocess.run(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"rekindle-{key.stem}", "-f", str(key)],
                    check=False,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                )
                if made.returncode:
                    words = made.stderr.strip() or in_words(made.returncode)
                    raise OSError(f"ssh-keygen did not make the key {key}: {words}")

    def _complete_secrets(self) -> None:
        """Generates what is missing: all at first, and what a newer version of the cloud needs besides."""
        text = self._secrets_file.read_text() if self._secrets_file.exists() else "{}"
        secrets = Secrets.model_validate_json(text)
        if Secrets.model_fields.keys() - secrets.model_fields_set:
            write_private(self._secrets_file, secrets.model_dump_json(indent=1))

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def control_key(self) -> Path:
        """The private key with which Dumont Cloud enters the machines."""
        return self.keys / "control"

    @property
    def user_key(self) -> Path:
        """The private key with which the user enters the machines."""
        return self.keys / "user"

    @property
    def machines(self) -> Path:
        return self.root / "machines"

    @property
    def cpu_machines(self) -> Path:
        return self.root / "cpu-machines"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def market_db(self) -> Path:
        return self.root / "market.db"

    @property
    def cpu_cloud_db(self) -> Path:
        return self.root / "cpu-cloud.db"

    @property
    def control_db(self) -> Path:
        return self.root / "control.db"

    @property
    def clocks(self) -> Path:
        return self.root / "clocks"

    @property
    def _secrets_file(self) -> Path:
        return self.root / "secrets.json"

    @property
    def _config_file(self) -> Path:
        return self.root / "cloud.json"

    def secrets(self) -> Secrets:
        return Secrets.model_validate_json(self._secrets_file.read_text())

    def has_config(self) -> bool:
        return self._config_file.exists()

    def config(self) -> CloudConfig:
        return CloudConfig.model_validate_json(self._config_file.read_text())

    def write_config(self, config: CloudConfig) -> None:
        write_private(self._config_file, config.model_dump_json(indent=1))


def write_private(path: Path, text: str) -> None:
    """Writes a file with mode 600, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
