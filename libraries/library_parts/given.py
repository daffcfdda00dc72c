"""Values of Robot variables that the user has given."""

from __future__ import annotations

from typing import cast

from robot.libraries.BuiltIn import BuiltIn
from robot.libraries.DateTime import convert_time


def seconds_of(text: str) -> float:
    """Return the seconds of a time in Robot Framework's notation.

    Raises:
        ValueError: the text is no time.
    """
    return cast(float, convert_time(text))


def visible_variable(name: str) -> object:
    """Return the value of a variable of the running suite, by its name without `${}`; None when it has none."""
    return BuiltIn().get_variable_value(f"${{{name}}}")


def visible_variables() -> dict[str, object]:
    """Return the variables of the running suite by name, those from the command line among them."""
    return dict(BuiltIn().get_variables(no_decoration=True))
