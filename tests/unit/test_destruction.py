"""A destroyed machine is proven gone by every witness; one that lives is named by them, and really destroyed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rekindle.budget import Budget
from rekindle.destruction import Destroyer
from rekindle.errors import Mismatch, Unknown
from rekindle.ledger import Ledger, State
from rekindle.market import Charge
from rekindle.rented import RentedMachine
from rekindle.ssh import HostKeyChanged
from tests.unit.fake_cloud import FIRST_ID, PRICE, FakeCloud, FakeMachine, growing

LABEL = "rekindle-run-1"
MACHINE = f"machine {FIRST_ID} (RTX A4000, label {LABEL})"


class House:
    """A cloud, the run's books, and one rented machine that has lived for ten seconds."""

    def __init__(self, folder: Path, *, market: bool = True) -> None:
        self.cloud = FakeCloud()
        self.ledger = Ledger(folder / "ledger.db")
        self.budget = Budget(1.0)
        self.destroyer = Destroyer(
            self.cloud.dumont, self.cloud.market if market else None, self.ledger, self.budget, clock=self.cloud.clock
        )
        self.rented = self.rent()
        self.cloud.now += 10

    def rent(self, label: str = LABEL) -> RentedMachine:
        intent = self.ledger.intend("run", label, 1000012, PRICE, 30)
        number = self.cloud.rent(label)
        self.ledger.created(intent, number)
        return RentedMachine(
            number,
            label,
            "RTX A4000",
            PRICE,
            self.cloud.now,
            intent,
            self.budget.reserve("it", PRICE, 30),
            provision_seconds=0.5,
            ssh=FakeMachine(self.cloud, "127.0.0.1", 41000 + number % 1000, "it"),
        )

    def state(self) -> State:
        return self.ledger.rent(self.rented.intent).state


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def failure(house: House) -> str:
    with pytest.raises(Mismatch) as told:
        house.destroyer.destroy_and_prove(house.rented)
    return str(told.value)


def test_an_honest_destruction_is_proven_by_every_witness(house: House) -> None:
    proof = house.destroyer.destroy_and_prove(house.rented)
    assert [(witness.name, witness.checked, witness.seen) for witness in proof.witnesses] == [
        ("Dumont Cloud", "by id and in full listings", "no trace in 2 looks"),
        ("market", "by id and in full listings", "no trace in 2 looks"),
        ("machine", "SSH on 127.0.0.1:41001", "no trace in 2 looks"),
        ("bill", "rows that grow", "no trace in 2 looks"),
        ("bill", "the sum, twice", "$0.001000 both times, 1 rows, all ended"),
    ]
    assert proof.instance_id == FIRST_ID
    assert (proof.gone_after, proof.seconds, proof.bill_usd) == pytest.approx((0, 1.1, 0.001))
    assert proof.not_witnessed == []
    assert house.rented.gone
    assert house.state() is State.DESTROYED
    assert "no trace in 2 looks" in (house.ledger.rent(house.rented.intent).proof or "")


@pytest.mark.parametrize(("status", "surely"), [("running", 9.5), ("exited", 0)])
def test_a_machine_that_was_stopped_meanwhile_need_not_cost_what_it_lived(
    house: House, status: str, surely: float
) -> None:
    house.cloud.contracts[FIRST_ID].status = status
    assert house.destroyer.destroy_and_prove(house.rented).cost.life.at_least == surely


def test_the_budget_is_settled_with_the_measured_life(house: House) -> None:
    proof = house.destroyer.destroy_and_prove(house.rented)
    assert (proof.cost.life.at_least, proof.cost.life.at_most) == (9.5, 10)
    assert (house.budget.reserved_usd, house.budget.spent_usd) == pytest.approx((0, 0.001))
    assert proof.reconciled().bill_usd == pytest.approx(0.001)


def test_traffic_is_spent_money_too(house: House) -> None:
    house.cloud.market.on_charges = lambda charges: [*charges, Charge(0.0, 1.0, 5.0, 0.05, 0.01, "upload")]
    proof = house.destroyer.destroy_and_prove(house.rented)
    assert house.budget.spent_usd == pytest.approx(0.051)
    assert proof.reconciled().bill_usd == pytest.approx(0.001), "time alone is compared"


def test_a_machine_may_take_a_while_to_vanish(house: House) -> None:
    asked_at = house.cloud.now

    def slowly(number: int) -> bool:
        def end_later(now: float) -> None:
            if now >= asked_at + 5:
                house.cloud.end(number)

        house.cloud.meanwhile = end_later
        return True

    house.cloud.dumont.on_destroy = slowly
    proof = house.destroyer.destroy_and_prove(house.rented)
    assert 5 <= proof.gone_after < 5.2


