"""Renting: reserved, written down, created once; whatever fails is told in full, and nothing stays rented."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rekindle.budget import Budget
from rekindle.destruction import Destroyer
from rekindle.dumont import AmbiguousCreate
from rekindle.dumont_views import InstanceView, Offer
from rekindle.errors import Misconfigured, Mismatch, RekindleError, Unknown, Weather
from rekindle.http import RateLimited, Refused
from rekindle.ledger import Ledger, LedgerUnusable, State
from rekindle.market import MarketInstance
from rekindle.rented import RentedMachine
from rekindle.renting import Renter
from rekindle.ssh import HostKeyChanged
from tests.unit.fake_cloud import FIRST_ID, PRICE, FakeCloud, FakeMachine, offer

LABEL = "rekindle-r1-1-30m"
MACHINE = f"machine {FIRST_ID} (RTX A4000, label {LABEL})"
GONE = "It was destroyed, and was proven gone 1.1 s later."


class FakeGuard:
    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        self.error: RekindleError | None = None

    def ensure_ready(self) -> None:
        self.calls.append("guard ready")
        if self.error:
            raise self.error


class House:
    """A cloud, the run's books, and a renter."""

    def __init__(self, folder: Path, *, market: bool = True) -> None:
        self.cloud = FakeCloud()
        self.ledger = Ledger(folder / "ledger.db")
        self.budget = Budget(1.0)
        self.guard = FakeGuard(self.cloud.calls)
        seen = self.cloud.market if market else None
        destroyer = Destroyer(self.cloud.dumont, seen, self.ledger, self.budget, clock=self.cloud.clock)
        self.renter = Renter(
            self.cloud.dumont,
            seen,
            self.ledger,
            self.guard,
            self.budget,
            destroyer,
            "r1",
            folder / "known_hosts",
            folder / "key",
            clock=self.cloud.clock,
        )

    def rent(self, **wishes: float | str) -> RentedMachine:
        return self.renter.rent(**({"max_price": 0.5, "disk_gb": 50} | wishes))  # type: ignore[arg-type] # per test

    def states(self) -> list[State]:
        return [rent.state for rent in self.ledger.rents("r1")]

    def failure(self, kind: type[RekindleError], **wishes: float | str) -> str:
        with pytest.raises(kind) as told:
            self.rent(**wishes)
        return str(told.value)

    def nothing_is_left(self) -> None:
        assert self.cloud.living() == []
        assert self.ledger.open_rents() == []
        assert self.budget.reserved_usd == 0


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return furnish(House(tmp_path), monkeypatch)


