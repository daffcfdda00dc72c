"""The folder of one run, `OUTPUT_DIR/runs/<run id>/`: its log, reports and screenshots, kept when the next run starts.

While a run is in progress its folder is hidden (`runs/.<run id>/`). Closing it adds the files of Robot Framework,
renames the folder, points `OUTPUT_DIR/latest` to it and removes the oldest closed folders.

Reports and screenshots are never written twice, so they are hard links. Robot Framework truncates `log.html`,
`report.html` and `output.xml` in place, which would change a hard link too, so these are copies.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rekindle.ledger import is_alive, process_identity

RUNS, LATEST = "runs", "latest"
PABOT_RESULTS = "pabot_results"
OWNER, CLOSED, WAITING, LOCK = ".owner", ".closed", ".waiting", ".lock"
ENDED, ENTRIES = ".ended", ".entries"
WRITTEN_BY_ROBOT = ("*.html", "*.xml")
_RUN_ID = re.compile(r"\d{10}-[0-9a-f]{6}")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        output_dir: output directory of the run; with pabot, that of pabot itself.
        run_id: shared by all processes of a run.
        owner: identity of the process that writes the last log: Robot Framework's, or pabot's.
        begun: when that process started, seconds since the epoch.
    """

    output_dir: Path
    run_id: str
    owner: str
    begun: float

    @classmethod
    def of_process(cls, pid: int, output_dir: Path) -> RunFolder:
        """Return the folder of the run of a process. All processes of a run compute the same one."""
        begun, owner = _start_of(pid), process_identity(pid)
        digest = hashlib.sha256(owner.encode()).hexdigest()[:6]
        run_id = f"{time.strftime('%m%d%H%M%S', time.localtime(begun))}-{digest}"
        # The kernel's idea of when it was booted, and so of any start, changes by a second at times.
        if found := next((output_dir / RUNS).glob(f".*-{digest}"), None):
            run_id = found.name.removeprefix(".")
        return cls(output_dir, run_id, owner, begun)

    @classmethod
    def read(cls, folder: Path) -> RunFolder:
        """Return the run in progress whose folder this is.

        Raises:
            OSError, ValueError, KeyError: it is not the folder of a run in progress.
        """
        known: dict[str, Any] = json.loads((folder / OWNER).read_text())
        return cls(folder.parent.parent, known["run"], known["owner"], known["begun"])

    @property
    def open_path(self) -> Path:
        """The folder while the run is in progress."""
        return self.output_dir / RUNS / f".{self.run_id}"

    @property
    def path(self) -> Path:
        """The folder once the run is closed."""
        return self.output_dir / RUNS / self.run_id

    def open(self) -> None:
        """Create the folder; close those of runs that died.

        Raises:
            OSError: the output directory is not writable.
        """
        if (self.open_path / OWNER).exists():
            return
        self.open_path.mkdir(parents=True, exist_ok=True)
        document = {"run": self.run_id, "owner": self.owner, "begun": self.begun}
        written = self.open_path / f"{OWNER}-{secrets.token_hex(4)}"
        try:
            written.write_text(json.dumps(document) + "\n")
            written.replace(self.open_path / OWNER)
        except OSError:
            written.unlink(missing_ok=True)
            raise
        for dead in [run for run in _dead(self.output_dir) if run.run_id != self.run_id]:
            pabot = (dead.open_path / WAITING).exists()  # a killed `robot` leaves no log
            dead.close(written_by_robot(dead, until=self.begun) if pabot else ())

    def add(self, file: Path, name: Path | None = None) -> None:
        """Link a file that is never written again.

        Args:
            file: lies in the output directory, unless it is given a name.
            name: path in the folder; that in the output directory when None.

        Raises:
            OSError: it can be neither linked nor copied.
        """
        self.open()
        linked = self.open_path / (name or file.relative_to(self.output_dir))
        linked.parent.mkdir(parents=True, exist_ok=True)
        _link(file, linked)

    def close(self, files: Iterable[Path] = (), *, keep: int | None = None) -> None:
        """Copy the files that Robot Framework wrote, publish the folder, and remove old ones. Closed runs are skipped.

        Args:
            files: keep their path in the output directory, or only their name if they lie elsewhere; missing ones are
                skipped.
            keep: number of closed runs to keep, this one included; all when None.

        Raises:
            OSError: the folder cannot be written.
        """
        if not (self.open_path / OWNER).exists():
            return
        for file in files:
            if file.is_file():
                inside = file.is_relative_to(self.output_dir)
                copy = self.open_path / (file.relative_to(self.output_dir) if inside else file.name)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy)
        for artifact in list(self._artifacts()):
            self.add(artifact)
        (self.open_path / CLOSED).write_text(f"{time.time()}\n")
        try:
            self.open_path.rename(self.path)
        except OSError:
            if self.path.is_dir():  # another process of the run was faster
                return
            raise
        for needed_no_more in (OWNER, WAITING, LOCK, ENDED, ENTRIES):
            (self.path / needed_no_more).unlink(missing_ok=True)
        _point(self.output_dir / LATEST, Path(RUNS) / self.run_id)
        if keep is not None:
            prune(self.output_dir, keep)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process of the run at a time into the block."""
        with (self.open_path / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def last_output(self, ended: Path) -> Path:
        """Note the output of a process of pabot that has ended. To be called with the lock.

        Returns:
            The one that pabot reads last, of the outputs of all processes that have ended.
        """
        with (self.open_path / ENDED).open("a+") as outputs:
            outputs.write(f"{ended}\n")
            outputs.seek(0)
            return Path(max(outputs.read().splitlines(), key=_natural))

    def _artifacts(self) -> Iterator[Path]:
        """Files of pabot's processes that pabot copied next to its log: `0-<name>` of `pabot_results/0/<name>`."""
        of_processes = self.open_path / PABOT_RESULTS
        for linked in of_processes.rglob("*"):
            process, *folders = linked.relative_to(of_processes).parts[:-1] or ("",)  # "0", "screenshots"
            copied = f"{process}-{linked.name}"
            for file in self.output_dir.joinpath(*folders).glob(f"*{_escaped(copied)}"):
                if linked.is_file() and (file.name == copied or file.name.endswith(f"-{copied}")):
                    yield file


