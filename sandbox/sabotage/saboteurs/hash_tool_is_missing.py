"""The machines have no sha256sum: our own judge cannot do its work there."""

from pathlib import Path
from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = "where the tool was missing, nothing was verified: https://github.com/NVIDIA/OpenShell/issues/590"
RULE = "A check that could not be made is red: a manifest without hashes is none."
NOTICED = r"UNKNOWN: The manifest of /workspace could not be taken: not found on the machine: sha256sum\."
SUITES = ("auto_hibernation", "wake_hibernation", "large_snapshot", "many_files", "multiple_failovers")


def sabotage(scene: Scene) -> None:
    @scene.on("machine.running")
    def hide_it(data: dict[str, Any]) -> None:
        home = scene.machine_dir(data["instance_id"]) / "root"
        tools = home / ".tools"
        tools.mkdir(exist_ok=True)
        for tool in (*Path("/usr/bin").iterdir(), *Path("/usr/sbin").iterdir()):
            link = tools / tool.name
            if tool.name != "sha256sum" and not link.is_symlink():
                link.symlink_to(tool)
        (home / ".bashrc").write_text("PATH=/opt/rekindle/bin:/root/.tools\n")
        scene.acted(f"hid sha256sum on machine {data['instance_id']}")
