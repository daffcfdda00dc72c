"""The line of progress on a terminal, and where there is none."""

from __future__ import annotations

import io
import sys

import pytest

import console
from console import ProgressLine
from rekindle.progress import MIB, Done


class Screen(io.StringIO):
    encoding = "utf-8"

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def screen(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, begins_a_test: bool = False) -> Screen:
    """What is printed; the line is that of a test which has told nothing yet, when it begins one."""
    made = Screen(terminal=terminal)
    monkeypatch.setattr(sys, "__stdout__", made)
    monkeypatch.setattr(console, "_line_end", lambda: "\n" if begins_a_test else "")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    return made


def test_a_terminal_has_one_line_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch, terminal=True, begins_a_test=True)
    with ProgressLine("Restore") as line:
        line.show(Done(MIB))
        line.show(Done(2 * MIB))
    first, second, last = shown.getvalue().removeprefix("\n\r").split("\r")
    assert first.startswith("   Restore: 1 MiB, ")
    assert second.startswith("   Restore: 2 MiB, ")
    assert last == "\033[K"
    assert "\n" not in shown.getvalue()[1:]


def test_a_line_is_not_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch, terminal=True)
    with ProgressLine("Something with a long name") as line:
        line.show(Done(1000 * MIB, 123456 * MIB))
    assert shown.getvalue().startswith("\r   Something with a long name: 1 000 of\033[K")


@pytest.mark.parametrize("dumb", [True, False])
def test_elsewhere_there_are_plain_lines_every_few_seconds(monkeypatch: pytest.MonkeyPatch, *, dumb: bool) -> None:
    shown = screen(monkeypatch, terminal=dumb, begins_a_test=True)
    monkeypatch.setenv("TERM", "dumb" if dumb else "xterm")
    now = [100.0]
    with ProgressLine("Restore", lambda: now[0]) as line:
        for second in range(1, 15):
            now[0] = 100.0 + second
            line.show(Done(second * MIB, 20 * MIB))
    assert shown.getvalue().splitlines() == [
        "",
        "   Restore: 5 of 20 MiB, 25 %, 1 MiB/s, 15 s left",
        "   Restore: 10 of 20 MiB, 50 %, 1 MiB/s, 10 s left",
    ]


def test_what_is_over_soon_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch, terminal=False, begins_a_test=True)
    with ProgressLine("Restore") as line:
        line.show(Done(MIB))
    assert shown.getvalue() == ""
