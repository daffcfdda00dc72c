"""A failover says that it is complete, and has rented no machine."""

from typing import Any

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "a failover was decided, the promotion failed, and nobody took over: https://github.com/EnterpriseDB/repmgr/issues/173"
RULE = "Failed over is: another machine (contract, host key, boot), all files on it, the old one gone."
NOTICED = r"machine 29999999 took over from .*, but the market has no such machine"
SUITES = ("automatic_failover",)
NOBODY = 29999999
PHASES = ("detecting", "gpu_lost", "failover_to_cpu", "searching_gpu", "provisioning", "restoring", "complete")


def sabotage(scene: Scene) -> None:
    began: dict[str, bool] = {}

    @scene.on("machine.preempted")
    def begin(_: dict[str, Any]) -> None:
        began["failover"] = True

    @scene.instead("market", r"^PUT /api/v0/asks/\d+/?$")
    def rent_nothing(request: Request) -> Answer | None:
        if request.caller != "product" or not began:
            return None
        return Answer({"success": False, "error": "no_such_ask", "msg": "no such ask"}, 404)

    @scene.rewrite("control", r"^GET /api/v1/standby/failover/(status/|active)")
    def say_complete(_: Request, answer: Answer) -> None:
        if isinstance(answer.body, dict) and answer.body.get("phase") == "failed":
            answer.body |= _success(answer.body)
            scene.acted(f"called failover {answer.body['failover_id']} complete")


def _success(event: dict[str, Any]) -> dict[str, Any]:
    known = {one["phase"]: one for one in event["phases"]}
    last = event["phases"][-1]["entered_at"]
    phases = [known.get(name, {"phase": name, "entered_at": last, "seconds": 0.0, "detail": None}) for name in PHASES]
    timings = {name: event["phase_timings_ms"].get(name, 0.0) for name in PHASES[:-1]}
    return {
        "phase": "complete", "success": True, "error": None, "failed_phase": None, "phases": phases,
        "phase_timings_ms": timings, "total_time_ms": sum(timings.values()),
        "new_instance_id": NOBODY, "new_gpu_id": NOBODY,
    }  # fmt: skip
