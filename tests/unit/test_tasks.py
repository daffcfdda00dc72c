"""Work in the background: it is carried to its end, and what goes wrong with it is not lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from sandbox.tasks import Tasks, to_the_end


class Refused(Exception):
    """What work may say."""


def test_work_ends_although_its_caller_is_called_off() -> None:
    async def run() -> None:
        tasks, go_on, done = Tasks("the market", expected=Refused), asyncio.Event(), asyncio.Event()

        async def work() -> None:
            await go_on.wait()
            done.set()

        caller = asyncio.create_task(tasks.finish(work()))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert not done.is_set()
        go_on.set()
        await asyncio.wait_for(done.wait(), 5)

    asyncio.run(run())


def test_closing_ends_what_is_under_way_and_waits_for_it() -> None:
    async def run() -> None:
        tasks, ended = Tasks("the market", expected=Refused), asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.set()

        task = tasks.begin(work())
        await asyncio.sleep(0)
        await tasks.close()
        assert task.cancelled()
        assert ended.is_set()

    asyncio.run(run())


def test_what_is_not_expected_is_logged_with_whose_work_it_was(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        tasks = Tasks("the market", expected=Refused)

        async def work(error: Exception) -> None:
            raise error

        for error in (Refused("no"), ValueError("a mistake")):
            with suppress(Refused, ValueError):
                await tasks.finish(work(error))

    asyncio.run(run())
    [record] = caplog.records
    assert record.getMessage() == "the market stumbled"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


def test_a_caller_that_is_called_off_waits_for_what_must_not_be_cut() -> None:
    async def run() -> None:
        done = asyncio.Event()

        async def work() -> int:
            await asyncio.sleep(0)
            done.set()
            return 7

        assert await to_the_end(work()) == 7
        done.clear()
        caller = asyncio.create_task(to_the_end(work()))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert done.is_set()

    asyncio.run(run())
