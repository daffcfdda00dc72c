"""The journeys on a cloud that fails in the middle of them: what a person reads then, and that nothing is left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rekindle.browsers import HOW_TO_INSTALL, SYSTEM_BROWSERS
from rekindle.embedded import EmbeddedCloud
from rekindle.waiting import wait_until
from tests.cloud_under_test import CloudUnderTest
from tests.control_api import ControlApi
from tests.cpu_cloud_client import ZONE, CpuCloudApi
from tests.nightly import nightly_but
from tests.suites_under_test import WITHIN, Stage

# Standbys need longer to vanish than a machine, above all while other tests run.
PATIENT = ("--variable", "GONE_TIMEOUT:30s")
AUTOMATIC = ("--test", "Preempted Machine Fails Over By Itself", *PATIENT)
ON_THE_PAGE = ("--test", "Machine Is Created, Protected, Lost, Saved And Restored On The Page", *PATIENT)
AGAIN = ("--test", "Preempted Machine Fails Over Again And Again", "--variable", "CYCLES:3", *PATIENT)
AT_ONCE = ("--test", "Three Machines Are Lost At Once", *PATIENT)
SESSION_ENDS = ("--listener", "tests.forgetful_browser", "--variable", "PAGE_TIMEOUT:5s")


@pytest.fixture
def trouble(stage: Stage) -> Iterator[EmbeddedCloud]:
    """Breaks the cloud of the stage; all is well again after the test."""
    cloud = EmbeddedCloud(stage.cloud.state_dir)
    cloud.up(lease=os.getpid())
    yield cloud
    cloud.mend()


def in_phase(
    phase: str, act: Callable[[Mapping[str, Any]], object], number: int = 1
) -> Callable[[Mapping[str, Any]], None]:
    """Acts once: when a failover has entered the phase for the numbered time, and has done nothing in it yet."""
    lock, come = threading.Lock(), [0]

    def look(data: Mapping[str, Any]) -> None:
        if data["phase"] == phase:
            with lock:
                come[0] += 1
                mine = come[0] == number
            if mine:
                act(data)

    return look


def nothing_is_left(stage: Stage) -> None:
    assert stage.rented() == {}
    cpus = CpuCloudApi(stage.cloud.environment)
    assert cpus.machines() == []
    cpus.close()


@pytest.mark.parametrize("journey", nightly_but(AUTOMATIC, [AUTOMATIC, ON_THE_PAGE]), ids=["automatic", "on the page"])
def test_machines_stay_awake(stage: Stage, tmp_path: Path, journey: tuple[str, ...]) -> None:
    """That which is lost, and that which takes its place: their GPUs are idle all the time."""
    api = ControlApi(stage.cloud.environment)
    hibernates: dict[str, bool] = {}

    def look(data: Mapping[str, Any]) -> None:
        machine = data["new_instance_id"] if data["phase"] == "complete" else data["instance_id"]
        if data["phase"] in {"detecting", "complete"}:
            config = api.call("GET", f"/instances/{machine}/config")
            hibernates[data["phase"]] = config.get("config", config)["auto_hibernation_enabled"]

    with stage.at("failover.phase", look):
        stage.sandbox(tmp_path, *journey).to_its_end().passed()
    api.close()
    assert hibernates == {"detecting": False, "complete": False}
    nothing_is_left(stage)


# ── The browser, the session, the page ──────────────────────────────────────────────────────────────────────────────


def test_without_a_browser_it_is_told_how_to_get_one(stage: Stage, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).glob("*"):
            if not program.name.startswith(SYSTEM_BROWSERS) and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    run = stage.sandbox(tmp_path / "run", *ON_THE_PAGE)
    run.environment = {"PATH": str(programs), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "none")}
    run.to_its_end().stopped_with(HOW_TO_INSTALL)
    nothing_is_left(stage)


def test_a_gpu_that_no_market_knows_is_told_before_anything_is_rented(stage: Stage, tmp_path: Path) -> None:
    ended = stage.sandbox(tmp_path, *ON_THE_PAGE, "--variable", "GPU:RTX9999").to_its_end()
    ended.stopped_with(
        "GPU must be the name of a GPU as the market spells it, such as GPU:RTX 4090; no market knows 'RTX9999'. "
        "Similar names: RTX 5090, RTX 4090 and RTX 3090."
    )
    nothing_is_left(stage)


def test_a_gpu_that_is_not_on_offer_is_weather_before_a_browser_opens(stage: Stage, tmp_path: Path) -> None:
    ended = stage.sandbox(tmp_path, *ON_THE_PAGE, "--variable", "MIGRATION_GPU:RTX 2080 Ti").to_its_end()
    (message,) = ended.failures.values()
    assert "\nWEATHER: No GPU offers available under $1.00/h for RTX 2080 Ti with 100 GB of disk." in message
    nothing_is_left(stage)


CHOICES = {
    "REGION:Marte": r"REGION must be a choice of the page, such as .*; it is 'Marte', and the page offers .*EUA.*",
    "STRATEGY:Sorte": r"STRATEGY must be a choice of the page, such as .*; it is 'Sorte', and the page offers Race.*",
}


@pytest.mark.parametrize("variable", nightly_but("REGION:Marte", CHOICES))
def test_a_choice_that_the_page_does_not_offer_is_told(stage: Stage, tmp_path: Path, variable: str) -> None:
    ended = stage.sandbox(tmp_path, *ON_THE_PAGE, "--variable", variable).to_its_end()
    ended.failed_with(CHOICES[variable])
    nothing_is_left(stage)


@pytest.mark.nightly
def test_a_session_that_ends_in_the_middle(stage: Stage, tmp_path: Path) -> None:
    ended = stage.sandbox(tmp_path, *ON_THE_PAGE, *SESSION_ENDS).to_its_end()
    report = ended.failed_with(
        r"(?s).*The page was /login \(Login\), and said: Sua sessão terminou\. Entre de novo para continuar\."
    )
    assert "create_gpu_sec" in report["timings"]
    assert [picture for picture in (tmp_path / "screenshots").glob("*-99-failed.png") if picture.stat().st_size]
    nothing_is_left(stage)


@pytest.mark.nightly
def test_a_slow_page_is_waited_for(stage: Stage, trouble: EmbeddedCloud, tmp_path: Path) -> None:
    trouble.add_fault("control", {"name": "slow", "kind": "delay", "match": "^GET /(app|static|login)", "seconds": 2})
    trouble.add_fault("control", {"name": "lazy", "kind": "delay", "match": "^GET /api/v1/agent", "seconds": 1})
    stage.sandbox(tmp_path, *ON_THE_PAGE).to_its_end().passed()
    nothing_is_left(stage)


@pytest.mark.nightly
def test_a_page_that_is_too_slow_is_told(stage: Stage, trouble: EmbeddedCloud, tmp_path: Path) -> None:
    trouble.add_fault("control", {"name": "slow", "kind": "delay", "match": "^GET /app/machines", "seconds": 20})
    ended = stage.sandbox(tmp_path, *ON_THE_PAGE, "--variable", "PAGE_TIMEOUT:3s").to_its_end()
    ended.failed_with(r"(?s).*Timeout 3000ms exceeded.*The page was /app.*, and warned of nothing\.")
    nothing_is_left(stage)


# ── The product ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.nightly
@pytest.mark.parametrize("journey", [AUTOMATIC, ON_THE_PAGE], ids=["automatic", "on the page"])
def test_the_product_restarts_in_the_middle_of_a_failover(
    stage: Stage, trouble: EmbeddedCloud, tmp_path: Path, journey: tuple[str, ...]
) -> None:
    """It goes on where it was; the page does too."""
    restarted = threading.Event()

    def restart() -> None:
        trouble.stop_part("control")
        trouble.start_part("control")
        restarted.set()

    with (
        ThreadPoolExecutor(1) as pool,
        stage.at("failover.phase", in_phase("provisioning", lambda _: pool.submit(restart))),
    ):
        ended = stage.sandbox(tmp_path, *journey).to_its_end()
    ended.passed()
    assert restarted.is_set()
    nothing_is_left(stage)


@pytest.mark.nightly
def test_the_product_dies_in_the_middle_of_a_failover(tmp_path: Path) -> None:
    """Its cloud stops with it. What was rented is there again with the next run, which ends it before anything else."""
    cloud = CloudUnderTest(tmp_path / "cloud")
    cloud.up()
    stage, embedded = Stage(cloud), EmbeddedCloud(cloud.state_dir)
    embedded.up(lease=os.getpid())
    control = embedded.process_of("control")
    try:
        killed = in_phase("restoring", lambda _: os.kill(control, signal.SIGKILL))
        with contextlib.suppress(httpx2.TransportError), stage.at("failover.phase", killed):
            ended = stage.sandbox(tmp_path / "killed", *AUTOMATIC).to_its_end()
        assert "UNKNOWN: " in ended.failures[AUTOMATIC[1]]
        assert "Traceback" not in ended.console
        wait_until("the cloud to stop", embedded.status, lambda status: "down" in status, timeout=WITHIN)
        again = stage.sandbox(tmp_path / "again", *AUTOMATIC).to_its_end()
        again.passed()
        assert "Left by earlier runs: " in again.console
        with contextlib.closing(Stage(cloud)) as anew:
            nothing_is_left(anew)
    finally:
        stage.close()
        cloud.down()


# ── Machines ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.nightly
def test_the_replacement_dies_while_files_come_back(stage: Stage, trouble: EmbeddedCloud, tmp_path: Path) -> None:
    with stage.at("failover.phase", in_phase("restoring", lambda data: trouble.preempt(data["new_instance_id"]))):
        ended = stage.sandbox(tmp_path, *AUTOMATIC).to_its_end()
    ended.failed_with(
        r"(?s)Failover \w+ of machine \d+ \(.*\) failed in restoring after \S+ s: .*Interrupted by the market.* The "
        r"new machine \d+ was destroyed\. Standby \S+ goes on serving the workspace"
    )
    nothing_is_left(stage)


@pytest.mark.nightly
def test_the_standby_dies_with_the_machine(stage: Stage, tmp_path: Path) -> None:
    cpus = CpuCloudApi(stage.cloud.environment)

    def end_standby(_: object) -> None:
        (machine,) = cpus.machines()
        cpus.call("DELETE", f"zones/{ZONE}/instances/{machine['name']}")

    with stage.at("failover.phase", in_phase("detecting", end_standby)):
        ended = stage.sandbox(tmp_path, *AUTOMATIC).to_its_end()
    cpus.close()
    ended.failed_with(r"(?s)Failover \w+ of machine \d+ \(.*\) failed in failover_to_cpu after \S+ s: .*[Ss]tandby.*")
    nothing_is_left(stage)


@pytest.mark.nightly
def test_nothing_is_offered_in_place_of_the_machine(stage: Stage, trouble: EmbeddedCloud, tmp_path: Path) -> None:
    nothing = {"name": "sold-out", "kind": "answer", "match": "/bundles/?", "status": 200, "body": {"offers": []}}
    with stage.at("failover.phase", in_phase("detecting", lambda _: trouble.add_fault("market", nothing))):
        ended = stage.sandbox(tmp_path, *AUTOMATIC).to_its_end()
    ended.failed_with(r"(?s)WEATHER: Failover \w+ of machine \d+ \(.*\) failed in searching_gpu after \S+ s: .*")
    trouble.mend()
    nothing_is_left(stage)


@pytest.mark.nightly
def test_the_browser_sees_a_failover_that_fails(stage: Stage, trouble: EmbeddedCloud, tmp_path: Path) -> None:
    with stage.at("failover.phase", in_phase("restoring", lambda data: trouble.preempt(data["new_instance_id"]))):
        ended = stage.sandbox(tmp_path, *ON_THE_PAGE).to_its_end()
    ended.failed_with(r"(?s)Failover \w+ of machine .* failed in restoring after .* The page was /app/machines .*")
    nothing_is_left(stage)


# ── Again and again, and many at once ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.nightly
def test_a_cycle_that_fails_is_named_and_counts(stage: Stage, trouble: EmbeddedCloud, tmp_path: Path) -> None:
    with stage.at(
        "failover.phase", in_phase("restoring", lambda data: trouble.preempt(data["new_instance_id"]), number=2)
    ):
        ended = stage.sandbox(tmp_path, *AGAIN).to_its_end()
    report = ended.failed_with(
        r"(?s)Cycle 2 of 3 failed in failover: Failover .* failed in restoring .*\n"
        r"Failovers that succeeded: 1 of 3 \(33\.3333 %\); 1 did not run\."
    )
    assert [cycle["success"] for cycle in report["cycles"]] == [True, False]
    assert report["statistics"]["rto"]["count"] == report["statistics"]["rpo"]["count"] == 1
    assert report["cycles"][0]["failover"]["data_source"] == "cpu_standby"
    nothing_is_left(stage)


@pytest.mark.nightly
def test_one_of_many_that_does_not_come_back_is_named(stage: Stage, trouble: EmbeddedCloud, tmp_path: Path) -> None:
    with stage.at("failover.phase", in_phase("restoring", lambda data: trouble.preempt(data["new_instance_id"]))):
        ended = stage.sandbox(tmp_path, *AT_ONCE).to_its_end()
    (message,) = ended.failures.values()
    assert re.fullmatch(
        r"(?s)Machine \d of 3 failed in failover: Failover .* failed in restoring .*\n"
        r"Failovers that succeeded: 2 of 3 \(66\.6667 %\)\.",
        message,
    ), message
    compared, report = sorted(ended.reports(), key=lambda one: str(one["test_name"]))
    assert sorted(machine["success"] for machine in report["machines"]) == [False, True, True]
    assert [row["succeeded"] for row in compared["growth"]] == [2]
    nothing_is_left(stage)