def furnish(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    def connect(host: str, port: int, _key: Path, _known_hosts: Path, alias: str) -> FakeMachine:
        return FakeMachine(house.cloud, host, port, alias)

    monkeypatch.setattr("rekindle.renting.Machine", connect)
    return house


def test_a_machine_is_rented_and_ready(house: House) -> None:
    rented = house.rent()
    assert (rented.id, rented.label, rented.gpu_name, rented.hourly_usd) == (FIRST_ID, LABEL, "RTX A4000", PRICE)
    assert (rented.machine.host, rented.machine.port, rented.machine.alias) == (
        "127.0.0.1",
        41001,
        f"{LABEL}.{FIRST_ID}",
    )
    (rent,) = house.ledger.open_rents("r1")
    assert (rent.state, rent.instance_id, rent.label, rent.offer_id) == (State.CREATED, FIRST_ID, LABEL, 1000012)
    assert house.budget.reserved_usd > PRICE / 2


def test_the_order_is_guard_then_create(house: House) -> None:
    house.rent()
    assert house.cloud.calls == [
        "offers [('limit', 100), ('max_price', 0.5), ('min_disk', 50)]",
        "guard ready",
        f"create 1000012 {LABEL} 50 GB within 300 s",
    ]


def test_the_intent_is_on_disk_when_the_create_call_goes_out(house: House) -> None:
    seen: list[State] = []

    def create(_: int, label: str) -> int:
        seen.extend(rent.state for rent in Ledger(house.ledger.path).open_rents("r1") if rent.label == label)
        return house.cloud.rent(label)

    house.cloud.dumont.on_create = create
    house.rent()
    assert seen == [State.INTENDED]


def test_provisioning_is_timed_from_the_create_call_to_the_first_command(house: House) -> None:
    house.cloud.boots_into = "loading"
    start = house.cloud.now

    def boot(now: float) -> None:
        if now >= start + 7:
            for contract in house.cloud.living():
                contract.status = "running"

    house.cloud.meanwhile = boot
    assert 7 <= house.rent().provision_seconds < 7.3


def test_every_machine_has_a_label_of_its_own(house: House) -> None:
    house.cloud.offers = [offer(1), offer(2)]
    assert [house.rent().label for _ in range(2)] == ["rekindle-r1-1-30m", "rekindle-r1-2-30m"]


@pytest.mark.parametrize(("label", "shown"), [(None, "no label"), ("mine", "the label mine")])
def test_a_machine_that_lost_its_label_is_not_kept(house: House, label: str | None, shown: str) -> None:
    house.cloud.dumont.on_create = lambda *_: house.cloud.rent(label)
    assert house.failure(Mismatch) == (
        f"{MACHINE} was rented with that label, but the market shows {shown}: it could not be found again. {GONE}"
    )
    house.nothing_is_left()


def test_the_cheapest_reliable_offer_is_taken(house: House) -> None:
    house.cloud.offers = [
        offer(1, 0.10, reliability=0.5),
        offer(2, 0.30),
        offer(3, 0.20, reliability=0.98),
        offer(4, 0.20),
        offer(5, 0.15, disk_space=10.0),
    ]
    house.rent()
    assert house.cloud.calls[-1].startswith("create 4 ")


def test_the_wishes_reach_the_product_and_are_not_left_to_it(house: House) -> None:
    house.cloud.offers = [offer(1, 0.01, gpu_name="GTX 1080"), offer(2, 99.0), offer(3)]
    house.rent(gpu_name="RTX A4000", region="EU")
    assert house.cloud.calls[0] == (
        "offers [('gpu_name', 'RTX A4000'), ('limit', 100), ('max_price', 0.5), ('min_disk', 50), ('region', 'EU')]"
    )
    assert house.cloud.calls[-1].startswith("create 3 ")


def test_a_gpu_that_no_market_knows_is_a_mistake(house: House) -> None:
    house.cloud.offers = []
    assert house.failure(Misconfigured, gpu_name="RTX9999") == (
        "gpu_name must be the name of a GPU as the market spells it, such as gpu_name=RTX 4090; no market knows "
        "'RTX9999'. Similar names: RTX 5090, RTX 4090 and RTX 3090."
    )


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("max_price", 0),
        ("max_price", math.nan),
        ("disk_gb", 0),
        ("disk_gb", -20),
        ("disk_gb", 10**6),
        ("minutes", -1),
        ("minutes", math.inf),
        ("create_timeout", 0),
        ("ready_timeout", -5.0),
    ],
)
def test_values_out_of_bounds_are_refused_before_anything_is_asked(house: House, argument: str, value: float) -> None:
    message = house.failure(Misconfigured, **{argument: value})
    assert message.startswith(f"{argument} must be a ")
    assert message.endswith(f"; it is {value!r}.")
    assert house.cloud.calls == []


def test_what_the_product_rents_has_the_same_bounds(house: House) -> None:
    with pytest.raises(Misconfigured, match=r"^max_price must be a number of USD an hour .*; it is -1\.$"):
        house.renter.expect("rekindle-r1-1-30m", what="a machine", max_price=-1)
    with pytest.raises(Misconfigured, match=r"^minutes must be a number of minutes .*; it is nan\.$"):
        house.renter.new_label(math.nan)
    assert house.cloud.calls == []


def test_no_offers_is_weather(house: House) -> None:
    house.cloud.offers = [offer(1, 0.9)]
    assert house.failure(Weather) == (
        "WEATHER: No GPU offers available under $0.50/h with 50 GB of disk. Wait some minutes or raise MAX_PRICE."
    )
    assert house.failure(Weather, gpu_name="RTX 4090", region="ASIA") == (
        "WEATHER: No GPU offers available under $0.50/h for RTX 4090 in ASIA with 50 GB of disk. Wait some minutes or "
        "raise MAX_PRICE."
    )
    house.nothing_is_left()


