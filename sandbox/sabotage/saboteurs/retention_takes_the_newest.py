"""When a machine is gone, a rule of the bucket removes a pack of its audited snapshot."""

import threading
from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = (
    "lifecycle rules of a bucket are unsafe for backups that share objects: "
    "https://github.com/VictoriaMetrics/VictoriaMetrics/pull/9728"
)
RULE = "A snapshot is audited again before it is woken, and every restore must end in an equal tree."
NOTICED = (
    r"Object restic/data/\S+ in bucket \S+ is missing|"
    r"refused POST \S+/snapshots/restore with \d+: .*The specified key does not exist|"
    r"its hibernation failed: restic check: pack [0-9a-f]{64}: does not exist"
)
SUITES = ("auto_hibernation", "wake_hibernation", "large_snapshot", "many_files", "multiple_failovers")


def sabotage(scene: Scene) -> None:
    before = set(scene.objects())
    once = threading.Lock()

    @scene.on("machine.destroyed")
    def expire(_: dict[str, Any]) -> None:
        largest = scene.largest_since(before)
        if largest and once.acquire(blocking=False):
            scene.store.delete_object(Bucket=scene.bucket, Key=largest)
            scene.acted(f"deleted {largest}")
