"""The idle time that a machine was given is not kept: it falls asleep after the default, minutes later."""

from sandbox.sabotage.scene import Request, Scene

SEEN = (
    "the configured idle time did not count, and the instance ran on idle, and was paid for: "
    "https://github.com/Azure/azure-cli-extensions/issues/7506"
)
RULE = (
    "Time is ours: when a hibernation must have begun follows from the idle time that was asked for, by our own clock."
)
NOTICED = (
    r"Dumont Cloud was told [\d.]+ s ago to do so after \d+ s without work on the GPU; it should take \d+ s at most"
)
SUITES = ("auto_hibernation",)


def sabotage(scene: Scene) -> None:
    @scene.instead("control", r"^PUT /api(/v1)?/instances/\d+/config$")
    def leave_it_as_it_is(request: Request) -> Request | None:
        if not request.body.get("auto_hibernation_enabled"):
            return None
        scene.acted(f"forgot the {request.body.pop('idle_timeout_seconds', None)} s at {request.path}")
        return request