def test_offers_that_the_product_hides_are_a_defect(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.cloud.offers = [offer(1), offer(2), offer(3), offer(4, 0.48), offer(5, gpu_name="A100")]
    monkeypatch.setattr(house.cloud.dumont, "offers", lambda **_: [])
    fits = "asked twice, but the market has offers that fit"
    assert house.failure(Mismatch) == (
        f"No GPU offers available under $0.50/h with 50 GB of disk in Dumont Cloud, {fits}: 1, 2, 3, 5."
    )
    assert house.failure(Mismatch, gpu_name="RTX A4000").endswith(
        f"for RTX A4000 with 50 GB of disk in Dumont Cloud, {fits}: 1, 2, 3."
    )
    with pytest.raises(Mismatch, match=f"for a machine to wake 7 on in Dumont Cloud, {fits}: 1, 2, 3, 5"):
        adopt(house, lambda: house.cloud.rent(None))
    house.failure(Weather, region="EU")
    house.cloud.offers = house.cloud.offers[:2]
    house.failure(Weather)
    house.nothing_is_left()


def test_offers_that_only_just_came_are_no_defect(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    come: list[Offer] = []
    house.cloud.offers = [offer(1), offer(2), offer(3)]

    def offers(**_: object) -> list[Offer]:
        shown = list(come)
        come[:] = house.cloud.offers
        return shown

    monkeypatch.setattr(house.cloud.dumont, "offers", offers)
    house.failure(Weather)


def test_a_market_that_cannot_be_searched_leaves_it_weather(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[int]:
        raise Unknown("no answer.")

    monkeypatch.setattr(house.cloud.dumont, "offers", lambda **_: [])
    monkeypatch.setattr(house.cloud.market, "offers", fail)
    house.failure(Weather)


def test_unreliable_offers_are_named(house: House) -> None:
    house.cloud.offers = [offer(1, reliability=0.9)]
    assert "(1 were passed over: their reliability is under 0.95)" in house.failure(Weather)


def test_over_the_budget_nothing_happens(house: House) -> None:
    told = house.failure(Misconfigured, minutes=300)
    assert told.startswith(
        "Renting offer 1000012 (RTX A4000, $0.36/h) and 50 GB of disk for up to 300 min reserves $1.91, but only $1.00"
    )
    assert house.states() == []
    assert len(house.cloud.calls) == 1


def test_without_a_guard_nothing_is_rented(house: House) -> None:
    house.guard.error = Unknown("no guard.")
    assert house.failure(Unknown) == "UNKNOWN: no guard."
    assert house.states() == []
    house.nothing_is_left()


def test_without_a_ledger_nothing_is_rented(house: House) -> None:
    house.ledger.path.write_bytes(b"broken" * 1000)
    assert "Without it nothing is rented" in house.failure(LedgerUnusable)
    assert not any(call.startswith("create") for call in house.cloud.calls)
    assert house.budget.reserved_usd == 0


def test_a_ledger_that_breaks_during_the_create_call_ends_the_machine(house: House) -> None:
    def create(_: int, label: str) -> int:
        house.ledger.path.write_bytes(b"broken" * 1000)
        return house.cloud.rent(label)

    house.cloud.dumont.on_create = create
    house.failure(LedgerUnusable)
    assert house.cloud.living() == []


def test_an_offer_that_was_sold_meanwhile_gives_way_to_the_next(house: House) -> None:
    def create(offer_id: int, label: str) -> int:
        if offer_id == 1:
            raise Refused("409", 409, "gone")
        return house.cloud.rent(label, 0.2)

    house.cloud.offers = [offer(1, 0.1), offer(2, 0.2)]
    house.cloud.dumont.on_create = create
    assert house.rent().label == "rekindle-r1-2-30m"
    assert house.states() == [State.NEVER_CREATED, State.CREATED]


def test_all_offers_sold_is_weather(house: House) -> None:
    def create(offer_id: int, _: str) -> int:
        raise Refused(f"offer {offer_id} is gone.", 409, "gone")

    house.cloud.offers = [offer(1, 0.1), offer(2, 0.2)]
    house.cloud.dumont.on_create = create
    assert house.failure(Weather) == (
        "WEATHER: No GPU offers available under $0.50/h any more: all 2 that were listed had been taken when we asked "
        "for them. Wait some minutes or raise MAX_PRICE."
    )
    house.nothing_is_left()


@pytest.mark.parametrize(
    "error", [Refused("402: too little balance.", 402, ""), RateLimited("429."), Misconfigured("not reachable.")]
)
def test_a_clear_refusal_is_told_as_it_is(house: House, error: RekindleError) -> None:
    def create(*_: object) -> int:
        raise error

    house.cloud.dumont.on_create = create
    assert house.failure(type(error)) == str(error)
    assert error.__cause__ is None  # an error that is its own cause sends Robot round in circles
    assert house.states() == [State.NEVER_CREATED]
    house.nothing_is_left()


def lost(house: House, *, after: float, machines: int = 1) -> Callable[[int, str], int]:
    """A create call whose answer is lost, and that is obeyed some seconds later."""

    def create(_: int, label: str) -> int:
        start = house.cloud.now

        def appear(now: float) -> None:
            if now >= start + after:
                for _ in range(machines):
                    house.cloud.rent(label)
                house.cloud.meanwhile = lambda _: None

        house.cloud.meanwhile = appear
        raise AmbiguousCreate("The answer was lost.")

    return create


def test_a_machine_whose_answer_was_lost_is_found_by_its_label_and_kept(house: House) -> None:
    house.cloud.rent("somebody else's")
    house.cloud.dumont.on_create = lost(house, after=3)
    rented = house.rent()
    assert (rented.id, rented.label) == (FIRST_ID + 1, LABEL)
    assert house.states() == [State.CREATED]
    assert sum(call.startswith("create") for call in house.cloud.calls) == 1


def test_a_lost_create_that_came_to_nothing_is_told_and_not_repeated(house: House) -> None:
    house.cloud.dumont.on_create = lost(house, after=1000)
    house.cloud.offers = [offer(1), offer(2)]
    assert house.failure(AmbiguousCreate) == (
        f"The answer was lost. In 30 s no machine labelled {LABEL} appeared in the listings of Dumont Cloud and the "
        "marketplace, so none was rented."
    )
    assert sum(call.startswith("create") for call in house.cloud.calls) == 1
    assert house.states() == [State.NEVER_CREATED]
    house.nothing_is_left()


def test_a_create_that_came_to_nothing_because_the_market_was_away_is_weather(house: House) -> None:
    def create(*_: object) -> int:
        raise AmbiguousCreate("503.", market_is_away=True)

    house.cloud.dumont.on_create = create
    assert house.failure(Weather).startswith(f"WEATHER: 503. In 30 s no machine labelled {LABEL} appeared in the ")
    assert house.states() == [State.NEVER_CREATED]
    house.nothing_is_left()


def test_a_create_that_was_obeyed_twice_leaves_nothing(house: House) -> None:
    house.cloud.dumont.on_create = lost(house, after=1, machines=2)
    told = house.failure(Mismatch)
    assert told == (
        f"Renting offer 1000012 (RTX A4000, $0.36/h) failed and left machine {FIRST_ID} and machine {FIRST_ID + 1} "
        "rented; destroyed now, and proven gone. The failure was: The answer was lost."
    )
    house.nothing_is_left()


def test_a_create_that_was_answered_and_yet_obeyed_twice_leaves_nothing(house: House) -> None:
    def create(_: int, label: str) -> int:
        first = house.cloud.rent(label)
        house.cloud.rent(label)
        return first

    house.cloud.dumont.on_create = create
    told = house.failure(Mismatch)
    assert re.fullmatch(
        rf"One create call made machine {FIRST_ID} \(RTX A4000, label {LABEL}\) and {FIRST_ID + 1} beside, destroyed "
        r"and proven gone already\. It was destroyed, and was proven gone \d\.\d s later\.",
        told,
    ), told
    house.nothing_is_left()


def test_a_listing_that_fails_leaves_a_lost_create_open(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(_: int, label: str) -> int:
        def fail() -> None:
            raise Unknown("the listing failed.")

        monkeypatch.setattr(house.cloud.market, "instances", fail)
        house.cloud.rent(label)
        raise AmbiguousCreate("The answer was lost.")

    house.cloud.dumont.on_create = create
    assert house.failure(Unknown) == "UNKNOWN: the listing failed."
    assert house.states() == [State.INTENDED]
    assert house.budget.reserved_usd > 0


def test_an_odd_answer_is_followed_by_a_look_at_the_label(house: House) -> None:
    def create(_: int, label: str) -> int:
        house.cloud.rent(label)
        raise Unknown("no JSON.")

    house.cloud.dumont.on_create = create
    assert house.rent().id == FIRST_ID


def test_ctrl_c_in_the_create_call_leaves_the_intent_for_the_guard(house: House) -> None:
    def create(_: int, label: str) -> int:
        house.cloud.rent(label)
        raise KeyboardInterrupt

    house.cloud.dumont.on_create = create
    with pytest.raises(KeyboardInterrupt):
        house.rent()
    assert house.states() == [State.INTENDED]


def test_ctrl_c_while_it_boots_ends_the_machine(house: House) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    house.cloud.boots_into = "loading"
    house.cloud.meanwhile = interrupt
    with pytest.raises(KeyboardInterrupt):
        house.rent()
    assert house.cloud.living() == []
    assert house.states() == [State.CREATED]  # not proven: the guard looks


@pytest.mark.parametrize("status", ["loading", None])
def test_a_machine_that_never_boots_is_weather_and_destroyed(house: House, status: str | None) -> None:
    house.cloud.boots_into = status
    assert house.failure(Weather) == (
        f"WEATHER: Instance not ready after 600 s: {MACHINE} stayed `{status or 'created'}`. {GONE} Rent again, or "
        "allow more time."
    )
    house.nothing_is_left()


@pytest.mark.parametrize("status", ["exited", "error", "offline"])
def test_a_final_state_ends_the_wait_at_once(house: House, status: str) -> None:
    house.cloud.boots_into = status
    assert house.failure(Weather) == (
        f"WEATHER: Instance not ready: {MACHINE} ended up `{status}` after 0.0 s. {GONE} Rent again, or allow more "
        "time."
    )
    house.nothing_is_left()


def test_a_machine_that_does_not_boot_because_a_disk_is_full_is_no_weather(house: House) -> None:
    house.cloud.boots_into = "exited"
    house.cloud.status_message = "The disk of the computer is too full. The machine did not boot."
    assert house.failure(Unknown).startswith(
        "UNKNOWN: The disk of the computer is too full. The machine did not boot. Instance not ready: "
    )
    house.nothing_is_left()


def test_ssh_that_is_refused_is_told_as_such(house: House) -> None:
    house.cloud.answers = False
    assert house.failure(Weather, ready_timeout=60) == (
        f"WEATHER: SSH connection refused: {MACHINE} is `running`, but after 60 s SSH to {LABEL}.{FIRST_ID} was "
        f"refused: Connection refused. {GONE} Rent again, or allow more time."
    )
    house.nothing_is_left()


def hide(house: House, monkeypatch: pytest.MonkeyPatch, after: float = 1e9, **shown: Any) -> None:
    """Has the product show its machines otherwise for some seconds."""
    rows, begun = house.cloud.dumont.instances, house.cloud.now

    def instances() -> list[InstanceView]:
        return [replace(row, **shown) if house.cloud.now < begun + after else row for row in rows()]

    monkeypatch.setattr(house.cloud.dumont, "instances", instances)


LOADING: dict[str, Any] = {"actual_status": "loading", "ssh_host": None, "ssh_port": None}
RUNS = "but the market says that it runs, with SSH on 127.0.0.1:41001, and there SSH answers."


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (LOADING, "is `loading`, 60 s after it was rented and later"),
        (LOADING | {"actual_status": None}, "is `created`, 60 s after it was rented and later"),
        (LOADING | {"actual_status": "exited"}, "is `exited`, 0 s after it was rented and later"),
        ({"ssh_port": None}, "is `running` without an SSH address, 60 s after it was rented and later"),
        ({"ssh_host": "127.0.0.2", "ssh_port": 22}, "is at 127.0.0.2:22, where SSH is refused"),
    ],
)
def test_a_machine_that_runs_and_that_the_product_hides_is_a_defect(
    house: House, monkeypatch: pytest.MonkeyPatch, shown: dict[str, Any], told: str
) -> None:
    hide(house, monkeypatch, **shown)
    assert house.failure(Mismatch, ready_timeout=60) == f"Dumont Cloud says that {MACHINE} {told}; {RUNS} {GONE}"
    house.nothing_is_left()


def test_a_product_that_is_only_behind_is_weather(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(house, monkeypatch, after=80, **LOADING)
    assert "Instance not ready after 60 s" in house.failure(Weather, ready_timeout=60)
    house.nothing_is_left()


def test_a_machine_that_runs_and_does_not_answer_is_weather(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(house, monkeypatch, **LOADING)
    house.cloud.answers = False
    assert "Instance not ready after 60 s" in house.failure(Weather, ready_timeout=60)
    house.nothing_is_left()


def test_what_the_market_does_not_tell_is_not_held_against_the_product(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(house, monkeypatch, **LOADING)
    honest, asked = house.cloud.market.instance, 0

    def instance(instance_id: int) -> MarketInstance | None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise Unknown("no answer.")
        return honest(instance_id)

    monkeypatch.setattr(house.cloud.market, "instance", instance)
    assert "Instance not ready after 60 s" in house.failure(Weather, ready_timeout=60)
    house.nothing_is_left()


def test_another_host_key_ends_the_machine(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(_: object) -> str:
        raise HostKeyChanged("Another machine answers.")

    monkeypatch.setattr(FakeMachine, "pin", changed)
    assert house.failure(HostKeyChanged) == "Another machine answers."
    house.nothing_is_left()


def test_one_that_never_boots_and_lives_on_is_the_worse_news(house: House) -> None:
    house.cloud.boots_into = "loading"
    house.cloud.dumont.on_destroy = lambda _: True
    told = house.failure(Mismatch)
    assert told.startswith(f"Instance not ready after 600 s: {MACHINE} stayed `loading`. Dumont Cloud answered that")
    assert told.endswith("Rekindle has destroyed it at the market itself; it was gone after 0.0 s.")
    house.nothing_is_left()


def test_a_machine_that_only_the_product_knows_is_a_defect(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.cloud.market, "instances", list)
    told = house.failure(Mismatch)
    assert told.startswith(f"Dumont Cloud says that {MACHINE} runs, but the marketplace has no such machine. It was")


def test_a_machine_that_is_dearer_than_its_offer_is_a_defect(house: House) -> None:
    house.cloud.dumont.on_create = lambda _, label: house.cloud.rent(label, 2.5)
    told = house.failure(Mismatch)
    assert told == f"{MACHINE} costs $2.5000/h, although at most $0.3805/h was agreed. {GONE}"
    house.nothing_is_left()


def test_without_the_market_the_product_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = furnish(House(tmp_path, market=False), monkeypatch)
    house.cloud.dumont.on_create = lost(house, after=1000)
    assert "in the listings of Dumont Cloud, so none was rented" in house.failure(AmbiguousCreate)
    house.cloud.dumont.on_create = None
    assert house.rent().hourly_usd == PRICE


@pytest.mark.parametrize("label", [None, "mine", "rekindle-r0-9"])
def test_a_create_that_names_a_machine_that_was_there_does_nothing_to_it(house: House, label: str | None) -> None:
    strangers = house.cloud.rent(label)

    def create(_: int, label: str) -> int:
        house.cloud.rent(label)
        return strangers

    house.cloud.dumont.on_create = create
    assert house.failure(Mismatch) == (
        f"Dumont Cloud answered that machine {strangers} is the one that was rented (offer 1000012 (RTX A4000, "
        "$0.36/h)), but that machine was there before we asked, so it was not touched. Really rented was machine "
        f"{strangers + 1} (label {LABEL}); destroyed now, and proven gone."
    )
    assert [contract.id for contract in house.cloud.living()] == [strangers]
    assert not [call for call in house.cloud.calls if call.endswith(f"destroy {strangers}")]
    house.cloud.end(strangers)
    house.nothing_is_left()


def test_a_create_that_only_names_a_machine_that_was_there_rents_nothing(house: House) -> None:
    strangers = house.cloud.rent("mine")
    house.cloud.dumont.on_create = lambda *_: strangers
    assert house.failure(Mismatch).endswith(
        f"so it was not touched. In 30 s no machine labelled {LABEL} appeared in the listings of Dumont Cloud and the "
        "marketplace, so none was rented."
    )
    assert house.states() == [State.NEVER_CREATED]
    assert [contract.id for contract in house.cloud.living()] == [strangers]


def test_what_cannot_be_looked_for_is_left_to_the_guard(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = house.cloud.rent("mine")

    def fail() -> None:
        raise Unknown("the listing failed.")

    def create(_: int, label: str) -> int:
        monkeypatch.setattr(house.cloud.market, "instances", fail)
        house.cloud.rent(label)
        return strangers

    house.cloud.dumont.on_create = create
    assert house.failure(Mismatch).endswith("so it was not touched. UNKNOWN: the listing failed.")
    assert house.states() == [State.INTENDED]
    assert len(house.cloud.living()) == 2


def test_what_came_without_a_label_is_named_and_not_touched(house: House) -> None:
    def create(_: int, label: str) -> int:
        first = house.cloud.rent(label)
        house.cloud.rent(None)
        house.cloud.rent("somebody else's")
        return first

    house.cloud.rent(None)
    house.cloud.dumont.on_create = create
    assert house.rent().unclaimed == [FIRST_ID + 2]
    assert house.renter.unclaimed({FIRST_ID}) == [FIRST_ID + 2]
    assert house.renter.unclaimed({FIRST_ID, FIRST_ID + 2}) == []
    assert len(house.cloud.living()) == 4


def test_one_that_the_product_gives_back_is_waited_for(house: House) -> None:
    def create(_: int, label: str) -> int:
        first, second = house.cloud.rent(label), house.cloud.rent(label)
        late = house.cloud.now + 5

        def give_back(now: float) -> None:
            if now > late:
                house.cloud.end(second)

        house.cloud.meanwhile = give_back
        return first

    house.cloud.dumont.on_create = create
    assert house.rent().id == FIRST_ID


# What the product rents by itself: wake, restore on a new machine.


def adopt(house: House, make: Callable[[], int]) -> RentedMachine:
    return house.renter.adopt("rekindle-r0-3", make, what="a machine to wake 7 on", max_price=0.5)


def test_nothing_is_adopted_where_nothing_is_offered(house: House) -> None:
    house.cloud.offers = [offer(1, price=0.51)]
    with pytest.raises(Weather) as raised:
        adopt(house, lambda: house.cloud.rent(None))
    assert str(raised.value) == (
        "WEATHER: No GPU offers available under $0.50/h for a machine to wake 7 on. Wait some minutes or raise "
        "MAX_PRICE."
    )
    assert not house.cloud.contracts


def test_a_woken_machine_is_ours_from_before_it_exists(house: House) -> None:
    seen: list[State] = []

    def wake() -> int:
        seen.extend(rent.state for rent in house.ledger.open_rents("r1") if rent.label == "rekindle-r0-3")
        return house.cloud.rent("rekindle-r0-3", 0.3)

    rented = adopt(house, wake)
    assert seen == [State.INTENDED]
    assert (rented.id, rented.label, rented.gpu_name, rented.hourly_usd) == (
        FIRST_ID,
        "rekindle-r0-3",
        "RTX A4000",
        0.3,
    )
    assert house.states() == [State.CREATED]


def test_a_woken_machine_of_another_label_is_known_by_that(house: House) -> None:
    assert adopt(house, lambda: house.cloud.rent(None)).label == ""
    (rent,) = house.ledger.open_rents()
    assert (rent.label, rent.instance_id) == ("", FIRST_ID)


def test_a_wake_that_fails_and_leaves_its_machine_is_cleaned_up(house: House) -> None:
    def wake() -> int:
        house.cloud.rent("rekindle-r0-3")
        raise AmbiguousCreate("Machine 7 was not woken.")

    with pytest.raises(Mismatch) as told:
        adopt(house, wake)
    assert str(told.value) == (
        f"Renting a machine to wake 7 on failed and left machine {FIRST_ID} rented; destroyed now, and proven gone. "
        "The failure was: Machine 7 was not woken."
    )
    house.nothing_is_left()


def test_a_wake_that_names_a_machine_that_was_there_does_nothing_to_it(house: House) -> None:
    strangers = house.cloud.rent("mine")

    def wake() -> int:
        house.cloud.rent("rekindle-r0-3")
        return strangers

    with pytest.raises(Mismatch) as told:
        adopt(house, wake)
    assert str(told.value) == (
        f"Dumont Cloud answered that machine {strangers} is the one that was rented (a machine to wake 7 on), but that "
        "machine was there before we asked, so it was not touched. Really rented was machine "
        f"{strangers + 1} (label rekindle-r0-3); destroyed now, and proven gone."
    )
    assert [contract.id for contract in house.cloud.living()] == [strangers]


@pytest.mark.parametrize("label", ["rekindle-r0-3", None])
def test_a_wake_that_rents_two_leaves_nothing(house: House, label: str | None) -> None:
    old = house.cloud.rent("rekindle-r0-3")

    def wake() -> int:
        house.cloud.rent("rekindle-r0-3")
        return house.cloud.rent(label)

    with pytest.raises(Mismatch) as told:
        adopt(house, wake)
    assert re.fullmatch(
        rf"One call for a machine to wake 7 on made machine {FIRST_ID + 2} \(RTX A4000, label "
        rf"{label or 'none'}\) and {FIRST_ID + 1} beside, destroyed and proven gone already\. It was destroyed, and "
        r"was proven gone \d\.\d s later\.",
        str(told.value),
    ), told.value
    assert [contract.id for contract in house.cloud.living()] == [old]


def test_a_machine_that_is_kept_warm_for_the_woken_one_is_no_twin(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wake() -> int:
        house.cloud.rent("rekindle-r0-3")
        return house.cloud.rent("rekindle-r0-3")

    rows = house.cloud.dumont.instances

    def with_warm() -> list[InstanceView]:
        return [replace(row, warm_for=FIRST_ID + 1 if row.id == FIRST_ID else None) for row in rows()]

    monkeypatch.setattr(house.cloud.dumont, "instances", with_warm)
    assert adopt(house, wake).id == FIRST_ID + 1


def test_a_wake_over_its_price_is_a_defect(house: House) -> None:
    with pytest.raises(Mismatch, match=re.escape("costs $0.9000/h, although at most $0.5411/h was agreed. It was")):
        adopt(house, lambda: house.cloud.rent("rekindle-r0-3", 0.9))
    house.nothing_is_left()


def test_the_machine_that_hibernated_under_this_label_is_not_taken_for_the_new_one(house: House) -> None:
    old = house.cloud.rent("rekindle-r0-3")

    def wake() -> int:
        raise AmbiguousCreate("Machine 7 was not woken.")

    with pytest.raises(AmbiguousCreate):
        adopt(house, wake)
    assert [contract.id for contract in house.cloud.living()] == [old]


# What the product rents besides


def test_the_losers_of_a_race_are_reserved_for(house: House) -> None:
    house.cloud.offers = [offer(1000012 + number, 0.30) for number in range(4)]
    with pytest.raises(Misconfigured) as refused:
        house.renter.expect(LABEL, what="a machine to replace 7", max_price=2.0)
    assert str(refused.value) == (
        "Renting a machine to replace 7 and 100 GB of disk for up to 30 min reserves $1.33 ($0.31 of it for 3 more in "
        "a race, for up to 3 min), but only $1.00 of the budget of $1.00 is left. Raise BUDGET_USD, lower MAX_PRICE, "
        "or allow the machine fewer minutes."
    )
    house.cloud.offers = [offer(1000012 + number, 0.30) for number in range(50)]
    expected = house.renter.expect(LABEL, what="a machine to replace 7", max_price=0.50)
    one = 0.50 + 100 * 0.30 / 730
    assert expected.reservation.usd == pytest.approx(one * 30 / 60 + 14 * one * 3 / 60), "never more than 15 at once"


def test_one_offer_is_no_race(house: House) -> None:
    assert house.renter.expect(LABEL, what="it", max_price=0.50).reservation.usd == pytest.approx(
        0.5 * (0.5 + 30 / 730)
    )


def test_a_standby_is_reserved_for_until_it_is_gone(house: House) -> None:
    machine = house.rent()
    before = house.budget.reserved_usd
    intent = house.renter.intend_standby(machine)
    assert house.budget.reserved_usd - before == pytest.approx(0.075)
    house.renter.standby_gone(intent, "no trace", 0.01)
    assert (house.budget.reserved_usd, house.budget.spent_usd) == pytest.approx((before, 0.01))

    house.budget.book(house.budget.left_usd - 0.07)
    with pytest.raises(Misconfigured) as refused:
        house.renter.intend_standby(machine)
    assert str(refused.value) == (
        f"Renting a CPU standby of machine {FIRST_ID} (up to $0.15/h, its disk included) for up to 30 min reserves "
        "$0.08, but only $0.07 of the budget of $1.00 is left. Raise BUDGET_USD, lower MAX_PRICE, or allow the machine "
        "fewer minutes."
    )
    assert len(house.ledger.open_rents("r1")) == 1, "nothing was written down for it"


def test_a_warm_machine_is_paid_for_as_long_as_its_machine_lives(house: House) -> None:
    machine = house.rent()
    before = house.budget.reserved_usd
    house.renter.not_kept(machine, house.renter.keep_warm(machine))
    assert not machine.beside
    assert house.budget.reserved_usd == pytest.approx(before)
    house.renter.keep_warm(machine)
    assert house.budget.reserved_usd > before
    house.cloud.now += 3600
    house.renter._destroyer.destroy_and_prove(machine)
    warm = 1.5 * PRICE + 100 * 0.30 / 730
    assert house.budget.spent_usd == pytest.approx(PRICE + warm, rel=0.01)
    house.nothing_is_left()


def test_a_volume_is_reserved_for_with_its_machine(house: House) -> None:
    plain = house.rent(disk_gb=100)
    only = house.budget.reserved_usd
    house.cloud.offers = [offer(1000013)]
    machine = house.rent(disk_gb=100, failover_strategy="regional_volume")
    assert house.budget.reserved_usd - 2 * only == pytest.approx(100 * 0.30 / 730 / 2)
    house.renter._destroyer.destroy_and_prove(machine)
    house.renter._destroyer.destroy_and_prove(plain)
    house.nothing_is_left()
    house.cloud.offers = [offer(1000014)]
    house.cloud.dumont.on_create = refuse
    with pytest.raises(RateLimited):
        house.rent(failover_strategy="regional_volume")
    house.nothing_is_left()


def refuse(_: int, __: str) -> int:
    raise RateLimited("rate limited: try later.")
