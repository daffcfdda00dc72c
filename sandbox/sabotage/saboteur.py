"""Saboteurs as files: what each of them must say of itself, and how they are found."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sandbox.sabotage.scene import Scene

OWN = Path(__file__).parent / "saboteurs"


class Unusable(Exception):
    """A file that is no saboteur, or none of that name; the message says what is amiss."""


@dataclass(frozen=True)
class Saboteur:
    """One way to lie.

    Attributes:
        name: the name of its file.
        breaks: one sentence on what it breaks.
        seen: where in real life it was seen.
        rule: the rule of evidence that must notice.
        noticed: what the message of the failing check must match.
        suites: the suites that it can touch, by the names of their files.
        sabotage: sets it to work.
    """

    name: str
    breaks: str
    seen: str
    rule: str
    noticed: re.Pattern[str]
    suites: tuple[str, ...]
    sabotage: Callable[[Scene], None]


def saboteur(name_or_path: str, folders: Iterable[Path] = (OWN,)) -> Saboteur:
    """The saboteur of that name in one of the folders, or the one in that file.

    Raises:
        Unusable: there is none, or it does not say what it must.
    """
    if name_or_path.endswith(".py"):
        return load(Path(name_or_path))
    found = {file.stem: file for folder in folders for file in _files(folder)}
    if name_or_path not in found:
        raise Unusable(f"There is no saboteur {name_or_path!r}. There are: {', '.join(sorted(found)) or 'none'}.")
    return load(found[name_or_path])


def saboteurs(folder: Path) -> list[Saboteur]:
    """All saboteurs of a folder, by name.

    Raises:
        Unusable: there is no such folder, none in it, or one that does not say what it must.
    """
    found = [load(file) for file in _files(folder)]
    if not found:
        raise Unusable(f"There is no saboteur in {folder}: each is a file NAME.py.")
    return found


def load(file: Path) -> Saboteur:
    """Runs the file, which only defines things.

    Raises:
        Unusable: it cannot be run, or does not say what it must.
    """
    spec = importlib.util.spec_from_file_location(f"saboteur_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise Unusable(f"There is no file {file}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for their module there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Unusable(f"{file} cannot be loaded: {type(error).__name__}: {error}") from error
    missing = [name for name in ("SEEN", "RULE", "NOTICED", "SUITES", "sabotage") if not hasattr(module, name)]
    if not (module.__doc__ or "").strip():
        missing.insert(0, "a docstring with one sentence on what it breaks")
    if missing:
        raise Unusable(f"{file} is no saboteur yet. It lacks: {', '.join(missing)}.")
    texts = {name: getattr(module, name) for name in ("SEEN", "RULE", "NOTICED")}
    wrong = [name for name, text in texts.items() if not isinstance(text, str) or not text.strip()]
    suites = module.SUITES
    if isinstance(suites, str) or not suites or not all(isinstance(suite, str) and suite for suite in suites):
        wrong.append("SUITES (names of suites, in a tuple)")
    if not callable(module.sabotage):
        wrong.append("sabotage (a function that takes the scene)")
    if wrong:
        raise Unusable(f"{file} is no saboteur yet. These are empty or of a wrong kind: {', '.join(wrong)}.")
    try:
        noticed = re.compile(module.NOTICED)
    except re.error as error:
        raise Unusable(f"{file}: NOTICED is not a regular expression: {error}.") from error
    breaks = " ".join((module.__doc__ or "").split())
    return Saboteur(file.stem, breaks, module.SEEN, module.RULE, noticed, tuple(suites), module.sabotage)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise Unusable(f"There is no folder {folder}.")
    return sorted(file for file in folder.glob("*.py") if not file.name.startswith("_"))
