"""Opens a browser on the product's page, photographs it, and compares what it says with what is true."""

from __future__ import annotations

import base64
import html
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from robot.api import logger
from robot.api.deco import keyword, library
from robot.libraries.BuiltIn import BuiltIn

from library_parts.console import tell
from library_parts.results import keep, output_dir
from library_parts.returned import converters
from library_parts.telling import tell_rented
from rekindle import browsers, cards, report, target
from rekindle.errors import CapabilityMissing, Misconfigured, Mismatch, Unknown, Weather
from rekindle.failover import Failover
from rekindle.labels import label_prefix
from rekindle.market import MarketInstance
from rekindle.redaction import KNOWN
from rekindle.rented import RentedMachine
from rekindle.renting import PRODUCTS_DISK_GB, Expected
from rekindle.standby import Standby
from rekindle.tables import link
from rekindle.variables import BY_NAME, GPUS
from rekindle.waiting import Timeout, wait_until
from rekindle.wording import in_words, named
from WatchedBrowser import WatchedBrowser

SCREENSHOTS = "screenshots"
PICTURES = {"provisioning": "12-failover-progress", "restoring": "13-failover-restoring"}
SHOWN = timedelta(seconds=15)
THE_PAGE = "the page, in a browser"
# The page tells a price and seconds as the API does; only what is computed from them may differ in the last digit.
EXACT, ROUNDED = 1e-6, 0.01

_CARDS = """() => [...document.querySelectorAll('[data-testid^="machine-card-"]')].map((card) => {
    const part = (id) => card.querySelector(`[data-testid="${id}"]`);
    return {
        id: card.dataset.testid.replace('machine-card-', ''),
        label: part('open-details').textContent,
        gpu: part('machine-gpu').textContent,
        price: part('machine-price').value,
        priced: part('machine-price').textContent,
        state: part('machine-status').textContent,
    };
})"""
# Everything that a person can read on the page.
_TEXTS = """() => [
    document.title,
    document.body.innerText,
    ...[...document.querySelectorAll('input:not([type=password]), textarea')].map((field) => field.value),
].join('\\n')"""
_PANEL = """(panel) => ({
    id: panel.dataset.failoverId,
    over: panel.dataset.over,
    total: panel.querySelector('[data-testid="failover-total"] data')?.value ?? null,
    totalled: panel.querySelector('[data-testid="failover-total"] data')?.textContent ?? '',
    successor: panel.querySelector('[data-testid="failover-new-instance"]')?.textContent ?? null,
    phases: [...panel.querySelectorAll('li[data-phase]')].map((item) => ({
        phase: item.dataset.phase,
        state: item.dataset.state,
        seconds: item.querySelector('data').value,
        timed: item.querySelector('data').textContent,
        text: item.textContent,
    })),
})"""

# The names of all choices that the page shows.
_CHOICES = """() => [...document.querySelectorAll('input[type=radio]')]
    .filter((radio) => radio.checkVisibility())
    .map((radio) => document.getElementById(radio.getAttribute('aria-labelledby')) ?? radio.labels?.[0])
    .map((title) => title?.textContent.trim() ?? '')"""
_NUMBER = "(number) => ({ value: number.value, text: number.textContent })"
_WORDS = """() => ({
    place: location.pathname,
    heading: document.querySelector('h1')?.textContent.trim() ?? 'without a heading',
    alerts: [...document.querySelectorAll('[role="alert"]')]
        .filter((alert) => alert.checkVisibility()).map((alert) => alert.textContent.trim()),
})"""


