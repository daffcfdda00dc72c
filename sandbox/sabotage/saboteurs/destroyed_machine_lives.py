"""The product says that a machine is destroyed; it lives on, and bills."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "destroy succeeds and cancels nothing: https://github.com/contabo/terraform-provider-contabo/issues/25"
RULE = "Gone is: absent from the marketplace by id and from two full listings, SSH refused, the bill grows no more."
NOTICED = r"answered that machine \d+ .* was destroyed, but .* still bills"
SUITES = ("auto_hibernation", "wake_hibernation", "large_snapshot", "many_files", "target_is_fit")


def sabotage(scene: Scene) -> None:
    @scene.instead("control", r"^DELETE /api(/v1)?/instances/\d+$")
    def say_yes(request: Request) -> Answer:
        scene.acted(f"did not do {request.method} {request.path}")
        return Answer({"success": True, "message": "Instance destroyed"})
