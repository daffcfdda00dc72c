"""Starts, stops and breaks the embedded cloud. For tests of the keywords themselves, not for suites."""

from __future__ import annotations

from typing import Any, Literal

from robot.api.deco import keyword, library

from console import tell
from rekindle import target
from rekindle.embedded import EmbeddedCloud


@library(scope="GLOBAL", doc_format="MARKDOWN")
class SandboxLibrary:
    """Starts, stops and breaks the embedded cloud.

    These keywords do to the cloud what the world does to a real one. They work through its command line and its
    control API, and only there: on a live target they fail.
    """

    @keyword
    def stop_sandbox(self) -> None:
        """Stops the embedded cloud at once; its state is kept. Without this it stops some seconds after the run."""
        _cloud().down()

    @keyword
    def sandbox_status(self) -> str:
        """Returns what the cloud says of its parts, its machines and its bill."""
        return _cloud().status()

    @keyword
    def kill_part(self, part: Literal["store", "marketplace", "control"]) -> None:
        """Kills a part of the cloud with SIGKILL, as a crash does.

        Args:
            part: which one.
        """
        _cloud().kill(part)
        tell(f"Killed: the {part} of the embedded cloud")

    @keyword
    def break_answers(
        self,
        part: Literal["control", "market"],
        match: str,
        status: int,
        body: Any = None,
        times: int | None = None,
    ) -> None:
        """Makes a part give a fixed answer to some requests, without doing what they ask for.

        Args:
            part: whose answers.
            match: regular expression, searched in `METHOD /path`.
            status: the HTTP status of the answer.
            body: its JSON body, or text.
            times: how often; until [Mend Sandbox] when not given.
        """
        fault = {"name": f"answer-{status}", "kind": "answer", "match": match, "status": status, "body": body}
        _cloud().add_fault(part, fault | ({"times": times} if times else {}))

    @keyword
    def break_new_machines(
        self, trouble: Literal["boot_hangs", "ssh_refused", "no_restic", "small_disk"], megabytes: int = 0
    ) -> None:
        """Gives a trouble to every machine that boots from now on.

        Args:
            trouble: `boot_hangs` (it never runs), `ssh_refused` (it runs, and nobody answers), `no_restic` (restic is
                not there), `small_disk` (its workspace has the given size).
            megabytes: size of the small disk, MB.
        """
        fault = {"name": trouble, "kind": "machine", "machine": trouble, "megabytes": megabytes}
        _cloud().add_fault("market", fault)

    @keyword
    def mend_sandbox(self) -> None:
        """Removes every fault."""
        _cloud().remove_faults()


def _cloud() -> EmbeddedCloud:
    return target.current().embedded
