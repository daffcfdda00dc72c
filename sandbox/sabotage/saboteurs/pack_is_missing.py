"""A snapshot is listed as done, and one of the packs that it needs is not in the bucket."""

from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = "restic 0.9.6 let a second prune in, which took packs in use: https://github.com/restic/restic/issues/3201"
RULE = "Every object that a snapshot needs is looked for in the bucket, by our own S3 client."
NOTICED = r"Object restic/data/\S+ in bucket \S+ is missing"
SUITES = (
    "auto_hibernation",
    "wake_hibernation",
    "large_snapshot",
    "many_files",
    "multiple_failovers",
    "complete_failover",
)


def sabotage(scene: Scene) -> None:
    before = set(scene.objects())

    @scene.on("snapshot.finished")
    def lose_a_pack(_: dict[str, Any]) -> None:
        if largest := scene.largest_since(before):
            scene.store.delete_object(Bucket=scene.bucket, Key=largest)
            scene.acted(f"deleted {largest}")
