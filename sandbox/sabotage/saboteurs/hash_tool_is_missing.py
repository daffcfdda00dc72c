"""The machines have no sha256sum: our own judge cannot do its work there."""

from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = "where the tool was missing, nothing was verified: https://github.com/NVIDIA/OpenShell/issues/590"
RULE = "A check that could not be made is red: a manifest without hashes is none."
NOTICED = r"UNKNOWN: The manifest of /workspace could not be taken: not found on the machine: sha256sum\."
SUITES = (
    "auto_hibernation",
    "wake_hibernation",
    "large_snapshot",
    "many_files",
    "multiple_failovers",
    "complete_failover",
    "automatic_failover",
    "migration",
)

# The first shell makes a folder with all programs but one; several may try at the same moment.
_SHELL = """
if [[ ! -e ~/.tools ]]; then
    others=$(mktemp -d ~/.tools-XXXXXX)
    ln -s /usr/bin/* /usr/sbin/* "$others" 2>/dev/null
    rm "$others/sha256sum"
    mv -T "$others" ~/.tools 2>/dev/null || rm -rf "$others"
fi
PATH=/opt/rekindle/bin:~/.tools
"""


def sabotage(scene: Scene) -> None:
    @scene.on("machine.running")
    def hide_it(data: dict[str, Any]) -> None:
        (scene.machine_dir(data["instance_id"]) / "root" / ".bashrc").write_text(_SHELL)
        scene.acted(f"hid sha256sum on machine {data['instance_id']}")
