"""All restored files are as new as the restore."""

import os
from typing import Any

from sandbox.sabotage.files import regular_files
from sandbox.sabotage.scene import Scene

SEEN = "restored files had the time of their restore: https://github.com/andrewchambers/bupstash/issues/263"
RULE = "The time of change of every entry is compared, to the nanosecond."
NOTICED = r"changed \S[^(]*\(mtime \d{4}-\d\d-\d\d [\d:.]{18} expected, \d{4}-\d\d-\d\d [\d:.]{18} seen\)"
SUITES = ("wake_hibernation", "large_snapshot", "many_files", "multiple_failovers", "complete_failover", "strategies")


def sabotage(scene: Scene) -> None:
    @scene.on("restore.finished")
    def touch(data: dict[str, Any]) -> None:
        files = regular_files(scene.machine_dir(data["instance_id"]) / "workspace")
        for path in files:
            os.utime(path)
        scene.acted(f"touched {len(files)} files")
