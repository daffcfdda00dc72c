"""What several libraries say of machines and standbys: on the console, in log.html and in the report of the test."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta

from robot.api import logger

from library_parts.console import tell
from rekindle import report
from rekindle.cost import by_kind
from rekindle.destruction import Gone, Proof
from rekindle.money import dollars
from rekindle.rented import RentedMachine
from rekindle.standby import Standby
from rekindle.tables import table

GONE_TIMEOUT = timedelta(seconds=30)


def tell_proof(machine: RentedMachine, proof: Proof) -> None:
    """Prints by whom it is witnessed that a machine is gone, and notes it with its cost in the report."""
    bill = "bill not witnessed" if proof.bill_usd is None else f"bill closed at {dollars(proof.bill_usd, 6)}"
    tell(f"Gone: {machine}, by {len(proof.asked)} observations, {bill}")
    _note_gone(f"machine {machine.id}", proof)
    current = report.current()
    current.machine_gone(machine.id, machine.gpu_name, proof.cost, proof.bill_usd, by_kind(proof.bill or ()))
    if proof.bill is not None:
        agreed = proof.reconciled()
        current.add_check("bill agrees with the measured life", "market", bill_rows=agreed.rows)


def tell_standby_proof(standby: Standby, proof: Gone) -> None:
    """Prints by whom it is witnessed that a standby is gone, and notes it in the report."""
    tell(f"Gone: {standby}, by {len(proof.asked)} observations, after {proof.seconds:.1f} s")
    _note_gone(f"standby {standby.name}", proof)
    report.current().standby_gone(standby.name, standby.cost(time.monotonic()))


def _note_gone(what: str, proof: Gone) -> None:
    seen = [(w.name, w.checked, w.seen if w.witnessed else f"not witnessed: {w.seen}") for w in proof.witnesses]
    logger.info(table(("witness", "asked", "seen"), seen), html=True)
    names = ", ".join(dict.fromkeys(witness.name for witness in proof.asked))
    current = report.current()
    current.add_check(f"{what} is gone", names, observations=len(proof.asked))
    current.not_witnessed += proof.not_witnessed


def tell_rented(machine: RentedMachine) -> None:
    """Prints what was rented, and notes it in the report."""
    tell(f"GPU: {machine.gpu_name}")
    tell(f"Price: {dollars(machine.hourly_usd, 4)}/h")
    tell(f"Instance ID: {machine.id}")
    tell(f"SSH: {machine.machine.host}:{machine.machine.port}")
    report.current().resources["instance_id"] = str(machine.id)
    report.current().machine_rented(machine.id, machine.gpu_name, machine.hourly_usd, machine.asked_at)
    tell_unclaimed(machine.unclaimed, f"{machine} was rented")


def tell_unclaimed(ids: Iterable[int], meanwhile: str) -> None:
    """Warns of machines that came while something was done and carry no label, and notes them in the report."""
    for id_ in ids:
        logger.warn(
            f"Machine {id_} came while {meanwhile}, and has no label. If it is nobody's, it costs money for nothing: "
            f"`vastai destroy instance {id_}`."
        )
        report.current().not_witnessed.append(f"market: whose machine {id_} is, which came while {meanwhile}")
