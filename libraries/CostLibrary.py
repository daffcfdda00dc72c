"""Says what tests are going to cost before they rent anything, and stops what nobody agreed to."""

from __future__ import annotations

import re

from robot import result, running
from robot.api.deco import keyword, library
from robot.libraries.BuiltIn import BuiltIn

from library_parts.console import tell
from rekindle import target
from rekindle.errors import Misconfigured
from rekindle.expected_cost import ExpectedCost, Plan, sum_of
from rekindle.wording import counted

RENTS = re.compile(r"(?P<machines>\d+) machines? for (?P<minutes>\d+(\.\d+)?) minutes?")


@library(scope="GLOBAL", doc_format="MARKDOWN", listener="SELF")
class CostLibrary:
    """Says what tests are going to cost before they rent anything, and stops what nobody agreed to.

    A test says in its metadata how many machines it rents, and for about how many minutes each.

    ```robotframework
    *** Test Cases ***
    Machine Fails Over Again And Again
        [Metadata]    Rents    ${{int($CYCLES) + 1}} machines for 10 minutes
        ${machine} =    Rent Machine    max_price=0.5
    ```
    """

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self) -> None:
        self._suites: list[running.TestSuite] = []
        self._agreed: set[str] = set()

    def start_suite(self, data: running.TestSuite, result: result.TestSuite) -> None:
        """Remembers which tests are about to run."""
        self._suites.append(data)

    def end_suite(self, data: running.TestSuite, result: result.TestSuite) -> None:
        """Forgets them."""
        self._suites.pop()

    @keyword
    def cost_should_be_agreed(self, real: bool, max_price: float, disk_gb: float, most_minutes: float) -> None:
        """Prints what the tests of this suite are expected to cost and what they can cost at most.

        On the embedded cloud everything is free. On a live target nothing goes on unless `real` is true and the budget
        is enough for the most that the tests can cost. Tests that were agreed to by a suite further up are not asked
        for again.

        Args:
            real: whether the user has said that real money may be spent.
            max_price: the dearest machine that may be rented, USD/h.
            disk_gb: the disk of each machine, GB.
            most_minutes: how long one machine can live at most.

        Raises:
            AssertionError: it is not agreed to, or too dear; or a test does not say what it rents.
        """
        tests = [test for test in self._suites[-1].all_tests if test.full_name not in self._agreed]
        if not tests:
            return
        plan = sum_of([_plan(test) for test in tests])
        opened = target.current()
        if opened.choice.kind == "sandbox":
            tell(f"Expected cost: free, on the embedded cloud ({counted(plan.machines, 'machine')})")
        else:
            cheapest = opened.renter.offers(max_price=max_price, disk_gb=disk_gb)[0]
            expected = ExpectedCost(
                machines=plan.machines,
                machine_minutes=plan.minutes,
                gpu_name=cheapest.gpu_name,
                price=cheapest.dph_total,
                max_price=max_price,
                most_minutes=most_minutes,
                disk_gb=disk_gb,
            )
            for line in expected.lines():
                tell(line)
            expected.raise_unless_agreed(real=real, left_usd=opened.budget.left_usd)
        self._agreed.update(test.full_name for test in tests)


def _plan(test: running.TestCase) -> Plan:
    rents = str(BuiltIn().replace_variables(test.metadata.get("Rents", "")))
    found = RENTS.fullmatch(rents)
    if not found:
        raise Misconfigured(
            f"Test {test.name!r} must say how many machines it rents, and for about how many minutes each, before "
            f"anything is started: [Metadata]    Rents    2 machines for 10 minutes. It says {rents!r}."
        )
    return Plan(int(found["machines"]), float(found["minutes"]))
