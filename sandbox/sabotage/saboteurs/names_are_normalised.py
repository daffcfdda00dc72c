"""A restore spells names in another Unicode form than the one they were saved in."""

import unicodedata
from typing import Any

from sandbox.sabotage.files import keeping_times
from sandbox.sabotage.scene import Scene

SEEN = (
    "a file with an accent came back from the server as another file: https://github.com/nextcloud/server/issues/9207"
)
RULE = "Names are compared byte by byte, missing and extra ones both; odd names are among the test files."
NOTICED = r"\b1 missing, 1 extra of .*: missing .*maçã.*, extra "
SUITES = ("wake_hibernation", "multiple_failovers", "complete_failover", "strategies")


def sabotage(scene: Scene) -> None:
    @scene.on("restore.finished")
    def spell_otherwise(data: dict[str, Any]) -> None:
        workspace = scene.machine_dir(data["instance_id"]) / "workspace"
        for path in sorted(workspace.rglob("*")):
            name = unicodedata.normalize("NFD", path.name)
            if name != path.name:
                with keeping_times(path.parent):
                    path.rename(path.with_name(name))
                scene.acted(f"renamed {path.name!r} to {name!a}")
