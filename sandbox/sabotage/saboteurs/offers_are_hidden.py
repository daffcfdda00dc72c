"""Dumont Cloud finds no offer, although the market has plenty."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "no offer of the market was shown any more: https://github.com/dstackai/dstack/issues/958"
RULE = "That nothing is offered is weather only if the market says so too."
NOTICED = r"No GPU offers available .* in Dumont Cloud, asked twice, but the market has offers that fit: \d+"
SUITES = ("auto_hibernation",)


def sabotage(scene: Scene) -> None:
    @scene.rewrite("control", r"^GET /api/v1/instances/offers/?$")
    def hide(_: Request, answer: Answer) -> None:
        if isinstance(answer.body, dict) and answer.body.get("offers"):
            scene.acted(f"hid {len(answer.body['offers'])} offers")
            answer.body |= {"offers": [], "count": 0}
