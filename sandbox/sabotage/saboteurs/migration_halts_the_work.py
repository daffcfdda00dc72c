"""A migration halts the work from its first second, and says that it was quiet for a moment only."""

import re
import time
from typing import Any

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = (
    "of a migration, the pause was counted from its end on: "
    "https://github.com/cloud-hypervisor/cloud-hypervisor/pull/7979"
)
RULE = "A machine works until the last of its files are copied; when its work stopped is measured by ourselves."
NOTICED = r"machine .* should work until final_sync of migration \w+, .* but the last file on it was written after"
SUITES = ("migration",)
COPYING = 2.0  # seconds more than the embedded cloud needs
# The brackets keep it from halting itself.
HALT = "for one in /proc/[0-9]*; do grep -qs tick[s]- $one/cmdline && kill -STOP ${one#/proc/}; done; true"


def sabotage(scene: Scene) -> None:
    @scene.rewrite("control", r"^POST /api/v1/instances/\d+/migrate$")
    def halt(request: Request, answer: Answer) -> None:
        if answer.status >= 300:
            return
        instance_id = re.findall(r"\d+", request.path)[-1]
        scene.ask("control", "POST", f"/api/v1/instances/{instance_id}/exec", {"command": HALT})
        scene.acted(f"halted the work on machine {instance_id}")

    @scene.on("migration.phase")
    def copy_slowly(data: dict[str, Any]) -> None:
        if data["phase"] == "copying":
            time.sleep(COPYING)

    @scene.rewrite("control", r"^GET /api/v1/instances/migrate/")
    def say_little(_: Request, answer: Answer) -> None:
        if isinstance(answer.body, dict) and answer.body.get("quiet_seconds"):
            answer.body["quiet_seconds"] = 0.1
