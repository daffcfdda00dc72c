"""One failover: followed by our own clock, and held against what the product, the market and the machines say."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rekindle.budget import Reservation
from rekindle.errors import Mismatch, Unknown
from rekindle.failover import (
    OUTAGE,
    PHASES,
    Failover,
    Identity,
    check_arrival,
    check_bill,
    check_loss,
    check_only_one_came,
    check_phases,
    check_report,
    find,
    follow,
    patient,
)
from rekindle.failover_views import FailoverReport, Progression, failover_report, progression
from rekindle.market import Charge, MarketInstance
from rekindle.rented import RentedMachine
from rekindle.renting import Expected, _Wish
from rekindle.ticks import Loss, Ticks
from rekindle.waiting import Clock, Timeout
from tests.unit.fake_cloud import clock_of
from tests.unit.local_machine import LocalMachine

LABEL = "rekindle-r1-1"
OLD, NEW = 7, 8
SECONDS = {"detecting": 1.0, "gpu_lost": 0.5, "failover_to_cpu": 0.5, "searching_gpu": 1.0, "provisioning": 2.0}
ALL_SECONDS = SECONDS | {"restoring": 3.0}
EPOCH = 1_700_000_000.0


def rented(number: int, price: float = 0.36) -> RentedMachine:
    return RentedMachine(number, LABEL, "RTX A4000", price, 0.0, number, Reservation("", 0.0))


def expected(before: Sequence[int] = (OLD,), asked_at: float = 100.0) -> Expected:
    wish = _Wish("a machine to replace 7", LABEL, None, 1.0, 100, 30, "")
    return Expected(wish, frozenset(before), 1, Reservation("", 0.0), asked_at)


def event(done: int = len(PHASES), **fields: Any) -> dict[str, Any]:
    """What the API tells when so many phases were entered."""
    names = PHASES[:done]
    over = done == len(PHASES)
    timings = {name: 1000 * ALL_SECONDS[name] for name in names if name in ALL_SECONDS and (over or name != names[-1])}
    return {
        "failover_id": "abc", "gpu_instance_id": OLD, "phase": names[-1], "success": over,
        "phases": entered(names),
        "phase_timings_ms": timings, "total_time_ms": sum(timings.values()) if over else None,
        "new_instance_id": NEW, "race": {"losers": [9]}, "rpo_seconds": 0.5, **fields,
    }  # fmt: skip


def entered(names: Sequence[str] = PHASES, late: float = 0.0) -> list[dict[str, Any]]:
    """When the phases came by a clock that is so many seconds late."""
    rows, at = [], EPOCH - late
    for name in names:
        rows.append({"phase": name, "entered_at": at, "seconds": 0.0, "detail": None})
        at += ALL_SECONDS.get(name, 0.0)
    return rows


class Product:
    """Goes through the phases on a clock of its own, `pace` times as fast as it says."""

    def __init__(self, pace: float = 1.0) -> None:
        self.now, self._pace = 100.0, pace

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, pause=self.pause)

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def look(self) -> Progression:
        passed, done = (self.now - 100.0) * self._pace, 1
        for seconds in ALL_SECONDS.values():
            passed -= seconds
            done += passed >= 0
        return progression(event(done))


def followed(product: Product) -> Failover:
    failover = Failover(rented(OLD), Identity(OLD, "key", "boot"), expected(), id="abc")
    failover.begun_at, failover.begun_epoch = 100.0, EPOCH
    follow(failover, product.look, lambda _: None, lambda _: None, 60, product.clock())
    return failover


def test_the_phases_come_and_add_up() -> None:
    told: list[str] = []
    came: list[str] = []
    product = Product()
    failover = Failover(rented(OLD), Identity(OLD, "key", "boot"), expected(), begun_at=100.0, begun_epoch=EPOCH)
    follow(failover, product.look, told.append, came.append, 60, product.clock())
    assert came == list(PHASES)
    assert told[0] == "Phase: detecting, 1.00 s"
    assert len(told) == 6
    assert failover.wall_seconds == pytest.approx(8.0, abs=0.3)
    assert check_phases(failover) == 7
    assert failover.metrics()["rto_sec"] == round(failover.wall_seconds, 3)
    assert failover.metrics()["phase_restoring_sec"] == 3.0
    assert failover.headline() == [f"RTO {failover.wall_seconds:.1f} s"]


def silent(product: Product, since: float, until: float) -> Callable[[], Progression]:
    """It does not answer for a while."""

    def look() -> Progression:
        if since <= product.now < until:
            raise Unknown("Dumont API does not answer.")
        return product.look()

    return look


def test_a_product_that_restarts_is_waited_for() -> None:
    product = Product()
    failover = Failover(rented(OLD), Identity(OLD, "key", "boot"), expected(), begun_at=100.0, begun_epoch=EPOCH)
    look = patient(silent(product, 102.5, 104.5), product.clock())
    follow(failover, look, lambda _: None, lambda _: None, 60, product.clock())
    assert check_phases(failover) == 7


def test_a_product_that_stays_away_is_told() -> None:
    product = Product()
    failover = Failover(rented(OLD), Identity(OLD, "key", "boot"), expected(), begun_at=100.0, begun_epoch=EPOCH)
    look = patient(silent(product, 102.5, 1000.0), product.clock())
    with pytest.raises(Unknown, match=r"^UNKNOWN: Dumont API does not answer\.$"):
        follow(failover, look, lambda _: None, lambda _: None, 600, product.clock())
    assert OUTAGE < product.now - 102.5 < OUTAGE + 10


@pytest.mark.parametrize("pace", [0.5, 2.0])
def test_seconds_that_are_not_those_of_our_clock(pace: float) -> None:
    with pytest.raises(Mismatch, match=r"take 8\.00 s together, but by our clock it took"):
        check_phases(followed(Product(pace)))


def claiming(failover: Failover, **fields: Any) -> Failover:
    failover.claim = progression(event(**fields))
    return failover


def test_a_phase_that_was_left_out() -> None:
    phases = [{"phase": name} for name in PHASES if name != "failover_to_cpu"]
    with pytest.raises(Mismatch, match=r"went through detecting, gpu_lost, searching_gpu, .*; expected were"):
        check_phases(claiming(followed(Product()), phases=phases))


def test_a_total_that_is_another_sum() -> None:
    with pytest.raises(Mismatch, match=r"take 8\.000 s together, but its total is said to be 5\.000 s"):
        check_phases(claiming(followed(Product()), total_time_ms=5000))


def test_single_phases_that_were_not_so_although_the_sum_is_right() -> None:
    swapped = {name: 1000 * seconds for name, seconds in ALL_SECONDS.items()} | {"detecting": 5000, "restoring": -1000}
    with pytest.raises(Unknown, match="does not tell how long restoring took"):
        check_phases(claiming(followed(Product()), phase_timings_ms=swapped))
    swapped |= {"detecting": 4000, "restoring": 0}
    with pytest.raises(Mismatch, match=r"phase gpu_lost of failover abc began 4\.00 s after the beginning, but we saw"):
        check_phases(claiming(followed(Product()), phase_timings_ms=swapped))


@pytest.mark.parametrize("late", [3600, -3600])
def test_a_clock_that_is_off(late: float) -> None:
    assert check_phases(claiming(followed(Product()), phases=entered(late=late / 100))) == 7
    with pytest.raises(Mismatch, match=rf"phase detecting of failover abc came at 2023-11-1\d .*, {-late} s from the"):
        check_phases(claiming(followed(Product()), phases=entered(late=late)))


def test_an_automatic_one_counts_from_a_heartbeat_that_was_late() -> None:
    timings = {name: 1000 * seconds for name, seconds in ALL_SECONDS.items()}
    timings["detecting"] += 5000
    early: dict[str, Any] = {"automatic": True, "phase_timings_ms": timings, "total_time_ms": 13000}
    check_phases(claiming(followed(Product()), **early, phases=entered(late=5)))
    with pytest.raises(Mismatch, match=r"take 13\.00 s together, but by our clock it took 8"):
        check_phases(claiming(followed(Product()), **early))


def test_a_new_one_is_known_by_those_that_there_were() -> None:
    class Dumont:
        def failovers(self) -> list[Progression]:
            ids = [("old", OLD), ("other", NEW), ("new", OLD)]
            return [progression(event(failover_id=name, gpu_instance_id=of)) for name, of in ids]

    failover = Failover(rented(OLD), Identity(OLD, "key", "boot"), expected(), earlier=frozenset({"old"}))
    assert find(failover, Dumont(), 1) == "new"  # type: ignore[arg-type] # all that is asked of it


def test_phases_that_are_not_told() -> None:
    with pytest.raises(Unknown, match="does not tell the phases"):
        check_phases(claiming(followed(Product()), phases=[]))


def test_a_failure_is_told_in_the_products_words() -> None:
    failed = event(5, phase="failed", failed_phase="provisioning", error="No host is left.")
    failover = Failover(rented(OLD), Identity(OLD, "key", "boot"), expected(), id="abc", begun_at=100.0)
    product = Product()
    with pytest.raises(
        Mismatch, match=r"Failover abc of machine 7 .* failed in provisioning after .*: No host is left"
    ):
        follow(failover, lambda: progression(failed), lambda _: None, lambda _: None, 60, product.clock())


def test_one_that_does_not_end() -> None:
    failover = Failover(rented(OLD), Identity(OLD, "key", "boot"), expected(), id="abc", begun_at=100.0)
    product = Product()
    with pytest.raises(Timeout, match="Last seen: gpu_lost after detecting"):
        follow(failover, lambda: progression(event(2)), lambda _: None, lambda _: None, 5, product.clock())


def test_the_machine_that_took_over_has_come_with_the_failover() -> None:
    failover = followed(Product())
    assert check_arrival(failover, {OLD, NEW}) == NEW
    with pytest.raises(
        Mismatch, match=r"says that machine 8 took over from machine 7 .*the market has no such machine"
    ):
        check_arrival(failover, {OLD})
    with pytest.raises(Mismatch, match=r"machine 7 took over from machine 7 .*, but it was there before the failover"):
        check_arrival(claiming(failover, new_instance_id=OLD), {OLD})
    with pytest.raises(Unknown, match="does not tell on which machine"):
        check_arrival(claiming(failover, new_instance_id=None), {OLD})


def test_what_machines_have_in_common() -> None:
    one = Identity(7, "key", "boot")
    assert one.shared_with(Identity(8, "another", "other")) == []
    assert one.shared_with(Identity(8, "key", "boot")) == ["host key", "boot id"]
    assert one.shared_with(one) == ["contract", "host key", "boot id"]


# The market


def row(number: int, label: str | None = LABEL, started: float = EPOCH + 5) -> MarketInstance:
    return MarketInstance(number, label, "running", "running", None, "RTX A4000", 0.36, 100, "h", 1, 1, started)


class Market:
    def __init__(self, *rows: MarketInstance, bills: dict[int, list[Charge]] | None = None) -> None:
        self.rows, self.bills = rows, bills or {}

    def instances(self) -> Sequence[MarketInstance]:
        return self.rows

    def instance(self, number: int) -> MarketInstance | None:
        return next((one for one in self.rows if one.id == number), None)

    def charges(self, number: int, _: float) -> list[Charge]:
        return self.bills.get(number, [])


def came(*rows: MarketInstance, bills: dict[int, list[Charge]] | None = None, ours: set[int] | None = None) -> int:
    market: Any = Market(*rows, bills=bills)
    return check_only_one_came(followed(Product()), rented(NEW), market, ours or set(), "restore-of-others".__eq__)


def test_only_the_new_machine_came() -> None:
    others = [row(20, "somebody", EPOCH - 100), row(21, "rekindle-another-1"), row(22), row(23, None, EPOCH - 100)]
    others.append(row(24, "restore-of-others"))
    assert came(row(NEW), *others, ours={22}) == 2


@pytest.mark.parametrize("label", [LABEL, None, "Race-R1"])
def test_a_loser_that_is_left(label: str | None) -> None:
    with pytest.raises(Mismatch, match=r"machines that came with it and that nobody needs: 10 \(label"):
        came(row(NEW), row(10, label))


def test_a_loser_that_is_in_no_listing() -> None:
    class Hiding(Market):
        def instance(self, number: int) -> MarketInstance | None:
            return row(number)

    market: Any = Hiding(row(NEW))
    with pytest.raises(Mismatch, match="Machine 9 lost the race of failover abc, and is still rented"):
        check_only_one_came(followed(Product()), rented(NEW), market, set(), lambda _: False)


def test_a_loser_that_is_still_billed() -> None:
    with pytest.raises(Mismatch, match="Machine 9 lost the race of failover abc, and its bill still grows"):
        came(row(NEW), bills={9: [Charge(EPOCH, None, 1, 0, 0.3, "gpu")]})


def test_a_new_machine_that_is_none() -> None:
    with pytest.raises(Mismatch, match="the market has no such machine"):
        came()
    with pytest.raises(Mismatch, match="had it before the failover began"):
        came(row(NEW, started=EPOCH - 60))


def bill(*charges: Charge) -> int:
    market: Any = Market(row(NEW), bills={NEW: list(charges)})
    return check_bill(followed(Product()), rented(NEW), market, timeout=0)


def test_the_bill_of_the_new_machine() -> None:
    good = Charge(EPOCH + 5, None, 1, 0.0001, 0.3, "gpu")
    disk = replace(good, rate=0.06, kind="disk")
    assert bill(good, disk) == 2
    with pytest.raises(Mismatch, match=r"rented at \$0\.3600/h, but its bill grows by \$0\.3000/h"):
        bill(good)
    with pytest.raises(Mismatch, match="begins before the failover did"):
        bill(good, replace(disk, start=EPOCH - 60))
    with pytest.raises(Timeout, match="a bill of machine 8"):
        bill()


def test_no_more_may_be_lost_than_is_told() -> None:
    failover = followed(Product())
    check_loss(failover, Loss(2.4, 5, ("a",)))
    with pytest.raises(Mismatch, match=r"at most 0\.50 s of work were lost, but by our clock it were 2\.60 s"):
        check_loss(failover, Loss(2.6, 5, ("a",)))
    with pytest.raises(Mismatch, match="A migration loses nothing"):
        check_loss(replace(failover, kind="migration"), Loss(0.1, 5, ("a",)))


def writing(heard: int, proven: int, every: float = 0.1) -> Ticks:
    """Files that were written from a second before the beginning on."""
    ticks = Ticks(LocalMachine(), "/workspace", "0123456789abcdef", proven=proven)
    ticks.heard = [(number, 99.0 + every * number) for number in range(1, heard + 1)]
    return ticks


def test_what_was_on_the_standby_may_not_be_lost() -> None:
    lossy = followed(Product())
    lossy.ticks = writing(12, proven=3)
    check_loss(lossy, Loss(0.9, 3, ("a",)))
    words = (
        r"^ticks-01234567/000003\.txt was on the standby before machine 7 \(.*\) was lost, and did not come back with "
        r"failover abc: 1 file lost of 3: a\.$"
    )
    for source in (None, "cpu_standby"):
        with pytest.raises(Mismatch, match=words):
            check_loss(claiming(lossy, rpo_seconds=0.0, data_source=source), Loss(1.0, 2, ("a",)))
        with pytest.raises(Mismatch, match=words):
            check_loss(claiming(lossy, rpo_seconds=None, data_source=source), Loss(300.0, 2, ("a",)))
    check_loss(claiming(lossy, data_source="warm_pool"), Loss(1.0, 2, ("a",)))


def test_nothing_lost_is_only_said_of_what_was_written_until_the_end() -> None:
    quiet = followed(Product())
    quiet.ticks = writing(5, proven=0)
    check_loss(quiet, Loss(0.0, 5, ()))
    quiet.begun_at += 300
    with pytest.raises(
        Unknown, match=r"^UNKNOWN: The writing into ticks-01234567 ended 300\.5 s before the machine was"
    ):
        check_loss(quiet, Loss(0.0, 5, ()))


def reported(*rows: dict[str, Any], **fields: Any) -> FailoverReport:
    """The report of two failovers that ended, of which one failed, and of the one that is proven."""
    failed = event(5, failover_id="bad", phase="failed", error="No host is left.")
    shown = rows or (event(), event(failover_id="good"), failed)
    return failover_report({"total_failovers": 3, "active_failovers": 0, "success_rate": 66.67, **fields}, shown)


def test_the_report_of_failovers_tells_what_was_followed() -> None:
    followed_one = claiming(followed(Product()))
    assert check_report(followed_one, reported()) == 3
    bare = {"failover_id": "abc", "gpu_instance_id": OLD, "phase": "complete", "success": True}
    assert check_report(followed_one, reported(bare)) == 1  # what is not told cannot be wrong
    assert check_report(followed_one, reported(event(failover_id="good"), total_failovers=11)) == 0


@pytest.mark.parametrize(
    ("flattered", "words"),
    [
        ({"total_time_ms": 80.0}, r"tells the seconds of failover abc as 0\.08; it was 8\.0\.$"),
        ({"success": False}, r"tells the success of failover abc as False; it was True\.$"),
        ({"new_instance_id": 10}, r"tells the new machine of failover abc as 10; it was 8\.$"),
        ({"rpo_seconds": 0.0}, r"tells the seconds of lost work of failover abc as 0\.0; it was 0\.5\.$"),
        (
            {"phase_timings_ms": {"restoring": 30.0}},
            r"tells the seconds of restoring of failover abc as 0\.03; it was 3\.0\.$",
        ),
        (
            {"phases": entered(PHASES[1:])},
            r"tells the phases of failover abc as gpu_lost, .*; it was detecting, gpu_lost,",
        ),
    ],
)
def test_a_report_that_tells_something_else(flattered: dict[str, Any], words: str) -> None:
    with pytest.raises(Mismatch, match=f"^Dumont Cloud's report of failovers {words}"):
        check_report(claiming(followed(Product())), reported(event(**flattered)))


def test_a_report_that_keeps_quiet() -> None:
    with pytest.raises(Mismatch, match="report of failovers does not have failover abc, which we have followed to its"):
        check_report(claiming(followed(Product())), reported(event(failover_id="good"), total_failovers=1))


def test_a_rate_that_its_own_rows_do_not_give() -> None:
    words = r"^Dumont Cloud's report of failovers tells that 100 % of 3 succeeded; but in its own rows 1 failed\.$"
    with pytest.raises(Mismatch, match=words):
        check_report(claiming(followed(Product())), reported(success_rate=100.0))


def test_machines_and_phases_are_dated_by_the_markets_clock() -> None:
    failover = Failover(rented(OLD), Identity(OLD, "key", "boot"), expected())
    failover.begin(clock_of("the market", 7200))
    assert failover.begun_epoch - time.time() == pytest.approx(7200, abs=5)
    failover.begin()
    assert failover.begun_epoch == pytest.approx(time.time(), abs=5)
