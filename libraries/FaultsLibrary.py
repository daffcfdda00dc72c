"""What happens to real clouds, done to the embedded one; and what must be said then."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal

from robot.api.deco import keyword, library
from robot.libraries.BuiltIn import BuiltIn

from library_parts.console import tell
from library_parts.returned import converters
from rekindle import report, target
from rekindle.embedded import EmbeddedCloud
from rekindle.errors import Misconfigured, Mismatch, Unknown
from rekindle.labels import label_prefix
from rekindle.rented import RentedMachine
from rekindle.waiting import hold_for, wait_until

# The ways of the cloud's network: those of its users, of its machines, and of Dumont Cloud itself. A machine stands for
# the way to its SSH.
Way = Literal["control", "market", "store", "agents", "product-market", "product-store"] | RentedMachine
Toxic = Literal["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"]

# How long an answer that shall be lost is under way, ms.
UNDER_WAY = 800

# How long one waits for the product to notice what was done to it.
NOTICED_WITHIN = 30.0


@library(scope="GLOBAL", doc_format="MARKDOWN", converters=converters(RentedMachine))
class FaultsLibrary:
    """What happens to real clouds, done to the embedded one; and what must be said then.

    Ways through the network are spoiled in the words of Toxiproxy: its seven toxics with their attributes
    (milliseconds, bytes, KB/s), `upstream` and `downstream`, and a `toxicity`. They, and clocks that are set, need a
    `breakable` cloud (see [Open Target]). The ways are `control`, `market` and `store` (the user's), `product-market`
    and `product-store` (Dumont Cloud's own), `agents` (from the machines to Dumont Cloud), and a machine (its SSH,
    whoever uses it).

    [Mend Sandbox] undoes everything.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._awaited: dict[str, Callable[[], bool]] = {}  # what is to be told as long as a fault has not struck

    @keyword
    def target_should_be_breakable(self, kind: str) -> None:
        """Makes sure, before anything is opened, that faults will not be put on a real cloud.

        Args:
            kind: the target that the user has chosen.

        Raises:
            AssertionError: it is not the embedded cloud.
        """
        if target.kind(kind) != "sandbox":
            raise Misconfigured(
                f"Faults are put on the embedded cloud only, never on TARGET:{kind}. Leave these suites out: "
                "--exclude faults"
            )

    @keyword
    def breakable_target_is_open(self) -> bool:
        """Return whether the open target is a cloud for this process alone whose network and clocks can be broken."""
        opened = target.opened()
        return opened is not None and opened.choice.state_dir == "breakable"

    @keyword
    def add_toxic(
        self,
        way: Way,
        toxic: Toxic,
        stream: Literal["upstream", "downstream"] = "downstream",
        toxicity: float = 1.0,
        **attributes: int,
    ) -> None:
        """Spoils a way: on the connections that there are, and on those that come.

        Args:
            way: which one; a machine is the way to its SSH.
            toxic: how.
            stream: `upstream` is from the client to the server, `downstream` back.
            toxicity: the share of the connections, from 0 to 1.
            attributes: those of the toxic, such as `latency=200    jitter=50`.
        """
        order = {"type": toxic, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        _cloud().add_toxic(_name(way), order)
        words = ", ".join(f"{name} {value}" for name, value in attributes.items())
        tell(f"Network: {toxic} ({words}) {stream} on the way {_name(way)}")

    @keyword
    def cut_way(self, way: Way) -> None:
        """Ends all connections on a way, and refuses new ones, until [Clear Way] or [Mend Sandbox].

        Args:
            way: which one.
        """
        _cloud().cut_way(_name(way))
        tell(f"Network: the way {_name(way)} is cut")

    @keyword
    def clear_way(self, way: Way) -> None:
        """Makes a way good again.

        Args:
            way: which one.
        """
        _cloud().clear_way(_name(way))
        tell(f"Network: the way {_name(way)} is good again")

    @keyword
    def cut_way_during(
        self,
        work: Literal["snapshot", "restore"],
        way: Way,
        machine: RentedMachine,
        back_after: timedelta | None = None,
    ) -> None:
        """Returns at once, and cuts a way in the middle of the next snapshot or restore of a machine.

        Args:
            work: in the middle of what.
            way: which one.
            machine: whose snapshot or restore.
            back_after: how long the way is cut; until [Clear Way] or [Mend Sandbox] when not given.
        """
        cloud, name = _cloud(), _name(way)
        seconds = None if back_after is None else back_after.total_seconds()
        struck = cloud.cut_way_when(name, _at_work(machine, work), seconds)
        self._awaited[f"the way {name} was not cut, because no {work} of {machine} was seen to go on"] = struck.is_set

    @keyword
    def lose_answer_to_rent(self, way: Literal["control", "product-market"]) -> None:
        """Returns at once, and cuts a way for a moment when the next machine is rented: its rent is not answered.

        Args:
            way: `control` is from Dumont Cloud to us, `product-market` from the market to Dumont Cloud.
        """
        cloud, market = _cloud(), _market()
        before = len(market.instances())
        # So that the answer is still on its way when the machine is there.
        cloud.add_toxic(way, {"type": "latency", "stream": "downstream", "attributes": {"latency": UNDER_WAY}})
        struck = cloud.cut_way_when(way, lambda: len(market.instances()) > before, back_after=0)
        self._awaited[f"the way {way} was not cut"] = struck.is_set
        tell(f"Network: the next answer to a rent on the way {way} will be lost")

    @keyword
    def hide_machines(self) -> None:
        """Lets the market list no machine, and know none by its id, until [Mend Sandbox]. They run, and are billed."""
        empty = {"instances": [], "total_instances": 0, "next_token": None, "success": True}
        for name, match, body in (
            ("hidden-list", r"^GET /api/v[01]/instances/?$", empty),
            ("hidden-one", r"^GET /api/v0/instances/\d+/?$", {"instances": None}),
        ):
            _cloud().add_fault("market", {"name": name, "kind": "answer", "match": match, "status": 200, "body": body})
        tell("Market: lists no machine from now on")

    @keyword
    def let_market_refuse(
        self, match: str, status: int, times: int | None = None, retry_after: timedelta | None = None
    ) -> None:
        """Lets the market refuse some requests with an error, as it does under load.

        Args:
            match: regular expression, searched in `METHOD /path`.
            status: 429, 500, 503, …
            times: how often; until [Mend Sandbox] when not given.
            retry_after: what it asks its clients to wait; it says nothing of that when not given.
        """
        self._refuse("market", match, status, times, retry_after)

    @keyword
    def let_product_refuse(
        self, match: str, status: int, times: int | None = None, retry_after: timedelta | None = None
    ) -> None:
        """Lets Dumont Cloud refuse some requests, as [Let Market Refuse] lets the market.

        Args:
            match: regular expression, searched in `METHOD /path`.
            status: 429, 500, 503, …
            times: how often; until [Mend Sandbox] when not given.
            retry_after: what it asks its clients to wait; it says nothing of that when not given.
        """
        self._refuse("control", match, status, times, retry_after)

    @keyword
    def let_market_offer_nothing(self) -> None:
        """Lets the market find no offer, whatever is searched for, until [Mend Sandbox]."""
        fault = {
            "name": "no-offers",
            "kind": "answer",
            "match": r"^\w+ /api/v0/(bundles|search/asks)/?$",
            "status": 200,
            "body": {"offers": []},
        }
        _cloud().add_fault("market", fault)
        tell("Market: offers nothing from now on")

    @keyword
    def faults_should_have_struck(self) -> None:
        """Makes sure that what was to happen by now has happened: without its fault, a test has shown nothing.

        Of [Cut Way During], [Lose Answer To Rent], and of refusals that shall come a number of times.

        Raises:
            AssertionError: names the fault that has not struck.
        """
        awaited, self._awaited = self._awaited, {}
        if missing := [words for words, has_struck in awaited.items() if not has_struck()]:
            raise Unknown(f"Nothing was tested: {'; '.join(missing)}.")
        report.current().add_check("faults have struck", "embedded cloud", faults=len(awaited))

    @keyword
    def set_clock(self, part: Literal["control", "marketplace"], ahead: timedelta) -> None:
        """Sets the date of a part, as somebody who corrects it, until [Mend Sandbox]. Its monotonic clock runs on.

        Args:
            part: whose; `control` is Dumont Cloud.
            ahead: how far it shall be ahead of ours; behind when negative.

        Raises:
            AssertionError: the clocks of this cloud cannot be set; says how it must be started.
        """
        cloud, seconds = _cloud(), ahead.total_seconds()
        cloud.set_clock(part, seconds)
        tell(f"Clock: that of the {part} is {seconds:+g} s from ours")

    @keyword
    def should_fail_as_weather(self, words: str, name: str, *arguments: Any) -> None:
        """Runs a keyword that must fail as `WEATHER:`, in these words.

        That is how a run says that it could not test anything, for no fault of the product: to be told apart from a
        failure, and from a success. The report names it under `weather`.

        Args:
            words: what must follow `WEATHER: `; `*` is any text.
            name: the keyword.
            arguments: its arguments.

        Raises:
            AssertionError: it did not fail, or in other words.
        """
        _expect("weather", f"WEATHER: {words}", name, arguments)

    @keyword
    def should_be_told(self, words: str, name: str, *arguments: Any) -> None:
        """Runs a keyword that must fail in these words: what was done to the cloud must be told, as it is.

        The report names it under `told`.

        Args:
            words: the whole message; `*` is any text.
            name: the keyword.
            arguments: its arguments.

        Raises:
            AssertionError: it did not fail, or in other words.
        """
        _expect("told", words, name, arguments)

    @keyword
    def market_should_have(self, count: int) -> None:
        """Makes sure that the market itself has so many machines of this run: not one less, and not one more.

        Args:
            count: of machines; `0` when all must be gone.

        Raises:
            AssertionError: there are more or fewer; names them.
        """
        prefix = label_prefix(target.current().run_id)
        listed = _market().instances()
        ours = [row for row in listed if (row.label or "").startswith(prefix)]
        if len(ours) != count:
            names = ", ".join(f"{row.id} ({row.actual_status})" for row in ours) or "none"
            raise Mismatch(f"The market should have {count} machines of this run, but it has {len(ours)}: {names}.")
        report.current().add_check(
            f"machines of this run at the market: {count}", "market", machines_listed=len(listed)
        )
        tell(f"Market: {count} machines of this run")

    @keyword
    def product_should_know(self, machine: RentedMachine) -> None:
        """Makes sure that Dumont Cloud has not forgotten a machine: it is listed, runs, and its agent is heard.

        Args:
            machine: which one.

        Raises:
            AssertionError: it is forgotten, or not so again within half a minute.
        """
        dumont = target.current().dumont

        def look() -> tuple[str | None, Any]:
            seen = dumont.instance(machine.id)
            return seen.actual_status if seen else None, dumont.hibernation(machine.id).get("status")

        wait_until(
            f"Dumont Cloud to know {machine} and to hear its agent",
            look,
            lambda seen: seen[0] == "running" and seen[1] in {"running", "idle"},
            timeout=NOTICED_WITHIN,
        )
        report.current().add_check(f"machine {machine.id} is not forgotten", "Dumont Cloud", machines=1)

    @keyword
    def product_should_keep(self, machine: RentedMachine, duration: timedelta) -> None:
        """Makes sure, by looking again and again, that Dumont Cloud neither forgets a machine nor gives it up.

        Args:
            machine: which one.
            duration: how long.

        Raises:
            AssertionError: after how long it did, and what it says.
        """
        dumont = target.current().dumont
        held = hold_for(
            f"Dumont Cloud to keep {machine}",
            lambda: dumont.hibernation(machine.id).get("status", "forgotten"),
            lambda status: status in {"running", "idle"},
            seconds=duration.total_seconds(),
        )
        report.current().add_check(f"machine {machine.id} is kept", "Dumont Cloud", looks=held.looks)

    def _refuse(self, part: str, match: str, status: int, times: int | None, retry_after: timedelta | None) -> None:
        fault: dict[str, Any] = {
            "name": f"refusal-{next(self._numbers)}",
            "kind": "answer",
            "match": match,
            "status": status,
            "body": {"error": "too many requests" if status == 429 else "the service is overloaded"},
        }
        if times:
            fault["times"] = times
            name, cloud = fault["name"], _cloud()
            self._awaited[f"{match} was not refused {times} times"] = lambda: name not in cloud.faults(part)
        if retry_after is not None:
            fault["headers"] = {"Retry-After": f"{retry_after.total_seconds():g}"}
        _cloud().add_fault(part, fault)
        tell(f"{part.capitalize()}: answers {match} with {status}" + (f", {times} times" if times else " from now on"))


def _expect(kind: str, words: str, name: str, arguments: tuple[Any, ...]) -> None:
    status, message = BuiltIn().run_keyword_and_ignore_error(name, *arguments)
    if status == "PASS":
        raise Mismatch(f"{name} passed, but had to fail.", expected=words, actual="it passed")
    if not fnmatchcase(str(message), words):
        raise Mismatch(
            f"{name} failed for another reason than expected: {message}", expected=words, actual=str(message)
        )
    current = report.current()
    told = current.validation.setdefault(kind, [])
    assert isinstance(told, list)  # noqa: S101 - nobody else writes this key
    told.append(str(message))
    current.add_check(f"{kind} is told in its words", "this run", messages=1)
    tell(f"As it must be: {message}")


def _at_work(machine: RentedMachine, work: str) -> Callable[[], bool]:
    """Looks whether the product says that bytes of a snapshot or restore are moving."""
    dumont = target.current().dumont

    def is_at_work() -> bool:
        seen = dumont.instance(machine.id)
        return seen is not None and seen.progress is not None and seen.progress.activity == work

    return is_at_work


def _name(way: Way) -> str:
    return f"ssh-{way.id}" if isinstance(way, RentedMachine) else way


def _cloud() -> EmbeddedCloud:
    return target.current().embedded


def _market() -> Any:
    market = target.current().market
    if market is None:
        raise Unknown("What the market has cannot be told: it is declined as a witness.")
    return market
