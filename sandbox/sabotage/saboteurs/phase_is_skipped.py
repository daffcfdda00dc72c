"""A failover leaves out one of its phases."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "a node was sent to a state that cannot follow the one it was in: https://github.com/hapostgres/pg_auto_failover/issues/353"
RULE = "All phases are gone through, in their order; each is seen by ourselves."
NOTICED = r"Failover \w+ went through .*; expected were "
SUITES = ("automatic_failover",)


def sabotage(scene: Scene) -> None:
    @scene.rewrite("control", r"^GET /api/v1/standby/failover/status/")
    def leave_one_out(_: Request, answer: Answer) -> None:
        if isinstance(answer.body, dict) and "phases" in answer.body:
            phases = [one for one in answer.body["phases"] if one["phase"] != "failover_to_cpu"]
            if len(phases) < len(answer.body["phases"]):
                answer.body["phases"] = phases
                scene.acted("left out failover_to_cpu")