def test_destroy_says_yes_and_it_lives(house: House) -> None:
    house.cloud.dumont.on_destroy = lambda _: True
    assert failure(house) == (
        f"Dumont Cloud answered that {MACHINE} was destroyed, but Dumont Cloud still lists it as running, the "
        "marketplace still lists it as running, SSH on 127.0.0.1:41001 still answers, and it still bills $0.36/h. "
        "Rekindle has destroyed it at the market itself; it was gone after 0.0 s."
    )
    assert house.cloud.calls == [f"dumont destroy {FIRST_ID}", f"market destroy {FIRST_ID}"]
    assert house.cloud.living() == []
    assert house.state() is State.DESTROYED
    assert house.rented.gone


def test_the_table_of_checks_shows_which_witness_still_sees_a_machine(house: House) -> None:
    house.cloud.dumont.on_destroy = lambda _: True
    with pytest.raises(Mismatch) as mismatch:
        house.destroyer.destroy_and_prove(house.rented)
    assert mismatch.value.expected == "no witness sees it, and its bill has ended"
    assert mismatch.value.actual == (
        "Dumont Cloud still lists it as running, the marketplace still lists it as running, SSH on 127.0.0.1:41001 "
        "still answers, and it still bills $0.36/h"
    )


def test_destroy_says_yes_and_hides_it(house: House) -> None:
    def hide(number: int) -> bool:
        house.cloud.dumont.hidden.add(number)
        return True

    house.cloud.dumont.on_destroy = hide
    assert failure(house).startswith(
        f"Dumont Cloud answered that {MACHINE} was destroyed, but the marketplace still lists it as running, SSH on "
        "127.0.0.1:41001 still answers, and it still bills $0.36/h. Rekindle has destroyed it"
    )


def test_the_patience_can_be_set_for_one_machine(house: House) -> None:
    house.cloud.dumont.on_destroy = lambda _: True
    start = house.cloud.now
    with pytest.raises(Mismatch, match="was destroyed, but Dumont Cloud still lists it"):
        house.destroyer.destroy_and_prove(house.rented, patience=3)
    assert house.cloud.now - start == pytest.approx(3)


def test_destroy_only_stops_it(house: House) -> None:
    def stop(number: int) -> bool:
        house.cloud.contracts[number].status = "exited"
        house.cloud.contracts[number].answers = False
        return True

    house.cloud.dumont.on_destroy = stop
    assert (
        "but Dumont Cloud still lists it as exited, the marketplace still lists it as exited, and it still bills"
        in (failure(house))
    )


def test_a_refusal_is_told_and_the_machine_destroyed_all_the_same(house: House) -> None:
    def refuse(_: int) -> bool:
        raise Mismatch("Dumont API refused DELETE with 500: no.")

    house.cloud.dumont.on_destroy = refuse
    told = failure(house)
    assert told.startswith(
        f"Dumont Cloud did not destroy {MACHINE} (Dumont API refused DELETE with 500: no), but Dumont"
    )
    assert told.endswith("Rekindle has destroyed it at the market itself; it was gone after 0.0 s.")


def test_a_refusal_for_a_machine_that_is_gone_is_no_defect(house: House) -> None:
    house.cloud.end(FIRST_ID)
    house.cloud.dumont.on_destroy = lambda _: False
    assert house.destroyer.destroy_and_prove(house.rented).gone_after == 0


def test_the_market_does_not_help_either(house: House) -> None:
    house.cloud.dumont.on_destroy = house.cloud.market.on_destroy = lambda _: True
    told = failure(house)
    assert f"Destroy it at the market: `vastai destroy instance {FIRST_ID}`. Rekindle did that, but 30 s later" in told
    assert told.endswith("and it still bills $0.36/h. Look yourself.")
    assert house.state() is State.CREATED
    assert not house.rented.gone
    assert house.budget.reserved_usd > 0


def test_the_market_fails_when_it_is_needed(house: House) -> None:
    def fail(_: int) -> bool:
        raise Unknown("503.")

    house.cloud.dumont.on_destroy, house.cloud.market.on_destroy = lambda _: True, fail
    assert failure(house).endswith(
        f"Destroy it at the market: `vastai destroy instance {FIRST_ID}`. Rekindle tried that and failed: UNKNOWN: 503."
    )
    assert house.state() is State.CREATED


