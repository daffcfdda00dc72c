"""The bill: what each machine costs, to the second, as a ledger that can be read.

A machine is charged in segments: its GPU while it runs, its disk while it exists, stopped or not. Its traffic is
charged by the GB, each connection when it ends. Nothing is charged while the cloud is down: a segment that was open
then ends at the last beat of the cloud's heart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel

from sandbox.records import Records

Kind = Literal["gpu", "cpu", "disk", "volume", "upload", "download"]
GB = 10**9  # bytes
OPENING_BALANCE = 1000.0  # USD


class Segment(BaseModel):
    """One stretch of time at one rate. Times are seconds since the epoch, the rate is USD an hour.

    Of traffic it is the time from the first connection's end to the last one's, and the rate is USD a GB.
    """

    number: int
    instance_id: int
    kind: Kind
    description: str
    rate: float
    start: float
    end: float | None = None
    traffic: int | None = None  # bytes

    def seconds(self, now: float) -> float:
        return max(0.0, (now if self.end is None else self.end) - self.start)

    def amount(self, now: float) -> float:
        """USD."""
        return self.rate * (self.seconds(now) / 3600 if self.traffic is None else self.traffic / GB)

    def row(self, now: float) -> dict[str, Any]:
        """A line of the bill, with the columns that the market's own command line prints."""
        return {
            "number": self.number,
            "instance_id": self.instance_id,
            "type": self.kind,
            "source": f"{'volume' if self.kind == 'volume' else 'instance'}-{self.instance_id}",
            "description": self.description,
            "start": self.start,
            "end": self.end,
            "quantity": round(self.seconds(now), 3) if self.traffic is None else self.traffic / GB,
            "rate": self.rate,
            "amount": round(self.amount(now), 9),
            "items": [],
            "metadata": {},
        }


class Account(BaseModel):
    """What the account has been credited with, in USD."""

    deposited: float = OPENING_BALANCE


class Heartbeat(BaseModel):
    """When the cloud was last known to be up."""

    at: float


class Bill:
    """All segments of the account, on disk as they open and close."""

    def __init__(self, records: Records, now: Callable[[], float] = time.time) -> None:
        self._records = records
        self._now = now
        self._segments = {segment.number: segment for segment in records.all(Segment)}
        self._growing: dict[tuple[int, Kind], Segment] = {}
        self._settled = 0.0
        self._account = records.get(Account, "me") or Account()
        heartbeat = records.get(Heartbeat, "cloud")
        for segment in self._segments.values():
            if segment.end is None:
                segment.end = max(segment.start, heartbeat.at if heartbeat else 0.0)
                records.put(segment.number, segment)
            self._settled += segment.amount(segment.end)

    def beat(self) -> None:
        """Notes that the cloud is up."""
        self._records.put("cloud", Heartbeat(at=self._now()))

    def open(self, instance_id: int, kind: Kind, rate: float, description: str) -> None:
        """Begins to charge. Does nothing when this is being charged already."""
        if (instance_id, kind) in self._growing:
            return
        segment = Segment(
            number=max(self._segments, default=0) + 1,
            instance_id=instance_id,
            kind=kind,
            description=description,
            rate=rate,
            start=self._now(),
        )
        self._records.put(segment.number, segment)
        self._segments[segment.number] = self._growing[instance_id, kind] = segment

    def close(self, instance_id: int, *kinds: Kind) -> None:
        """Ends the charge for these kinds, where there is one."""
        for kind in kinds:
            segment = self._growing.pop((instance_id, kind), None)
            if segment is not None:
                segment.end = max(segment.start, self._now())
                self._settled += segment.amount(segment.end)
                self._records.put(segment.number, segment)

    def add_traffic(self, instance_id: int, kind: Kind, traffic: int, rate: float, description: str) -> None:
        """Charges for bytes at a rate in USD a GB, on one line a machine and direction."""
        segment = next(
            (one for one in self._segments.values() if (one.instance_id, one.kind) == (instance_id, kind)), None
        ) or Segment(
            number=max(self._segments, default=0) + 1,
            instance_id=instance_id,
            kind=kind,
            description=description,
            rate=rate,
            start=self._now(),
            traffic=0,
        )
        segment.end, segment.traffic = self._now(), (segment.traffic or 0) + traffic
        self._settled += rate * traffic / GB
        self._records.put(segment.number, segment)
        self._segments[segment.number] = segment

    def close_all(self) -> None:
        for instance_id, kind in list(self._growing):
            self.close(instance_id, kind)

    def rows(self) -> list[dict[str, Any]]:
        """Every line of the bill, oldest first."""
        now = self._now()
        return [self._segments[number].row(now) for number in sorted(self._segments)]

    @property
    def balance(self) -> float:
        """What is left, in USD."""
        now = self._now()
        growing = sum(segment.amount(now) for segment in self._growing.values())
        return self._account.deposited - self._settled - growing

    @balance.setter
    def balance(self, usd: float) -> None:
        self._account = Account(deposited=self._account.deposited + usd - self.balance)
        self._records.put("me", self._account)
