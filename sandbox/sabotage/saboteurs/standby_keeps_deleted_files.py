"""A standby keeps a file that the machine has deleted, and brings it back."""

import os
from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = "rsync without --delete left old files on the other side: https://github.com/tknerr/vagrant-managed-servers/issues/61"
RULE = "The whole manifest is compared, both ways: what is extra is named, too."
NOTICED = r"\b1 extra of .*: extra \S"
SUITES = ("automatic_failover",)


def sabotage(scene: Scene) -> None:
    def bring_back(data: dict[str, Any]) -> None:
        workspace = scene.machine_dir(data["instance_id"]) / "workspace"
        before = workspace.stat()
        (workspace / "deleted-long-ago.txt").write_text("deleted on the machine, kept on the standby\n")
        os.utime(workspace, ns=(before.st_atime_ns, before.st_mtime_ns))
        scene.acted(f"brought a deleted file back on machine {data['instance_id']}")

    @scene.on("failover.phase")
    def after_restoring(data: dict[str, Any]) -> None:
        if data.get("phase") == "complete" and data.get("new_instance_id"):
            bring_back({"instance_id": data["new_instance_id"]})
