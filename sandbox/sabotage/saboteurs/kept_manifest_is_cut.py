"""The manifest that was kept beside a snapshot is cut short: our own judge has nothing to compare with."""

from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = "an object lay in MinIO with only its first 2 MiB: https://github.com/restic/restic/issues/3023"
RULE = "A check that could not be made is red: a manifest is sealed, and used only when its seal fits."
NOTICED = r"UNKNOWN: rekindle/manifests/\S+ in bucket \S+ cannot be read: it is cut short or damaged"
SUITES = ("wake_hibernation",)


def sabotage(scene: Scene) -> None:
    @scene.on("machine.destroyed")
    def cut(_: dict[str, Any]) -> None:
        for key, size in scene.objects("rekindle/manifests/").items():
            content = scene.store.get_object(Bucket=scene.bucket, Key=key)["Body"].read()
            scene.store.put_object(Bucket=scene.bucket, Key=key, Body=content[: size // 2])
            scene.acted(f"cut {key} in half")
