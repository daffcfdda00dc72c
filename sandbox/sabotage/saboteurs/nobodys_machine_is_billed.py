"""The market bills 500 s of a machine that nobody ordered, under the label of one that was."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "a bill for a subscription that the user never had: https://github.com/MicrosoftDocs/azure-docs/issues/78785"
RULE = "Whatever is billed under a label of the run is explained by something that was ordered under it."
NOTICED = r"machine 29079999 \(billed as .*\): billed \$\S+, but nothing was ordered"
SUITES = ("target_is_fit", "auto_hibernation")
SECONDS = 500.0


def sabotage(scene: Scene) -> None:
    @scene.rewrite("market", r"^GET /api/v0/charges/?$")
    def add_one(_: Request, answer: Answer) -> None:
        rows = answer.body.get("results", []) if isinstance(answer.body, dict) else []
        theirs = next((row for row in rows if row.get("type") == "gpu"), None)
        if theirs:
            times = {"start": theirs["start"] - SECONDS, "end": theirs["start"], "quantity": SECONDS}
            rows.append(
                theirs
                | times
                | {"source": "instance-29079999", "instance_id": 29079999, "amount": theirs["rate"] * SECONDS / 3600}
            )
            scene.acted("billed a machine that nobody ordered")
