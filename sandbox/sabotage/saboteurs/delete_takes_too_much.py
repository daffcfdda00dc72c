"""A snapshot is deleted, and with it a pack that other snapshots need."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "prune took packs that snapshots still needed: https://github.com/rustic-rs/rustic/issues/392"
RULE = "After a snapshot is deleted, every pack that the others need is still in the bucket."
NOTICED = r"With snapshot \w+ went (\d+ packs? of the [\d ]+ that|what) snapshot \w+ needs"
SUITES = ("multiple_failovers",)


def sabotage(scene: Scene) -> None:
    before = set(scene.objects())

    @scene.rewrite("control", r"^DELETE /api(/v1)?/snapshots/\w+$")
    def take_one_more(_: Request, answer: Answer) -> None:
        largest = scene.largest_since(before)
        if answer.status == 200 and largest and scene.objects("restic/snapshots/"):
            scene.store.delete_object(Bucket=scene.bucket, Key=largest)
            scene.acted(f"deleted {largest}")
