"""A restore brings the snapshot before the one that was asked for."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "the newest backup was wanted, an older one was restored: https://github.com/bseltz-cohesity/scripts/issues/160"
RULE = "Files change before each snapshot, so that no older one can pass for the newest."
NOTICED = r"differs from the manifest: [\d ]+ changed, (\d+ missing, )?2 extra of .*\(sha256 \S+ expected, \S+ seen"
SUITES = ("multiple_failovers",)


def sabotage(scene: Scene) -> None:
    asked: dict[int, str] = {}  # which snapshot, by the machine that it was wanted on

    @scene.instead("control", r"^POST /api(/v1)?/snapshots/restore$")
    def take_an_older_one(request: Request) -> Request | None:
        newest_first = [row["short_id"] for row in scene.ask("control", "GET", "/api/v1/snapshots")["snapshots"]]
        older = newest_first[newest_first.index(request.body["snapshot_id"]) + 1 :]
        if not older:
            return None
        asked[request.body["instance_id"]] = request.body["snapshot_id"]
        scene.acted(f"had {older[0]} restored in place of {request.body['snapshot_id']}")
        request.body["snapshot_id"] = older[0]
        return request

    @scene.rewrite("control", r"^POST /api(/v1)?/snapshots/restore$")
    def hide(_: Request, answer: Answer) -> None:
        if answer.status == 200:
            answer.body["snapshot_id"] = asked.get(answer.body["instance_id"], answer.body["snapshot_id"])