@library(scope="GLOBAL", doc_format="MARKDOWN", converters=converters(Expected, Failover, RentedMachine, Standby))
class PageLibrary:
    """Opens a browser on the product's page, photographs it, and compares what it says with what is true.

    The page is believed by nobody: what it shows is held against the API, the market, and the machines.
    """

    _panel_of = ""  # the selector of the panel that is looked at

    def __init__(self) -> None:
        self._journey: dict[str, float] = {}

    @keyword
    def open_browser_for_page(self, browser_path: str | None = None, headless: bool = True) -> str:
        """Starts a browser and opens an empty page in it.

        It is found by itself: the one that `BROWSER_PATH` names, the system's Chromium or Chrome, or Playwright's own.
        On the embedded cloud it talks to nobody but that.

        Args:
            browser_path: the program, instead of the one in the environment.
            headless: `False` shows the window.

        Returns:
            The address of the page under test.

        Raises:
            AssertionError: there is no browser; says how to install one.
        """
        page = target.current().console_url
        choice = browsers.choose(browser_path, page)
        browser = _browser()
        try:
            with browsers.own_environment():
                browser.renew_driver()
                browser.new_browser(
                    browser="chromium",
                    headless=headless,
                    executablePath=str(choice.path) if choice.path else None,
                    args=list(choice.arguments),
                )
        except Exception as error:
            explained = browsers.explained(error)
            if explained is error:
                raise
            raise explained from None
        browser.watch()
        browser.new_context(viewport={"width": 1280, "height": 900}, locale="pt-BR")
        tell(f"Browser: {choice.path or 'that of Playwright'}{'' if headless else ', in a window'}, on {page}")
        return page

    @keyword
    def take_journey_screenshot(self, name: str) -> Path:
        """Photographs the whole page, into `screenshots/` of the output directory and into the log.

        Fields for passwords are blackened. A page that shows a secret in clear is not photographed.

        Args:
            name: what it shows, such as `01-logged-in`; the moment is put before it.

        Returns:
            The path of the picture.

        Raises:
            AssertionError: the page shows a secret in clear; names it.
        """
        folder = output_dir() / SCREENSHOTS
        folder.mkdir(parents=True, exist_ok=True)
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S-%f")[:-3] + "Z"
        path = folder / f"{moment}-{name}.png"
        with _quiet():
            if shown := KNOWN.redact(_browser().evaluate_javascript(None, _TEXTS)).names:
                raise Mismatch(f"The page shows {named(sorted(shown))} in clear, so no picture is taken of it.")
            _browser().take_screenshot(
                filename=str(path.with_suffix("")), fullPage=True, mask="input[type=password]", maskColor="black"
            )
        if not path.is_file():
            raise Unknown(f"The browser said that it took the picture {name}, but {path} is not there.")
        keep(path)
        picture = base64.b64encode(path.read_bytes()).decode()
        logger.info(
            f"{link(f'{SCREENSHOTS}/{path.name}', path.name)}<br>"
            f'<img src="data:image/png;base64,{picture}" alt="{html.escape(name)}" style="max-width:100%;width:860px">',
            html=True,
        )
        tell(f"Screenshot: {name}")
        return path

    @keyword
    def page_should_list_our_machines(self, timeout: timedelta = SHOWN) -> None:
        """Compares the cards of this run's machines with what the API lists of them: id, label, GPU, price, state.

        Each must have one card, and none of ours may be left over. Machines of others come and go, and do not count.

        Args:
            timeout: how long the page may take to show what is new.

        Raises:
            AssertionError: a card is missing, or there is one too many, or it says something else than the API; or the
                API does not list a machine that is ours.
        """
        opened = target.current()
        gone = frozenset(id_ for id_, machine in opened.machines.items() if machine.gone)
        ours = cards.Ours(frozenset(opened.machines) - gone, gone, label_prefix(opened.run_id))

        def look() -> cards.Compared:
            rows = opened.dumont.instances()
            seen = [cards.Card.read(card) for card in _browser().evaluate_javascript(None, _CARDS)]
            return cards.compare(ours, rows, seen)

        waited = wait_until(
            "the page to show the machines that the API lists",
            look,
            lambda compared: not compared.wrong,
            timeout=timeout.total_seconds(),
            describe=lambda compared: "; ".join(compared.wrong),
        )
        report.current().add_check("the cards are what the API lists", THE_PAGE, machines=waited.value.machines)

    @keyword
    def standby_price_should_be_shown(self, standby: Standby, timeout: timedelta = SHOWN) -> None:
        """Compares the price that the page shows of a standby, and what a person reads of it, with what it costs.

        Args:
            standby: whose machine's details are open.
            timeout: how long the page may take.

        Raises:
            AssertionError: it shows another price. Where nobody tells what a standby costs, the report says so.
        """
        usd = standby.hourly_usd
        if usd is None:
            report.current().not_witnessed.append("price of the standby on the page: nobody tells what it costs")
            return
        wait_until(
            f"the page to show ${usd}/h for {standby}",
            lambda: dict(_browser().evaluate_javascript("[data-testid=standby-price]", _NUMBER)),
            lambda seen: abs(float(seen["value"] or -1) - usd) <= EXACT and cards.reads(seen["text"], cards.PRICE, usd),
            timeout=timeout.total_seconds(),
        )
        report.current().add_check("the standby's price is shown", THE_PAGE, standbys=1)

    @keyword
    def expect_machine(self, max_price: float, disk_gb: float = PRODUCTS_DISK_GB, minutes: float = 30) -> Expected:
        """Makes ready for a machine that is about to be rented on the page: the money, the books, the guard.

        Args:
            max_price: the dearest that may come, USD/h.
            disk_gb: its disk, GB.
            minutes: how long it may live at worst.

        Returns:
            What is expected. Its `label` must be given to the machine.
        """
        renter = target.current().renter
        label = renter.new_label(minutes)
        return renter.expect(label, what="a machine from the page", max_price=max_price, disk_gb=disk_gb)

    @keyword
    def expect_restored_machine(self, snapshot_id: str, max_price: float) -> Expected:
        """Makes ready for a machine that the product rents to restore a snapshot on; as [Expect Machine].

        Args:
            snapshot_id: short.
            max_price: the dearest that may come, USD/h.
        """
        return target.current().renter.expect(
            f"restore-{snapshot_id}", what=f"a machine to restore {snapshot_id} on", max_price=max_price
        )

    @keyword
    def machine_should_be_the_one_on_the_page(
        self,
        expected: Expected,
        id_on_page: int,
        gpu_name: str | None = None,
        countries: list[str] | None = None,
        ready_timeout: timedelta = timedelta(seconds=600),
    ) -> RentedMachine:
        """Finds out which machine was rented on the page: API, market and page must name the same one, and only it.

        Args:
            expected: as it was written down before.
            id_on_page: the id that the page shows.
            gpu_name: the model that was chosen on the page.
            countries: those of the region that was chosen on the page, such as `US` and `CA`.
            ready_timeout: how long it may take until a command can run on it.

        Returns:
            The machine.

        Raises:
            AssertionError: the market has another one or more than one (losers of the race), or it is not as chosen.
        """
        opened = target.current()
        renter, label = opened.renter, expected.label
        there = sorted(id_ for id_, its in renter.everything().items() if its == label and id_ not in expected.before)
        if there != [id_on_page]:
            error = Mismatch(
                f"The page says that machine {id_on_page} was rented; with its label {label} there are "
                f"{named([str(id_) for id_ in there]) or 'none'} at the market and in Dumont Cloud."
            )
            raise renter.did_not_arrive(expected, error)
        machine = renter.arrived(expected, id_on_page, ready_timeout.total_seconds())
        opened.machines[machine.id] = machine
        if opened.market:
            _check_choice(machine, opened.market.instance(machine.id), gpu_name, countries)
        said = machine.machine.run("nvidia-smi --query-gpu=name --format=csv,noheader").text
        if gpu_name and gpu_name not in said:
            raise Mismatch(f"{gpu_name} was chosen on the page, but nvidia-smi on {machine} says {said!r}.")
        tell_rented(machine)
        report.current().add_check("the machine on the page is ours", "page, API, market, machine", machines=1)
        return machine

    @keyword
    def choice_should_be_on_page(self, name: str, variable: str, timeout: timedelta = SHOWN) -> None:
        """Wait until the page offers a choice (a radio button) of this name.

        Args:
            name: accessible name of the choice.
            variable: variable that holds the name, for the message.
            timeout: how long the page may take to offer it.

        Raises:
            AssertionError: the page does not offer it; names what it offers. A GPU that is not offered is `WEATHER:`.
        """
        browser = _browser()
        choice = f"role=radio[name={json.dumps(name, ensure_ascii=False)}]"
        try:
            wait_until(
                f"the page to offer {name}",
                lambda: int(browser.get_element_count(choice)),
                bool,
                timeout=timeout.total_seconds(),
            )
        except Timeout:
            choices = browser.evaluate_javascript(None, _CHOICES)
            offered = in_words(choices) if choices else "nothing"
            if variable in GPUS:
                raise Weather(f"The page offers no {name} now, but {offered}. Wait, or set {variable}.") from None
            raise Misconfigured(
                f"{variable} must be a choice of the page, such as {variable}:{BY_NAME[variable].example}; it is "
                f"{name!r}, and the page offers {offered}."
            ) from None

    @keyword
    def failover_panel_should_appear(self, machine: RentedMachine, timeout: timedelta = SHOWN) -> None:
        """Waits for the progress panel of a machine's failover; from then on the other keywords look at that one.

        Args:
            machine: that is lost. Failovers of other machines may be on the page as well.
            timeout: how long the page may take.
        """
        self._panel_of = f'[data-testid=failover-progress-panel][data-instance-id="{machine.id}"]'
        states = _browser().get_element_states
        wait_until(
            f"the page to show the failover of {machine}",
            lambda: states(self._panel_of),
            lambda seen: "visible" in seen,
            timeout=timeout.total_seconds(),
            describe=", ".join,
        )

    def _panel(self) -> dict[str, Any]:
        return dict(_browser().evaluate_javascript(self._panel_of, _PANEL))

    @keyword
    def phase_should_be_on_page(self, phase: str, timeout: timedelta = SHOWN) -> None:
        """Makes sure that the progress panel shows a phase as it comes. For `on_phase` of *Follow Failover*.

        The long phases, `provisioning` and `restoring`, are photographed as well.

        Args:
            phase: its name in the API.
            timeout: how long the page may take.
        """
        wait_until(
            f"the page to show phase {phase}",
            lambda: next((one["state"] for one in self._panel()["phases"] if one["phase"] == phase), "missing"),
            lambda state: state in {"running", "done", "failed"},
            timeout=timeout.total_seconds(),
        )
        report.current().add_check("phase is shown as it comes", THE_PAGE, phases=1)
        if phase in PICTURES:
            self.take_journey_screenshot(PICTURES[phase])

    @keyword
    def panel_should_tell_the_truth(self, failover: Failover, timeout: timedelta = SHOWN) -> None:
        """Compares the progress panel with the failover as it was followed.

        Every phase is done, has its API name and its seconds; they add up to the total on the page, and the machine
        that the page names is the one that took over.

        Args:
            failover: that *Follow Failover* has followed.
            timeout: how long the page may take to show the end.

        Raises:
            AssertionError: names everything that the page says otherwise.
        """
        seen: dict[str, Any] = wait_until(
            "the page to show the end of the failover",
            self._panel,
            lambda panel: panel["over"] == "true",
            timeout=timeout.total_seconds(),
            describe=lambda panel: f"{[one['phase'] for one in panel['phases'] if one['state'] == 'running']} runs",
        ).value
        claims = failover.seconds_by_phase()
        wrong = [f"it shows failover {seen['id']}, not {failover.id}"] if seen["id"] != failover.id else []
        if [one["phase"] for one in seen["phases"]] != list(failover.phases):
            wrong.append(f"its phases are {[one['phase'] for one in seen['phases']]}")
        for one in seen["phases"]:
            if one["state"] != "done" or one["phase"] not in one["text"]:
                wrong.append(f"phase {one['phase']} is shown as {one['state']}: {one['text']!r}")
            if one["phase"] in claims and abs(float(one["seconds"] or -1) - claims[one["phase"]]) > EXACT:
                wrong.append(f"phase {one['phase']} took {claims[one['phase']]} s, the page says {one['seconds']!r}")
            if one["seconds"] and not cards.reads(one["timed"], cards.SECONDS, float(one["seconds"])):
                wrong.append(f"{one['seconds']} s of phase {one['phase']} are shown to people as {one['timed']!r}")
        total = sum(float(one["seconds"] or 0) for one in seen["phases"])
        if abs(float(seen["total"] or -1) - total) > ROUNDED:
            wrong.append(f"its phases take {total:.3f} s together, the total is {seen['total']!r}")
        elif not cards.reads(seen["totalled"], cards.SECONDS, float(seen["total"])):
            wrong.append(f"the {seen['total']} s of all phases are shown to people as {seen['totalled']!r}")
        if failover.new and not str(seen["successor"]).startswith(str(failover.new.id)):
            wrong.append(f"machine {failover.new.id} took over, the page names {seen['successor']!r}")
        if wrong:
            raise Mismatch(f"The page does not tell the truth about failover {failover.id}: {'; '.join(wrong)}.")
        report.current().add_check("the panel tells the failover as it was", THE_PAGE, phases=len(seen["phases"]))

    @keyword
    def expect_snapshot(self, machine: RentedMachine) -> None:
        """Record that the product is about to take a snapshot of a machine, before it is ordered on the page.

        Args:
            machine: of which the snapshot is taken.
        """
        target.current().snapshots.expect(machine.id)

    @keyword
    def snapshot_by_name(self, name: str, timeout: timedelta = timedelta(seconds=300)) -> str:
        """Waits until the product lists a snapshot of this name as a success.

        Args:
            name: as the page has told it.
            timeout: how long it may take.

        Returns:
            Its short id.
        """
        dumont = target.current().dumont

        def look() -> dict[str, Any]:
            return next((row for row in dumont.snapshots() if row.get("name") == name), {})

        row = wait_until(
            f"snapshot {name}",
            look,
            lambda row: row.get("status") == "success",
            timeout=timeout.total_seconds(),
            hopeless=lambda row: f"it failed: {row.get('error')}" if row.get("status") == "failed" else None,
        ).value
        short = str(row.get("short_id") or row.get("id"))
        target.current().snapshots.taken_by_product(int(row["instance_id"]), short)
        report.current().resources["snapshot_id"] = short
        return short

    @keyword
    def tell_what_the_page_says(self) -> None:
        """Adds to the message of a failed test where the page was and what it warned of. For teardowns."""
        seen: dict[str, Any] = _browser().evaluate_javascript(None, _WORDS)
        said = f"said: {'; '.join(seen['alerts'])}" if seen["alerts"] else "warned of nothing."
        BuiltIn().set_test_message(f"The page was {seen['place']} ({seen['heading']}), and {said}", append=True)

    @keyword
    def record_journey_metrics(self, **steps: str) -> None:
        """Reports the seconds of steps under the names that the history of journeys has; those that did not run not.

        Args:
            steps: metric=step, the latter as in the report's timings without the unit: `provisioning=create_gpu`.
        """
        current = report.current()
        timings = current.timings()
        seconds = {metric: timings[f"{step}_sec"] for metric, step in steps.items() if f"{step}_sec" in timings}
        self._journey = seconds | {"total": timings["total_sec"]}
        current.metrics |= self._journey

    @keyword
    def keep_journey_metrics(self, test_name: str) -> None:
        """Adds the recorded seconds of a test that passed to the product's own history, in milliseconds as it has them.

        A target that keeps no history goes without, which is told.

        Args:
            test_name: as the history knows it, such as `failover-complete-system`.

        Raises:
            AssertionError: the product took them, but its history does not have them.
        """
        current, dumont = report.current(), target.current().dumont
        moment = current.begun_at.isoformat(timespec="milliseconds")
        kept = {name: round(1000 * seconds) for name, seconds in self._journey.items()}
        try:
            dumont.keep_test_metrics(test_name, moment, kept)
        except CapabilityMissing as error:
            current.not_witnessed.append(str(error))
            return
        if {"timestamp": moment, "metrics": kept} not in [
            {key: row.get(key) for key in ("timestamp", "metrics")} for row in dumont.test_metrics(test_name)
        ]:
            raise Mismatch(f"Dumont Cloud took the metrics of {test_name}, but its history does not have them.")
        tell(f"Metrics: kept in the history of {test_name} in Dumont Cloud")


