"""Tables of a test's machines and checks for log.html."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rekindle.money import amount
from rekindle.report import Check, FailedCheck, MachineCost, counts, summed_up
from rekindle.tables import table


def machines_table(machines: Iterable[MachineCost], now: float) -> str:
    """What each machine of a test was and cost; `now` (monotonic) counts for those that are not gone."""
    return table(
        ("machine", "GPU", "USD/h", "seconds", "USD", "on the bill"),
        (
            (
                machine.instance_id,
                machine.gpu_name,
                amount(machine.hourly_usd, 4),
                f"{machine.lived(now):.1f}",
                amount(machine.usd(now), 6),
                "not known" if machine.bill_usd is None else amount(machine.bill_usd, 6),
            )
            for machine in machines
        ),
    )


def checks_table(checks: Iterable[Check], failed: Sequence[FailedCheck] = ()) -> str:
    """Return what was checked, how much of it and by which witness; failed checks first, in red, with their values."""
    if not failed:
        return table(
            ("what was checked", "how many", "witness"),
            ((check.what, counts(check.counted), check.witness) for check in summed_up(checks)),
        )
    return table(
        ("what was checked", "how many", "witness", "expected", "actual"),
        (
            *((f"✗ {check.what}", "failed", check.witness, check.expected, check.actual) for check in failed),
            *((check.what, counts(check.counted), check.witness, "", "") for check in summed_up(checks)),
        ),
        red_rows=len(failed),
    )
