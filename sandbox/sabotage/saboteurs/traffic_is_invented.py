"""The market bills 500 GB of traffic that nobody moved, at the agreed price."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = (
    "egress for 4000 dollars a month that nobody could explain: "
    "https://github.com/sourcegraph/sourcegraph-public-snapshot/issues/45828"
)
RULE = "Traffic on the bill is no more than all that was on the machine, ten times over, and an image."
NOTICED = r"GB of upload are billed, but with all that was on it"
SUITES = ("target_is_fit", "auto_hibernation")
INVENTED_GB = 500.0


def sabotage(scene: Scene) -> None:
    @scene.rewrite("market", r"^GET /api/v0/charges/?$")
    def invent(_: Request, answer: Answer) -> None:
        for row in answer.body.get("results", ()) if isinstance(answer.body, dict) else ():
            if row.get("type") == "upload":
                row["quantity"] += INVENTED_GB
                row["amount"] += INVENTED_GB * row["rate"]
                scene.acted(f"billed {INVENTED_GB:g} GB more to {row['source']}")
