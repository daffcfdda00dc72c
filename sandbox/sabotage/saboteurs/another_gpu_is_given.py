"""The machine has another GPU than the one that was rented."""

from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = "workers were put on another card than those asked for, and no field told so: https://github.com/runpod/flash/issues/366"
RULE = "A claim needs a witness that is not the claimant: the machine itself is asked which GPU it has."
NOTICED = r"machine \d+ .* was rented as .*, but nvidia-smi on it says 'Tesla K80'"
SUITES = ("target_is_fit", "auto_hibernation", "automatic_failover")


def sabotage(scene: Scene) -> None:
    @scene.on("machine.running")
    def replace_it(data: dict[str, Any]) -> None:
        card = scene.machine_dir(data["instance_id"]) / "etc" / "gpu"
        gpus, _, model = card.read_text().strip().split("|")
        card.write_text(f"{gpus}|11441|Tesla K80\n")
        scene.acted(f"gave machine {data['instance_id']} a Tesla K80 for its {model}")
