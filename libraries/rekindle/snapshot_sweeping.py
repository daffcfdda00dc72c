"""Sweeping snapshots: find in the bucket what finished runs left, delete it through the product, verify its removal.

The owner of a snapshot follows, in this order, from

- the ledger of this computer, where the snapshot or its machine is one of this computer's runs;
- the manifest of a hibernation that was kept for another day, for at most `KEPT_DAYS` days;
- its tag, or the claim on its machine, both of which name run and minutes;
- the market's bill, which names the label of the machine it is of.

Ages are those that the store tells by its own clock. What carries our mark and cannot be proven to be left over stays,
with the reason; what carries none is of others.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rekindle import snapshot_clearing
from rekindle.bucket_lease import holder
from rekindle.dumont import DumontClient
from rekindle.errors import Mismatch, RekindleError
from rekindle.kept_hibernations import KEPT_DAYS, lease_name
from rekindle.kept_manifests import forget_manifest
from rekindle.labels import LABEL_MARK, Label
from rekindle.ledger import Ledger, Rent, is_alive
from rekindle.market import MarketClient
from rekindle.restic_repository import SnapshotDocument
from rekindle.snapshot_bucket import Claim, KeptFor, SnapshotBucket, label_of, machine_of, manifest_of
from rekindle.snapshot_records import LIVES, SnapshotRecord, SnapshotRecords, SnapshotState, same_snapshot
from rekindle.waiting import Clock
from rekindle.wording import number

# A run that is about to delete a snapshot, or to write what belongs to it, is given so much time, seconds.
SLACK = 300.0
DAY = 86400.0
# Seconds by which the times of the ledger and of the store may differ, to prove that a machine's id was not given anew.
CLOCKS = 120.0
GOES_ON = "its run goes on"
# The tag of versions that knew no lease.
_OLD_TAG = re.compile(r"run:(\d{10}-[0-9a-f]{6})")


@dataclass(frozen=True)
class JudgedSnapshot:
    """A snapshot that carries our mark, whether it is left over, and how that is known. `bytes` None: not read."""

    id: str
    left_over: bool
    why: str
    bytes: int | None = None

    def __str__(self) -> str:
        size = "" if self.bytes is None else f" ({number(self.bytes)} bytes)"
        return f"snapshot {self.id[:8]}{size}: {self.why}"


@dataclass
class SweptSnapshots:
    """What a sweep of snapshots saw and did.

    Attributes:
        looked: how many snapshots the bucket held.
        of_others: how many of them carry no mark of ours.
        found: left over; deleted now, unless `unsettled` says otherwise.
        kept: ours, or perhaps ours, and not touched.
        manifests: keys of manifests, claims and leases that were removed because nothing belongs to them any more.
        unsettled: sentences on what could not be deleted, or not completely.
    """

    looked: int = 0
    of_others: int = 0
    found: list[JudgedSnapshot] = field(default_factory=list)
    kept: list[JudgedSnapshot] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    @property
    def ended_nothing(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.found or self.manifests or self.unsettled)

    def __str__(self) -> str:
        parts = [f"deleted {one}" for one in self.found]
        parts += [f"removed {key}" for key in self.manifests]
        return "; ".join(parts + self.unsettled) or "no snapshot was left"


@dataclass(frozen=True)
class _Seen:
    """Everything that is known before snapshots are judged."""

    listed: Mapping[str, float]
    manifests: Sequence[KeptFor]
    claims: Sequence[Claim]
    records: Sequence[SnapshotRecord]


class SnapshotSweeper:
    """Sweeps the snapshots of one target."""

    def __init__(
        self,
        dumont: DumontClient,
        market: MarketClient | None,
        bucket: Callable[[], SnapshotBucket],
        ledger: Ledger,
        say: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            dumont: deletes the snapshots.
            market: its bill tells whose a machine was; None when there is no key for it.
            bucket: opens the bucket; raises what is missing for that.
            ledger: of this computer.
            say: writes a line of the log.
            clock: time and pause.
        """
        self._dumont = dumont
        self._market = market
        self._bucket = bucket
        self._ledger = ledger
        self._records = SnapshotRecords(ledger)
        self._say = say
        self._clock = clock or Clock()

    def sweep(self) -> SweptSnapshots:
        """Find what is left over, delete it, and verify that it is gone.

        Raises:
            RekindleError: the bucket could not be read; nothing was touched.
        """
        bucket = self._bucket()
        seen = _Seen(bucket.snapshots(), bucket.manifests(), bucket.claims(), self._records.on_target())
        judged = self._judge(bucket, seen)
        swept = SweptSnapshots(len(seen.listed), len(seen.listed) - len(judged))
        swept.kept = [one for one in judged if not one.left_over]
        self._delete(bucket, [one for one in judged if one.left_over], seen, swept)
        self._remove_orphans(bucket, seen, swept)
        return swept

    def _judge(self, bucket: SnapshotBucket, seen: _Seen) -> list[JudgedSnapshot]:
        judged, unknown = [], []
        for id_ in seen.listed:
            by_record = self._judge_by_record(bucket, id_, seen) or self._judge_by_manifest(bucket, id_, seen)
            judged += [by_record] if by_record else []
            unknown += [] if by_record else [id_]
        labels = self._billed_labels() if unknown else {}
        for id_, document in bucket.documents(unknown).items():
            verdict = self._judge_by_document(id_, document, seen, labels)
            judged += [verdict] if verdict else []
        return judged

    def _judge_by_record(self, bucket: SnapshotBucket, id_: str, seen: _Seen) -> JudgedSnapshot | None:
        """Judge what the ledger knows; None for a hibernation that was kept, and for what it does not know."""
        found = [one for one in seen.records if one.is_of(id_)]
        if not found or found[-1].state is SnapshotState.KEPT:
            return None
        if is_alive(found[-1].owner):
            return JudgedSnapshot(id_, left_over=False, why=GOES_ON)
        manifest = manifest_of(id_, seen.manifests)
        if manifest and (waking := self._waking(bucket, manifest)):
            return JudgedSnapshot(id_, left_over=False, why=waking)
        return JudgedSnapshot(id_, left_over=True, why=f"run {found[-1].run_id} has ended")

    def _judge_by_manifest(self, bucket: SnapshotBucket, id_: str, seen: _Seen) -> JudgedSnapshot | None:
        manifest = manifest_of(id_, seen.manifests)
        if manifest is None:
            return None
        left = KEPT_DAYS * DAY - manifest.age
        if left > 0:
            until = f"a hibernation that is kept for another day, for {left / DAY:.1f} days more"
            return JudgedSnapshot(id_, left_over=False, why=until)
        if waking := self._waking(bucket, manifest):
            return JudgedSnapshot(id_, left_over=False, why=waking)
        over = f"a hibernation that was kept for {KEPT_DAYS} days, which have been over for {-left / 3600:.0f} h"
        return JudgedSnapshot(id_, left_over=True, why=over)

    def _waking(self, bucket: SnapshotBucket, manifest: KeptFor) -> str | None:
        """Return which run holds the lease of a hibernation, unless that run is known to have ended."""
        held = holder(bucket.store, lease_name(manifest.snapshot_id))
        if held is None or self._ledger.lives(held.owner.partition(".")[0]) is False:
            return None
        return f"a hibernation that run {held.owner} is waking"

    def _judge_by_document(
        self, id_: str, document: SnapshotDocument | None, seen: _Seen, labels: Mapping[int, Label]
    ) -> JudgedSnapshot | None:
        """None for what is of others."""
        age = seen.listed[id_]
        if document is None:
            return JudgedSnapshot(id_, left_over=False, why="it is damaged, so that its owner cannot be read")
        machine = machine_of(document.tags, document.hostname)
        if label := label_of(document.tags):
            return self._judge_by_label(id_, age, label, seen)
        if malformed := next((tag for tag in document.tags if tag.startswith(LABEL_MARK)), None):
            why = f"its tag {malformed} is not one that Rekindle gives: not proven to be ours"
            return JudgedSnapshot(id_, left_over=False, why=why)
        if old := next((found for tag in document.tags if (found := _OLD_TAG.fullmatch(tag))), None):
            return self._judge_old(id_, old[1])
        owner = machine and (_claimed(machine, seen.claims, age) or self._rented(machine, age) or labels.get(machine))
        return self._judge_by_label(id_, age, owner, seen) if owner else None

    def _judge_by_label(self, id_: str, age: float, label: Label, seen: _Seen) -> JudgedSnapshot:
        record = next((one for one in seen.records if one.tag == str(label)), None)
        lives = is_alive(record.owner) if record else self._ledger.lives(label.run_id)
        if lives:
            return JudgedSnapshot(id_, left_over=False, why=GOES_ON)
        if lives is False:
            return JudgedSnapshot(id_, left_over=True, why=f"run {label.run_id} has ended")
        over_for = age - label.minutes * 60
        if over_for < SLACK:
            minutes = math.ceil((SLACK - over_for) / 60)
            why = f"run {label.run_id} is not of this computer, and may keep it for {minutes} min more"
            return JudgedSnapshot(id_, left_over=False, why=why)
        why = f"the {label.minutes} min for which run {label.run_id} might keep it have been over for"
        return JudgedSnapshot(id_, left_over=True, why=f"{why} {over_for / 60:.0f} min")

    def _judge_old(self, id_: str, run_id: str) -> JudgedSnapshot:
        if self._ledger.lives(run_id) is False:
            return JudgedSnapshot(id_, left_over=True, why=f"run {run_id} has ended")
        why = f"run {run_id} is not known to have ended, and its tag names no lease"
        return JudgedSnapshot(id_, left_over=False, why=why)

    def _rented(self, machine: int, age: float) -> Label | None:
        """Return the label under which a run of this computer had the machine when the snapshot was taken."""
        taken = time.time() - age
        for rent in reversed(self._ledger.of_machine(machine)):
            if _covers(rent, taken) and (label := Label.read(rent.label)):
                return replace(label, run_id=rent.run_id, minutes=label.minutes * LIVES)
        return None

    def _billed_labels(self) -> dict[int, Label]:
        """Return the labels of machines by id, as the market's bill of the last week tells them."""
        labels: dict[int, Label] = {}
        try:
            rows = self._market.statement() if self._market else []
        except RekindleError as error:
            self._say(f"the bill does not tell whose machines snapshots are of: {error}")
            return labels
        for row in rows:
            kind, _, id_ = row.source.partition("-")
            label = next(filter(None, map(Label.read, re.split(r"[\s,]+", row.description))), None)
            if kind == "instance" and id_.isdecimal() and label:
                labels[int(id_)] = replace(label, minutes=label.minutes * LIVES)
        return labels

    def _delete(
        self, bucket: SnapshotBucket, found: Sequence[JudgedSnapshot], seen: _Seen, swept: SweptSnapshots
    ) -> None:
        if not found:
            return
        needs = {one.id: bucket.needs(one.id) for one in found}
        cleared = snapshot_clearing.clear(
            self._dumont,
            bucket,
            lambda row: any(same_snapshot(str(row.get("id") or row.get("short_id") or ""), id_) for id_ in needs),
            self._say,
            clock=self._clock,
        )
        left = bucket.snapshots()
        swept.unsettled += cleared.unsettled
        for one in found:
            stored = needs[one.id]
            swept.found.append(replace(one, bytes=stored.bytes if stored else None))
            if one.id in left:
                swept.unsettled.append(f"{one}, but it still lies in bucket {bucket.store.bucket}")
                continue
            for record in seen.records:
                if record.is_of(one.id):
                    self._records.deleted(record.intent, "absent from the product's list and from the bucket")
            try:
                if stored:
                    bucket.freed(one.id, stored)
            except Mismatch as mismatch:
                swept.unsettled.append(str(mismatch))

    def _remove_orphans(self, bucket: SnapshotBucket, seen: _Seen, swept: SweptSnapshots) -> None:
        """Remove what belongs to no snapshot: old manifests and probes, claims and leases of runs that have ended."""
        left = [*bucket.snapshots(), *seen.listed]
        manifests = [
            one.key
            for one in seen.manifests
            if one.age > SLACK and not any(same_snapshot(one.snapshot_id, id_) for id_ in left)
        ]
        claims = [one.key for one in seen.claims if self._has_ended(one, seen)]
        leases = [
            one.key
            for one in bucket.leases()
            if not any(same_snapshot(one.snapshot_id, id_) for id_ in left) and self._is_free(bucket, one.name)
        ]
        probes = [one.key for one in bucket.probes() if one.age > SLACK]
        for key in [*manifests, *claims, *leases, *probes]:
            forget_manifest(bucket.store, key)
            swept.manifests.append(key)

    def _is_free(self, bucket: SnapshotBucket, lease: str) -> bool:
        held = holder(bucket.store, lease)
        return held is None or self._ledger.lives(held.owner.partition(".")[0]) is False

    def _has_ended(self, claim: Claim, seen: _Seen) -> bool:
        record = next((one for one in seen.records if one.tag == str(claim.label)), None)
        lives = is_alive(record.owner) if record else self._ledger.lives(claim.label.run_id)
        return not lives if lives is not None else claim.age > claim.label.minutes * 60 + SLACK


def _claimed(machine: int, claims: Sequence[Claim], age: float) -> Label | None:
    """Return the label of the run that had claimed a machine before the snapshot was taken."""
    found = [one for one in claims if one.instance_id == machine and one.age >= age - CLOCKS]
    return min(found, key=lambda one: one.age).label if found else None


def _covers(rent: Rent, moment: float) -> bool:
    return rent.intended_at - CLOCKS <= moment <= (rent.closed_at or math.inf) + CLOCKS
