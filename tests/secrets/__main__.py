"""Do secrets stay secret? Runs the suites at level TRACE, and looks for the cloud's credentials in all that is left.

    python -m tests.secrets [--quick]

While the suites run it looks, again and again, at the command line and the environment of every process of both sides,
at the disks of the machines and at the browser's profile. Afterwards it searches every file that is left. It writes
results/secrets.json: what was searched, and each finding by the name of the secret and its place, never its value.
It fails when it finds something, and when in one kind of place there was nothing to be searched.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.cloud_under_test import PROJECT_DIR
from tests.secrets.hunt import EVERYTHING, QUICK, hunt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.secrets", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smoke and phase 3 suites only, without a browser")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rekindle-secrets-"))
    try:
        told = hunt(folder, QUICK if options.quick else EVERYTHING)
    except BaseException:
        shutil.rmtree(folder)  # there are credentials in it, of a cloud that is gone
        raise
    kept = PROJECT_DIR / "results" / "secrets.json"
    kept.write_text(told.as_json())
    print(f"{told}\nReport: {os.path.relpath(kept)}")
    if not told.passed:
        print(f"Kept for a look at the places, with credentials in it: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
