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
        ours = os.getuid(), os.getgid()
        entries = (scene.machine_dir(data["instance_id"]) / "workspace").rglob("*")
        theirs = [path for path in entries if (path.lstat().st_uid, path.lstat().st_gid) != ours]
        for path in theirs:
            os.chown(path, *ours, follow_symlinks=False)
        if theirs:
            scene.acted(f"made {len(theirs)} entries those of {ours[0]}:{ours[1]}")
        elif ours[0]:
            scene.could_not_act("only root can create files of other users, so no owner can be lost")

    @scene.on("failover.phase")
    def after_failover(data: dict[str, Any]) -> None:
        if data.get("phase") == "complete" and data.get("new_instance_id"):
            take_over({"instance_id": data["new_instance_id"]})
