"""The market bills each hour 45 % dearer than agreed; its bill is consistent in itself."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "a machine shown at 1.28 dollars an hour was paid at 10.24: https://github.com/dstackai/dstack/issues/1890"
RULE = "The prices on a bill are those that were agreed, however short the life that they are multiplied with."
NOTICED = r"machine \d+.*: billed at \$\S+/h, agreed \$"
SUITES = ("target_is_fit", "auto_hibernation")
DEARER = 1.45


def sabotage(scene: Scene) -> None:
    @scene.rewrite("market", r"^GET /api/v0/charges/?$")
    def raise_price(_: Request, answer: Answer) -> None:
        for row in answer.body.get("results", ()) if isinstance(answer.body, dict) else ():
            if row.get("type") in {"gpu", "disk"}:
                row["rate"] *= DEARER
                row["amount"] *= DEARER
                scene.acted(f"billed {row['source']} at ${row['rate']:.4f}/h")
