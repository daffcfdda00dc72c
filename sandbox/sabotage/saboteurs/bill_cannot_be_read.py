"""The market's bill cannot be read."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "the list of billing periods answered 500, several times in a year: https://github.com/Azure/azure-rest-api-specs/issues/4328"
RULE = "A check that could not be made is red: it says UNKNOWN, and why."
NOTICED = r"UNKNOWN: .*(/api/v0/charges|what machine \d+ costs|what the account is charged)"
SUITES = ("target_is_fit", "auto_hibernation")


def sabotage(scene: Scene) -> None:
    @scene.rewrite("market", r"^GET /api/v0/charges/?$")
    def cut(request: Request, answer: Answer) -> Answer | None:
        if request.caller != "user":
            return None
        scene.acted("cut the bill off in the middle")
        return Answer('{"success": true, "results": [{"start": 17', answer.status, {"content-type": "application/json"})
