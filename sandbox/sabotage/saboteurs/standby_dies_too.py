"""The standby is lost together with its machine: there is nothing to fail over to."""

from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = "primary and replica went offline together, and nobody came back by itself: https://github.com/discourse/rails_failover/pull/16"
RULE = "Failed over is: another machine (contract, host key, boot), all files on it, the old one gone."
NOTICED = r"Failover \w+ of machine \d+ .* failed in \w+ after [\d.]+ s: .*(standby|snapshot)"
SUITES = ("automatic_failover",)


def sabotage(scene: Scene) -> None:
    standbys: list[str] = []

    @scene.on("cpu_machine.running")
    def remember(data: dict[str, Any]) -> None:
        standbys.append(data["machine"])

    @scene.on("machine.preempted")
    def take_along(_: dict[str, Any]) -> None:
        for name in standbys:
            scene.admin("market", "POST", f"/cpu-instances/{name}/preempt")
            scene.acted(f"took away the standby {name}, too")
