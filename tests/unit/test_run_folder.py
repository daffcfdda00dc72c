"""Each run keeps its own log, reports and screenshots in a folder; the oldest closed folders are removed."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from rekindle import run_folder
from rekindle.run_folder import CLOSED, OWNER, WAITING, RunFolder, closed_runs, prune, written_by_robot

OWN = os.getpid()


def _closed(output_dir: Path, run_id: str, closed: float) -> Path:
    folder = output_dir / "runs" / run_id
    folder.mkdir(parents=True)
    (folder / "log.html").write_text(run_id)
    (folder / CLOSED).write_text(f"{closed}\n")
    return folder


def _report(output_dir: Path, name: str = "one_report_1.json") -> Path:
    report = output_dir / name
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("{}")
    return report


def test_all_processes_of_a_run_have_one_folder(tmp_path: Path) -> None:
    first = RunFolder.of_process(OWN, tmp_path)
    first.open()
    assert RunFolder.of_process(OWN, tmp_path) == first
    assert RunFolder.of_process(1, tmp_path) != first


def test_a_clock_that_moves_the_start_of_a_process_does_not_split_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = RunFolder.of_process(OWN, tmp_path)
    first.open()
    monkeypatch.setattr(run_folder, "_start_of", lambda _: first.begun + 1)
    assert RunFolder.of_process(OWN, tmp_path).run_id == first.run_id


def test_reports_are_links_and_what_robot_writes_in_place_is_copied(tmp_path: Path) -> None:
    run = RunFolder.of_process(OWN, tmp_path)
    report, picture = _report(tmp_path), _report(tmp_path, "screenshots/01.png")
    run.add(report)
    run.add(picture)
    log = tmp_path / "log.html"
    log.write_text("first")
    run.close([log, tmp_path / "missing.html"])
    log.write_text("second")  # as Robot Framework does: the same file, truncated
    assert (tmp_path / "latest").resolve() == run.path
    assert (tmp_path / "latest" / "log.html").read_text() == "first"
    assert (run.path / "one_report_1.json").samefile(report)
    assert (run.path / "screenshots" / "01.png").samefile(picture)


def test_a_file_system_without_hard_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "no links")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    run = RunFolder.of_process(OWN, tmp_path)
    run.add(_report(tmp_path))
    run.close()
    assert (run.path / "one_report_1.json").read_text() == "{}"


def test_a_run_in_progress_is_hidden_and_is_no_latest(tmp_path: Path) -> None:
    earlier = _closed(tmp_path, "1130010101-aaaaaa", 1)
    (tmp_path / "latest").symlink_to("runs/1130010101-aaaaaa")
    run = RunFolder.of_process(OWN, tmp_path)
    run.add(_report(tmp_path))
    assert closed_runs(tmp_path) == [earlier]
    assert (tmp_path / "latest").resolve() == earlier


def test_a_run_is_closed_once(tmp_path: Path) -> None:
    run = RunFolder.of_process(OWN, tmp_path)
    run.open()
    run.close()
    closed = (run.path / CLOSED).read_text()
    run.close()
    assert (run.path / CLOSED).read_text() == closed


def test_the_oldest_closed_runs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    old = [_closed(tmp_path, f"113001010{number}-aaaaaa", 10 - number) for number in range(4)]
    in_progress = tmp_path / "runs" / ".1130010105-bbbbbb"
    in_progress.mkdir()
    not_ours = [tmp_path / "runs" / name for name in ("my notes", "1130010109-aaaaaa")]
    for folder in not_ours:
        folder.mkdir()
        (folder / "log.html").write_text("kept")
    prune(tmp_path, 2)
    assert closed_runs(tmp_path) == [old[1], old[0]]
    assert all(folder.is_dir() for folder in (in_progress, *not_ours))


def test_closing_keeps_as_many_runs_as_are_allowed(tmp_path: Path) -> None:
    for number in range(3):
        _closed(tmp_path, f"113001010{number}-aaaaaa", number)
    run = RunFolder.of_process(OWN, tmp_path)
    run.open()
    run.close(keep=1)
    assert closed_runs(tmp_path) == [run.path]


def test_a_folder_named_latest_that_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    run = RunFolder.of_process(OWN, tmp_path)
    run.open()
    run.close()
    assert not (tmp_path / "latest").is_symlink()
    assert run.path.is_dir()


def test_the_next_run_closes_the_folder_of_a_run_that_was_killed(tmp_path: Path) -> None:
    killed = RunFolder(tmp_path, "1130010101-aaaaaa", "an-earlier-boot.1/77/1", 1000.0)
    killed.add(_report(tmp_path))
    (tmp_path / "log.html").write_text("of another run")
    os.utime(tmp_path / "log.html", (1001, 1001))
    RunFolder.of_process(OWN, tmp_path).open()
    assert {path.name for path in killed.path.iterdir()} == {"one_report_1.json", CLOSED}
    assert not killed.open_path.exists()


def test_the_next_run_keeps_the_log_of_a_pabot_whose_waiting_process_was_killed(tmp_path: Path) -> None:
    pabot = RunFolder(tmp_path, "1130010101-aaaaaa", "an-earlier-boot.1/77/1", 1000.0)
    pabot.add(_report(tmp_path, "pabot_results/0/one_report_1.json"))
    (pabot.open_path / WAITING).touch()
    (tmp_path / "log.html").write_text("of pabot")
    os.utime(tmp_path / "log.html", (1001, 1001))
    RunFolder.of_process(OWN, tmp_path).open()
    assert (pabot.path / "log.html").read_text() == "of pabot"


def test_a_log_outside_the_output_directory_is_kept_under_its_name(tmp_path: Path) -> None:
    run = RunFolder.of_process(OWN, tmp_path / "results")
    run.open()
    (tmp_path / "story.html").write_text("here")
    run.close([tmp_path / "story.html"])
    assert (run.path / "story.html").read_text() == "here"


def test_pabot_reads_the_output_of_the_highest_number_last(tmp_path: Path) -> None:
    run = RunFolder.of_process(OWN, tmp_path)
    run.open()
    ten, nine = (tmp_path / "pabot_results" / number / "output.xml" for number in ("10", "9"))
    assert [run.last_output(ten), run.last_output(nine)] == [ten, ten]


def test_the_next_run_leaves_a_run_in_progress_alone(tmp_path: Path) -> None:
    living = RunFolder.of_process(1, tmp_path)
    living.open()
    RunFolder.of_process(OWN, tmp_path).open()
    assert living.open_path.is_dir()


@pytest.mark.parametrize("owner", ["", "no JSON", json.dumps({"run": "../../elsewhere", "owner": "x/1/1", "begun": 1})])
def test_a_hidden_folder_that_is_not_ours_is_left_alone(tmp_path: Path, owner: str) -> None:
    strange = tmp_path / "runs" / ".notes"
    strange.mkdir(parents=True)
    (strange / OWNER).write_text(owner)
    RunFolder.of_process(OWN, tmp_path).open()
    assert strange.is_dir()


def test_only_files_written_during_a_run_are_those_of_its_pabot(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "1130010101-aaaaaa", "x.1/1/1", begun=1000.0)
    for name, written in (("old.html", 999), ("log.html", 1001), ("output.xml", 1500), ("later.html", 2000)):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (written, written))
    assert sorted(file.name for file in written_by_robot(run, until=2000.0)) == ["log.html", "output.xml"]


def test_what_pabot_copies_beside_its_log_is_kept_beside_the_log(tmp_path: Path) -> None:
    run = RunFolder.of_process(OWN, tmp_path)
    run.add(_report(tmp_path, "pabot_results/1/one_report_1.json"))
    _report(tmp_path, "20261130_224842-1-one_report_1.json")
    _report(tmp_path, "20261130_224842-11-one_report_1.json")
    run.close()
    assert [file.name for file in run.path.glob("*.json")] == ["20261130_224842-1-one_report_1.json"]
