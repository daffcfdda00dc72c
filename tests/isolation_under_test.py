"""Computers on which machines cannot run: a bwrap that fails, and a user namespace without namespaces of its own."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

UID_MAP = "bwrap: setting up uid map: Permission denied"
NO_PERMISSIONS = (
    "bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user "
    "namespaces. On e.g. debian this can be enabled with 'sysctl kernel.unprivileged_userns_clone=1'."
)
NOT_PERMITTED = "bwrap: Creating new namespace failed: Operation not permitted"
LOOPBACK = "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted"
NO_SPACE = "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)"
KNOWN_WORDS = (UID_MAP, NO_PERMISSIONS, NOT_PERMITTED, LOOPBACK, NO_SPACE)

_LIMIT = Path("/proc/sys/user/max_user_namespaces")
# The limit belongs to a user namespace: setting it needs that namespace's privileges, which are dropped afterwards.
_WITHOUT = f'echo 0 >{_LIMIT}; exec setpriv --ambient-caps=-all --inh-caps=-all -- "$@"'
_NOBODY = 65534


def fake_bwrap(folder: Path, words: str, exit_code: int = 1) -> Path:
    """Create a bwrap in a folder that notes its options in `options`, prints words and ends."""
    folder.mkdir(exist_ok=True)
    program = folder / "bwrap"
    program.write_text(
        f"#!/bin/bash\nprintf '%s\\n' \"$@\" >{shlex.quote(str(folder / 'options'))}\n"
        f"echo warning >&2\necho {shlex.quote(words)} >&2\nexit {exit_code}\n"
    )
    program.chmod(0o755)
    return program


def without_namespaces(*command: str) -> list[str]:
    """Return a command that runs another as an ordinary user who may not create namespaces.

    The test is skipped where not even this can be arranged.
    """
    user = ["unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}", "--keep-caps"]
    prefix = [*user, "--", "bash", "-e", "-c", _WITHOUT, "without"]
    trial = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if trial.returncode != 0:
        pytest.skip(f"no user namespace can be made to test in: {trial.stderr.strip()}")
    return [*prefix, *command]
