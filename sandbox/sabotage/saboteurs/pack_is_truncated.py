"""A snapshot is listed as done, and the end of one of its packs never arrived in the bucket."""

from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = (
    "a pack of more than 6.4 MB lay in MinIO with 2 097 152 bytes, and nobody had said so: "
    "https://github.com/restic/restic/issues/3023"
)
RULE = "Every pack that a snapshot needs is read, and has the size that the index says it must have."
NOTICED = r"Object restic/data/\S+ in bucket \S+ is 100 bytes short: "
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
    def cut_a_pack(_: dict[str, Any]) -> None:
        if largest := scene.largest_since(before):
            before.add(largest)  # never the same pack twice: that would change the damage, or undo it
            content = scene.store.get_object(Bucket=scene.bucket, Key=largest)["Body"].read()
            scene.store.put_object(Bucket=scene.bucket, Key=largest, Body=content[:-100])
            scene.acted(f"cut 100 bytes off {largest}")
