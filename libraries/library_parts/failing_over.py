"""What the failover keywords do on the opened target; told on the console and in the report of the test."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Literal

from robot.api import logger

from library_parts.console import tell
from library_parts.standing_by import OWN_EYES, should_follow, standby_of
from library_parts.telling import tell_proof
from rekindle import report, target
from rekindle.cost import Cost, Life
from rekindle.errors import Misconfigured, Mismatch, RekindleError, Unknown, Weather
from rekindle.failover import (
    Failover,
    Identity,
    Kind,
    check_another_machine,
    check_arrival,
    check_bill,
    check_loss,
    check_only_one_came,
    check_phases,
    check_report,
    check_work_went_on,
    find,
    of_machine,
    patient,
)
from rekindle.failover import follow as follow_phases
from rekindle.failover_views import Progression
from rekindle.manifest import Manifest, compare, take_manifest
from rekindle.rented import RentedMachine
from rekindle.renting import Expected
from rekindle.tables import table
from rekindle.ticks import Ticks, without
from rekindle.wording import counted

# A replacement may cost so many times the old price: the product's own limit.
DEARER = 2.0
READY_TIMEOUT = 300.0
Way = Literal["preempt", "destroy"]
NEVER_MIRRORED = "names that no standby mirrors (.git, .venv, *.log and the like): the workspace of this test has none"

_writing: dict[int, Ticks] = {}
_prepared: dict[int, Expected] = {}


def keep_writing(machine: RentedMachine, root: str, timeout: float) -> None:
    """Begins to write ticks on a machine; returns when the first one is on its standby, when it has one."""
    ticks = _writing[machine.id] = Ticks(machine.machine, root, secrets.token_hex(8))
    ticks.start()
    ticks.wait_until_heard()
    tell(f"Writing: a small file every moment into {root}/{ticks.folder}, until the machine is lost")
    if standby := standby_of(machine):
        waited = ticks.wait_until_on(standby.cpu, timeout)
        report.current().metrics["first_write_on_standby_sec"] = round(waited.seconds, 3)
        tell(f"Writing: the first one was on the standby after {waited.seconds:.2f} s")


def prepare(machine: RentedMachine) -> None:
    """Writes down that a replacement may be rented from now on, before the machine is lost."""
    if machine.id not in _prepared:
        _prepared[machine.id] = _expect(machine, DEARER * machine.hourly_usd)


def unprepared(machine: RentedMachine, error: RekindleError) -> RekindleError:
    """Closes the books again: the product has refused. Returns the error that tells everything."""
    expected = _prepared.pop(machine.id, None)
    return target.current().renter.did_not_arrive(expected, error) if expected else error


def expect(machine: RentedMachine, kind: Kind = "failover", max_price: float | None = None) -> Failover:
    """Writes everything down that is needed to prove a failover afterwards, and makes its replacement known.

    Args:
        machine: that will be replaced.
        kind: how.
        max_price: the dearest replacement, USD/h; the product's own limit when None.
    """
    was = Identity.of(machine)
    machine.seen_alive()
    expected = _prepared.pop(machine.id, None) or _expect(machine, max_price or DEARER * machine.hourly_usd)
    ticks, standby = _writing.pop(machine.id, None), standby_of(machine)
    if ticks and standby:
        with suppress(RekindleError):  # a standby that does not answer holds what was seen on it before
            ticks.look_on(standby.cpu)
    failover = Failover(machine, was, expected, kind, standby=standby, ticks=ticks)
    report.current().sections.append(failover)
    return failover


def remember_earlier(failover: Failover) -> None:
    """Notes the failovers that there were before: by that a new one is known, whatever time the product tells."""
    failover.earlier = of_machine(failover.old.id, target.current().dumont)


def way_to_kill(way: Way | None) -> Way:
    """How a machine is taken away from outside the product, when nothing else is said: as far as the target allows.

    Raises:
        Misconfigured: it cannot be done on this target.
    """
    opened = target.current()
    way = way or ("preempt" if opened.choice.kind == "sandbox" else "destroy")
    if way == "destroy" and opened.market is None:
        raise Misconfigured("Without VAST_API_KEY no machine can be destroyed at the market, past the product.")
    return way


def kill(failover: Failover, way: Way) -> None:
    """Takes the machine away; from here on the time counts."""
    opened = target.current()
    remember_earlier(failover)
    failover.old.was_interrupted()
    failover.begin(opened.market_clock)
    if way == "preempt":
        opened.embedded.preempt(failover.old.id)
    elif opened.market:
        opened.market.destroy(failover.old.id)
    tell(f"Killed: {failover.old}, {'preempted' if way == 'preempt' else 'destroyed'} at the market")


def _expect(machine: RentedMachine, max_price: float) -> Expected:
    what = f"a machine to replace {machine.id}"
    return target.current().renter.expect(machine.label, what=what, max_price=max_price)


def follow(failover: Failover, timeout: float, came: Callable[[str], None]) -> RentedMachine:
    """Follows a failover to its end, and takes the new machine over."""
    opened = target.current()
    try:
        if failover.id is None:
            failover.id = find(failover, opened.dumont, timeout)
        number = failover.id
        ask = opened.dumont.failover if failover.kind == "failover" else opened.dumont.migration
        _follow_phases(failover, patient(lambda: ask(number)), came, timeout)
        new_id = check_arrival(failover, opened.renter.everything())
    except RekindleError as error:
        raise opened.renter.did_not_arrive(failover.expected, _or_weather(failover, error)) from None
    finally:
        if failover.ticks:
            failover.ticks.stop()
    new = opened.renter.arrived(failover.expected, new_id, READY_TIMEOUT)
    opened.machines[new.id] = failover.new = new
    # What was kept beside the old machine is the new one's now.
    new.beside, failover.old.beside = failover.old.beside, []
    claim = failover.claim
    assert claim  # noqa: S101 - it has arrived
    lost = Cost(failover.expected.hourly_usd, Life(0.0, time.monotonic() - failover.expected.asked_at))
    opened.books.race_lost(claim.losers, lost)
    opened.budget.book(len(claim.losers) * lost.usd)
    current = report.current()
    current.resources |= {f"{failover.kind}_id": failover.id, "new_instance_id": str(new.id)}
    current.claims |= {f"{failover.kind}_total_sec": claim.total_seconds, "data_source": claim.data_source}
    return new


def _follow_phases(
    failover: Failover, look: Callable[[], Progression], came: Callable[[str], None], timeout: float
) -> None:
    """Looks in a thread of its own, so that what is done here with each phase does not hold up our clock."""
    done: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
    called_off = threading.Event()

    def look_on() -> Progression:
        if called_off.is_set():
            raise Unknown(f"Nobody wants to know any more how {failover.kind} {failover.number} goes on.")
        return look()

    def follow_it() -> None:
        try:
            follow_phases(
                failover,
                look_on,
                lambda line: done.put(partial(tell, line)),
                lambda phase: done.put(partial(came, phase)) if phase in failover.phases else None,
                timeout,
            )
        finally:
            done.put(None)

    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(follow_it)
        try:
            while (act := done.get()) is not None:
                act()
        finally:
            called_off.set()
        followed.result()


def _or_weather(failover: Failover, error: RekindleError) -> RekindleError:
    """That nothing is offered is not the product's fault, when we see it too."""
    searched = failover.claim is not None and failover.claim.failed_phase == "searching_gpu"
    wish = failover.expected.wish
    if not searched or target.current().dumont.offers(max_price=wish.price):
        return error
    if hidden := target.current().renter.hidden_offers(wish.price, wish.disk_gb):
        return Mismatch(f"{error} No offer is shown in Dumont Cloud, {hidden}")
    return Weather(str(error))


