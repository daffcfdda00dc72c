"""How fast a model of 1 GB moves from machine to machine, against the bare tools on the same machines and store."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import boto3
import zstandard
from botocore.config import Config
from botocore.response import StreamingBody

from figures import Figure, publish, run_suites, seconds_of
from rekindle import target
from rekindle.manifest import compare, take_manifest
from rekindle.model_file import NAME, create_model_file
from rekindle.poison import poison
from rekindle.rented import RentedMachine

ROUNDS = 3
SIZE = 1 << 30  # bytes
PRODUCTS_PHASES = ("snapshot", "provision", "restore", "destroy")
MANY_FILES = (10_000, 100_000)
MODEL = f"/workspace/{NAME}"

# What a person types on a machine. The credentials come by standard input, and lie in private files meanwhile.
RESTIC = r"""
set -eu
umask 077
private=$(mktemp -d)
trap 'rm -rf -- "$private"' EXIT
IFS= read -r key_id
IFS= read -r key
IFS= read -r password
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$key_id" "$key" >"$private/credentials"
printf '%s\n' "$password" >"$private/password"
export AWS_SHARED_CREDENTIALS_FILE=$private/credentials AWS_DEFAULT_REGION=us-east-1
restic --quiet --password-file "$private/password" "$@"
"""
HASH = 'sha256sum -- "$1"'
CLEAR = "find /workspace -mindepth 1 -delete"


@dataclass(frozen=True)
class Round:
    """Seconds of one round, the same bytes for all."""

    bare: float
    ours: float


class Bench:
    """Two machines on the embedded cloud, and its bucket."""

    def __init__(self, opened: target.Target) -> None:
        self.opened = opened
        self.first, self.second = self._rent(), self._rent()
        settings = opened.settings
        self.credentials = "".join(
            f"{secret}\n"
            for secret in (
                settings.b2_key_id,
                settings.b2_application_key.get_secret_value(),
                opened.repository_password,
            )
        ).encode()

    def _rent(self) -> RentedMachine:
        machine = self.opened.renter.rent(max_price=1.0, disk_gb=50)
        self.opened.machines[machine.id] = machine
        # Its GPU does nothing all the time, for which the product would put it to sleep.
        self.opened.dumont.configure_hibernation(machine.id, auto_hibernation_enabled=False)
        return machine

    def restic(self, machine: RentedMachine, repository: str, *arguments: str) -> None:
        """Bare restic, run on a machine, in a repository of its own."""
        settings = self.opened.settings
        place = f"s3:{settings.b2_endpoint}/{settings.b2_bucket}/{repository}"
        machine.machine.run(RESTIC, "-r", place, *arguments, stdin=self.credentials, timeout=1200)

    def round(self, number: int) -> Round:
        """Moves one model from the first machine to the second, barely and then by the product with our proofs."""
        create_model_file(self.first.machine, "/workspace", f"round {number} {self.opened.run_id}", SIZE)
        repository = f"bare-{self.opened.run_id}-{number}"
        self.restic(self.first, repository, "init")
        bare = seconds_of(lambda: self.restic(self.first, repository, "backup", "/workspace"))
        bare += seconds_of(lambda: self.restic(self.second, repository, "restore", "latest", "--target", "/"))
        bare += seconds_of(lambda: self.second.machine.run(HASH, MODEL, timeout=600))
        self._remove(repository)
        manifest = take_manifest(self.first.machine, "/workspace")
        self.second.machine.run(CLEAR)
        poison(self.second.machine, manifest)
        dumont = self.opened.dumont
        snapshot = dumont.snapshot(self.first.id, "/workspace")
        restored = dumont.restore(snapshot.snapshot_id, self.second.id, "/workspace")
        verified = seconds_of(
            lambda: compare(manifest, take_manifest(self.second.machine, "/workspace")).raise_unless_equal()
        )
        dumont.delete_snapshot(snapshot.snapshot_id)
        self.second.machine.run(CLEAR)
        return Round(bare, snapshot.seconds + restored.seconds + verified)

    def _remove(self, prefix: str) -> None:
        keys = [found.key for found in self.opened.store.list(prefix)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.opened.store.delete, keys))


def moved_by_us(bench: Bench) -> Figure:
    """Snapshot, restore and verification of 1 GB, against restic's bare commands and one hash."""
    rounds = [bench.round(number) for number in range(ROUNDS)]
    ours = statistics.median(one.ours for one in rounds)
    ratio = statistics.median(one.ours / one.bare for one in rounds)
    return Figure("1 GB: snapshot, restore, verify", ours, ROUNDS, ratio, wanted="1.05 x")