def test_a_bill_that_has_not_ended_is_red_although_nobody_sees_the_machine(house: House) -> None:
    house.cloud.market.on_charges = growing
    assert f"Dumont Cloud answered that {MACHINE} was destroyed, but it still bills $0.36/h. Destroy it at" in (
        failure(house)
    )


def test_a_bill_that_grows_behind_ended_rows_is_red(house: House) -> None:
    reads: list[Charge] = []

    def dearer(charges: list[Charge]) -> list[Charge]:
        reads.extend(charges)
        return [replace(charge, usd=charge.usd + len(reads)) for charge in charges]

    house.cloud.market.on_charges = dearer
    told = failure(house)
    assert told.startswith(f"The market's bill of {MACHINE} grew from $2.001000 to $4.001000 within 1 s, although")


def test_no_bill_at_all_is_no_proof_that_it_stopped(house: House) -> None:
    house.cloud.market.on_charges = lambda _: []
    with pytest.raises(Unknown, match="The market shows no bill for machine"):
        house.destroyer.destroy_and_prove(house.rented)
    assert house.state() is State.CREATED


def test_a_machine_that_never_ran_may_have_cost_nothing(house: House) -> None:
    house.rented.provision_seconds = 0
    house.cloud.market.on_charges = lambda _: []
    assert house.destroyer.destroy_and_prove(house.rented).bill_usd == 0


def test_a_machine_that_comes_back_is_red(house: House) -> None:
    ended: list[float] = []

    def come_back(now: float) -> None:
        contract = house.cloud.contracts[FIRST_ID]
        if contract.ended and not ended:
            ended.append(contract.ended)
            contract.ended = None

    house.cloud.meanwhile = come_back
    assert "was destroyed, but Dumont Cloud still lists it as running, the marketplace" in failure(house)
    assert house.cloud.living() == []


def test_a_witness_that_fails_is_unknown_and_the_machine_stays_open(house: House) -> None:
    def fail(_: list[Charge]) -> list[Charge]:
        raise Unknown("a page could not be read.")

    house.cloud.market.on_charges = fail
    with pytest.raises(Unknown, match="UNKNOWN: a page could not be read"):
        house.destroyer.destroy_and_prove(house.rented)
    assert house.state() is State.CREATED


def test_another_machine_at_its_address_is_no_trace_of_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed() -> bool:
        raise HostKeyChanged("another machine")

    monkeypatch.setattr(house.rented.ssh, "answers", changed)
    assert house.destroyer.destroy_and_prove(house.rented)


def test_without_a_key_the_market_is_not_witnessed(tmp_path: Path) -> None:
    house = House(tmp_path, market=False)
    proof = house.destroyer.destroy_and_prove(house.rented)
    assert proof.not_witnessed == ["market: VAST_API_KEY is not given"]
    assert (proof.bill_usd, [witness.name for witness in proof.witnesses]) == (
        None,
        ["Dumont Cloud", "machine", "market"],
    )


def test_without_a_key_a_living_machine_is_left_to_the_user(tmp_path: Path) -> None:
    house = House(tmp_path, market=False)
    house.cloud.dumont.on_destroy = lambda _: True
    assert failure(house) == (
        f"Dumont Cloud answered that {MACHINE} was destroyed, but Dumont Cloud still lists it as running, and SSH on "
        f"127.0.0.1:41001 still answers. Destroy it at the market: `vastai destroy instance {FIRST_ID}`. (Rekindle has "
        "no VAST_API_KEY, so it could not do that itself.)"
    )
    assert house.state() is State.CREATED


def test_a_hibernated_machine_is_proven_gone_without_a_destroy(house: House) -> None:
    house.cloud.end(FIRST_ID)
    house.destroyer.prove_gone(house.rented)
    assert house.cloud.calls == []
    assert house.state() is State.DESTROYED


def test_a_hibernated_machine_that_lives_is_named_and_destroyed(house: House) -> None:
    with pytest.raises(Mismatch) as told:
        house.destroyer.prove_gone(house.rented)
    assert str(told.value).startswith(f"Dumont Cloud should have destroyed {MACHINE} by itself, but Dumont Cloud still")
    assert house.cloud.living() == []


def test_its_successor_of_the_same_label_is_not_a_trace_of_it(house: House) -> None:
    successor = house.rent()
    house.destroyer.destroy_and_prove(house.rented)
    assert [contract.id for contract in house.cloud.living()] == [successor.id]
