"""Whatever has a name that begins with a dot does not come back, by a restore or from a standby."""

from typing import Any

from sandbox.sabotage.files import keeping_times, remove
from sandbox.sabotage.scene import Scene

SEEN = "files such as .htaccess and .env were not in a backup: https://github.com/myvesta/vesta/pull/146"
RULE = "Hidden files and directories are entries of the manifest like all others, and there always are some."
NOTICED = r"differs from the manifest: [\d ]+ missing of .*: missing (\S*/)?\.\w"
SUITES = ("wake_hibernation", "many_files", "multiple_failovers", "automatic_failover")


def sabotage(scene: Scene) -> None:
    @scene.on("restore.finished")
    def lose_hidden(data: dict[str, Any]) -> None:
        workspace = scene.machine_dir(data["instance_id"]) / "workspace"
        for path in sorted(workspace.rglob(".*")):
            if not path.exists():
                continue  # it was lost with the hidden directory that it was in
            with keeping_times(path.parent):
                remove(path)
            scene.acted(f"lost {str(path.relative_to(workspace))!r}")

    @scene.on("failover.phase")
    def after_failover(data: dict[str, Any]) -> None:
        if data.get("phase") == "complete" and data.get("new_instance_id"):
            lose_hidden({"instance_id": data["new_instance_id"]})
