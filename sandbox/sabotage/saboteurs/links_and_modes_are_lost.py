"""A restore brings files in place of links, and the same mode for all files."""

import shutil
from typing import Any

from sandbox.sabotage.files import keeping_times, regular_files
from sandbox.sabotage.scene import Scene

SEEN = (
    "files of mode rw-rw-rw- and r--r--r-- both came back as rw-r--r--: "
    "https://github.com/bit-team/backintime/issues/265; links were not copied: "
    "https://github.com/rclone/rclone/issues/1766"
)
RULE = "Kind, mode and link target of every entry are compared."
NOTICED = r"changed \S[^(]*\((kind link expected, \w+ seen|mode \d{4} expected, 0644 seen)"
SUITES = ("wake_hibernation", "many_files", "multiple_failovers", "complete_failover", "strategies")


def sabotage(scene: Scene) -> None:
    @scene.on("restore.finished")
    def flatten(data: dict[str, Any]) -> None:
        workspace = scene.machine_dir(data["instance_id"]) / "workspace"
        for path in regular_files(workspace):
            path.chmod(0o644)
        links = [path for path in sorted(workspace.rglob("*")) if path.is_symlink()]
        for link in links:
            pointed_at = (link.parent / link.readlink()).resolve()
            if pointed_at.is_relative_to(workspace) and pointed_at.is_file():
                with keeping_times(link.parent):
                    link.unlink()
                    shutil.copy2(pointed_at, link)
        scene.acted(f"set the mode of all files to 0644, and followed {len(links)} links")
