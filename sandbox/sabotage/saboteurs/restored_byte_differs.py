"""A restored file has one other byte, and the right size and time."""

from pathlib import Path
from typing import Any

from sandbox.sabotage.files import keeping_times, regular_files
from sandbox.sabotage.scene import Scene

SEEN = "restored photographs had another hash than when saved: https://github.com/duplicati/duplicati/issues/1494"
RULE = "The SHA-256 of every file is compared after a restore; size and time are not taken for it."
NOTICED = r"differs from the manifest: 1 changed of .*: changed \S.* \(sha256 \S+ expected, \S+ seen\)\."
SUITES = ("wake_hibernation", "large_snapshot", "many_files", "multiple_failovers", "complete_failover", "strategies")


def sabotage(scene: Scene) -> None:
    written: dict[Path, int] = {}

    @scene.on("restore.finished")
    def flip_a_byte(data: dict[str, Any]) -> None:
        workspace = scene.machine_dir(data["instance_id"]) / "workspace"
        largest = max(regular_files(workspace), key=lambda path: path.stat().st_size)
        with keeping_times(largest), largest.open("r+b") as file:
            file.seek(largest.stat().st_size // 2)
            byte = file.read(1)[0]
            if byte != written.get(largest):  # the damage is still there: another flip would undo it
                written[largest] = byte ^ 1
                file.seek(-1, 1)
                file.write(bytes([written[largest]]))
        scene.acted(f"flipped a bit in the middle of {str(largest.relative_to(workspace))!r}")
