"""A failover hands back the machine that it should have replaced."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "the old primary was back while another one was promoted: https://github.com/EnterpriseDB/repmgr/issues/520"
RULE = "Failed over is: another machine (contract, host key, boot), all files on it, the old one gone."
NOTICED = r"machine (\d+) took over from machine \1 .*, but it was there before the failover began"
SUITES = ("automatic_failover",)


def sabotage(scene: Scene) -> None:
    @scene.rewrite("control", r"^GET /api/v1/standby/failover/status/")
    def name_the_old(_: Request, answer: Answer) -> None:
        if isinstance(answer.body, dict) and answer.body.get("phase") == "complete":
            old = answer.body["gpu_instance_id"]
            answer.body |= {"new_instance_id": old, "new_gpu_id": old}
            scene.acted(f"said that machine {old} took over from itself")
