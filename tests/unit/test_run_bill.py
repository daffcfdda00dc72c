"""The bills in the folder of a run, summed up in words."""

from __future__ import annotations

import json
import os
from pathlib import Path

from rekindle.run_bill import add_earlier, sum_of_bills
from rekindle.run_folder import RunFolder


def _bill(path: Path, usd: float, *, agrees: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"billed_usd": usd, "agrees": agrees}))


def test_one_bill_needs_no_sum(tmp_path: Path) -> None:
    _bill(tmp_path / "bill_1.json", 0.01)
    assert sum_of_bills(tmp_path) is None


def test_the_bills_of_all_processes_are_summed_up_and_a_bill_that_is_off_is_named(tmp_path: Path) -> None:
    for number, agrees in ((0, True), (1, False), (10, True)):
        _bill(tmp_path / "pabot_results" / str(number) / "bill_1.json", 0.01, agrees=agrees)
    assert sum_of_bills(tmp_path) == "$0.0300 in 3 bills: $0.0100, $0.0100, $0.0100; 1 bill of 3 off"


def test_a_run_whose_folder_is_gone_adds_nothing(tmp_path: Path) -> None:
    output = tmp_path / "output.xml"
    output.write_text("<robot/>")
    run = RunFolder.of_process(os.getpid(), tmp_path)
    run.open()
    add_earlier(run, output)
    assert sum_of_bills(run.open_path) is None


def test_the_output_in_the_folder_of_a_run_can_be_repeated_too(tmp_path: Path) -> None:
    first = RunFolder(tmp_path, "1130010101-aaaaaa", "an-earlier-boot.1/77/1", 1000.0)
    _bill(tmp_path / "bill_1.json", 0.02)
    first.add(tmp_path / "bill_1.json")
    (tmp_path / "output.xml").write_text("<robot/>")
    first.close([tmp_path / "output.xml"])
    run = RunFolder.of_process(os.getpid(), tmp_path)
    _bill(run.open_path / "bill_2.json", 0.01)
    add_earlier(run, first.path / "output.xml")
    assert sum_of_bills(run.open_path) == (
        "$0.0300: $0.0200 before, $0.0100 in this run of failed tests; each bill agrees with what was measured"
    )