class _Calls:
    """The keywords of the browser library as methods; they fail as they do for Robot."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def watch(self) -> None:
        """Watch the browser that was opened last, if the suite's library can."""
        if isinstance(self._library, WatchedBrowser):
            self._library.watch()

    def renew_driver(self) -> None:
        """Have the next browser started in the environment that this process has now, if the suite's library can."""
        if isinstance(self._library, WatchedBrowser):
            self._library.renew_driver()

    def __getattr__(self, keyword: str) -> Any:
        if isinstance(self._library, WatchedBrowser):
            return partial(self._library.call, keyword)
        return getattr(self._library, keyword)


def _browser() -> Any:
    return _Calls(BuiltIn().get_library_instance("Browser"))


class _quiet:  # noqa: N801 - reads as a word in a with statement
    """What a library of others logs meanwhile at INFO is of no interest to who reads the log."""

    def __enter__(self) -> None:
        self._level = BuiltIn().set_log_level("WARN")

    def __exit__(self, *_: object) -> None:
        BuiltIn().set_log_level(self._level)


def _check_choice(
    machine: RentedMachine, row: MarketInstance | None, gpu_name: str | None, countries: list[str] | None
) -> None:
    """The market must have rented what was chosen on the page."""
    if row is None:
        raise Mismatch(f"The page shows {machine}, but the market has no such machine.")
    if gpu_name and row.gpu_name != gpu_name:
        raise Mismatch(f"{gpu_name} was chosen on the page, but the market says that {machine} has {row.gpu_name}.")
    country = (row.geolocation or "an unknown place").rpartition(", ")[2]
    if countries and country not in countries:
        raise Mismatch(
            f"A region of {', '.join(countries)} was chosen on the page, but the market says that {machine} is in "
            f"{row.geolocation}."
        )
