"""A machine wakes with the workspace of another machine."""

import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

from sandbox.sabotage.files import remove
from sandbox.sabotage.scene import Request, Scene

SEEN = "a pod that was started again got the files of another volume: https://github.com/dell/csm/issues/198"
RULE = "All contents are new on every machine, and all of them are compared after waking."
NOTICED = r"differs from the manifest: \d[\d ]+ changed of .*: changed \S[^(]* \(sha256 \S+ expected, \S+ seen\)"
SUITES = ("wake_hibernation",)


def sabotage(scene: Scene) -> None:
    kept = tempfile.TemporaryDirectory(prefix="rekindle-sabotage-")
    waking = threading.Event()

    @scene.on("snapshot.finished")
    def keep(data: dict[str, Any]) -> None:
        copy = Path(kept.name, str(data["instance_id"]))
        if copy.exists():
            remove(copy)
        _copy(scene.machine_dir(data["instance_id"]) / "workspace", copy)

    @scene.instead("control", r"^POST /api(/v1)?/instances/\d+/wake$")
    def notice(_: Request) -> None:
        waking.set()

    @scene.on("restore.finished")
    def exchange(data: dict[str, Any]) -> None:
        if waking.is_set():
            workspace = scene.machine_dir(data["instance_id"]) / "workspace"
            other = min(Path(kept.name).iterdir())  # the first machine that was saved: another one sleeps
            for entry in workspace.iterdir():
                remove(entry)
            _copy(other, workspace)
            scene.acted(f"put the workspace of machine {other.name} onto machine {data['instance_id']}")


def _copy(folder: Path, to: Path) -> None:
    """With all that a file has besides its bytes: they are another workspace's files, but whole ones."""
    to.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", f"{folder}/.", to], check=True)
