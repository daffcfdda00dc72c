"""A deleted snapshot is gone, but its data stays in the bucket, and is paid for."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = (
    "a snapshot's deletion removed the entry and left the data in the bucket: "
    "https://github.com/opensearch-project/OpenSearch/issues/19717"
)
RULE = "After a snapshot is deleted, every pack that it alone needed is gone from the bucket."
NOTICED = r"Snapshot \w+ was deleted, but [\d ]+ packs? of the .* still lie in bucket \S+ and are paid for"
SUITES = ("wake_hibernation", "large_snapshot", "many_files", "multiple_failovers", "complete_failover")


def sabotage(scene: Scene) -> None:
    @scene.instead("control", r"^DELETE /api(/v1)?/snapshots/\w+$")
    def forget_without_pruning(request: Request) -> Answer:
        for key in scene.objects(f"restic/snapshots/{request.path.rpartition('/')[2]}"):
            scene.store.delete_object(Bucket=scene.bucket, Key=key)
            scene.acted(f"deleted {key} and none of its data")
        return Answer({"success": True, "message": "Snapshot deleted"})
