"""Running a program without holding up anything else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

LONGEST_LINE = 4 * 1024 * 1024  # bytes; restic prints paths of several files in one line of JSON
GRACE = 5.0  # seconds that a program may take to end once its standard input was closed


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

    async def feed(stream: asyncio.StreamWriter) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # a program that ended early says why itself
            stream.write(payload)
            await stream.drain()
            if not hold:
                stream.close()

    async def collect(stream: asyncio.StreamReader) -> bytes:
        if line is None:
            return await stream.read()
        async for one in stream:
            line(one)
        return b""

    async def listen(stream: asyncio.StreamReader) -> None:
        async for one in stream:
            errors.append(one)
            if hopeless is not None and hopeless(one):
                raise Stopped(b"".join(errors).decode(errors="replace"))

    try:
        async with asyncio.timeout(within), asyncio.TaskGroup() as group:
            group.create_task(feed(process.stdin))
            output = group.create_task(collect(process.stdout))
            group.create_task(listen(process.stderr))
    except ExceptionGroup as group_of_errors:
        raise group_of_errors.exceptions[0] from None
    finally:
        await _end(process)
    return Finished(process.returncode or 0, output.result(), b"".join(errors))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Waits for the program; one that is still busy has its input closed, and is killed if that does not end it."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(GRACE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
