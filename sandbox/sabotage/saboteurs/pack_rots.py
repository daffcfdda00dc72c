"""One byte of a pack changes in the bucket; its size stays what it was."""

from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = "a pack on a healthy disk no longer hashed to its name: https://github.com/restic/restic/issues/1711"
RULE = "Every pack that a snapshot needs is read to its end, and its SHA-256 is its name."
NOTICED = r"Object restic/data/\S+ in bucket \S+ hashes to [0-9a-f]{64}, not to its name"
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
    def flip_a_byte(_: dict[str, Any]) -> None:
        if largest := scene.largest_since(before):
            before.add(largest)  # never the same pack twice: that would change the damage, or undo it
            content = bytearray(scene.store.get_object(Bucket=scene.bucket, Key=largest)["Body"].read())
            content[len(content) // 2] ^= 1
            scene.store.put_object(Bucket=scene.bucket, Key=largest, Body=bytes(content))
            scene.acted(f"flipped a bit of byte {len(content) // 2} of {largest}")
