"""The market obeys a create call twice: there are two machines, and one is known."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "one create call made two machines, as nothing made it idempotent: https://github.com/hashicorp/terraform-provider-aws/issues/27543"
RULE = "Every machine carries a label of its own: two that carry one label are found, and both are ended."
NOTICED = r"One create call made machine \d+ .* and \d+ beside"
SUITES = ("target_is_fit", "auto_hibernation")


def sabotage(scene: Scene) -> None:
    @scene.rewrite("market", r"^PUT /api/v0/asks/\d+/?$")
    def once_more(request: Request, answer: Answer) -> None:
        if not isinstance(answer.body, dict) or not answer.body.get("success"):
            return
        offers = scene.ask("market", "PUT", "/api/v0/search/asks/", {"q": {"rentable": {"eq": True}}})["offers"]
        cheapest = min(offers, key=lambda offer: offer["dph_total"])
        twin = scene.ask("market", "PUT", f"/api/v0/asks/{cheapest['id']}/", request.body)
        scene.acted(f"made machine {twin['new_contract']} beside {answer.body['new_contract']}")
