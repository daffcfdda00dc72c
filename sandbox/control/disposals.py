"""Machines that must not stay: each is a record until the market no longer has it, however often that takes a try."""

from __future__ import annotations

import asyncio
import logging

from pydantic import BaseModel

from sandbox.control.errors import ApiError
from sandbox.control.market_client import MarketClient
from sandbox.records import Records
from sandbox.tasks import Tasks

FIRST_PAUSE = 1.0  # seconds before a machine that would not go is tried again; it doubles
LONGEST_PAUSE = 30.0

_log = logging.getLogger(__name__)


class Disposal(BaseModel):
    """A rent that shall end. By its token, as long as it is not known whether it brought a machine at all."""

    token: str
    instance_id: int | None = None
    reason: str


class Disposals:
    def __init__(self, records: Records, market: MarketClient) -> None:
        self._records = records
        self._market = market
        self._tasks = Tasks("a disposal", expected=ApiError)

    async def settle(self) -> None:
        """Goes on with what the last run of this process could not end."""
        for disposal in self._records.all(Disposal):
            self._tasks.begin(self._until_gone(disposal))

    async def close(self) -> None:
        await self._tasks.close()

    async def end(self, token: str, instance_id: int | None, reason: str) -> None:
        """Destroys what a rent brought, and sees that the market no longer has it.

        A caller that is cancelled does not stop it.

        Raises:
            ApiError: it is still there, or nobody can tell. It is tried again and again in the background.
        """
        disposal = Disposal(token=token, instance_id=instance_id, reason=reason)
        self._records.put(token, disposal)
        await self._tasks.finish(self._end_or_persist(disposal))

    async def _end_or_persist(self, disposal: Disposal) -> None:
        try:
            await self._end(disposal)
        except ApiError:
            self._tasks.begin(self._until_gone(disposal))
            raise

    async def _end(self, disposal: Disposal) -> None:
        if disposal.instance_id is None:
            disposal.instance_id = await self._market.find_rented(disposal.token)
        if disposal.instance_id is not None:
            await self._market.destroy(disposal.instance_id)
        self._records.delete(Disposal, disposal.token)

    async def _until_gone(self, disposal: Disposal) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._end(disposal)
            except ApiError as error:
                _log.warning("ending instance %s (%s): %s", disposal.instance_id, disposal.reason, error.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                return
