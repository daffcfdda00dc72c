"""Times the steps of a test, and publishes its report."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

from robot import result, running
from robot.api import logger
from robot.api.deco import keyword, library
from robot.libraries.BuiltIn import BuiltIn

from library_parts.console import announce, headline
from library_parts.first_screen import FirstScreen
from library_parts.results import Results, publish
from rekindle import report as reports
from rekindle.redaction import KNOWN
from rekindle.report import Report
from rekindle.report_tables import checks_table, machines_table
from rekindle.tables import link
from rekindle.timeline import timeline

KIND_OF_FAILURE = re.compile(r"\b(WEATHER|UNKNOWN): ")


@library(scope="GLOBAL", doc_format="MARKDOWN", listener=["SELF", FirstScreen(), Results()])
class MetricsLibrary:
    """Times the steps of a test and publishes what it found out.

    A step is a `GROUP` of the test: `GROUP    [2/5] Create files`. Its name is printed as it starts, its seconds as it
    ends, and the seconds are `timings.create_files_sec` of the report. What is read and what is measured are the
    same thing.

    A test that carries the metadata `Report` gets a report of that name:

    ```robotframework
    *** Test Cases ***
    Machine Is Hibernated
        [Metadata]    Report    auto_hibernation
        ${machine} =    Rent Machine    max_price=0.5
        Hibernate When Idle    ${machine}    after=60s
        Wait Until Hibernated    ${machine}    timeout=10 minutes
        [Teardown]    Publish Report
    ```
    """

    ROBOT_LISTENER_API_VERSION = 3

    def start_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """Opens the report of a test."""
        reports.begin(Report(data.metadata.get("Report", "") or _slug(data.name)))
        if not BuiltIn().dry_run_active:
            headline(data.name)

    def start_group(self, data: running.Group, result: result.Group) -> None:
        """Prints a step as it starts."""
        if _runs(data, result):
            # First the clock: a Ctrl-C may cut off what is printed.
            reports.current().start_step(data.name)
            logger.console(f"\n{data.name}…")
            announce(f"{data.name}…")

    def end_group(self, data: running.Group, result: result.Group) -> None:
        """Prints how long a step took."""
        if _runs(data, result):
            step = reports.current().end_step(passed=result.passed)
            logger.console(f"   Time: {step.seconds:.1f} s   {'✓' if step.passed else '✗ failed'}")
            announce(f"{data.name}: {step.seconds:.1f} s {'✓' if step.passed else '✗ failed'}")

    def end_library_keyword(
        self, data: running.Keyword, implementation: running.LibraryKeyword, result: result.Keyword
    ) -> None:
        """Notes a keyword that failed, with the expected and actual values of its error."""
        if result.failed:
            reports.current().keyword_failed(
                result.name or "",
                result.owner or "",
                implementation.short_doc,
                result.message,
                sys.exception(),  # while Robot reports the end of a keyword, its error is still being handled
            )

    @keyword
    def record_metric(self, name: str, value: float) -> None:
        """Adds a number to the report's `metrics`.

        Args:
            name: key in the report; put the unit at its end: `upload_mbps`, `wake_up_time_sec`.
            value: the number.
        """
        reports.current().metrics[name] = value

    @keyword
    def sum_of_steps(self, *steps: str) -> float:
        """Returns how many seconds the named steps of this test took together.

        Args:
            steps: names as in the report's timings, without the unit: `provision`, `restore`.

        Raises:
            AssertionError: a named step has not run, so that its seconds are unknown.
        """
        return reports.current().seconds_of(*steps)

    @keyword
    def publish_report(self) -> Path | None:
        """Writes the test's JSON report, prints its summary, and shows its timeline and checks in the log.

        It belongs in the test's teardown, so that a failed test is reported too, with `success: false` and its error.
        What a passed test found out becomes its message, which report.html and the first screen of log.html show. Each
        failure of a failed test is listed among its checks, in red, with expected and actual values. A failure that is
        not the product's (`WEATHER:`) or that tells nothing (`UNKNOWN:`) is tagged `weather` or `unknown`, so that a
        continuous integration job can treat it apart.

        Returns:
            The path of the report; None if it could not be written, such as on a full disk.
        """
        report = reports.current()
        report.end()
        built_in = BuiltIn()
        passed = built_in.get_variable_value("$TEST_STATUS", "FAIL") == "PASS"
        # Robot's own copy of the error passes its listeners later, and the console passes none.
        error = None if passed else KNOWN.redact(str(built_in.get_variable_value("$TEST_MESSAGE", ""))).text
        if error is None:
            built_in.set_test_message(report.headline())
        else:
            report.test_failed(error)
            if kind := KIND_OF_FAILURE.search(error):
                built_in.set_tags(kind[1].lower())
        path = publish(partial(report.write, passed=passed, error=error))
        logger.info(timeline(report.steps, report.elapsed()), html=True)
        for picture in (picture for section in report.sections for picture in section.html()):
            logger.info(picture, html=True)
        logger.info(machines_table(report.machines.values(), report.now()), html=True)
        logger.info(checks_table(report.checks, report.failed_checks), html=True)
        lines = report.summary(error=error)
        if path:
            logger.info(f"Report: {link(path.name)}", html=True)
            lines.append(f"Report: {path.name}")
        logger.console(KNOWN.redact("\n".join(lines)).text)
        return path


def _runs(data: running.Group, result: result.Group) -> bool:
    # After a failure, or in a dry run, Robot walks through steps without running them: such steps say nothing.
    return bool(data.name) and not result.not_run and not BuiltIn().dry_run_active


def _slug(name: str) -> str:
    return "_".join(name.lower().split())
