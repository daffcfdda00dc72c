"""A machine is taken for idle, and hibernated, while its GPU works."""

import re

from sandbox.sabotage.scene import Request, Scene

SEEN = "the runner was ended by its idle timeout with a job at work: https://github.com/iterative/cml/issues/808"
RULE = "A claim needs a witness that is not the claimant: nvidia-smi on the machine is asked whether the GPU is idle."
NOTICED = r"hibernates machine \d+ because it is idle, but nvidia-smi on it says 97 %"
SUITES = ("auto_hibernation",)


def sabotage(scene: Scene) -> None:
    @scene.instead("control", r"^PUT /api(/v1)?/instances/\d+/config$")
    def put_it_to_work(request: Request) -> None:
        if not request.body.get("auto_hibernation_enabled"):
            return
        instance_id = int(re.findall(r"\d+", request.path)[-1])
        (scene.machine_dir(instance_id) / "tmp" / "gpu-utilisation").write_text("97\n")
        scene.acted(f"let the GPU of machine {instance_id} work")

    @scene.instead("control", r"^POST /api/agent/status$")
    def call_it_idle(request: Request) -> Request | None:
        metrics = request.body.get("gpu_metrics") if isinstance(request.body, dict) else None
        if not metrics:
            return None
        at_rest = {"utilization": 0, "gpu_utilizations": [0 for _ in metrics.get("gpu_utilizations", ())]}
        request.body |= {"status": "idle", "gpu_metrics": metrics | at_rest}
        return request
