"""What a saboteur does to an answer reaches who has asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sandbox.sabotage.scene import CUT, Answer, Request, Rewrite, Scene


def nothing(_: Request, __: Answer) -> None: ...


def deep(_: Request, answer: Answer) -> None:
    answer.body["rows"][0]["label"] = None


def status(_: Request, answer: Answer) -> Answer:
    return Answer(answer.body, 500)


def cut(_: Request, __: Answer) -> type[CUT]:
    return CUT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (nothing, None),
        (deep, {"answer": {"body": {"rows": [{"label": None}]}, "status": 200, "headers": {}}}),
        (status, {"answer": {"body": {"rows": [{"label": "x"}]}, "status": 500, "headers": {}}}),
        (cut, {"answer": None}),
    ],
)
def test_what_was_changed_is_sent(
    monkeypatch: pytest.MonkeyPatch, change: Rewrite, said: dict[str, Any] | None
) -> None:
    handlers: list[Callable[[dict[str, Any]], object]] = []
    monkeypatch.setattr(Scene, "_add_fault", lambda _, _part, _kind, _match, handle: handlers.append(handle))
    object.__new__(Scene).rewrite("market", "")(change)
    request = {"method": "GET", "path": "/a"}
    answer = {"body": {"rows": [{"label": "x"}]}, "status": 200, "headers": {}}
    assert handlers[0]({"request": request, "answer": answer}) == said
