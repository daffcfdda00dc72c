"""What Dumont Cloud tells of offers, machines and snapshots. All of it is claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rekindle.errors import Unknown


@dataclass(frozen=True)
class Offer:
    """A machine that can be rented: `dph_total` in USD an hour, `disk_space` in GB, `reliability` from 0 to 1."""

    id: int
    gpu_name: str
    num_gpus: int
    dph_total: float
    geolocation: str
    reliability: float
    disk_space: float
    machine_id: str


@dataclass(frozen=True)
class WorkProgress:
    """How far the product says that a snapshot or a restore has come: `activity` is one of these two words. Bytes are
    those of the files on the machine; `seconds` since the work began. None: not known."""

    activity: str
    bytes_done: int
    bytes_total: int | None
    files_done: int | None
    files_total: int | None
    seconds: float


@dataclass(frozen=True)
class InstanceView:
    """A rented machine as the product shows it. `status` is what is intended, `actual_status` what is (None: not yet
    known); `dph_total` in USD an hour, `disk_space` in GB; `progress` is None when nothing long goes on there, and on
    a product that does not tell. `warm_for`: the machine that this one is kept warm for; None for any other."""

    id: int
    label: str | None
    status: str | None
    actual_status: str | None
    ssh_host: str | None
    ssh_port: int | None
    dph_total: float
    gpu_name: str | None
    disk_space: float | None
    progress: WorkProgress | None = None
    warm_for: int | None = None

    @property
    def ready(self) -> bool:
        """The product says that it runs and where its SSH is. Whether SSH answers is for the caller to try."""
        return self.actual_status == "running" and bool(self.ssh_host) and bool(self.ssh_port)


@dataclass(frozen=True)
class SnapshotResult:
    """What the product says of a snapshot it made: counts of files, sizes in bytes; `seconds` are measured by us."""

    snapshot_id: str
    files_new: int
    files_changed: int
    files_unmodified: int
    total_files_processed: int
    data_added: int
    total_bytes_processed: int
    seconds: float


@dataclass(frozen=True)
class RestoreResult:
    """A restore that the product calls complete, without any error; `seconds` are measured by us."""

    snapshot_id: str
    target_path: str
    files_restored: int
    seconds: float


@dataclass(frozen=True)
class WakeResult:
    """A machine that was woken. `time_taken` is what the product claims, `seconds` what we measured."""

    new_instance_id: int
    old_instance_id: int
    snapshot_id: str | None
    ssh_host: str | None
    ssh_port: int | None
    time_taken: float | None
    seconds: float
    message: str


@dataclass(frozen=True)
class Executed:
    """The end of a command that the product ran on a machine."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Balance:
    """The market account behind the product, in USD."""

    credit: float
    balance: float
    balance_threshold: float
    email: str


def offer_view(row: Mapping[str, Any]) -> Offer:
    return Offer(
        id=int(row["id"]),
        gpu_name=str(row.get("gpu_name") or ""),
        num_gpus=int(number(row.get("num_gpus"))),
        dph_total=_price(row),
        geolocation=str(row.get("geolocation") or ""),
        reliability=number(row.get("reliability")),
        disk_space=number(row.get("disk_space")),
        machine_id=str(row.get("machine_id") or ""),
    )


def instance_view(row: Mapping[str, Any]) -> InstanceView:
    instance_id = integer(row.get("id") or row.get("instance_id"))
    if instance_id is None:
        raise Unknown("Dumont API shows a machine without an id.")
    return InstanceView(
        id=instance_id,
        label=row.get("label"),
        status=row.get("status"),
        actual_status=row.get("actual_status"),
        ssh_host=row.get("ssh_host"),
        ssh_port=integer(row.get("ssh_port")),
        dph_total=number(row.get("dph_total")),
        gpu_name=row.get("gpu_name"),
        disk_space=None if row.get("disk_space") is None else number(row["disk_space"]),
        progress=_progress(row.get("progress")),
        warm_for=integer(row.get("warm_for")),
    )


def _progress(row: Any) -> WorkProgress | None:
    """None also for what does not look like it: the older product may mean something else by the word."""
    if not isinstance(row, dict) or not isinstance(row.get("activity"), str):
        return None
    return WorkProgress(
        activity=row["activity"],
        bytes_done=integer(row.get("bytes_done")) or 0,
        bytes_total=integer(row.get("bytes_total")),
        files_done=integer(row.get("files_done")),
        files_total=integer(row.get("files_total")),
        seconds=number(row.get("seconds")),
    )


def _price(row: Mapping[str, Any]) -> float:
    """A price that is not told is not zero: nothing could be reserved for it."""
    if row.get("dph_total") is None:
        raise Unknown(f"Dumont API shows offer {row.get('id')} without a price (dph_total).")
    return number(row["dph_total"])


def integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def number(value: Any) -> float:
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        raise Unknown(f"Dumont API gave {value!r} where a number was expected.") from None
