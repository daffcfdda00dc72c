"""What a machine is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Machines run as programs of this host, so a name or value must not be able to become another line of a config file.
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Troubles:
    """The ways in which a machine is born unfit."""

    ssh_refused: bool = False
    no_restic: bool = False
    workspace_megabytes: int = 0  # a /workspace of this size, in memory; 0 is the real disk


@dataclass(frozen=True)
class MachineSpec:
    """One machine, as its renter ordered it."""

    id: int
    port: int | None = None  # the SSH port on 127.0.0.1; another one is taken when there is none, or it is not free
    gpu_name: str = ""
    num_gpus: int = 0
    gpu_memory_mb: int = 0  # of each GPU
    authorized_keys: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    onstart: str = ""  # bash, run as root at each boot; its output is /root/onstart.log
    troubles: Troubles = Troubles()
    volume: Path | None = None  # what is seen as /workspace in place of the machine's own disk
    name: str = ""  # the host name; C.<id> when there is none
    gpu_tools: bool = True  # nvidia-smi, which tells that there is no GPU where there is none

    def __post_init__(self) -> None:
        for name, value in self.environment.items():
            if not ENVIRONMENT_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name for an environment variable")
            if not value.isprintable():
                raise ValueError(f"the value of the environment variable {name} must be one line of printable text")

    @property
    def hostname(self) -> str:
        return self.name or f"C.{self.id}"