def written_by_robot(folder: RunFolder, until: float | None = None) -> list[Path]:
    """Return logs, reports and outputs in a run's output directory that were written since it started.

    Args:
        folder: of the run.
        until: end of the period, seconds since the epoch; now when None.
    """
    found = [file for pattern in WRITTEN_BY_ROBOT for file in folder.output_dir.glob(pattern) if file.is_file()]
    return [file for file in found if folder.begun <= file.stat().st_mtime < (until or float("inf"))]


def closed_runs(output_dir: Path) -> list[Path]:
    """Return the folders of closed runs, the oldest first. Anything else in `runs/` is not ours."""
    marked = [
        (float(marker.read_text() or 0), folder)
        for folder in (output_dir / RUNS).glob("*")
        if _RUN_ID.fullmatch(folder.name) and (marker := folder / CLOSED).is_file()
    ]
    return [folder for _, folder in sorted(marked)]


def prune(output_dir: Path, keep: int) -> None:
    """Remove the oldest closed runs until at most `keep` (1 or more) are left; the latest stays."""
    latest = output_dir / LATEST
    for folder in closed_runs(output_dir)[: -max(keep, 1)]:
        if latest.resolve() != folder.resolve():
            shutil.rmtree(folder, ignore_errors=True)


def _dead(output_dir: Path) -> Iterator[RunFolder]:
    """Folders of runs that ended without closing them."""
    for owner in (output_dir / RUNS).glob(f".*/{OWNER}"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            folder = RunFolder.read(owner.parent)
            if folder.open_path == owner.parent and not is_alive(folder.owner):
                yield folder


def _link(file: Path, linked: Path) -> None:
    try:
        linked.hardlink_to(file)
    except FileExistsError:
        pass
    except OSError:  # another file system, or one without hard links
        shutil.copy2(file, linked)


def _point(link: Path, target: Path) -> None:
    """Replace a symbolic link atomically; a file or folder of that name is not ours and stays."""
    if link.exists() and not link.is_symlink():
        return
    fresh = link.with_name(f".{link.name}-{secrets.token_hex(4)}")
    fresh.symlink_to(target)
    fresh.replace(link)


def _start_of(pid: int) -> float:
    """When a process started, seconds since the epoch."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _natural(path: str) -> list[tuple[int, str]]:
    """For sorting: numbers in a path count as numbers."""
    return [(int(part), "") if part.isdigit() else (0, part.casefold()) for part in re.split(r"(\d+)", path)]
