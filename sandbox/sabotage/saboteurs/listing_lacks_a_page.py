"""The market's listing ends after its first page, which shows one machine."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "only the first page was listed, so machines leaked: https://github.com/LeanerCloud/AutoSpotting/issues/98"
RULE = "A listing counts when all of its pages were read and they hold as many machines as the market says."
NOTICED = r"UNKNOWN: .*(listing|pages?|total)"
SUITES = ("automatic_failover", "target_is_fit", "auto_hibernation")


def sabotage(scene: Scene) -> None:
    @scene.rewrite("market", r"^GET /api/v1/instances/?$")
    def end_early(request: Request, answer: Answer) -> None:
        rows = answer.body.get("instances") if isinstance(answer.body, dict) else None
        if request.caller == "user" and rows:
            answer.body |= {"instances": rows[:-1], "next_token": None}
            scene.acted(f"left {rows[-1]['id']} out of the listing")
