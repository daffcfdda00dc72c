"""Each command in the documentation could be typed as it stands: programs, options, variables, tags and paths exist."""

from __future__ import annotations

import argparse
import configparser
import functools
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from robot import api
from robot.errors import DataError, Information
from robot.rebot import Rebot
from robot.run import RobotFramework

from rekindle.variables import BY_NAME
from tests.cloud_under_test import PROJECT_DIR

MARKDOWN = [
    PROJECT_DIR / "README.md",
    PROJECT_DIR / "benchmarks" / "README.md",
    *sorted((PROJECT_DIR / "docs").rglob("*.md")),
]
PAGES = [
    *MARKDOWN,
    *sorted((PROJECT_DIR / "libraries").rglob("*.py")),
    *sorted((PROJECT_DIR / "sandbox").rglob("*.py")),
    *(one for folder in ("resources", "suites") for one in sorted((PROJECT_DIR / folder).rglob("*.r[eo]*"))),
]
VERBS = ("up", "down", "open", "status", "env", "reset")
PROGRAMS = ("robot", "rebot", "pabot", "tox", "pytest", "python")
# These stand for a value that the reader chooses.
PLACEHOLDERS = {"DIR", "NAME", "NAME|FILE", "value", "path", "PORT", "VERB"}


class Impossible(Exception):
    """A command that could not be typed; the message says why."""


# What is documented


def documented() -> Iterator[tuple[str, str]]:
    """Every command line, and every option alone, with its place."""
    for page in PAGES:
        text = page.read_text()
        place = str(page.relative_to(PROJECT_DIR))
        if page in MARKDOWN:
            for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
                yield from ((place, line.removeprefix("$ ")) for line in block.splitlines() if line.startswith("$ "))
            text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        for code in re.findall(r"(?<!`)`([^`{}\n]+(?:\n[^`{}\n]+)?)`(?!`)", text):
            words = code.replace("...", " ").split()  # an ellipsis continues Robot's documentation
            if words and _is_command(words):
                yield place, " ".join(words)


def _is_command(words: Sequence[str]) -> bool:
    first = words[0].removeprefix("./")
    alone = len(words) == 1
    return (
        (first in {*PROGRAMS, "bootstrap"} and not alone)
        or first in VERBS[:1] * (not alone)
        or re.fullmatch(r"--[a-z-]{3,}", first) is not None
    )


# Whether it could be typed


def check(command: str) -> None:
    """Raises Impossible."""
    command = re.sub(r"\s+#\s.*", "", command)
    if within := re.fullmatch(r'eval "\$\((.*)\)"', command):
        command = within[1]
    words = ["suites" if word == "…" else word for word in shlex.split(command)]
    if words[0] == "./bootstrap":
        if not (PROJECT_DIR / "bootstrap").exists():
            raise Impossible("there is no bootstrap")
        words = words[1:]
    if not words or words == ["true"]:
        return
    program, *arguments = words
    if program.startswith("--"):
        _check_fragment(words)
    elif program in VERBS:
        _check_python(["-m", "sandbox", *words])
    else:
        CHECKS[program](arguments)


def _check_fragment(words: Sequence[str]) -> None:
    """Options alone: some program must know them, with a value or without."""
    tried = []
    for known in (_check_robot, _check_rebot, _check_pabot, *(_with_python(*words) for words in OPTION_OWNERS)):
        for arguments in (words, [*words, "1"]):
            try:
                known(arguments)
            except Impossible as reason:
                tried.append(str(reason))
            else:
                return
    raise Impossible("; ".join(tried))


def _check_robot(arguments: Sequence[str]) -> None:
    try:
        options, sources = RobotFramework().parse_arguments(list(arguments))
    except Information:  # --help
        return
    except DataError as error:
        raise Impossible(str(error)) from None
    _check_choice(options)
    _check_paths(sources)


