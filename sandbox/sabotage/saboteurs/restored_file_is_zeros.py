"""A restored file has the right size and time, and consists of zeros."""

from typing import Any

from sandbox.sabotage.files import keeping_times, regular_files
from sandbox.sabotage.scene import Scene

SEEN = (
    "a repair replaces chunks that are lost by zeros of the same length: https://github.com/borgbackup/borg/issues/1866"
)
RULE = "The SHA-256 of every file is compared after a restore; size and time are not taken for it."
NOTICED = r"differs from the manifest: 1 changed of .*: changed \S.* \(sha256 \S+ expected, \S+ seen\)\."
SUITES = ("wake_hibernation", "large_snapshot", "many_files", "multiple_failovers", "complete_failover", "strategies")


def sabotage(scene: Scene) -> None:
    @scene.on("restore.finished")
    def write_zeros(data: dict[str, Any]) -> None:
        workspace = scene.machine_dir(data["instance_id"]) / "workspace"
        largest = max(regular_files(workspace), key=lambda path: path.stat().st_size)
        size = largest.stat().st_size
        with keeping_times(largest), largest.open("r+b") as file:
            file.truncate(0)
            file.truncate(size)
        scene.acted(f"left a hole of {size} bytes in place of {str(largest.relative_to(workspace))!r}")
