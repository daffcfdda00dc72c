"""Running programs side by side, and the ways in which calls wait for each other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sandbox.control import process
from sandbox.control.progress import Progress
from sandbox.control.restic import _BackupOutput, _is_hopeless, _RestoreOutput
from sandbox.control.together import NextRun, SharedLock

T = TypeVar("T")


def run(job: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(job)


def test_a_program_and_its_answers() -> None:
    finished = run(process.run(["bash", "-c", "cat; echo oh >&2; exit 3"], payload=b"in"))
    assert (finished.code, finished.stdout, finished.words) == (3, b"in", "oh")


def test_lines_are_handed_over() -> None:
    lines: list[bytes] = []
    finished = run(process.run(["printf", r"1\n2\n"], line=lines.append))
    assert (lines, finished.stdout) == ([b"1\n", b"2\n"], b"")


def test_a_program_that_reads_nothing() -> None:
    assert run(process.run(["true"], payload=b"x" * 1_000_000)).code == 0


def test_its_time_is_limited() -> None:
    with pytest.raises(TimeoutError):
        run(process.run(["bash", "-c", "read; exit"], hold=True, within=0.2))


def test_a_hopeless_word_ends_it() -> None:
    script = "echo fine >&2; echo never >&2; read; exit"
    with pytest.raises(process.Stopped, match="fine\nnever"):
        run(process.run(["bash", "-c", script], hold=True, hopeless=lambda line: b"never" in line))


def test_who_is_no_longer_wanted_hears_of_it(tmp_path: Path) -> None:
    """A held standard input ends when the call is cancelled: the program can clean up behind itself."""

    async def cancelled() -> None:
        up = asyncio.Event()
        script = 'echo up; read; echo "cleaned up" >"$0"'
        job = process.run(["bash", "-c", script, str(tmp_path / "told")], hold=True, line=lambda _: up.set())
        task = asyncio.create_task(job)
        await up.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    run(cancelled())
    assert (tmp_path / "told").read_text() == "cleaned up\n"


@pytest.mark.parametrize(
    ("line", "hopeless"),
    [
        (b"Save(<data/1234567890>) returned error, retrying after 552.330144ms: connection refused", False),
        (b"Save(<data/1234567890>) returned error, retrying after 3.221479586s: connection refused", False),
        (b"Save(<data/1234567890>) returned error, retrying after 5.60863998s: connection refused", True),
        (b"Save(<data/1234567890>) returned error, retrying after 1m2.5s: connection refused", True),
        (b"Load(<lock/20e347e327>, 0, 0) returned error, retrying after 552.330144ms: no such key", True),
        (b"Save(<lock/20e347e327>) returned error, retrying after 552.330144ms: internal error", False),
        (
            b"Save(<lock/20e347e327>) returned error, retrying after 552.330144ms: client.PutObject: Access Denied.",
            True,
        ),
        (b"repository opened", False),
    ],
)
def test_when_restic_will_not_succeed(line: bytes, *, hopeless: bool) -> None:
    assert _is_hopeless(line) is hopeless


def item(data: int, metadata: int) -> bytes:
    sizes = {"data_size": data, "data_size_in_repo": data, "metadata_size": metadata, "metadata_size_in_repo": metadata}
    said = {"message_type": "verbose_status", "action": "new", "item": "/a", "duration": 0.1, **sizes, "total_files": 0}
    return json.dumps(said, separators=(",", ":")).encode()


def test_what_a_backup_says() -> None:
    progress = Progress("snapshot")
    output = _BackupOutput(progress)
    for line in (
        b'{"message_type":"begun","at":"12.5"}\n',
        b'{"message_type":"status","percent_done":0}\n',
        b'{"message_type":"status","percent_done":0.5,"total_files":2,"total_bytes":8,"files_done":1,"bytes_done":4}\n',
        item(5, 0),
        item(0, 7),
        item(0, 0),
        item(0, 0).replace(b"/a", rb"/\"data_size_in_repo\":9,\"metadata_size\":9,\"metadata_size_in_repo\":9"),
        b'{"message_type":"summary","files_new":1,"snapshot_id":"abcdef01"}\n',
    ):
        output.read(line)
    assert (output.begun, output.stored, output.summary["snapshot_id"]) == (12.5, 12, "abcdef01")
    told = progress.public()
    assert isinstance(told.pop("seconds"), float)
    assert told == {"activity": "snapshot", "bytes_done": 4, "bytes_total": 8, "files_done": 1, "files_total": 2}


def test_what_a_restore_says() -> None:
    progress = Progress("restore", bytes_total=100)
    output = _RestoreOutput(progress)
    for written, told in ((0, 0), (99, 99), (101, 100)):
        output.read(b'{"bytes_done":%d}\n' % written)
        assert progress.public()["bytes_done"] == told
    output.read(b'{"files_restored":3}\n')
    assert (output.files_restored, progress.public()["bytes_done"]) == (3, 100)


def test_an_answer_is_never_older_than_its_question() -> None:
    async def scene() -> list[int]:
        looks = 0
        begun = asyncio.Event()

        async def look() -> int:
            nonlocal looks
            looks += 1
            mine = looks
            begun.set()
            await asyncio.sleep(0)
            return mine

        shared = NextRun(look)
        first = asyncio.create_task(shared())
        await begun.wait()  # it is looking already: the next two need another look, and one is enough for both
        return [*await asyncio.gather(first, shared(), shared()), looks]

    assert run(scene()) == [1, 2, 2, 2]


def test_a_look_that_fails_fails_for_those_who_asked() -> None:
    async def scene() -> list[object]:
        answers = iter(["broken", "fine"])

        async def look() -> str:
            if (answer := next(answers)) == "broken":
                raise ValueError(answer)
            return answer

        shared = NextRun(look)
        failed = await asyncio.gather(shared(), return_exceptions=True)
        return [*map(str, failed), await shared()]

    assert run(scene()) == ["broken", "fine"]


def test_many_share_or_one_is_alone() -> None:
    async def scene() -> list[str]:
        lock, said = SharedLock(), list[str]()

        async def share(name: str) -> None:
            async with lock.shared():
                said.append(f"{name} in")
                await asyncio.sleep(0)
                said.append(f"{name} out")

        async def alone() -> None:
            async with lock.alone():
                said.append("alone in")
                await asyncio.sleep(0)
                said.append("alone out")

        await asyncio.gather(share("a"), share("b"), alone(), alone())
        return said

    said = run(scene())
    assert said[:2] == ["a in", "b in"]
    assert said[4:] == ["alone in", "alone out"] * 2
