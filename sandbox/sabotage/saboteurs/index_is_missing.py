"""All packs of a snapshot are in the bucket, but the index that tells what lies where is not."""

from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = (
    "indexes could not be loaded, were passed over, and a restore lacked whole folders: "
    "https://github.com/restic/restic/issues/1868"
)
RULE = "Every blob that a snapshot needs is looked up in the index files of the bucket, by our own reader."
NOTICED = r"Blob [0-9a-f]{64} is in no index file of the repository"
SUITES = (
    "auto_hibernation",
    "wake_hibernation",
    "large_snapshot",
    "many_files",
    "multiple_failovers",
    "complete_failover",
)


def sabotage(scene: Scene) -> None:
    before = set(scene.objects("restic/index/"))

    @scene.on("snapshot.finished")
    def lose_the_index(_: dict[str, Any]) -> None:
        for key in scene.objects("restic/index/"):
            if key not in before:
                scene.store.delete_object(Bucket=scene.bucket, Key=key)
                scene.acted(f"deleted {key}")
