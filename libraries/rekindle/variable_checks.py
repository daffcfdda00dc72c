"""Check the values of variables before anything is rented, and find misspelled names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import TypeVar

from rekindle.errors import Misconfigured
from rekindle.settings import Settings
from rekindle.variables import BY_NAME, VARIABLES

T = TypeVar("T")

NEAR_MISS = 0.8  # similarity from which an unknown name counts as a misspelled variable
BLOCK = 4096  # bytes that the smallest file occupies on a disk
SPARE = 100_000_000  # bytes of a machine's disk that stay free


def check(values: Mapping[str, object], read_time: Callable[[str], float]) -> None:
    """Check every declared variable that has a value, also those that the present suite does not use.

    Args:
        values: values by name, without `${}`; undeclared names are ignored. Names are compared as Robot Framework
            does, without regard to capitals, spaces and underscores.
        read_time: as for `Variable.read`.

    Raises:
        Misconfigured: one sentence for each variable that is wrong.
    """
    declared = {_bare(variable.name): variable for variable in VARIABLES}
    read: dict[str, object] = {}
    problems: list[str] = []
    for name, value in values.items():
        if variable := declared.get(_bare(name)):
            try:
                read[variable.name] = variable.read(value, read_time)
            except Misconfigured as problem:
                problems.append(str(problem))
    problems += _misfits(read)
    if problems:
        raise Misconfigured("\n".join(problems))


def _misfits(read: Mapping[str, object]) -> Iterator[str]:
    """Sentences about test data that does not fit the disk."""
    disk = read.get("DISK_GB")
    if not isinstance(disk, int):
        return
    for sizes in ({"SMALL_FILES": BLOCK, "LARGE_FILE_BYTES": 1}, {"MANY_FILES": BLOCK}):
        amounts = {name: amount for name in sizes if isinstance(amount := read.get(name), int)}
        needed = sum(amount * sizes[name] for name, amount in amounts.items())
        if needed + SPARE > disk * 10**9:
            given = " and ".join(f"{name}:{amount}" for name, amount in amounts.items())
            yield (
                f"{given} need {needed} bytes, which do not fit the disk of DISK_GB:{disk}: use smaller values, or "
                f"DISK_GB:{-(-(needed + SPARE) // 10**9)} or more."
            )


def warnings(names: Iterable[str]) -> dict[str, str]:
    """Return a sentence for each name that has no effect although the user probably expects one.

    Args:
        names: names of Robot variables, declared or not.

    Returns:
        Sentences by name: for a name that resembles a declared variable (`MAX_PRISE`), and for an address or a
        credential, which are read from the environment only.
    """
    declared = {_bare(variable.name): variable.name for variable in VARIABLES}
    settings = {_bare(name): name for name in Settings.variables()}
    found = {}
    for name in names:
        if (bare := _bare(name)) in declared:
            continue
        if bare in settings:
            found[name] = (
                f"The variable {name} has no effect: {settings[bare]} is read from the environment or from ENV_FILE."
            )
        elif near := get_close_matches(bare, declared, 1, NEAR_MISS):
            found[name] = f"The suites have no variable {name}, so it has no effect. Did you mean {declared[near[0]]}?"
    return found


def check_argument(argument: str, variable: str, value: T) -> T:
    """Return the argument of a keyword or function if it is legal for a variable; name the argument in the message.

    Args:
        argument: name of the argument.
        variable: name of the variable whose type and bounds apply.
        value: value of the argument.

    Raises:
        Misconfigured: one sentence that names the argument, its value, type, unit, bounds and an example.
    """
    declared = BY_NAME[variable]
    declared.read_as(argument, f"{argument}={declared.example}", value)
    return value


def _bare(name: str) -> str:
    return "".join(name.split()).replace("_", "").casefold()
