"""A failover loses the last work, although it was on the standby, and says that nothing was lost."""

from sandbox.sabotage.files import remove
from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "data were lost by a failover to a standby that was not the healthiest: https://github.com/patroni/patroni/issues/1894"
RULE = "What was seen on the standby while the machine lived comes back, however few seconds of work it is."
NOTICED = r"ticks-\w+/\d+\.txt was on the standby before machine .* was lost, and did not come back"
SUITES = ("automatic_failover", "complete_failover")


def sabotage(scene: Scene) -> None:
    lost: set[int] = set()

    @scene.rewrite("control", r"^GET /api/v1/standby/failover/status/")
    def lose(_: Request, answer: Answer) -> None:
        event = answer.body
        if not isinstance(event, dict) or event.get("phase") != "complete":
            return
        event["rpo_seconds"] = 0.0
        new_id = event["new_instance_id"]
        if new_id in lost:
            return
        lost.add(new_id)
        for folder in (scene.machine_dir(new_id) / "workspace").glob("ticks-*"):
            remove(folder)
            scene.acted(f"deleted {folder.name} on machine {new_id}")