def prove(failover: Failover, manifest: Manifest, timeout: float) -> None:
    """Proves all of it; the cheapest and most telling first."""
    opened, current = target.current(), report.current()
    new = failover.new
    if new is None:
        raise Unknown("Nothing has failed over yet: [Follow Failover] comes first.")
    current.add_check("phases in order, adding up to our clock", "our own clock", phases=check_phases(failover))
    check_another_machine(failover, new)
    current.add_check("another machine took over", "contract, host key, boot id", machines=2)
    # That the old machine is gone is seen by two looks, a second of the bill apart: the rest is looked at meanwhile.
    with ThreadPoolExecutor(1) as beside:
        gone = beside.submit(opened.destroyer.prove_gone, failover.old, patience=timeout)
        _compare(failover, new, manifest)
        _measure_loss(failover, new)
        if failover.standby:
            synced = should_follow(failover.standby, new, manifest.root, timeout)
            tell(f"Standby: follows machine {new.id}; a new nonce was on it after {synced.seconds:.2f} s")
            current.metrics["standby_follows_sec"] = round(synced.seconds, 3)
            current.add_check("standby follows the new machine", OWN_EYES, looks=synced.looks)
        tell_proof(failover.old, gone.result())
    _ask_market(failover, new)
    if failover.kind == "failover":
        _look_at_the_report(failover)


