"""What a run pays for: watched while it goes on, and settled at its end."""

from __future__ import annotations

from collections.abc import Sequence

from robot import result, running
from robot.api import logger
from robot.libraries.BuiltIn import BuiltIn

from library_parts.console import tell
from library_parts.results import BILL, bill_of_run, publish
from rekindle import storage_cost, target
from rekindle.errors import Mismatch
from rekindle.market import MarketClient
from rekindle.money import dollars
from rekindle.rented import STOPPED
from rekindle.target import Target
from rekindle.waiting import wait_until

GONE_WITHIN = 30.0
CLOSE = "Close Target"


class Spending:
    """The listener that keeps an eye on the money: an alarm at half of the budget, an orderly end when it is overdrawn,
    and a bill that is settled whichever part of the suites is run.

    The end comes between two tests: the one that runs is left to its teardown, the next ones fail before they begin.
    How long a machine lives in between is limited by the minutes that were reserved for it.
    """

    ROBOT_LISTENER_API_VERSION = 3

    def start_suite(self, data: running.TestSuite, result: result.TestSuite) -> None:
        """Has the outermost suite end with `Close Target`: a single file or folder does not bring that with it.

        A teardown, and no other event: only its failure makes the tests red in every output of Robot.
        """
        outermost = data
        while outermost.parent:
            outermost = outermost.parent
        if not outermost.has_teardown:
            steps: list[str] = []
        elif _closes(own := [outermost.teardown.name, *outermost.teardown.args]):
            return
        else:
            steps = [*own, "AND"]
        if outermost is not data:  # it need not know this library
            steps += ["Import Library", "ProvisioningLibrary", "AND"]
        first, *others = ["Run Keywords", *steps, CLOSE] if steps else [CLOSE]
        outermost.teardown.config(name=first, args=others)

    def end_keyword(self, data: running.Keyword, result: result.Keyword) -> None:
        """Raises the alarm, once."""
        opened = target.opened()
        if opened and (alarm := opened.budget.alarm(opened.growing_usd())):
            logger.warn(alarm)

    def start_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """Lets no test begin when the budget is overdrawn."""
        opened = target.opened()
        if opened and (overdrawn := opened.budget.overdrawn(opened.growing_usd())):
            data.setup = None
            data.body.clear()
            data.body.create_keyword(name="Fail", args=[overdrawn])


def _closes(teardown: Sequence[object]) -> bool:
    """Whether `Close Target` is one of a teardown's words, with the library's name before it or not."""
    return any(str(word).replace("_", " ").lower().endswith(CLOSE.lower()) for word in teardown)


def settle(opened: Target) -> list[str]:
    """Puts the bill beside what was measured: on the console, in log.html, and in `bill_<epoch>.json`.

    Returns:
        Sentences on what is wrong: the bill is off, or the budget overdrawn.
    """
    if not opened.ledger.rents(opened.run_id):
        return []
    bill = opened.bill()
    logger.info(bill.html(), html=True)
    for line in (bill.line(), bill.explanation(), storage_cost.line(bill.storage)):
        if line:
            tell(line)
    path = publish(bill.write)
    BuiltIn().set_suite_metadata(BILL, bill_of_run(bill.line().removeprefix("Bill: ")), top=True)
    if path:
        tell(f"Report: {path.name}")
    troubles = []
    if overdrawn := opened.budget.overdrawn(opened.growing_usd(), bill.billed_usd):
        troubles.append(overdrawn)
    try:
        bill.raise_unless_agreed()
    except Mismatch as mismatch:
        troubles.append(str(mismatch))
    return troubles


def _destroy(market: MarketClient, instance_id: int) -> None:
    market.destroy(instance_id)
    wait_until(
        f"machine {instance_id} to be gone",
        lambda: market.instance(instance_id) is None,
        bool,
        timeout=GONE_WITHIN,
    )


def end_stopped(opened: Target) -> list[str]:
    """Destroys machines of this run that are stopped, and that nobody knows of any more.

    Returns:
        A sentence on each machine that was found stopped, known or not: its disk was paid for. Those that a test itself
        has taken away are no surprise.
    """
    if opened.market is None:
        return []
    found = []
    for row in opened.market.instances():
        if row.actual_status not in STOPPED or not (row.label or "").startswith(opened.label_prefix):
            continue
        machine = opened.machines.get(row.id)
        if machine and machine.interrupted:
            continue
        hourly = sum(charge.rate for charge in opened.market.charges(row.id) if charge.end is None)
        told = f"Machine {row.id} (label {row.label}) was {row.actual_status}, but still rented: {dollars(hourly, 4)}/h"
        if machine is None or machine.gone:
            _destroy(opened.market, row.id)
        found.append(f"{told} for its disk. It is destroyed now.")
    return found
