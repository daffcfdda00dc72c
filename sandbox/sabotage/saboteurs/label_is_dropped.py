"""The market drops the label that a machine was rented with."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "an instance was launched, and the tags for it could not be made: https://github.com/LeanerCloud/AutoSpotting/issues/50"
RULE = "Every machine carries this run's label: what has none cannot be found again."
NOTICED = r"machine \d+ .* was rented with that label, but the market shows no label"
SUITES = ("target_is_fit", "auto_hibernation")


def sabotage(scene: Scene) -> None:
    @scene.rewrite("market", r"^GET /api/v[01]/instances")
    def drop(_: Request, answer: Answer) -> None:
        rows = answer.body.get("instances") if isinstance(answer.body, dict) else None
        for row in rows if isinstance(rows, list) else [rows] if rows else []:
            row["label"] = None
            scene.acted(f"dropped the label of machine {row['id']}")
