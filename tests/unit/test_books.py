"""The books of a run: what it paid for is compared with the bill to the billing second, and both numbers are told."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from rekindle.billed_item import Item
from rekindle.books import Books
from rekindle.budget import Reservation
from rekindle.cost import TRAFFIC, Cost, Life
from rekindle.errors import Mismatch
from rekindle.ledger import Rent, State
from rekindle.market import Charge
from rekindle.money import dollars
from rekindle.rented import RentedMachine
from rekindle.settled_bill import RunBill
from rekindle.ssh import Machine

PREFIX = "rekindle-1122094206-f84c45-"
LABEL = f"{PREFIX}1-30m"
SECOND = 0.36 / 3600
LIFE = Cost(0.36, Life(100.0, 102.0))
MACHINE = f"machine 7 (RTX 3060, label {LABEL})"


def row(
    usd: float, kind: str = "gpu", source: str = "instance-7", description: str = LABEL, *, end: float | None = 2.0
) -> Charge:
    rate = 0.0004 if kind == "disk" else 0.36
    quantity = usd / rate if kind in TRAFFIC else usd / rate * 3600
    return Charge(1.0, end, quantity, usd, rate, kind, source, description)


def books() -> Books:
    opened = Books("1122094206-f84c45", 1.0)
    opened.machine_ended(RentedMachine(7, LABEL, "RTX 3060", 0.36, 0.0, 1, Reservation("it", 1.0)), LIFE)
    return opened


def rent(offer_id: int | None = 1, instance_id: int | None = 7, label: str = LABEL) -> Rent:
    state = State.NEVER_CREATED if instance_id is None else State.DESTROYED
    return Rent(1, "run", "me", "here", label, offer_id, 0.36, 30, state, instance_id, 0.0, None, None, None)


# The machine is ours, and the product may rent beside it.
ORDERED = (rent(), rent(None, None))


def settled(
    *market: Charge, cpu: list[Charge] | None = None, of: Books | None = None, rents: Sequence[Rent] = ORDERED
) -> RunBill:
    return (of or books()).settle(PREFIX, market, [] if cpu is None else cpu, rents=rents)


def told(bill: RunBill) -> str:
    with pytest.raises(Mismatch) as mismatch:
        bill.raise_unless_agreed()
    return str(mismatch.value)


@pytest.mark.parametrize("seconds", [99.01, 101, 102.99])
def test_a_bill_within_a_billing_second_agrees(seconds: float) -> None:
    bill = settled(row(90 * SECOND), row((seconds - 90) * SECOND, "disk"))
    bill.raise_unless_agreed()
    assert bill.billed_usd == pytest.approx(seconds * SECOND)
    assert bill.measured_usd == pytest.approx(0.0102)
    assert bill.line() == (
        f"Bill: ${seconds * SECOND:.4f}, expected $0.0100 to $0.0102: GPU time $0.0090, "
        f"disk {dollars((seconds - 90) * SECOND, 4)}; 1 item agrees to the billing second"
    )


@pytest.mark.parametrize(
    ("seconds", "off"),
    [
        (200, "$0.009800 too much"),
        (103.1, "$0.000110 too much"),
        (98.9, "$0.000110 too little"),
        (10, "$0.009000 too little"),
        (0, "$0.010000 too little"),
    ],
)
def test_a_bill_that_is_off_is_red_with_both_numbers(seconds: float, off: str) -> None:
    billed = seconds * SECOND
    assert told(settled(row(billed) if seconds else row(0.0))) == (
        "The bill of this run does not agree with what we measured: "
        f"{MACHINE}: measured $0.010000 to $0.010200, billed ${billed:.6f}, which is {off} (one billing second is "
        f"$0.000100). In all ${billed:.6f} is billed ({f'GPU time ${billed:.4f}' if seconds else 'nothing'}); "
        "$0.010000 to $0.010200 was expected."
    )


@pytest.mark.parametrize("share", [0.4, 2.0])
def test_a_sum_that_is_not_its_seconds_times_its_price_is_red_however_little_we_saw(share: float) -> None:
    item = Item("it", Cost(0.36, Life(0.0, 102.0)), (Charge(1.0, 2.0, 50.0, share * 50 * SECOND, 0.36, "gpu"),))
    assert item.trouble() == (
        f"it: 50.0 s of gpu are billed ${share * 50 * SECOND:.6f}, but at $0.3600/h, as the bill itself says, they "
        "cost $0.005000"
    )


def test_a_machine_that_is_not_on_the_bill_is_red() -> None:
    assert f"{MACHINE}: measured $0.010000 to $0.010200, billed $0.000000, which is $0.010000 too little" in told(
        settled()
    )


def test_a_bill_that_goes_on_is_red() -> None:
    growing = settled(row(101 * SECOND), row(0.0, "disk", end=None))
    assert f"{MACHINE}: its bill still grows, by $0.00040/h." in told(growing)


def test_traffic_is_no_time() -> None:
    bill = settled(row(101 * SECOND), row(0.25, "upload"), row(0.5, "download"))
    bill.raise_unless_agreed()
    assert bill.billed_usd == pytest.approx(101 * SECOND + 0.75)
    assert bill.document()["billed"] == {"download": 0.5, "gpu": 0.0101, "upload": 0.25}


def test_no_traffic_is_no_part_of_the_explanation() -> None:
    assert "Traffic" not in settled(row(0.0101), row(0.0, "upload")).explanation()


def test_a_bill_is_explained_by_its_parts() -> None:
    opened = books()
    opened.race_lost([8], Cost(0.36, Life(0.0, 30.0)))
    opened.standby_ended(f"dumont-{LABEL}-17", Cost(0.36, Life(10.0, 12.0)))
    standby = row(11 * SECOND, "cpu", "instance-46", f"dumont-{LABEL}-17, e2-medium spot, 100 GB")
    market = [row(90 * SECOND), row(11 * SECOND, "disk"), row(0.036, "upload"), row(10 * SECOND, source="instance-8")]
    bill = settled(*market, cpu=[standby], of=opened)
    bill.raise_unless_agreed()
    assert bill.parts == pytest.approx({"GPU time": 0.01, "disk": 0.0011, "traffic": 0.036, "CPU standbys": 0.0011})
    assert bill.line() == (
        "Bill: $0.0482, expected $0.0470 to $0.0504: GPU time $0.0100, disk $0.0011, traffic $0.0360, "
        "CPU standbys $0.0011; 3 items agree to the billing second"
    )
    assert bill.explanation() == (
        "Time is billed $0.0122; the lives that were measured cost $0.0110 to $0.0144. Each life begins and ends "
        "between two observations. Traffic adds $0.0360 for 0.100 GB; no estimate includes it. The lives of 1 item "
        "are not measured: the product rented it on its own, or it was not proven gone. That widens the range by "
        "$0.0030."
    )
    assert "<td" in bill.html()
    assert all(part in bill.html() for part in ("CPU standbys", "0.0110", "Traffic adds"))


def test_traffic_is_billed_at_the_agreed_price_and_covers_our_own() -> None:
    machine = RentedMachine(7, LABEL, "RTX 3060", 0.36, -1.0, 1, Reservation("it", 1.0), provision_seconds=1.0)
    machine.traffic_prices = {"upload": 0.36, "download": 0.18}
    machine.ssh = Machine("127.0.0.1", 22, Path("key"), Path("known_hosts"), "it")
    machine.ssh.received_bytes = 500_000_000
    opened = books()
    opened.machine_ended(machine, LIFE)
    settled(row(0.0101), row(0.18, "upload"), of=opened).raise_unless_agreed()
    assert f"{MACHINE}: 0.250000 GB of upload are billed, but ours alone was 0.500000 GB" in told(
        settled(row(0.0101), row(0.09, "upload"), of=opened)
    )
    assert (
        f"{MACHINE}: 1.000000 GB of download are billed $0.360000, but at $0.1800/GB, as agreed, they cost $0.180000"
    ) in told(settled(row(0.0101), row(0.36, "download"), of=opened))
    machine.was_interrupted()
    opened.machine_ended(machine, LIFE)
    settled(row(0.0101), row(0.09, "upload"), of=opened).raise_unless_agreed()


def test_a_price_that_was_not_agreed_is_red_however_short_the_life() -> None:
    dear = Charge(1.0, 2.0, 69.0, 69 * 0.522 / 3600, 0.522, "gpu", "instance-7", LABEL)
    opened = books()
    opened.machine_ended(
        RentedMachine(7, LABEL, "RTX 3060", 0.36, 0.0, 1, Reservation("it", 1.0)), Cost(0.36, Life(60.0, 180.0))
    )
    assert f"{MACHINE}: billed at $0.5220/h, agreed $0.3600/h. In all" in told(settled(dear, of=opened))


def test_nobody_can_have_moved_much_more_than_there_was() -> None:
    machine = RentedMachine(7, LABEL, "RTX 3060", 0.36, -1.0, 1, Reservation("it", 1.0), provision_seconds=1.0)
    machine.traffic_prices = {"upload": 0.36}
    opened = books()
    opened.machine_ended(machine, LIFE)
    settled(row(0.0101), row(20 * 0.36, "upload"), of=opened).raise_unless_agreed()
    fifty_tb = settled(row(0.0101), row(50_000 * 0.36, "upload"), of=opened)
    assert (
        f"{MACHINE}: 50000.000000 GB of upload are billed, but with all that was on it, 10 times over, and an image of "
        "20 GB it can have been 20.000000 GB at most. In all $18000.010100 is billed"
    ) in told(fifty_tb)
    machine.ssh = Machine("127.0.0.1", 22, Path("key"), Path("known_hosts"), "it")
    machine.ssh.tree_bytes, machine.ssh.received_bytes = 3_000_000_000, 1_000_000_000
    opened.machine_ended(machine, LIFE)
    another = row(49 * 0.36, "upload", "instance-8")
    opened.race_lost([8], Cost(0.36, Life(0.0, 5.0)))
    settled(row(0.0101), row(59 * 0.36, "upload"), another, of=opened).raise_unless_agreed()
    assert "it can have been 60.000000 GB at most" in told(
        settled(row(0.0101), row(61 * 0.36, "upload"), another, of=opened)
    )


def test_losers_of_a_race_cost_no_more_than_the_race_lasted() -> None:
    opened = books()
    opened.race_lost([8, 9], Cost(0.36, Life(0.0, 5.0)))
    bill = settled(row(0.0101), row(5 * SECOND, source="instance-8"), of=opened)
    bill.raise_unless_agreed()
    assert [item.what for item in bill.items] == [MACHINE, "machine 8 (lost a race)", "machine 9 (lost a race)"]
    late = settled(row(0.0101), row(60 * SECOND, source="instance-8"), of=opened)
    assert "machine 8 (lost a race): measured $0.000000 to $0.000500, billed $0.006000, which is" in told(late)


def test_a_clock_that_was_set_explains_no_longer_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, now = books(), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 7200)
    bill = settled(row(0.0101), row(1000 * SECOND, source="instance-8"), of=opened)
    assert f"machine 8 (billed as {LABEL}): measured $0.000000 to $0.006000, billed $0.100000" in told(bill)


def test_what_came_under_our_label_is_ours_and_what_did_not_is_not() -> None:
    opened = books()
    opened.begun_at = time.monotonic() - 100
    ours = row(50 * SECOND, "volume", "volume-5000001", f"20 GB in SE, dumont-{LABEL}-a1")
    theirs = row(9.0, source="instance-99", description="1x H100, rekindle-1122094206-000000-1-30m")
    bill = settled(row(0.0101), ours, theirs, of=opened)
    bill.raise_unless_agreed()
    assert [item.what for item in bill.items] == [
        MACHINE,
        f"volume 5000001 (billed as 20 GB in SE, dumont-{LABEL}-a1)",
    ]
    assert bill.billed_usd == pytest.approx(0.0101 + 0.005)
    forgotten = settled(row(0.0101), row(0.0, source="instance-8", end=None), of=opened)
    assert f"machine 8 (billed as {LABEL}): its bill still grows, by $0.3600/h" in told(forgotten)
    older = settled(row(0.0101), row(1000 * SECOND, source="instance-8"), of=opened)
    assert f"machine 8 (billed as {LABEL}): measured $0.000000 to $0.016000, billed $0.100000" in told(older)


@pytest.mark.parametrize(
    ("rents", "explained"),
    [
        ([rent()], False),
        ([], False),
        ([rent(), rent(None, 9, LABEL.replace("-1-30m", "-11-30m"))], False),
        ([rent(), rent(None, 9)], True),
        ([rent(), rent(None, None)], True),
        ([rent(1, None)], True),
        ([rent(1, 8)], True),
    ],
    ids=["one machine", "nothing", "another label", "a race", "awaited", "never came", "not yet proven gone"],
)
def test_what_nobody_ordered_is_red_however_little_it_cost(rents: list[Rent], explained: bool) -> None:
    bill = settled(row(0.0101), row(50 * SECOND, source="instance-8", description=f"1x H100, {LABEL}"), rents=rents)
    if explained:
        bill.raise_unless_agreed()
    else:
        assert (
            f"machine 8 (billed as 1x H100, {LABEL}): billed $0.005000, but nothing was ordered under its label "
            "that explains it. In all"
        ) in told(bill)


def test_a_volume_comes_with_its_machine() -> None:
    volume = row(50 * SECOND, "volume", "volume-5", f"20 GB in SE, dumont-{LABEL}-a1")
    settled(row(0.0101), volume, rents=[rent()]).raise_unless_agreed()
    assert "volume 5 (billed as " in told(settled(row(0.0101), volume, rents=[]))


def test_a_race_is_over_before_long() -> None:
    opened = books()
    opened.race_lost([8], Cost(0.36, Life(0.0, 900.0)))
    settled(row(0.0101), row(240 * SECOND, source="instance-8"), of=opened).raise_unless_agreed()
    assert "machine 8 (lost a race): measured $0.000000 to $0.024000, billed $0.050000" in told(
        settled(row(0.0101), row(500 * SECOND, source="instance-8"), of=opened)
    )


def test_standbys_are_found_by_their_name() -> None:
    opened = books()
    opened.standby_ended(f"dumont-{LABEL}-17", Cost(0.36, Life(10.0, 12.0)))
    own = row(11 * SECOND, "cpu", "instance-46", f"dumont-{LABEL}-17, e2-medium spot, 100 GB")
    settled(row(0.0101), cpu=[own], of=opened).raise_unless_agreed()
    assert f"standby dumont-{LABEL}-17: measured $0.001000 to $0.001200, billed $0.000000" in told(
        settled(row(0.0101), of=opened)
    )
    second = row(0.0, "cpu", "instance-47", f"dumont-{LABEL}-18, e2-medium spot, 100 GB", end=None)
    assert "machine 47 (billed as dumont-" in told(settled(row(0.0101), cpu=[own, second], of=opened))


def test_without_a_witness_nothing_is_compared_and_that_is_said(tmp_path: Path) -> None:
    bill = books().settle(PREFIX, None, None, ["market: the bill, because VAST_API_KEY is not given"])
    bill.raise_unless_agreed()
    document = json.loads(bill.write(tmp_path).read_text())
    assert document["not_witnessed"] == ["market: the bill, because VAST_API_KEY is not given"]
    assert (document["items"][0]["billed_usd"], document["items"][0]["agrees"]) == (None, None)
    assert "not witnessed" in bill.html()
    assert bill.line() == "Bill: not witnessed; $0.0102 at most was measured"


def test_the_document_of_a_run(tmp_path: Path) -> None:
    path = settled(row(0.01), row(0.0001, "disk")).write(tmp_path)
    assert path.name.startswith("bill_")
    document = json.loads(path.read_text())
    del document["timestamp"]
    assert document == {
        "run": "1122094206-f84c45",
        "budget_usd": 1.0,
        "measured_least_usd": 0.01,
        "measured_usd": 0.0102,
        "billed_usd": 0.0101,
        "billed": {"disk": 0.0001, "gpu": 0.01},
        "parts_usd": {"GPU time": 0.01, "disk": 0.0001},
        "expected_least_usd": 0.01,
        "expected_most_usd": 0.0102,
        "explanation": (
            "Time is billed $0.0101; the lives that were measured cost $0.0100 to $0.0102. Each life begins and "
            "ends between two observations."
        ),
        "agrees": True,
        "not_witnessed": [],
        "items": [
            {
                "what": MACHINE,
                "hourly_usd": 0.36,
                "measured_least_usd": 0.01,
                "measured_usd": 0.0102,
                "billed_usd": 0.0101,
                "billed": {"disk": 0.0001, "gpu": 0.01},
                "difference_usd": 0.0,
                "billing_unit_usd": 0.0001,
                "agrees": True,
            }
        ],
        "storage": [],
    }
