"""In the middle of a run the bucket no longer takes our keys: our own judge cannot look."""

import json

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "credentials expired while blocks were still being listed: https://github.com/archiecobbs/s3backer/issues/146"
RULE = "A check that could not be made is red: what the bucket holds is not known."
NOTICED = (
    r"UNKNOWN: (Cycle \d of \d failed in audit: )?The object store at \S+ (refused|no longer takes) our keys "
    r"for bucket \S+ \(AccessDenied\)"
)
SUITES = ("auto_hibernation", "wake_hibernation", "large_snapshot", "many_files", "multiple_failovers")


def sabotage(scene: Scene) -> None:
    resources = [f"arn:aws:s3:::{scene.bucket}", f"arn:aws:s3:::{scene.bucket}/*"]
    denied = {"Effect": "Deny", "Principal": "*", "Action": ["s3:*"], "Resource": resources}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})

    @scene.rewrite("control", r"^GET /api(/v1)?/snapshots$")
    def revoke(_: Request, answer: Answer) -> None:
        """The product has seen its snapshot; now it is our turn to look."""
        if answer.status == 200 and answer.body["count"]:
            scene.store.put_bucket_policy(Bucket=scene.bucket, Policy=policy)
            scene.acted(f"denied everything in bucket {scene.bucket}")