def peers(bench: Bench) -> list[Figure]:
    """What other ways of moving the same file through the same store cost, against bare restic's way there and back."""
    settings = bench.opened.settings
    client = boto3.client(
        "s3",
        endpoint_url=settings.b2_endpoint,
        region_name="us-east-1",
        aws_access_key_id=settings.b2_key_id,
        aws_secret_access_key=settings.b2_application_key.get_secret_value(),
        config=Config(proxies={}, s3={"addressing_style": "path"}),
        verify=False,
    )
    bucket = settings.b2_bucket
    figures = []
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "model.bin")
        with file.open("wb") as copy:
            for chunk in bench.first.machine.stream('cat -- "$1"', MODEL):
                copy.write(chunk)
        ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "boto3 multipart": (
                lambda: client.upload_file(str(file), bucket, "peer"),
                lambda: client.download_file(bucket, "peer", f"{file}.back"),
            ),
            "tar | zstd | s3": (
                lambda: _tar_up(file, lambda source: client.upload_fileobj(source, bucket, "peer")),
                lambda: _tar_down(Path(name, "back"), client.get_object(Bucket=bucket, Key="peer")["Body"]),
            ),
        }
        for way, (up, down) in ways.items():
            samples = [(seconds_of(up), seconds_of(down)) for _ in range(ROUNDS)]
            for word, taken in zip(("up", "down"), zip(*samples, strict=True), strict=True):
                figures.append(Figure(f"1 GB {word}: {way}", statistics.median(taken), ROUNDS))
        client.delete_object(Bucket=bucket, Key="peer")
    return figures


def _tar_up(file: Path, upload: Callable[[IO[bytes]], object]) -> None:
    with subprocess.Popen(["tar", "--create", "-C", str(file.parent), file.name], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None  # noqa: S101 - it was asked for
        with zstandard.ZstdCompressor(level=1, threads=2).stream_reader(tar.stdout) as packed:
            upload(packed)


def _tar_down(folder: Path, body: StreamingBody) -> None:
    folder.mkdir(exist_ok=True)
    with subprocess.Popen(["tar", "--extract", "-C", str(folder)], stdin=subprocess.PIPE) as tar:
        assert tar.stdin is not None  # noqa: S101 - it was asked for
        with zstandard.ZstdDecompressor().stream_writer(tar.stdin) as unpacked:
            for chunk in body.iter_chunks(1 << 20):
                unpacked.write(chunk)


def cycle_overhead(folder: Path) -> Figure:
    """One failover cycle with all its proofs, against the sum of what the product itself takes in it."""
    run = ("--test", "Machine Fails Over Again And Again", "--variable", "CYCLES:3")
    run_suites(folder, *run)
    report = json.loads(next(folder.glob("multiple_failovers_report_*.json")).read_text())
    cycles = [cycle["timings"] for cycle in report["cycles"]]
    ratios = [cycle["total_sec"] / sum(cycle[f"{phase}_sec"] for phase in PRODUCTS_PHASES) for cycle in cycles]
    median = statistics.median(cycle["total_sec"] for cycle in cycles)
    return Figure("a failover cycle by the product", median, len(cycles), statistics.median(ratios), wanted="1.1 x")


def memory(folder: Path) -> list[Figure]:
    """The most memory that the robot process ever held while it moved and compared many small files."""
    few, many = (
        run_suites(folder / str(n), "--suite", "Many Files", "--variable", f"MANY_FILES:{n}") for n in MANY_FILES
    )
    names = [f"memory for {files:,} files" for files in MANY_FILES]
    return [Figure(names[0], few, 1, unit="MB"), Figure(names[1], many, 1, many / few, unit="MB")]


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="rekindle-benchmark-"))
    opened = target.open_target("sandbox", budget_usd=5.0)
    try:
        bench = Bench(opened)
        figures = [moved_by_us(bench), *peers(bench)]
        for machine in (bench.first, bench.second):
            opened.destroyer.destroy_and_prove(machine)
        figures += [cycle_overhead(folder / "cycles"), *memory(folder)]
    finally:
        target.close()
    publish("phase4", figures)


if __name__ == "__main__":
    main()
