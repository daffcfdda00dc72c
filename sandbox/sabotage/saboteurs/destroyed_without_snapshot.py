"""A machine is hibernated and destroyed although its snapshot has failed: its data is in the bucket no more."""

from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = "the old snapshot was deleted although the new one had failed: https://github.com/baodrate/snap-sync/issues/51"
RULE = "Snapshot first, then an audit of every object in the bucket, and only then may a machine end."
NOTICED = r"snapshot \w+ was made, but lists it 0 times|Object restic/snapshots/\S+ .*is missing"
SUITES = ("auto_hibernation",)


def sabotage(scene: Scene) -> None:
    @scene.on("snapshot.finished")
    def lose_it(data: dict[str, Any]) -> None:
        for key in scene.objects("restic/snapshots/"):
            if data["snapshot_id"] in key:
                scene.store.delete_object(Bucket=scene.bucket, Key=key)
                scene.acted(f"lost {key}; the machine will be destroyed all the same")
