"""The reference of all variables in Markdown, generated from their declaration."""

from __future__ import annotations

from rekindle.variable import Variable
from rekindle.variables import VARIABLES

INTRODUCTION = """\
# Variables

<!-- Generated from libraries/rekindle/variables.py by `tox -e docs`. -->

Set them on the command line with `--variable NAME:value`. Every value, also of a variable that the chosen suites do not
use, is checked before anything is rented.
"""


def reference() -> str:
    """Return the reference: a table for each group of variables."""
    groups: dict[str, list[Variable]] = {}
    for variable in VARIABLES:
        groups.setdefault(variable.group, []).append(variable)
    return "\n".join([INTRODUCTION, *(_section(group, variables) for group, variables in groups.items())])


def _section(group: str, variables: list[Variable]) -> str:
    rows = ["| variable | meaning | value | default | example |", "|---|---|---|---|---|"]
    rows += [
        f"| `{variable.name}` | {variable.meaning} | {variable.wanted()} | {_defaults(variable)} "
        f"| `{variable.name}:{variable.example}` |"
        for variable in variables
    ]
    return "\n".join([f"## {group}", "", *rows, ""])


def _defaults(variable: Variable) -> str:
    if variable.required_on:
        return f"{_shown(variable.default)}; must be set on {variable.required_on}"
    parts = [_shown(variable.default)]
    if variable.live is not None:
        parts[0] = f"sandbox: {parts[0]}; live: {_shown(variable.live)}"
    parts += [f"{suites}: {_shown(value)}" for suites, value in variable.elsewhere.items()]
    return "; ".join(parts)


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    if value == "":
        return "empty"
    return f"`{', '.join(value) if isinstance(value, tuple) else value}`"
