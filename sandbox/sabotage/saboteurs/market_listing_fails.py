"""The market's listing cannot be read, from the middle of a run on."""

import threading
from typing import Any

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "the next page could not be asked for: https://github.com/IBM/platform-services-python-sdk/issues/162"
RULE = "A check that could not be made is red: it says UNKNOWN, and why."
NOTICED = r"UNKNOWN: .*(/api/v1/instances|which machines)"
SUITES = ("auto_hibernation", "automatic_failover")


def sabotage(scene: Scene) -> None:
    from_now_on = threading.Event()

    @scene.on("snapshot.finished")
    def begin(_: dict[str, Any]) -> None:
        from_now_on.set()

    @scene.on("machine.preempted")
    def begin_too(_: dict[str, Any]) -> None:
        from_now_on.set()

    @scene.instead("market", r"^GET /api/v1/instances/?$")
    def fail(request: Request) -> Answer | None:
        if request.caller != "user" or not from_now_on.is_set():
            return None
        scene.acted("did not list the machines")
        return Answer({"success": False, "error": "internal", "msg": "Internal error"}, 500)
