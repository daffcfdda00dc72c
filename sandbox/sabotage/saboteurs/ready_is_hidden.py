"""Dumont Cloud shows every machine that runs as one that has gone offline, and gives no address."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "a tool waited for machines that had passed their checks long since: https://github.com/oliverlloyd/jmeter-ec2/issues/6"
RULE = "That a machine never came is weather only if the market sees it too, and the machine itself."
NOTICED = (
    r"Dumont Cloud says that machine \d+ .* is `offline`.*; but the market says that it runs, .* there SSH answers"
)
SUITES = ("target_is_fit", "auto_hibernation")


def sabotage(scene: Scene) -> None:
    @scene.rewrite("control", r"^GET /api/v1/instances/\d+/?$")
    def hide(_: Request, answer: Answer) -> None:
        if isinstance(answer.body, dict) and answer.body.get("actual_status") == "running":
            answer.body |= {"actual_status": "offline", "ssh_host": None, "ssh_port": None}
            scene.acted(f"hid that machine {answer.body['id']} runs")
