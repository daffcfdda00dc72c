"""Find attributes in the documentation and in suites that the objects which keywords return do not have.

In a keyword's section `Returns:`, each name in backticks is taken for an attribute of the returned type. Elsewhere,
`${machine.ssh.host}` is an attribute of the type of `machine`: the type that the keyword which assigns the variable
returns, or the type that keywords give to arguments of this name.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from robot.libdocpkg.model import LibraryDoc

from library_parts.returned import RETURNED, NoSuchAttribute, attribute_type

PROJECT = Path(__file__).resolve().parent.parent
LIBRARIES = sorted((PROJECT / "libraries").glob("*Library.py"))
PAGES = [PROJECT / "README.md", PROJECT / "benchmarks" / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
SUITES = sorted(file for folder in ("resources", "suites", "examples") for file in (PROJECT / folder).rglob("*.r[eo]*"))

OURS = ("rekindle", "library_parts")
VARIABLE = re.compile(r"\$\{?(\w+)((?:\.[a-z]\w*)+)")
ASSIGNMENT = re.compile(r"^ +\$\{(\w+)\} = {2,}(\S+(?: \S+)*)", re.MULTILINE)
RETURN = re.compile(r"^ +RETURN +\$\{(\w+)\}$", re.MULTILINE)


@dataclass
class Types:
    """Types of what keywords return, and of variables.

    Attributes:
        returned: type that a keyword returns, by the keyword's name as `normal` spells it.
        named: type of an object, by the name that arguments of keywords and documentation have for it.
    """

    returned: dict[str, Any] = field(default_factory=dict)
    named: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, libraries: list[Path]) -> Types:
        """Return the types that the annotations of keyword libraries state."""
        types = cls(named={known.name: known.type for known in RETURNED})
        for file in libraries:
            library = getattr(importlib.import_module(file.stem), file.stem)
            for name, keyword in inspect.getmembers(library, lambda member: hasattr(member, "robot_name")):
                hints = get_type_hints(keyword)
                types.returned[normal(name)] = hints.pop("return", NoneType)
                for argument, kind in hints.items():
                    if is_ours(kind):
                        types.named.setdefault(argument, kind)
        return types

    def add_user_keywords(self, text: str) -> None:
        """Add the keywords of a suite or resource file that return what another keyword has returned."""
        for block in _blocks(text):
            if returns := RETURN.search(block):
                kind = self.in_block(block).get(returns[1].lower())
                self.returned.setdefault(normal(block.splitlines()[0]), kind)

    def in_block(self, block: str) -> Mapping[str, Any]:
        """Return the types of the variables in one test or keyword."""
        assigned = {name.lower(): self.returned.get(normal(called)) for name, called in ASSIGNMENT.findall(block)}
        return self.named | assigned


def normal(keyword: str) -> str:
    """Return the name of a keyword as Robot Framework compares it."""
    return re.sub(r"[\s_]", "", keyword).lower()


def is_ours(kind: Any) -> bool:
    """Return whether a type, or one of several in a union, is a class of this project."""
    kinds = get_args(kind) or (kind,)
    return any(isinstance(part, type) and part.__module__.partition(".")[0] in OURS for part in kinds)


def in_library(documentation: LibraryDoc, types: Types) -> Iterator[str]:
    """Yield what is wrong in the documentation of a keyword library, in one sentence each."""
    shown = {described.name for described in documentation.type_docs}
    yield from (f"{documentation.name}: {wrong}" for wrong in in_prose(documentation.doc, types))
    for keyword in documentation.keywords:
        place = f"{documentation.name}: {keyword.name}"
        yield from (f"{place} documents {wrong}" for wrong in in_prose(keyword.doc, types))
        kind = types.returned.get(normal(keyword.name))
        text = keyword.args.return_doc or ""
        for name in re.findall(r"(?<!\[)`([a-z_]+(?:\.[a-z_]+)*)`", text) if is_ours(kind) else ():
            yield from (f"{place} documents `{name}`, but {wrong}" for wrong in _missing(kind, name))
        yield from (
            f"{place} returns {part.__name__}, which library_parts/returned.py does not document"
            for part in (get_args(kind) or (kind,))
            if is_ours(part) and part.__name__ not in shown
        )


def in_prose(text: str, types: Types) -> Iterator[str]:
    """Yield each variable with an attribute that the objects of this name do not have."""
    for name, path in VARIABLE.findall(text):
        if kind := types.named.get(name.lower()):
            yield from (f"${{{name}{path}}}, but {wrong}" for wrong in _missing(kind, path[1:]))
        else:
            yield f"${{{name}{path}}}, but no keyword takes or returns a `{name}`"


def in_suite(text: str, types: Types) -> Iterator[str]:
    """Yield the same for a suite or resource file. Skip variables of unknown type, such as answers over HTTP."""
    for block in _blocks(text):
        kinds = types.in_block(block)
        for name, path in VARIABLE.findall(block):
            if is_ours(kind := kinds.get(name.lower())):
                yield from (f"${{{name}{path}}}, but {wrong}" for wrong in _missing(kind, path[1:]))


def wrong_attributes(documentations: list[LibraryDoc]) -> list[str]:
    """Return a sentence for each attribute in keyword documentation, pages and suites that does not exist."""
    types = Types.of(LIBRARIES)
    texts = {str(file.relative_to(PROJECT)): file.read_text() for file in SUITES}
    for _ in range(2):  # a user keyword may return what another one returns
        for text in texts.values():
            types.add_user_keywords(text)
    wrong = [error for documentation in documentations for error in in_library(documentation, types)]
    wrong += [f"{page.name} shows {error}" for page in PAGES for error in in_prose(page.read_text(), types)]
    return wrong + [f"{place} uses {error}" for place, text in texts.items() for error in in_suite(text, types)]


def _missing(kind: Any, path: str) -> Iterator[str]:
    try:
        attribute_type(kind, path)
    except NoSuchAttribute as missing:
        yield str(missing)


def _blocks(text: str) -> list[str]:
    """Return tests, keywords and settings; lines that continue another are joined to it."""
    return re.split(r"\n(?=\S)", re.sub(r"\n +\.\.\. *", "    ", text))
