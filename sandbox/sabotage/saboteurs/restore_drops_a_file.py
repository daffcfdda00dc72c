"""A restore leaves one file out, and says that it has finished."""

from pathlib import Path
from typing import Any

from sandbox.sabotage.files import keeping_times, regular_files
from sandbox.sabotage.scene import Scene

SEEN = "restic 0.11 ended with exit code 0 after a restore with errors: https://github.com/restic/restic/issues/3166"
RULE = "The whole manifest is compared, both ways, after each restore; the product's word is not taken for it."
NOTICED = r"\b1 missing of .*: missing \S"
SUITES = ("wake_hibernation", "large_snapshot", "many_files", "multiple_failovers", "complete_failover", "strategies")


def sabotage(scene: Scene) -> None:
    chosen: dict[int, Path] = {}  # by machine: the same file each time, so that one is missing and not two

    @scene.on("restore.finished")
    def drop_a_file(data: dict[str, Any]) -> None:
        workspace = scene.machine_dir(data["instance_id"]) / "workspace"
        files = regular_files(workspace)
        dropped = chosen.setdefault(data["instance_id"], files[len(files) // 2])
        with keeping_times(dropped.parent):
            dropped.unlink(missing_ok=True)
        scene.acted(f"removed {str(dropped.relative_to(workspace))!r}")
