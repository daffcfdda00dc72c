"""A restore writes nothing at all, and says that it has restored everything."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "a restore finished successfully, and the volume was empty: https://github.com/velero-io/velero/issues/7189"
RULE = "A restore goes to a machine whose workspace looks restored already, and holds wrong bytes."
NOTICED = (
    r"differs from the manifest: [\d ]+ changed(, [\d ]+ missing)? of "
    r".*\(sha256 \S+ expected, \S+ seen; mode \d{4} expected"
)
SUITES = ("wake_hibernation", "large_snapshot", "many_files", "multiple_failovers")


def sabotage(scene: Scene) -> None:
    @scene.instead("control", r"^POST /api(/v1)?/snapshots/restore$")
    def say_yes(request: Request) -> Answer:
        scene.acted(f"did not restore {request.body['snapshot_id']}")
        wanted = {name: request.body[name] for name in ("snapshot_id", "target_path", "instance_id")}
        return Answer({"success": True, **wanted, "files_restored": 1000, "errors": []})
