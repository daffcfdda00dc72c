"""Where this process writes its results, and the run folder that they are kept in."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from robot.api import ExecutionResult, logger
from robot.errors import DataError, RobotError
from robot.libraries.BuiltIn import BuiltIn
from robot.run import RobotFramework

from rekindle import run_folder
from rekindle.errors import Misconfigured
from rekindle.run_bill import add_earlier, sum_of_bills
from rekindle.run_folder import ENTRIES, PABOT_RESULTS, WAITING, RunFolder
from rekindle.screen_entries import entries, joined
from rekindle.variables import BY_NAME

FILES = ("OUTPUT_FILE", "LOG_FILE", "REPORT_FILE", "DEBUG_FILE")
IS_PABOT = "$PABOTLIBURI"
KEPT, BILL = "KEPT_RUNS", "Bill"
CLOCK_TICK = 1.0  # seconds by which the kernel may date the start of a process too late


def output_dir() -> Path:
    """Return the output directory of this process."""
    return Path(str(BuiltIn().get_variable_value("$OUTPUT_DIR"))).resolve()


def pabot_pid() -> int | None:
    """Return the process id of the pabot that started this process, if any."""
    return os.getppid() if BuiltIn().get_variable_value(IS_PABOT) is not None else None


def folder() -> RunFolder:
    """Return the folder of this run, which the processes of one pabot share."""
    own, pabot = output_dir(), pabot_pid()
    if pabot is None:
        return RunFolder.of_process(os.getpid(), own)
    above = [parent.parent for parent in (own, *own.parents) if parent.name == PABOT_RESULTS]
    return RunFolder.of_process(pabot, above[0] if above else own)


def keep(path: Path) -> None:
    """Keep a finished file in the run folder too."""
    with contextlib.suppress(OSError):  # e.g. a full disk: the file itself was written
        folder().add(path.resolve())


def publish(write: Callable[[Path], Path]) -> Path | None:
    """Write a file into the output directory and keep it in the run folder.

    A file that cannot be written causes a warning, so that it does not hide the verdict of a test.

    Args:
        write: writes the file into a directory, completely or not at all, and returns its path.

    Returns:
        The path; None if the file was not written.
    """
    try:
        path = write(output_dir())
    except OSError as error:
        logger.warn(f"A report is missing: {output_dir()} of this computer cannot be written: {error.strerror}.")
        return None
    keep(path)
    return path


def bill_of_run(own: str) -> str:
    """Return what the first screen says of the bill: the bill of this process, or a sum if there are more.

    Args:
        own: the bill of this process in words.
    """
    run = folder()
    with contextlib.suppress(OSError, ValueError, KeyError):
        if repeated := repeated_output():
            add_earlier(run, repeated)
        return sum_of_bills(run.open_path) or own
    return own


def repeated_output() -> Path | None:
    """Return the output of the run whose failed tests this run repeats, if any."""
    try:
        options, _ = RobotFramework().parse_arguments(sys.argv[1:])
    except RobotError:  # not started as `robot`
        return None
    output = options.get("rerunfailed") or options.get("rerunfailedsuites")
    return Path(output).resolve() if output else None


class Results:
    """The listener that closes the run folder once Robot Framework, or pabot, has written its last file."""

    ROBOT_LISTENER_API_VERSION = 3

    def close(self) -> None:
        """Arrange for the end of the run: log.html is written after every listener is closed."""
        built_in = BuiltIn()
        if built_in.dry_run_active:
            return
        run, kept = folder(), _kept_runs()
        if pabot_pid() is not None:
            with contextlib.suppress(OSError):
                run.open()
                _close_after_pabot(run, kept)
            atexit.unregister(_show_run_of_pabot)  # every library that is a listener comes here
            atexit.register(_show_run_of_pabot, run, Path(str(built_in.get_variable_value("$OUTPUT_FILE"))))
            return
        values = [str(built_in.get_variable_value(f"${name}")) for name in FILES]
        files = [Path(value).resolve() for value in values if value != "NONE"]
        atexit.unregister(_close)  # every library that is a listener comes here
        atexit.register(_close, run, files, kept)


def _close(run: RunFolder, files: Sequence[Path], kept: int) -> None:
    # A suite that is run by Python code writes none of the files that its variables name.
    written = [file for file in files if file.is_file() and file.stat().st_mtime >= run.begun - CLOCK_TICK]
    if not written and not run.open_path.exists():
        return
    try:
        run.open()
        run.close(written, keep=kept)
    except OSError as error:
        print(f"The run folder {run.path} is incomplete: {error}.", file=sys.stderr)


def _show_run_of_pabot(run: RunFolder, output: Path) -> None:
    """Write the bill and the tests of all processes where pabot reads them.

    Of metadata of one name pabot keeps that of its last output. Each process writes the sum of all bills, and the
    tests of all processes that share a suite, when it has written its own output; the one that ends last has all.
    """
    with contextlib.suppress(OSError, DataError), run.locked():
        last = run.last_output(output)
        shown = _entries_of_run(run, output)
        if bill := sum_of_bills(run.open_path):
            shown[BILL] = bill
        amended = ExecutionResult(str(last))
        if all(amended.suite.metadata.get(name) == value for name, value in shown.items()):
            return
        amended.suite.metadata.update(shown)
        written = last.with_name(f".{last.name}-{os.getpid()}")
        amended.save(str(written))
        written.replace(last)


def _entries_of_run(run: RunFolder, output: Path) -> dict[str, str]:
    """Add the entries of a process to those of the processes that ended before it; return all, by name."""
    kept = run.open_path / ENTRIES
    shown: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    for name, entry in entries(ExecutionResult(str(output), include_keywords=False).suite.metadata).items():
        shown[name] = joined(shown.get(name, ""), entry)
    kept.write_text(json.dumps(shown))
    return shown


def _close_after_pabot(run: RunFolder, kept: int) -> None:
    """Start the process that waits for pabot, in which no code of ours runs. One is enough for a run."""
    try:
        (run.open_path / WAITING).touch(exist_ok=False)
    except FileExistsError:
        return
    subprocess.Popen(
        [sys.executable, "-m", "rekindle.after_pabot", str(run.open_path), str(kept)],
        env={name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
        | {"PYTHONPATH": str(Path(run_folder.__file__).parents[1])},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _kept_runs() -> int:
    kept = BY_NAME[KEPT]
    value = BuiltIn().get_variable_value(f"${KEPT}", kept.default)
    try:
        return int(str(kept.read(value)))
    except Misconfigured:  # `Open Target` reports it
        return int(str(kept.default))
