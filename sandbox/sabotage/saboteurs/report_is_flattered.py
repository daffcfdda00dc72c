"""The report of all failovers makes each of them fast and a success; each of them itself tells the truth."""

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = (
    "one report of hosts told 100 % of them, another 96.9 % of the same one: "
    "https://github.com/Icinga/icingaweb2-module-idoreports/issues/61"
)
RULE = "What is told twice is held against each other: a report tells what we have followed ourselves."
NOTICED = r"Dumont Cloud's report of failovers tells the seconds\b.* of failover \w+ as [\d.]+; it was [\d.]+"
SUITES = ("automatic_failover",)
SHARE = 0.1


def sabotage(scene: Scene) -> None:
    @scene.rewrite("control", r"^GET /api/v1/standby/failover/report$")
    def flatter(_: Request, answer: Answer) -> None:
        report = answer.body
        if not isinstance(report, dict) or not report.get("history"):
            return
        report["success_rate"] = 100.0
        for row in report["history"]:
            if row.get("total_time_ms"):
                row["total_time_ms"] *= SHARE
                row["phase_timings_ms"] = {name: ms * SHARE for name, ms in row["phase_timings_ms"].items()}
                scene.acted(f"called failover {row['failover_id']} {1 / SHARE:.0f} times as fast in the report")
