"""Close the folder of a pabot run when pabot has ended: pabot writes log.html last, in a process without our code.

    python -m rekindle.after_pabot RUN_FOLDER KEPT_RUNS

A folder that this process could not close is closed by the next run in the same output directory.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from pathlib import Path

from rekindle.ledger import is_alive, pid_of
from rekindle.run_folder import RunFolder, written_by_robot


def main() -> None:
    """Wait for pabot, then close the folder of its run."""
    run, kept = RunFolder.read(Path(sys.argv[1])), int(sys.argv[2])
    with suppress(ProcessLookupError):
        pabot = os.pidfd_open(pid_of(run.owner))
        if is_alive(run.owner):
            select.select([pabot], [], [])
    run.close(written_by_robot(run), keep=kept)


if __name__ == "__main__":
    main()
