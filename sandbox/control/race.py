"""Races: several offers are rented at once, the first machine that answers SSH wins, the others are given back.

Every rent is a record before it is made. `won` is said only when the market no longer has any of the losers.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, Field

from sandbox.control.agents import Agents
from sandbox.control.defaults import CUT, DEFAULT_IMAGE
from sandbox.control.disposals import Disposals
from sandbox.control.errors import ApiError
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient, MarketInstance, OfferGone, Rent
from sandbox.control.offers import Offer, OfferQuery, search, why_none
from sandbox.control.ssh import Machine
from sandbox.tasks import Tasks, to_the_end

WIDTH = 3  # machines that are rented at once
MOST_RENTED = 8  # machines that one race rents at most, one after the other and at once
MOST_EXTRA = 9  # second and third runners of all races together: booting is work for the host
OVER = ("won", "failed")

T = TypeVar("T")
Look = Callable[[], Awaitable[list[Offer]]]

_log = logging.getLogger(__name__)


class RaceWish(BaseModel):
    """What the machine may be. Price in USD an hour, disk in GB. `cheapest` rents one machine at a time."""

    gpu_name: str | None = None
    region: str | None = None
    max_price: float = Field(default=10.0, gt=0)
    disk_size: float = Field(default=100, ge=10)
    num_gpus: int = Field(default=1, ge=1, le=8)
    label: str | None = None
    strategy: Literal["race", "cheapest"] = "race"

    @property
    def width(self) -> int:
        return WIDTH if self.strategy == "race" else 1

    def query(self) -> OfferQuery:
        return OfferQuery(
            gpu_name=self.gpu_name, region=self.region, max_price=self.max_price, min_disk=self.disk_size,
            num_gpus=self.num_gpus, min_inet_down=0, limit=100,
        )  # fmt: skip


class Candidate(BaseModel):
    """One rent of a race. `gone`: the market was seen not to have its machine (any more)."""

    token: str = Field(default_factory=lambda: uuid.uuid4().hex)
    offer_id: int
    gpu_name: str | None
    hourly_usd: float
    instance_id: int | None = None
    state: Literal["renting", "loading", "ready", "won", "lost", "failed"] = "renting"
    error: str | None = None
    gone: bool = False

    def public(self) -> dict[str, Any]:
        return self.model_dump(exclude={"token"})


class Race(BaseModel):
    """One race, from the search for offers to its end. `seconds` are measured when it is over."""

    race_id: str = Field(default_factory=lambda: uuid.uuid4().hex[:8])
    status: Literal["searching", "provisioning", "won", "failed"] = "searching"
    error: str | None = None
    candidates: list[Candidate] = []
    winner_id: int | None = None
    begun_at: float = Field(default_factory=time.time)
    seconds: float | None = None

    @property
    def over(self) -> bool:
        return self.status in OVER

    @property
    def losers(self) -> list[Candidate]:
        return [one for one in self.candidates if one.state in ("lost", "failed")]

    @property
    def losers_gone(self) -> bool:
        return self.over and all(one.gone for one in self.losers)

    def public(self) -> dict[str, Any]:
        return {
            **self.model_dump(exclude={"candidates"}),
            "candidates": [one.public() for one in self.candidates],
            "losers_gone": self.losers_gone,
        }


@dataclass(frozen=True)
class Won:
    instance: MarketInstance
    machine: Machine


class _Shelf:
    """The offers that a race may take, shared by its runners."""

    def __init__(self, offers: list[Offer], look: Look) -> None:
        self._offers = offers
        self._look = look

    def take(self, in_hand: set[int]) -> Offer | None:
        """The first offer that nobody here is renting; None when there is none left."""
        found = next((offer for offer in self._offers if offer.id not in in_hand), None)
        if found:
            self._offers.remove(found)
        return found

    async def renew(self, tried: set[int]) -> None:
        """Looks again: an offer was taken by somebody else, so others will have been, too."""
        self._offers = [offer for offer in await self._look() if offer.id not in tried]


class Races:
    def __init__(
        self,
        fleet: Fleet,
        market: MarketClient,
        machines: Machines,
        agents: Agents,
        disposals: Disposals,
        ready_within: float,
    ) -> None:
        """`ready_within`: seconds in which a rented machine must run and answer SSH."""
        self._fleet = fleet
        self._records = fleet.records
        self._market = market
        self._machines = machines
        self._agents = agents
        self.disposals = disposals
        self.ready_within = ready_within
        self._in_hand: set[int] = set()
        self._extra = 0
        self._tasks = Tasks("a race", expected=ApiError)
        self._cut = [race for race in self._records.all(Race) if not race.over]
        self._running = {race.race_id: race for race in self._cut}

    async def settle(self) -> None:
        """Gives back all that unfinished races of the last run of this process have rented."""
        while self._cut:
            await self.abandon(self._cut[0], CUT)
            self._cut.pop(0)

    async def abandon(self, race: Race, reason: str) -> None:
        """Gives back all that a race has rented, the winner too."""
        await self._give_all_back(race, None)
        race.winner_id = None
        self._end(race, "failed", reason)

    async def close(self) -> None:
        await self._tasks.close()

    def get(self, race_id: str) -> Race | None:
        return self._records.get(Race, race_id)

    def of(self, instance: MarketInstance) -> tuple[Race, Candidate] | None:
        """The race in which a machine competes, as long as that is not over: the machine is nobody's yet."""
        for race in self._running.values():
            for one in race.candidates:
                if instance.id == one.instance_id or instance.rent_token == one.token:
                    return race, one
        return None

    def order(self) -> Race:
        """Notes a race that `run` shall run."""
        race = Race()
        self._running[race.race_id] = race
        self._save(race)
        return race

    def start(self, wish: RaceWish) -> Race:
        """Begins a race for a user's new machine; the rest is in its record."""
        race = self.order()
        self._tasks.begin(self._for_user(race, wish))
        return race

    async def _for_user(self, race: Race, wish: RaceWish) -> None:
        query = wish.query()

        async def look() -> list[Offer]:
            return await search(self._market, query)

        rent = Rent(image=DEFAULT_IMAGE, disk=wish.disk_size, label=wish.label)
        try:
            offers = await look() or await self._no_offer(query)
            won = await self.run(race, offers, look, rent, width=wish.width)
        except ApiError as error:
            self._end(race, "failed", error.message)
        except Exception as error:
            _log.exception("race %s", race.race_id)
            self._end(race, "failed", f"Internal error: {error!r}")
            raise
        else:
            self._fleet.add(TrackedMachine.of(won.instance))
            self._agents.wanted()

    async def _no_offer(self, query: OfferQuery) -> NoReturn:
        raise ApiError(503, await why_none(self._market, query))

    async def run(self, race: Race, offers: list[Offer], look: Look, rent: Rent, *, width: int = WIDTH) -> Won:
        """Races the offers, the first ones first; `look` finds them anew when some were taken meanwhile.

        Returns the winner when all losers are gone. Raises ApiError when there is no winner, or a loser does not go;
        then nothing that was rented is left, or it is being ended in the background.
        """
        race.status = "provisioning"
        self._save(race)
        shelf = _Shelf(list(offers), look)
        runners = [asyncio.create_task(self._runner(race, shelf, rent, extra=number > 0)) for number in range(width)]
        try:
            won = await _first(runners)
        except asyncio.CancelledError:
            await _called_off(runners)  # `settle` or `abandon` does the rest
            raise
        except ApiError as error:
            await self._give_all_back(race, None)
            self._end(race, "failed", error.message)
            raise
        await _called_off(runners)
        await self._give_all_back(race, won.instance.id)
        stuck = [one for one in race.losers if not one.gone]
        if stuck:
            await self._give_all_back(race, None)
            left = "; ".join(f"instance {one.instance_id}: {one.error}" for one in stuck)
            self._end(race, "failed", f"A race without end: machines that lost it could not be destroyed ({left})")
            raise ApiError(502, str(race.error))
        race.winner_id = won.instance.id
        self._end(race, "won", None)
        return won

    async def _runner(self, race: Race, shelf: _Shelf, rent: Rent, *, extra: bool) -> Won:
        """Tries one offer after the other until a machine is ready."""
        if not extra:
            return await self._try_offers(race, shelf, rent)
        if self._extra >= MOST_EXTRA:
            raise ApiError(503, "Enough machines are being raced")
        self._extra += 1
        try:
            return await self._try_offers(race, shelf, rent)
        finally:
            self._extra -= 1

    async def _try_offers(self, race: Race, shelf: _Shelf, rent: Rent) -> Won:
        while offer := shelf.take(self._in_hand):
            if sum(one.instance_id is not None for one in race.candidates) >= MOST_RENTED:
                break
            candidate = Candidate(offer_id=offer.id, gpu_name=offer.gpu_name, hourly_usd=offer.dph_total)
            race.candidates.append(candidate)
            self._save(race)
            self._in_hand.add(offer.id)
            try:
                # To its end, even when another machine wins meanwhile: nobody else would know what was rented.
                await to_the_end(self._rent(race, candidate, rent))
            except OfferGone as gone:
                candidate.gone = True
                self._become(race, candidate, "failed", gone.message)
                await shelf.renew({one.offer_id for one in race.candidates})
                continue
            finally:
                self._in_hand.discard(offer.id)
            assert candidate.instance_id is not None  # noqa: S101 - it was rented
            try:
                instance, machine = await self._machines.wait_ready(candidate.instance_id, self.ready_within)
            except ApiError as error:
                await self._give_back(race, candidate, "failed", error.message)
                continue
            self._become(race, candidate, "ready")
            return Won(instance, machine)
        raise ApiError(503, _why_nobody_won(race))

    async def _rent(self, race: Race, candidate: Candidate, rent: Rent) -> None:
        try:
            candidate.instance_id = await self._market.rent(
                candidate.offer_id, rent.model_copy(update={"token": candidate.token})
            )
        except OfferGone:
            raise
        except ApiError as error:
            await self._give_back(race, candidate, "failed", error.message)
            raise
        self._become(race, candidate, "loading")

    async def _give_all_back(self, race: Race, winner_id: int | None) -> None:
        """Gives back all but the winner, at once."""
        losers = [one for one in race.candidates if one.instance_id != winner_id and not one.gone]
        await asyncio.gather(*(self._give_back(race, one, "failed" if one.error else "lost") for one in losers))
        for one in race.candidates:
            if winner_id is not None and one.instance_id == winner_id:
                self._become(race, one, "won")

    async def _give_back(
        self, race: Race, candidate: Candidate, state: Literal["lost", "failed"], error: str | None = None
    ) -> None:
        try:
            await self.disposals.end(candidate.token, candidate.instance_id, f"race {race.race_id}")
        except ApiError as stuck:
            self._become(race, candidate, state, f"{error or ''} It could NOT be destroyed: {stuck.message}".strip())
        else:
            candidate.gone = True
            self._become(race, candidate, state, error)

    def _become(
        self,
        race: Race,
        candidate: Candidate,
        state: Literal["loading", "ready", "won", "lost", "failed"],
        error: str | None = None,
    ) -> None:
        candidate.state, candidate.error = state, error or candidate.error
        self._save(race)

    def _end(self, race: Race, status: Literal["won", "failed"], error: str | None) -> None:
        race.status, race.error = status, error
        race.seconds = round(time.time() - race.begun_at, 3)
        self._save(race)
        self._running.pop(race.race_id, None)

    def _save(self, race: Race) -> None:
        self._records.put(race.race_id, race)


def _why_nobody_won(race: Race) -> str:
    tried = [f"offer {one.offer_id}: {one.error}" for one in race.candidates if one.error]
    if not tried:
        return "No offer was left to be rented: others were quicker"
    return f"None of {len(race.candidates)} offers brought a machine that answers SSH: {'; '.join(tried)}"


async def _first(runners: list[asyncio.Task[T]]) -> T:
    """The first result. When all have failed: the failure of the first runner, which is never held back."""
    left = set(runners)
    while left:
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        for runner in done:
            if runner.exception() is None:
                return runner.result()
    return runners[0].result()


async def _called_off(runners: list[asyncio.Task[Won]]) -> None:
    for runner in runners:
        runner.cancel()
    await asyncio.gather(*runners, return_exceptions=True)
