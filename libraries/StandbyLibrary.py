"""CPU standbys: a cheap machine mirrors a GPU machine, so that its files survive it."""

from __future__ import annotations

from datetime import timedelta

from robot.api import logger
from robot.api.deco import keyword, library

from library_parts.console import tell
from library_parts.returned import converters
from library_parts.standing_by import OWN_EYES, standby_of
from library_parts.telling import GONE_TIMEOUT, tell_standby_proof
from rekindle import report, target
from rekindle.errors import Misconfigured
from rekindle.manifest import Manifest
from rekindle.money import dollars
from rekindle.rented import RentedMachine
from rekindle.standby import NOT_WITNESSED, Standby, Synced
from rekindle.tables import table
from rekindle.wording import counted


@library(scope="GLOBAL", doc_format="MARKDOWN", converters=converters(Manifest, RentedMachine, Standby, Synced))
class StandbyLibrary:
    """CPU standbys: a cheap machine mirrors a GPU machine, so that its files survive it.

    What the product says of a standby is a claim. It counts what we find on it over SSH, and whether the CPU cloud
    has the machine; its credentials are `GCP_URL`, `GCP_PROJECT` and `GCP_ACCESS_TOKEN`. Who cannot give them declines
    the witness with `--variable DECLINED_WITNESSES:gcp`.
    """

    @keyword
    def enable_standby(self, machine: RentedMachine, timeout: timedelta = timedelta(seconds=300)) -> Standby:
        """Has the product give a machine a CPU standby, and waits until it is there and lets us in.

        Args:
            machine: the GPU machine.
            timeout: how long it may take until it has synced for the first time.

        Returns:
            The standby, with `name`, `zone`, `hourly_usd`, `ssh.host` and more; see [Standby].

        Raises:
            AssertionError: in the product's own words; or the CPU cloud has no such machine, or shows another address.
        """
        return _known(target.current().standbys.enable(machine, timeout.total_seconds()))

    @keyword
    def standby_should_be_there(self, machine: RentedMachine, timeout: timedelta = timedelta(seconds=300)) -> Standby:
        """Waits for a standby ordered otherwise, such as by the switch on the page; then as [Enable Standby].

        Args:
            machine: the GPU machine.
            timeout: how long it may take until it has synced for the first time.

        Returns:
            The standby.
        """
        return _known(target.current().standbys.existing(machine, timeout.total_seconds()))

    @keyword
    def standby_of_machine(self, machine: RentedMachine) -> Standby:
        """Returns the standby that this run has made for a machine, or that follows it since a failover.

        Args:
            machine: the GPU machine.

        Raises:
            AssertionError: there is none.
        """
        standby = standby_of(machine)
        if standby is None:
            raise Misconfigured(f"{machine} has no CPU standby of this run: [Enable Standby] comes first.")
        return standby

    @keyword
    def expect_standby(self, machine: RentedMachine) -> None:
        """Writes down that a standby is about to be ordered on the page, so that it cannot be lost.

        Args:
            machine: the GPU machine.
        """
        target.current().standbys.expect(machine)

    @keyword
    def wait_until_standby_is_synced(
        self, standby: Standby, root: str = "/workspace", timeout: timedelta = timedelta(seconds=120)
    ) -> Synced:
        """Proves that a standby is in step: what we write on the GPU machine now, we read on the standby soon.

        A new nonce is written over SSH, after whatever the product has said of the standby before. It is read by
        ourselves. Then a whole sync that began later must have ended, so that everything older has come over as well.

        The file with the nonce stays in the directory. Take a manifest for later comparison after this keyword.

        Args:
            standby: which one.
            root: an existing directory that is mirrored.
            timeout: how long it may take.

        Returns:
            The `nonce`, its `path`, and the `seconds` until it was there.

        Raises:
            AssertionError: it does not arrive, with what the product claims meanwhile; or it is not there, although the
                standby is said to be of a later moment.
        """
        synced = target.current().standbys.wait_until_synced(standby, root, timeout.total_seconds())
        lag = "" if synced.claimed_lag is None else f"; Dumont Cloud says that it is {synced.claimed_lag:.2f} s behind"
        tell(f"Synced: {synced.path.rpartition('/')[2]} was on the standby after {synced.seconds:.2f} s{lag}")
        current = report.current()
        current.metrics["sync_latency_sec"] = round(synced.seconds, 3)
        current.claims["sync_lag_sec"] = synced.claimed_lag
        current.add_check("nonce is on the standby", OWN_EYES, looks=synced.looks)
        return synced

    @keyword
    def stop_syncing(self, machine: RentedMachine) -> None:
        """Has the product leave a standby as it is, while its machine goes on.

        Args:
            machine: the GPU machine.
        """
        target.current().dumont.stop_syncing(machine.id)

    @keyword
    def standby_should_equal_manifest(self, standby: Standby, manifest: Manifest) -> None:
        """Compares the whole tree on the standby with the manifest of the GPU machine's.

        Call [Wait Until Standby Is Synced] first.

        Args:
            standby: which one.
            manifest: what it must hold.

        Raises:
            AssertionError: names what is missing, changed (and how) or extra.
        """
        comparison = target.current().standbys.compare(standby, manifest)
        heading, *rows = comparison.table()
        logger.info(table([str(cell) for cell in heading], rows), html=True)
        comparison.raise_unless_equal(f"What is on {standby}")
        files, size = comparison.checked_files, comparison.checked_bytes
        tell(f"Compared: {counted(files, 'file')}, {counted(size, 'byte')} on the standby: all equal")
        report.current().add_check("standby equals manifest", "SSH to the standby", files=files, bytes=size)
        report.current().not_witnessed += comparison.not_witnessed

    @keyword
    def standby_should_be_gone(self, standby: Standby, timeout: timedelta = GONE_TIMEOUT) -> None:
        """Proves that a standby is gone, as it must be when its machine was destroyed.

        Args:
            standby: which one.
            timeout: how long it may take until nobody sees it any more.

        Raises:
            AssertionError: it is still there; it is then deleted at the CPU cloud, where there is a token for it.
        """
        tell_standby_proof(standby, target.current().standbys.prove_gone(standby, timeout.total_seconds()))


def _known(standby: Standby) -> Standby:
    opened = target.current()
    opened.made_standbys.append(standby)
    price = "" if standby.hourly_usd is None else f", {dollars(standby.hourly_usd, 4)}/h"
    tell(f"Standby: {standby.name} in {standby.zone}{price}, SSH {standby.cpu.host}:{standby.cpu.port}")
    current = report.current()
    current.resources |= {"standby_name": standby.name, "standby_hourly_usd": standby.hourly_usd}
    if opened.gcp:
        current.add_check("standby is at the CPU cloud", "CPU cloud", machines=1)
    else:
        current.not_witnessed.append(f"CPU cloud: {NOT_WITNESSED}")
    return standby
