"""The list of snapshots is cut off in the middle of its JSON, with status 200."""

import json

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "an API sometimes sent half of its JSON: https://github.com/hebcal/hebcal/issues/186"
RULE = "A check that could not be made is red: half an answer tells nothing."
NOTICED = r"UNKNOWN: \S.* answered GET \S*/snapshots with 200, but not with JSON"
SUITES = ("auto_hibernation", "wake_hibernation", "large_snapshot", "many_files", "multiple_failovers")


def sabotage(scene: Scene) -> None:
    @scene.rewrite("control", r"^GET /api(/v1)?/snapshots$")
    def cut(request: Request, answer: Answer) -> None:
        text = json.dumps(answer.body)
        answer.body = text[: len(text) // 2]
        scene.acted(f"cut the answer to {request.method} {request.path}")
