"""A restore puts the folder below the folder that it should fill, and says that it is where it was wanted."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = (
    "restored to /home/sites/staging, the files were in /home/sites/staging/var/www/public_html: "
    "https://github.com/restic/restic/issues/2803"
)
RULE = "The tree is compared where it was wanted, on a machine that held wrong bytes there before."
NOTICED = r"differs from the manifest: .*\. Everything that is expected lies below workspace instead\."
SUITES = ("wake_hibernation", "large_snapshot", "many_files", "multiple_failovers")


def sabotage(scene: Scene) -> None:
    @scene.instead("control", r"^POST /api(/v1)?/snapshots/restore$")
    def nest(request: Request) -> Request:
        request.body["target_path"] += request.body["target_path"]
        scene.acted(f"had it restored to {request.body['target_path']}")
        return request

    @scene.rewrite("control", r"^POST /api(/v1)?/snapshots/restore$")
    def hide(_: Request, answer: Answer) -> None:
        if answer.status == 200:
            answer.body["target_path"] = "/workspace"
