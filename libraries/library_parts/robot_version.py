"""The version of Robot Framework that the libraries need."""

from __future__ import annotations

import re

NEEDED = (7, 5)  # test metadata, which names a test's report


class RobotTooOld(ImportError):
    """Robot Framework is older than the libraries need."""

    ROBOT_SUPPRESS_NAME = True


def require(installed: str) -> None:
    """Refuse a Robot Framework that lacks what the libraries use.

    Args:
        installed: its version, such as `7.4.2` or `7.5rc1`.

    Raises:
        RobotTooOld: names the installed version, the needed one, and the command that installs it.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", installed)[:2])
    if numbers < NEEDED:
        needed = ".".join(map(str, NEEDED))
        raise RobotTooOld(
            f"Rekindle needs Robot Framework {needed} or newer, and this environment has {installed}: "
            f"pip install 'robotframework>={needed}'"
        )
