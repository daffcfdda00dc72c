"""Opens the target, rents machines on it, destroys them, and proves that they are gone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Literal

from robot.api import logger
from robot.api.deco import keyword, library
from robot.libraries.BuiltIn import BuiltIn

from library_parts import paying
from library_parts.console import tell
from library_parts.deleting import delete_left, end_snapshots
from library_parts.first_screen import FirstScreen
from library_parts.given import seconds_of, visible_variable, visible_variables
from library_parts.other_libraries import imported, log_in
from library_parts.redacting import Redacting
from library_parts.results import Results, folder, output_dir
from library_parts.returned import converters
from library_parts.telling import GONE_TIMEOUT, tell_proof, tell_rented, tell_standby_proof
from rekindle import renting, target
from rekindle.errors import Mismatch, RekindleError
from rekindle.hiding import HidingAdapter
from rekindle.http import proxies_for
from rekindle.money import dollars
from rekindle.rented import RentedMachine
from rekindle.variable_checks import check, warnings
from rekindle.variables import BY_NAME, GPUS


@library(
    scope="GLOBAL",
    doc_format="MARKDOWN",
    converters=converters(RentedMachine),
    listener=[Redacting(), paying.Spending(), FirstScreen(), Results()],
)
class ProvisioningLibrary:
    """Opens the target, rents machines on it, destroys them, and proves that they are gone.

    No machine outlives its run: every rent is written down before it happens, a guard process destroys what is left
    when Robot dies, and [Destroy All Machines And Prove It] belongs in every suite's teardown.
    """

    def __init__(self) -> None:
        self._warned: set[str] = set()

    @keyword
    def open_target(
        self,
        kind: str,
        budget_usd: float | str | None = None,
        declined: str = "",
        state_dir: str | Path | None = None,
        env_file: Path | None = None,
    ) -> None:
        """Opens the cloud under test; does nothing when this run has opened it already.

        Args:
            kind: `sandbox` starts the embedded cloud, or joins it when it is up. `live` takes every address and key
                from the environment or a file, under the names that `python -m sandbox env` prints.
            budget_usd: the most that this run may spend, in USD. A live target needs it; nothing paid starts without.
                The embedded cloud is free: no limit when not given. With pabot, each process may spend it.
            declined: witnesses that cannot be asked, with commas between them: `market` (no key of the GPU market),
                `restic` (no such program on this side), `gcp` (no token of the CPU cloud). Reports then say "not
                witnessed".
            state_dir: directory where the embedded cloud keeps its state, so that several can stand side by side; the
                default one is kept between runs. A new directory is created only in one that exists. `temporary` is a
                cloud for this process alone, removed at its end; `breakable` is such a cloud with a network that can
                be broken and clocks that can be set.
            env_file: `NAME=value` lines for what the environment lacks; `.env` in the project when not given.

        Raises:
            AssertionError: a credential is missing, the budget is not set, the API cannot be reached or entered, or
                another target is open.
        """
        opened = target.open_target(
            target.kind(kind),
            budget_usd=target.budget(budget_usd),
            declined=target.witnesses(declined),
            state_dir=target.state_directory(state_dir),
            env_file=env_file,
        )
        opened.space.add("the output directory (--outputdir)", output_dir())
        for warning in opened.warnings:
            logger.warn(warning)
        built_in = BuiltIn()
        built_in.set_suite_metadata("Target", f"{kind} at {opened.settings.dumont_api_url}", top=True)
        built_in.set_suite_metadata("Run", folder().run_id, top=True)

    @keyword
    def variables_should_be_legal(self) -> None:
        """Check every variable that a user can set, before anything is rented; `docs/variables.md` lists them.

        Variables given on the command line are checked even if the present suites do not use them. A name that
        resembles a variable (`MAX_PRISE`) causes a warning.

        Raises:
            AssertionError: one sentence for each wrong variable, with its value, type, unit, bounds and an example.
        """
        values = visible_variables()
        for name, warning in warnings(values).items():
            if name not in self._warned:
                self._warned.add(name)
                logger.warn(warning)
        check(values, seconds_of)

    @keyword
    def gpus_should_be_known(self) -> None:
        """Check that each variable that names a GPU (`GPU`, `OTHER_GPU`, `MIGRATION_GPU`) names one that exists.

        Needs an open target. A GPU that is merely not on offer now passes.

        Raises:
            AssertionError: no market knows the GPU; suggests similar names.
        """
        for name in GPUS:
            if isinstance(value := visible_variable(name), str):
                example = f"{name}:{BY_NAME[name].example}"
                target.current().renter.check_gpu(value, called=name, example=example)

    @keyword
    def gpu_should_be_on_offer(self, gpu_name: str, max_price: float, disk_gb: int = 100) -> None:
        """Check that a GPU can be rented now. Rents nothing.

        Args:
            gpu_name: as the market names it, `RTX 4090`.
            max_price: USD/h.
            disk_gb: size of its disk, GB.

        Raises:
            AssertionError: no such GPU is on offer (`WEATHER:`), or no market knows it.
        """
        cheapest = target.current().renter.offers(max_price=max_price, disk_gb=disk_gb, gpu_name=gpu_name)[0]
        tell(f"On offer: {gpu_name}, from {dollars(cheapest.dph_total, 4)}/h")

    @keyword
    def close_target(self) -> None:
        """Closes the books and the target, and lets the guard go. The outermost suite of a run ends with it by itself.

        Everything that was paid for (machines, their disks and traffic, losers of races, standbys, volumes) stands in
        `bill_<epoch>.json`: what we measured beside what is billed.

        Raises:
            AssertionError: a machine of this run was still there; or a bill differs by more than a billing second from
                what we measured (names both numbers of each), or more was spent than the budget.
        """
        if (opened := target.opened()) is None:
            return
        failures = end_snapshots()
        try:
            bills = paying.settle(opened)
        except RekindleError as failure:
            bills = [str(failure)]
        try:
            target.close()
        except RekindleError as failure:
            failures.append(str(failure))
        failures += bills  # last: a machine that was left behind explains a bill that grows
        if failures:
            raise Mismatch("\n".join(failures))

    @keyword
    def open_dumont_session(self, alias: str, logged_in: bool = False) -> None:
        """Opens a session of RequestsLibrary to the Dumont API, for `GET On Session` and its like.

        The token is added on the way out, beneath what RequestsLibrary logs, so that it stands in no log.

        Args:
            alias: name of the session.
            logged_in: whether its requests carry the login of the target's user.
        """
        opened = target.current()
        session = imported("RequestsLibrary").create_session(alias, opened.settings.dumont_api_url, verify=True)
        session.trust_env = False  # no login from ~/.netrc
        session.proxies = proxies_for(opened.settings.dumont_api_url)
        if logged_in:
            session.mount(opened.settings.dumont_api_url, HidingAdapter(opened.dumont.token()))

    @keyword
    def email_of_account(self) -> str:
        """Returns the e-mail that the target is entered with. It is no secret, as the password is."""
        return target.current().settings.dumont_email

    @keyword
    def rent_machine(
        self,
        max_price: float,
        gpu_name: str | None = None,
        region: Literal["US", "EU", "ASIA"] | None = None,
        disk_gb: int = 100,
        minutes: float = renting.MINUTES,
        create_timeout: timedelta = timedelta(seconds=300),
        ready_timeout: timedelta = timedelta(seconds=600),
        failover_strategy: str | None = None,
    ) -> RentedMachine:
        """Rents the cheapest machine that fits and waits until it runs and answers by SSH.

        Args:
            max_price: USD/h.
            gpu_name: as the market names it, `RTX 4090`; any when not given.
            region: where it stands; anywhere when not given.
            disk_gb: size of its disk, GB.
            minutes: how long it may live at worst; so much money is set aside out of the budget.
            create_timeout: how long the renting itself may take.
            ready_timeout: how long it may take until it runs and answers.
            failover_strategy: where it must be chosen with the rent: `regional_volume` puts the workspace on a volume.

        Returns:
            The machine: `id`, `gpu_name`, `hourly_usd`, `ssh.host`, `ssh.port`, and more; see [RentedMachine].

        Raises:
            AssertionError: no offers, a machine that never boots, SSH refused (all `WEATHER:`), or over the budget.
        """
        opened = target.current()
        machine = opened.renter.rent(
            max_price=max_price,
            gpu_name=gpu_name,
            region=region,
            disk_gb=disk_gb,
            minutes=minutes,
            create_timeout=create_timeout.total_seconds(),
            ready_timeout=ready_timeout.total_seconds(),
            failover_strategy=failover_strategy,
        )
        opened.machines[machine.id] = machine
        tell_rented(machine)
        return machine

    @keyword
    def open_ssh_connection(self, machine: RentedMachine, alias: str | None = None) -> None:
        """Open a connection of SSHLibrary to a machine, for `Execute Command`, `Put File` and its like.

        It logs in with the key file of the target. The machine must show the host key that was recorded when it was
        rented; SSHLibrary alone accepts any. `Close All Connections` closes it.

        Args:
            machine: machine to log in to.
            alias: name for `Switch Connection`, if several connections are open.

        Raises:
            AssertionError: the suite does not import SSHLibrary, or another machine answers at the address.
        """
        log_in(imported("SSHLibrary"), machine.machine, alias)

    @keyword
    def host_key_should_be_pinned(self, machine: RentedMachine) -> None:
        """Makes sure that the machine still shows the host key that was pinned at the first contact.

        Args:
            machine: which one.

        Raises:
            AssertionError: it shows another one; names both fingerprints.
        """
        machine.machine.run("true")
        tell(f"Host key: {machine.machine.host_key_fingerprint()}")

    @keyword
    def destroy_machine(self, machine: RentedMachine, timeout: timedelta = GONE_TIMEOUT) -> None:
        """Has the product destroy a machine, and proves that it is gone and bills no more.

        Args:
            machine: which one.
            timeout: how long it may take until nobody sees it any more.

        Raises:
            AssertionError: it is still there although the product says otherwise; names every witness. It is then
                destroyed at the market, where there is a key for it.
        """
        destroyer = target.current().destroyer
        tell_proof(machine, destroyer.destroy_and_prove(machine, patience=timeout.total_seconds()))

    @keyword
    def machine_should_be_gone(self, machine: RentedMachine, timeout: timedelta = GONE_TIMEOUT) -> None:
        """Proves that a machine which the product destroyed by itself is gone and bills no more.

        Args:
            machine: which one.
            timeout: how long it may take until nobody sees it any more.

        Raises:
            AssertionError: it is still there; names every witness.
        """
        destroyer = target.current().destroyer
        tell_proof(machine, destroyer.prove_gone(machine, patience=timeout.total_seconds()))

    @keyword
    def destroy_all_machines_and_prove_it(self) -> None:
        """Destroys every machine of this run that is still there, and proves that it is gone. For suite teardowns.

        Its CPU standby goes with a machine, and is proven gone as well. The snapshots of this run are deleted, except
        hibernations that are kept for another day. Does nothing when no target is open, as after a setup that failed:
        `Close Target` has settled everything before.

        Raises:
            AssertionError: at least one could not be destroyed, or not be proven gone; or was found stopped, although
                its disk is paid for; names all of them.
        """
        if (opened := target.opened()) is None:
            logger.info("No target is open, so nothing of this run is left.")
            return
        left = [machine for machine in opened.machines.values() if not machine.gone]
        failures: list[str] = []
        try:
            failures += paying.end_stopped(opened)
        except RekindleError as failure:
            failures.append(str(failure))
        with ThreadPoolExecutor(max(len(left), 1)) as pool:
            proofs = [pool.submit(opened.destroyer.destroy_and_prove, machine) for machine in left]
        for machine, proof in zip(left, proofs, strict=True):
            try:
                tell_proof(machine, proof.result())
            except RekindleError as failure:
                failures.append(str(failure))
        for standby in [one for one in opened.made_standbys if not one.gone]:
            try:
                tell_standby_proof(standby, opened.standbys.prove_gone(standby, GONE_TIMEOUT.total_seconds()))
            except RekindleError as failure:
                failures.append(str(failure))
        failures += delete_left()
        if failures:
            raise Mismatch("\n".join(failures))
        opened.renter.expect_no_more()
        done = f"{len(left)} destroyed" if left else "nothing was left to destroy"
        tell(f"Clean-up: {done}; all {len(opened.machines)} machines of this run are proven gone")
