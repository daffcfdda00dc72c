"""One direction of one connection: what is read at one end goes out at the other, as its toxics allow."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from sandbox.toxics.toxic import (
    Attributes,
    Bandwidth,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

CHUNK = 32 * 1024  # bytes read at once
MOST = 4 * 1024 * 1024  # bytes that may be on their way; then nothing more is read
BREATH = 0.1  # seconds between two portions where the bandwidth is limited

A = TypeVar("A", bound=Attributes)


class Cut(Exception):
    """The whole connection ends here; by a reset when `reset`."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self.reset = reset


class Link:
    """Carries one direction until its source ends. Toxics may come and go meanwhile."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, toxics: Callable[[], Sequence[Toxic]]
    ) -> None:
        """`toxics`: tells which there are now, in this direction."""
        self._reader = reader
        self._writer = writer
        self._toxics = toxics
        self._now = asyncio.get_running_loop().time
        self._on_the_way: deque[tuple[float, bytes]] = deque()  # when it was read, and what
        self._held = 0
        self._ended = False
        self._passed = 0
        self._touched = self._now()  # when data was last read, or the toxics have changed
        self._dropping = False
        self._acts: dict[Toxic, bool] = {}
        self._stirred = asyncio.Event()  # something was read or sent, or the toxics have changed
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    def toxics_changed(self) -> None:
        """What waits because of a toxic looks again."""
        self._touched = self._now()
        self._changed.set()
        self._changed = asyncio.Event()
        self._stirred.set()

    async def run(self) -> None:
        """Returns when the source has ended and all of it has gone out.

        Raises:
            Cut: a toxic has ended the connection.
            OSError: one of the ends is gone.
        """
        reading = asyncio.create_task(self._read())
        try:
            while (chunk := await self._next()) is not None:
                await self._pass(*chunk)
            if toxic := self._acting(SlowClose):
                await self._pause(toxic.delay / 1000)
            if self._writer.can_write_eof():
                self._writer.write_eof()
            await reading
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await reading

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(CHUNK):
                self._touched = self._now()
                self._on_the_way.append((self._touched, data))
                self._held += len(data)
                self._stirred.set()
                if self._held > MOST:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ended = True
            self._stirred.set()

    async def _next(self) -> tuple[float, bytes] | None:
        """The next data that may go out; None at the end."""
        while True:
            self._stirred.clear()
            wait: float | None = None
            if (reset := self._acting(ResetPeer)) and self._on_the_way:
                await self._pause(reset.timeout / 1000)
                if self._acting(ResetPeer) is reset:
                    raise Cut(reset=True)
            elif silence := self._acting(Timeout):
                wait = self._drop(silence)
            elif self._dropping:  # its toxic was taken away, and what is lost cannot come any more
                raise Cut(reset=False)
            elif self._on_the_way and not reset:
                return self._taken()
            elif self._ended:
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stirred.wait()

    def _drop(self, silence: Timeout) -> float | None:
        """Loses what is on the way. Returns how long this may still go on, seconds; None for ever."""
        self._dropping = True
        while self._on_the_way:
            self._taken()
        left = self._touched + silence.timeout / 1000 - self._now()
        if silence.timeout and left <= 0:
            raise Cut(reset=False)
        return left if silence.timeout else None

    def _taken(self) -> tuple[float, bytes]:
        moment, data = self._on_the_way.popleft()
        self._held -= len(data)
        if self._held <= MOST:
            self._room.set()
        return moment, data

    async def _pass(self, moment: float, data: bytes) -> None:
        if late := self._acting(Latency):
            await self._pause(moment + (late.latency + _vary(late.jitter)) / 1000 - self._now())
        slicer = self._acting(Slicer)
        for number, piece in enumerate(_sliced(data, slicer)):
            if slicer and number:
                await self._pause(slicer.delay / 1e6)
            await self._send(piece)

    async def _send(self, data: bytes) -> None:
        limit = self._acting(LimitData)
        if limit:
            data = data[: max(0, limit.bytes - self._passed)]
        while data:
            width = self._acting(Bandwidth)
            portion = data[: max(1, int(width.rate * 1000 * BREATH))] if width else data
            if width:
                await self._pause(len(portion) / (width.rate * 1000))
            data = data[len(portion) :]
            self._writer.write(portion)
            await self._writer.drain()
            self._passed += len(portion)
        if limit and self._passed >= limit.bytes:
            raise Cut(reset=False)

    async def _pause(self, seconds: float) -> None:
        """Waits, but not beyond a change of the toxics."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()

    def _acting(self, kind: type[A]) -> A | None:
        """The attributes of the toxic of this kind that acts on this very connection."""
        for toxic in self._toxics():
            if isinstance(toxic.attributes, kind):
                # Whether it does is drawn once for each connection.
                if toxic not in self._acts:
                    self._acts[toxic] = random.random() < toxic.toxicity  # noqa: S311 - chance is all that is wanted
                if self._acts[toxic]:
                    return toxic.attributes
        return None


def _sliced(data: bytes, slicer: Slicer | None) -> Iterator[bytes]:
    while slicer and len(data) > slicer.average_size:
        size = max(1, round(slicer.average_size + _vary(slicer.size_variation)))
        yield data[:size]
        data = data[size:]
    if data:
        yield data


def _vary(by: int) -> float:
    return random.uniform(-by, by)  # noqa: S311 - as above
