"""Values of Robot variables that the user has given."""

from __future__ import annotations

from typing import cast

from robot.libraries.BuiltIn import BuiltIn
from robot.libraries.DateTime import convert_time

from rekindle.variable_checks import check, near_misses


def seconds_of(text: str) -> float:
    """Return the seconds of a time in Robot Framework's notation.

    Raises:
        ValueError: the text is no time.
    """
    return cast(float, convert_time(text))


def check_variables() -> dict[str, str]:
    """Check the variables that are visible in the running suite; those from the command line always are.

    Returns:
        The declared variable that an undeclared name resembles, by that name.

    Raises:
        Misconfigured: one sentence for each variable that is wrong.
    """
    values = BuiltIn().get_variables(no_decoration=True)
    check(values, seconds_of)
    return near_misses(values)