def _check_pabot(arguments: Sequence[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pabot asks Robot Framework whether this is Python 2
        import pabot.arguments  # noqa: PLC0415
    try:
        options, sources, *_ = pabot.arguments.parse_args(list(arguments))
    except DataError as error:
        raise Impossible(str(error)) from None
    _check_choice(options)
    _check_paths(sources)


def _check_rebot(arguments: Sequence[str]) -> None:
    try:
        Rebot().parse_arguments([*arguments, "output.xml"])  # prose often names options alone
    except DataError as error:
        raise Impossible(str(error)) from None


def _check_choice(options: dict[str, Any]) -> None:
    """Tags and suites of these names exist, and variables with these values are legal."""
    tags, suites = _tags_and_suites()
    for tag in [*options.get("include", ()), *options.get("exclude", ())]:
        if tag not in tags:
            raise Impossible(f"no test has the tag {tag}")
    for name in options.get("suite", ()):
        if name not in suites | PLACEHOLDERS:
            raise Impossible(f"there is no suite {name}")
    for given in options.get("variable", ()):
        name, _, value = given.partition(":")
        if name in PLACEHOLDERS:
            continue
        if name not in BY_NAME:
            raise Impossible(f"there is no variable {name}")
        if value not in PLACEHOLDERS:
            BY_NAME[name].read(value)


@functools.cache
def _tags_and_suites() -> tuple[set[str], set[str]]:
    everything = api.TestSuiteBuilder().build(*(PROJECT_DIR / folder for folder in ("suites", "tests/keywords")))
    tags = {tag for test in everything.all_tests for tag in test.tags}
    return tags, {file.stem for file in (PROJECT_DIR / "suites").rglob("*.robot")}


def _check_paths(paths: Sequence[Path | str]) -> None:
    for path in map(str, paths):
        if path != "1" and not path.startswith("results/") and not (PROJECT_DIR / path).exists():
            raise Impossible(f"there is no {path}")


def _check_tox(arguments: Sequence[str]) -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(PROJECT_DIR / "tox.ini")
    names = [name for word in arguments if word != "-e" for name in word.split(",")]
    unknown = [name for name in names if f"testenv:{name}" not in tox]
    if unknown:
        raise Impossible(f"tox.ini has no environment {', '.join(unknown)}")


class _Parsed(Exception):
    """The command line was understood."""


def _check_python(arguments: Sequence[str]) -> None:
    """Runs the program until it has understood its arguments."""
    is_module = arguments[0] == "-m"
    program, *rest = arguments[is_module:]
    rest = ["1" if word in PLACEHOLDERS else word for word in rest]

    def parse(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        self.error = _refuse  # type: ignore[assignment]
        original(self, rest)
        raise _Parsed

    original = argparse.ArgumentParser.parse_args
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(argparse.ArgumentParser, "error", lambda _, message: _refuse(message))
        patch.setattr(sys, "argv", [program, *rest])
        source = PROJECT_DIR / (f"{program.replace('.', '/')}" if is_module else program)
        patch.syspath_prepend(source.parent)
        main = source / "__main__.py" if source.is_dir() else source.with_suffix(".py")
        if not main.exists():
            raise Impossible(f"there is no {program}")
        if "argparse" not in main.read_text():
            if rest:
                raise Impossible(f"{program} takes no arguments")
            return
        with pytest.raises(_Parsed):
            runpy.run_path(str(main), run_name="__main__")


def _refuse(message: str) -> None:
    raise Impossible(message)


def _with_python(*words: str) -> Callable[[Sequence[str]], None]:
    return lambda arguments: _check_python([*words, *arguments])


OPTION_OWNERS = (
    ("-m", "sandbox", "up"),
    ("-m", "sandbox", "status"),
    ("-m", "tests.detection"),
    ("-m", "tests.leak"),
    ("benchmarks/journey.py",),
)
CHECKS: dict[str, Callable[[Sequence[str]], None]] = {
    "robot": _check_robot,
    "rebot": _check_rebot,
    "pabot": _check_pabot,
    "tox": _check_tox,
    "python": _check_python,
}


@pytest.mark.parametrize(("place", "command"), sorted(set(documented())))
def test_a_documented_command_could_be_typed(place: str, command: str) -> None:
    try:
        check(command)
    except Impossible as reason:
        pytest.fail(f"{place} documents `{command}`, but {reason}.")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("robot --includes smoke suites", "option --includes not recognized"),
        ("robot --include smoky suites", "no test has the tag smoky"),
        ("robot --suite target suites", "there is no suite target"),
        ("./bootstrap robot suite", "there is no suite"),
        ("pabot --variable MAX_PRISE:1 suites", "there is no variable MAX_PRISE"),
        ("rebot --outputdirectory x", "option --outputdirectory not recognized"),
        ("tox -e units", "tox.ini has no environment units"),
        ("python -m tests.detective", "there is no tests.detective"),
        ("python benchmarks/phase5.py", "there is no benchmarks/phase5.py"),
        ("python benchmarks/phase3.py --quick", "takes no arguments"),
        ("python -m tests.detection --repeats 1.5", "repeat"),
        ('eval "$(python -m sandbox environment)"', "invalid choice: 'environment'"),
        ("--proxies", "--proxies"),
    ],
)
def test_a_command_that_could_not_be_typed_is_found(command: str, says: str) -> None:
    with pytest.raises(Impossible, match=re.escape(says)):
        check(command)


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(PROJECT_DIR)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_folders_in_the_readme_exist() -> None:
    readme = MARKDOWN[0].read_text()
    folders = re.findall(r"^\| `([\w./]+/)` \|", readme, re.MULTILINE)
    assert "suites/" in folders
    assert [folder for folder in folders if not (PROJECT_DIR / folder).is_dir()] == []
