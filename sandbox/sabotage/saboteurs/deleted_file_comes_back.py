"""A restore also brings a file that had been deleted before the snapshot was taken."""

import shutil
from typing import Any

from sandbox.sabotage.files import keeping_times, regular_files
from sandbox.sabotage.scene import Scene

SEEN = "a restore brought the files that were deleted days before: https://github.com/backuppc/backuppc/issues/135"
RULE = "Trees are compared both ways: what is extra is as wrong as what is missing."
NOTICED = r"differs from the manifest: 1 extra of .*: extra \S"
SUITES = ("wake_hibernation", "large_snapshot", "many_files", "multiple_failovers", "complete_failover", "strategies")
NAME = "deleted-yesterday"


def sabotage(scene: Scene) -> None:
    @scene.on("restore.finished")
    def bring_back(data: dict[str, Any]) -> None:
        workspace = scene.machine_dir(data["instance_id"]) / "workspace"
        files = [path for path in regular_files(workspace) if path.name != NAME]
        old = files[len(files) // 2]
        back = old.with_name(NAME)
        with keeping_times(old.parent):
            back.unlink(missing_ok=True)
            shutil.copy2(old, back)
        scene.acted(f"brought {str(back.relative_to(workspace))!r} back")
