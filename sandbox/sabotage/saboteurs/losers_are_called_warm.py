"""The losers of a race stay rented, and are called machines that are kept warm, for which nobody has asked."""

from typing import Any

from sandbox.sabotage.saboteurs import race_losers_stay
from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = race_losers_stay.SEEN
RULE = "A machine that is kept warm is excused where this run has asked for one, and only one of them."
NOTICED = r"the market has machines that came with it and that nobody needs"
SUITES = ("automatic_failover",)


def sabotage(scene: Scene) -> None:
    race_losers_stay.sabotage(scene)
    losers: set[int] = set()
    new: set[int] = set()

    @scene.rewrite("control", r"^GET /api/v1/standby/failover/status/")
    def deny(_: Request, answer: Answer) -> None:
        event: Any = answer.body
        if isinstance(event, dict) and event.get("race"):
            losers.update(event["race"]["losers"])
            event["race"] |= {"losers": []}
            new.update({event["new_instance_id"]} - {None})

    @scene.rewrite("control", r"^GET /api/v1/instances$")
    def call_warm(_: Request, answer: Answer) -> None:
        body: Any = answer.body
        rows = body.get("instances") if isinstance(body, dict) else None
        for row in [row for row in rows or () if row["id"] in new]:
            body["instances"] += [row | {"id": loser, "warm_for": row["id"]} for loser in sorted(losers)]
            scene.acted(f"called {len(losers)} losers machines that are kept warm for {row['id']}")
