"""The market bills twice what the machines cost."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "reported costs were 28 % above the provider's own: https://github.com/Teevity/ice/issues/64"
RULE = "Cost is the price times the life that we measured; the market's bill must agree within one billing unit."
NOTICED = r"market bills \$\S+ for machine \d+, but at |s of \w+ are billed \$\S+, but at |too (much|little) \(one"
SUITES = ("auto_hibernation",)


def sabotage(scene: Scene) -> None:
    @scene.rewrite("market", r"^GET /api/v0/charges/?$")
    def double(_: Request, answer: Answer) -> None:
        for row in answer.body.get("results", ()) if isinstance(answer.body, dict) else ():
            row["amount"] *= 2
            scene.acted(f"billed {row['source']} twice")
