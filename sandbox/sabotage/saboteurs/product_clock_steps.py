"""The product's clock is an hour slow: everything seems to have happened long before."""

from typing import Any

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = (
    "new builds seemed to be 17 minutes old while the clock was off: https://github.com/concourse/concourse/issues/65"
)
RULE = "Time is ours: what happened before we asked for it cannot be what we have asked for."
NOTICED = r"phase detecting of failover \w+ came at .*, -3\d\d\d s from the beginning, but by our clock it came"
SUITES = ("automatic_failover",)
HOUR = 3600.0


def sabotage(scene: Scene) -> None:
    @scene.rewrite("control", r"^GET /api/v1/standby/failover/(status/|active|report)")
    def step_back(_: Request, answer: Answer) -> None:
        if isinstance(answer.body, dict):
            _shift(answer.body)
            scene.acted("told times of an hour ago")


def _shift(value: Any) -> None:
    if isinstance(value, dict):
        for name, one in value.items():
            if name == "entered_at":
                value[name] = one - HOUR
            else:
                _shift(one)
    elif isinstance(value, list):
        for one in value:
            _shift(one)
