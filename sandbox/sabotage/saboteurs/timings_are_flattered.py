"""A failover claims to have been much faster than it was."""

import time

from sandbox.sabotage.scene import Answer, Request, Scene

SEEN = "durations from a clock that had been put back were too short, or negative: https://github.com/mixpanel/mixpanel-android/issues/605"
RULE = "Time is ours: durations are measured by our own clock, and what the product claims is compared with it."
NOTICED = r"The phases of failover \w+ take [\d.]+ s together, but by our clock it took [\d.]+ s"
SUITES = ("automatic_failover",)
SHARE = 0.01
# A failover may take less than a second here, which is as much as asking and looking may hide: so renting takes longer.
SLOWER = 2.0


def sabotage(scene: Scene) -> None:
    @scene.rewrite("market", r"^PUT /api/v0/asks/")
    def rent_slowly(_: Request, __: Answer) -> None:
        time.sleep(SLOWER)

    @scene.rewrite("control", r"^GET /api/v1/standby/failover/status/")
    def shorten(_: Request, answer: Answer) -> None:
        event = answer.body
        if not isinstance(event, dict) or not event.get("phases"):
            return
        for one in event["phases"]:
            one["seconds"] *= SHARE
        event["phase_timings_ms"] = {name: ms * SHARE for name, ms in event["phase_timings_ms"].items()}
        if event.get("total_time_ms"):
            event["total_time_ms"] = sum(event["phase_timings_ms"].values())
            scene.acted(f"called failover {event['failover_id']} {1 / SHARE:.0f} times as fast as it was")
