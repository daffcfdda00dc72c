"""A restore leaves one file out, and says that it has finished."""

import os
from typing import Any

from sandbox.sabotage.scene import Scene

SEEN = "restic 0.11 ended with exit code 0 after a restore with errors: https://github.com/restic/restic/issues/3166"
RULE = "The whole manifest is compared, both ways, after each restore; the product's word is not taken for it."
NOTICED = r"\b1 missing of .*: missing \S"
SUITES = ("wake_hibernation", "large_snapshot", "many_files")


def sabotage(scene: Scene) -> None:
    @scene.on("restore.finished")
    def drop_a_file(data: dict[str, Any]) -> None:
        workspace = scene.machine_dir(data["instance_id"]) / "workspace"
        files = sorted(path for path in workspace.rglob("*") if path.is_file() and not path.is_symlink())
        dropped = files[len(files) // 2]
        folder, before = dropped.parent, dropped.parent.stat()
        dropped.unlink()
        os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
        scene.acted(f"removed {dropped.relative_to(workspace.parent)!s}")
