"""All that comes back belongs to the user who brought it back."""

import os
from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = "all restored files were owned by root: https://github.com/backuppc/backuppc/issues/319"
RULE = "Owner and group of every entry are compared, by their numbers."
NOTICED = r"changed \S[^(]*\(owner \d+:\d+ expected, \d+:\d+ seen\)"
SUITES = ("wake_hibernation", "many_files", "multiple_failovers", "automatic_failover")


def sabotage(scene: Scene) -> None:
    @scene.on("restore.finished")
    def take_over(data: dict[str, Any]) -> None:
        entries = list((scene.machine_dir(data["instance_id"]) / "workspace").rglob("*"))
        ours = os.getuid(), os.getgid()
        for path in entries:
            os.chown(path, *ours, follow_symlinks=False)
        scene.acted(f"made {len(entries)} entries those of {ours[0]}:{ours[1]}")

    @scene.on("failover.phase")
    def after_failover(data: dict[str, Any]) -> None:
        if data.get("phase") == "complete" and data.get("new_instance_id"):
            take_over({"instance_id": data["new_instance_id"]})
