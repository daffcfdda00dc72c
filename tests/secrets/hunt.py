"""A hunt for canaries: runs of the suites on a cloud of their own, and a search of everything that they touch."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from rekindle import browsers
from tests.cloud_under_test import PROJECT_DIR, CloudUnderTest
from tests.secrets import canaries
from tests.secrets.search import Finding, Search, Searched, files_below
from tests.secrets.watch import Fleeting, Processes
from tests.suites_under_test import QUICK as FEW_FILES

WITHIN = 1800.0  # seconds that one run may take
SMALL = tuple(
    word
    for variable in (
        "LARGE_FILE_MB:8",
        "MANY_FILES:500",
        "CYCLES:1",
        "MAX_PRICE:1",
        "BUDGET_USD:20",
        "GONE_TIMEOUT:30s",
    )
    for word in ("--variable", variable)
)
# Where credentials are at home in a state directory, which is private as a whole. The disk of a machine holds its own
# host key; the store writes what it was started with beside its data.
AT_HOME = (
    "secrets.json", "keys/user", "keys/control", "control/store-credentials", "control/restic-password",
    "store/s3.json", "store/security.toml", "store/options", "store/data/mini.options", "*machines/*/etc/hostkey",
)  # fmt: skip

# Folders of the work tree that no run writes to.
NOT_OURS = {".git", ".venv"}

TALKATIVE_BROWSER = """#!/bin/sh
exec {program} --enable-logging=stderr --v=1 "$@" 2>>{log}
"""
SHARED = tuple(map(Path, ("/tmp", "/var/tmp", "/dev/shm")))  # noqa: S108 - they are searched


@dataclass(frozen=True)
class Plan:
    """What is run, and which kinds of places and processes there must be.

    `sandbox` and `live` choose the suites for a run on either target. A live one has all credentials in its
    environment.
    """

    sandbox: tuple[str, ...]
    live: tuple[str, ...]
    places: tuple[str, ...]
    processes: tuple[str, ...]


_PLACES = (
    "command lines", "environments", "console", "output.xml", "log.html", "report.html", "xUnit", "debug file",
    "JSON reports", "logs of the cloud", "rest of the state directory", "machines' disks", "ledger and guard's log",
)  # fmt: skip
_PROCESSES = (
    "robot", "guard", "marketplace", "control", "store", "cloud's command line and supervisor", "restic", "ssh", "sshd",
    "machine", "on machines and others",
)  # fmt: skip
QUICK = Plan(
    sandbox=("--test", "Hibernated Machine Wakes Step By Step"),
    live=("--include", "smoke", "--include", "phase3"),
    places=_PLACES,
    processes=_PROCESSES,
)
EVERYTHING = Plan(
    sandbox=("--exclude", "long"),
    live=("--include", "smoke", "--include", "phase3", "--include", "browser"),
    places=(*_PLACES, "screenshots", "browser's log", "browser's profile"),
    processes=(*_PROCESSES, "node", "browser", "rsync"),
)


@dataclass
class Told:
    """What a hunt has found out."""

    searched: Mapping[str, Searched]
    processes: Mapping[str, int]
    canaries: list[str]
    needles: int
    findings: Mapping[Finding, list[int]]
    unsearched: list[str]
    failed_runs: list[str]
    not_witnessed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not (self.findings or self.unsearched or self.failed_runs)

    def as_json(self) -> str:
        findings = [asdict(finding) | {"bytes": places} for finding, places in sorted(self.findings.items())]
        document = asdict(replace(self, findings={})) | {"findings": findings, "passed": self.passed}
        return json.dumps(document, indent=1) + "\n"

    def __str__(self) -> str:
        lines = [
            f"Looked for {len(self.canaries)} canaries in {self.needles} forms, and for what is derived from them:"
        ]
        lines += [f"  {kind:28} {one.things:7} searched, {one.bytes:12} bytes" for kind, one in self.searched.items()]
        lines += ["Processes seen:", *(f"  {kind:36} {count:6}" for kind, count in sorted(self.processes.items()))]
        lines += [f"NOTHING SEARCHED: {kind}" for kind in self.unsearched]
        lines += [f"Not witnessed: {what}" for what in self.not_witnessed]
        lines += [f"RUN FAILED: {run}" for run in self.failed_runs]
        lines += [
            f"FOUND {len(places)} times: {finding}, first at byte {places[0]}"
            for finding, places in sorted(self.findings.items())
        ]
        verdict = "none was found" if not self.findings else f"{len(self.findings)} findings"
        return "\n".join([*lines, f"Result: {verdict}, in {self.seconds:.0f} s"])


@dataclass
class Ground:
    """Where a hunt takes place: everything of its cloud and its runs is below one folder."""

    folder: Path
    cloud: CloudUnderTest = field(init=False)

    def __post_init__(self) -> None:
        for name in ("home", "tmp", "runs"):
            (self.folder / name).mkdir()
        self.cloud = CloudUnderTest(self.folder / "cloud")
        if program := browsers.choose(None, "").path:
            script = TALKATIVE_BROWSER.format(program=shlex.quote(str(program)), log=shlex.quote(str(self.browser_log)))
            self.browser.write_text(script)
            self.browser.chmod(0o700)

    @property
    def environment(self) -> dict[str, str]:
        """What every process starts with."""
        return {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "BROWSER_PATH": str(self.browser),
            "HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp"),
        }  # fmt: skip

    @property
    def browser(self) -> Path:
        return self.folder / "browser"

    @property
    def browser_log(self) -> Path:
        return self.folder / "browser.log"

    def profiles(self) -> Iterator[Path]:
        return (path for path in (self.folder / "tmp").iterdir() if path.name.startswith(("playwright", ".org.chrom")))

    def disks(self) -> Iterator[Path]:
        """Those of machines and of standbys."""
        for machines in (self.cloud.state_dir / "machines", self.cloud.state_dir / "cpu-machines"):
            if machines.is_dir():
                yield machines


def hunt(folder: Path, plan: Plan) -> Told:
    """Runs the suites and searches. Everything is kept in the folder, which must be new."""
    began = time.monotonic()
    since = time.time()
    ground = Ground(folder)
    canaries.plant(ground.cloud.state_dir)
    processes = Processes()
    failed: list[str] = []
    consoles: dict[str, bytes] = {}
    with processes.watched():
        _up(ground)
        search = Search(canaries.of_cloud(ground.cloud.state_dir))
        strangers = set(canaries.given(ground.cloud.environment).values()) - set(search.canaries.values())
        assert not strangers, "the users of the cloud are given a credential that is none of its canaries"
        try:
            for target, choice in (("sandbox", plan.sandbox), ("live", plan.live)):
                with ExitStack() as stack:
                    for kind, below in (("machines' disks", ground.disks), ("browser's profile", ground.profiles)):
                        found = partial(_search_abroad, search, kind, ground)
                        stack.enter_context(Fleeting(found, below).watched())
                    code, consoles[f"run {target}"] = _run(ground, target, choice, processes)
                if code:
                    failed.append(f"on {target}, exit code {code}: {folder}/runs/{target}/log.html")
        finally:
            ground.cloud.run("down")
    search.texts("command lines", processes.command_lines())
    search.texts("environments", processes.environments())
    search.texts("console", consoles)
    for kind, files in _left(ground).items():
        _search_abroad(search, kind, ground, files)
    search.files("new in the work tree", _work_tree(since, folder), PROJECT_DIR, derived=False)
    for shared in SHARED:
        search.files("shared temporary folders", _new_files(shared, since, folder), shared, derived=False)
    missing = [kind for kind in plan.processes if not processes.kinds()[kind]]
    return Told(
        searched=dict(sorted(search.searched.items())),
        processes=dict(processes.kinds()),
        canaries=sorted(search.canaries),
        needles=search.forms,
        findings=search.findings,
        unsearched=search.nothing_in(plan.places) + [f"processes of kind {kind}" for kind in missing],
        failed_runs=failed,
        not_witnessed=[*_hidden(processes), *not_read(search)],
        seconds=time.monotonic() - began,
    )


def _hidden(processes: Processes) -> list[str]:
    return [
        f"environments of {count} processes of kind {kind}: the kernel hides them from user {os.geteuid()}"
        for kind, count in sorted(processes.hidden().items())
    ]


def not_read(search: Search) -> list[str]:
    """Return what was not searched because this user may not read it, one line for each kind of place."""
    return [
        f"{len(paths)} files and folders, {kind}: user {os.geteuid()} may not read them, such as {min(paths)}"
        for kind, paths in sorted(search.closed.items())
    ]


def _search_abroad(search: Search, kind: str, ground: Ground, files: Iterable[Path]) -> None:
    """Searches files, but for those in which credentials are at home."""
    state = ground.cloud.state_dir
    abroad = [
        path
        for path in files
        if not path.is_relative_to(state) or not any(path.relative_to(state).match(home) for home in AT_HOME)
    ]
    search.files(kind, abroad, Path("/"))


def _up(ground: Ground) -> None:
    def cloud(verb: str, *options: str) -> str:
        command = ground.cloud.command(verb, *options)
        return subprocess.run(
            command, cwd=PROJECT_DIR, env=ground.environment, stdin=subprocess.DEVNULL, text=True, check=True,
            stdout=subprocess.PIPE,
        ).stdout  # fmt: skip

    cloud("up", "--detach", "--lease", str(os.getpid()))
    ground.cloud.environment = json.loads(cloud("env", "--json"))


def _run(ground: Ground, target: str, choice: Iterable[str], processes: Processes) -> tuple[int, bytes]:
    """One `robot` with everything that it can write; returns its exit code and its console."""
    where = {"sandbox": f"STATE_DIR:{ground.cloud.state_dir}", "live": "TARGET:live"}[target]
    command = [
        sys.executable, "-m", "robot", "--outputdir", str(ground.folder / "runs" / target), "--loglevel", "TRACE",
        "--xunit", "xunit.xml", "--debugfile", "debug.txt", "--variable", where, "--variable", f"ENV_FILE:{os.devnull}",
        *FEW_FILES, *SMALL, *choice, "suites",
    ]  # fmt: skip
    credentials = ground.cloud.environment if target == "live" else {}
    if credentials:
        # Its own environment is what the user gave it; nobody else's may be the same.
        processes.may_know("\0".join([*command, ""]).encode())
    done = subprocess.run(
        command, cwd=PROJECT_DIR, env=ground.environment | credentials, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=WITHIN,
    )  # fmt: skip
    return done.returncode, done.stdout


def _left(ground: Ground) -> dict[str, list[Path]]:
    """Every file that is left, by the kind of its place."""
    runs, state = ground.folder / "runs", ground.cloud.state_dir
    by_name = {
        "output.xml": "output.xml", "log.html": "log.html", "report.html": "report.html", "xunit.xml": "xUnit",
        "debug.txt": "debug file",
    }  # fmt: skip
    by_suffix = {".json": "JSON reports", ".png": "screenshots"}
    left: dict[str, list[Path]] = {}
    for path in files_below(runs):
        left.setdefault(by_name.get(path.name) or by_suffix.get(path.suffix, "rest of the results"), []).append(path)
    for path in files_below(state):
        in_logs = path.is_relative_to(state / "logs")
        left.setdefault("logs of the cloud" if in_logs else "rest of the state directory", []).append(path)
    left["browser's log"] = [ground.browser_log]
    left["home and temporary files"] = [*files_below(ground.folder / "home"), *files_below(ground.folder / "tmp")]
    left["ledger and guard's log"] = [path for path in (PROJECT_DIR / ".rekindle").glob("ledger*") if path.is_file()]
    return left


def _work_tree(since: float, but: Path) -> Iterator[Path]:
    """What has come or changed in the work tree."""
    return (path for path in _new_files(PROJECT_DIR, since, but) if not NOT_OURS & set(path.parts))


def _new_files(folder: Path, since: float, but: Path) -> Iterator[Path]:
    for path in files_below(folder):
        if not path.is_relative_to(but):
            try:
                if path.is_dir() or path.stat().st_mtime >= since:  # an old folder that is closed may hold new files
                    yield path
            except OSError:
                continue