def _look_at_the_report(failover: Failover) -> None:
    rows = check_report(failover, target.current().dumont.failover_report())
    if rows:
        report.current().add_check("the report of failovers tells what we followed", "our own clock", failovers=rows)
    else:
        missing = f"report of failovers: {failover.number} is not among the newest, which it tells one by one"
        report.current().not_witnessed.append(missing)


def _compare(failover: Failover, new: RentedMachine, manifest: Manifest) -> None:
    actual = take_manifest(new.machine, manifest.root)
    if failover.ticks:
        actual = without(actual, failover.ticks.folder)
    comparison = compare(manifest, actual)
    heading, *rows = comparison.table()
    logger.info(table([str(cell) for cell in heading], rows), html=True)
    comparison.raise_unless_equal(f"Workspace after the {failover.kind}")
    files, size = comparison.checked_files, comparison.checked_bytes
    tell(f"Compared: {counted(files, 'file')}, {counted(size, 'byte')}: all equal")
    current = report.current()
    current.validation["files_validated"] = files
    current.add_check("workspace equals manifest", "SSH to the machine", files=files, bytes=size)
    current.not_witnessed += comparison.not_witnessed
    if failover.claim and failover.claim.data_source == "cpu_standby":
        current.not_witnessed.append(NEVER_MIRRORED)


def _measure_loss(failover: Failover, new: RentedMachine) -> None:
    if failover.ticks is None:
        return
    loss = failover.loss = failover.ticks.loss(new.machine, failover.begun_at)
    check_loss(failover, loss)
    tell(f"RPO: {loss.seconds:.2f} s ({loss})")
    if loss.lost and failover.claim and failover.claim.rpo_seconds is None:
        report.current().not_witnessed.append("RPO: Dumont Cloud does not tell how much work may be lost")
    if failover.kind == "migration":
        still = failover.stood_still = check_work_went_on(failover)
        tell(f"Work: went on until the last of it was copied; nothing was written for {still:.2f} s")
        report.current().claims["halted_sec"] = failover.claim.quiet_seconds if failover.claim else None
        report.current().add_check(
            "the work goes on while it is copied", "our own clock", files=len(failover.ticks.heard)
        )
    ticks = loss.survived + len(loss.lost)
    what = "only the last writes are lost" if failover.kind == "failover" else "no write is lost"
    report.current().add_check(what, "SSH to the machine", files=ticks, lost=len(loss.lost))


def _ask_market(failover: Failover, new: RentedMachine) -> None:
    opened, current = target.current(), report.current()
    if opened.market is None:
        current.not_witnessed.append("market: losers of the race and the new bill were not looked at")
        return
    ours = {id_ for id_, machine in opened.machines.items() if not machine.gone}
    # A machine that is kept warm for the new one comes with it, and ends with it: one, where this run has asked for it.
    if any(held.warm for held in new.beside):
        ours |= set([row.id for row in opened.dumont.instances() if row.warm_for == new.id][:1])
    asked = check_only_one_came(failover, new, opened.market, ours, opened.ledger.is_in_use)
    current.add_check("nothing else came with the new machine", "market", machines=asked)
    rows = check_bill(failover, new, opened.market)
    current.add_check("the new machine is billed at its price", "market", bill_rows=rows)
