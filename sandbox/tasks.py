"""Work that goes on by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Tasks:
    """Keeps tasks, which the event loop alone would lose, until they are done or their owner closes."""

    def __init__(self, owner: str, *, expected: type[Exception]) -> None:
        """`owner`: whose work it is, for the log; `expected`: what may end work and is told elsewhere."""
        self._owner = owner
        self._expected = expected
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Carries work to its end even when the caller is called off, as by a client that hangs up."""
        return await asyncio.shield(self.begin(work))

    async def close(self) -> None:
        """Calls off what is under way, and waits until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, self._expected):
            _log.error("%s stumbled", self._owner, exc_info=error)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Does work that must not be cut off: a caller that is called off still waits for it."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    finally:
        await asyncio.wait([task])
