"""The bucket keeps old versions: what is deleted is listed no more, and paid for as before."""

from sandbox.sabotage.scene import Request, Scene

SEEN = "a bucket keeps every version by default, and takes money for it: https://github.com/restic/restic/issues/1725"
RULE = "The room of a deleted snapshot is free when the bucket keeps no old version of its packs either."
NOTICED = r"was deleted, but bucket \S+ keeps [\d ]+ old versions? of the packs that snapshot \w+ needed"
SUITES = ("wake_hibernation", "large_snapshot")


def sabotage(scene: Scene) -> None:
    scene.store.put_bucket_versioning(Bucket=scene.bucket, VersioningConfiguration={"Status": "Enabled"})

    @scene.instead("control", r"^DELETE /api(/v1)?/snapshots/\w+$")
    def note(request: Request) -> None:
        scene.acted(f"had the bucket keep all that {request.path} deletes")
