"""A restore leaves out what has no bytes: empty files and empty directories."""

from typing import Any

from sandbox.sabotage.files import keeping_times
from sandbox.sabotage.scene import Scene

SEEN = (
    "a database did not start from its copy in a bucket, because empty folders were not in it: "
    "https://github.com/rclone/rclone/issues/3453; empty files were not restored: "
    "https://github.com/rustic-rs/rustic/issues/519"
)
RULE = "Empty files and empty directories are entries of the manifest like all others."
NOTICED = r"differs from the manifest: [\d ]+ missing of .*: missing \S*(empty|__init__\.py)"
SUITES = ("wake_hibernation", "many_files", "multiple_failovers", "complete_failover", "strategies")


def sabotage(scene: Scene) -> None:
    @scene.on("restore.finished")
    def leave_out(data: dict[str, Any]) -> None:
        workspace = scene.machine_dir(data["instance_id"]) / "workspace"
        for path in sorted(workspace.rglob("*")):
            if path.is_symlink() or any(path.iterdir() if path.is_dir() else [path.stat().st_size]):
                continue
            with keeping_times(path.parent):
                path.rmdir() if path.is_dir() else path.unlink()
            scene.acted(f"left out {str(path.relative_to(workspace))!r}")
