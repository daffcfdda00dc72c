"""Running a program without holding up anything else."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

LONGEST_LINE = 4 * 1024 * 1024  # bytes; restic prints paths of several files in one line of JSON
GRACE = 2.0  # seconds that a program may take to clean up when it is no longer wanted


class Stopped(Exception):
    """The program was stopped because a line of its error output said that it will not succeed."""

    def __init__(self, stderr: str) -> None:
        super().__init__(stderr)
        self.stderr = stderr


@dataclass(frozen=True)
class Finished:
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def words(self) -> str:
        return self.stderr.decode(errors="replace").strip()


async def run(
    argv: Sequence[str],
    *,
    payload: bytes = b"",
    hold: bool = False,
    environment: Mapping[str, str] | None = None,
    within: float | None = None,
    line: Callable[[bytes], None] | None = None,
    hopeless: Callable[[bytes], bool] | None = None,
) -> Finished:
    """Runs a program to its end.

    Args:
        payload: what it reads on its standard input.
        hold: keeps the standard input open after the payload, until the program ends. So it can notice that
            this process is gone, or has lost interest (the call was cancelled).
        environment: its whole environment; ours when None.
        within: seconds; the program is ended after them.
        line: is given every line of standard output, which is then not kept.
        hopeless: is given every line of error output; True ends the program.

    Raises:
        TimeoutError: it did not end within its time.
        Stopped: a line was hopeless.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        limit=LONGEST_LINE,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - PIPE, above
    errors: list[bytes] = []
    try:
        async with asyncio.timeout(within), asyncio.TaskGroup() as group:
            group.create_task(_feed(process.stdin, payload, hold=hold))
            output = group.create_task(_collect(process.stdout, line))
            group.create_task(_listen(process.stderr, errors, hopeless))
            group.create_task(process.wait())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        if process.returncode is None:
            await _end(process, gently=hold)
    return Finished(process.returncode or 0, output.result(), b"".join(errors))


async def _feed(stream: asyncio.StreamWriter, payload: bytes, *, hold: bool) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # a program that ended early says why itself
        stream.write(payload)
        await stream.drain()
        if not hold:
            stream.close()


async def _collect(stream: asyncio.StreamReader, line: Callable[[bytes], None] | None) -> bytes:
    if line is None:
        return await stream.read()
    async for one in stream:
        line(one)
    return b""


async def _listen(stream: asyncio.StreamReader, errors: list[bytes], hopeless: Callable[[bytes], bool] | None) -> None:
    async for one in stream:
        errors.append(one)
        if hopeless is not None and hopeless(one):
            raise Stopped(b"".join(errors).decode(errors="replace"))


async def _end(process: asyncio.subprocess.Process, *, gently: bool) -> None:
    """Ends a program that is no longer wanted: by the end of its input if it listens for that, else by an interrupt."""
    if gently and process.stdin is not None:
        process.stdin.close()
    else:
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(GRACE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
