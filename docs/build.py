"""Build the keyword documentation in docs/keywords and the reference of variables; fail when something is undocumented.

Run as `python docs/build.py`; `tox -e docs` does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from robot.libdoc import libdoc
from robot.libdocpkg import LibraryDocumentation

from rekindle.variable_reference import reference

DOCS = Path(__file__).resolve().parent
LIBRARIES = DOCS.parent / "libraries"


def undocumented(library: Path) -> list[str]:
    """Names every keyword, and every argument of a keyword, of which the documentation does not speak."""
    documentation = LibraryDocumentation(str(library))
    gaps = [] if documentation.doc else [f"{library.stem}: no introduction"]
    for keyword in documentation.keywords:
        if not keyword.doc:
            gaps.append(f"{library.stem}: {keyword.name} has no documentation")
        gaps += [
            f"{library.stem}: {keyword.name} does not explain its argument {argument.name}"
            for argument in keyword.args
            if not argument.doc
        ]
    return gaps


def main() -> int:
    """Builds a page a library; returns how the process should end."""
    libraries = sorted(LIBRARIES.glob("*Library.py"))
    gaps = [gap for library in libraries for gap in undocumented(library)]
    target = DOCS / "keywords"
    target.mkdir(exist_ok=True)
    for library in libraries:
        libdoc(str(library), str(target / f"{library.stem}.html"), quiet=True)
    (DOCS / "variables.md").write_text(reference())
    print(f"{len(libraries)} libraries documented in {target.relative_to(DOCS.parent)}")
    print(*gaps, sep="\n", file=sys.stderr)
    return bool(gaps) or not libraries


if __name__ == "__main__":
    sys.exit(main())
