"""A machine is gone, and its bill grows on."""

import time

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "charges went on after everything was deleted: https://github.com/MicrosoftDocs/azure-docs/issues/61405"
RULE = "Gone is: absent from the marketplace by id and from two full listings, SSH refused, the bill grows no more."
NOTICED = r"machine \d+ .*, but it still bills \$"
SUITES = ("target_is_fit", "auto_hibernation")


def sabotage(scene: Scene) -> None:
    @scene.rewrite("market", r"^GET /api/v0/charges/?$")
    def go_on(_: Request, answer: Answer) -> None:
        for row in answer.body.get("results", ()) if isinstance(answer.body, dict) else ():
            if row.get("end") is not None and row.get("type") in {"gpu", "disk"}:
                hours = (time.time() - row["start"]) / 3600
                row |= {"end": None, "amount": row["rate"] * hours}
                scene.acted(f"let the bill of {row['source']} grow on")
