"""Build the keyword documentation in docs/keywords and the reference of variables.

Fail if something is undocumented, or if documentation or a suite uses an attribute that does not exist.

Run as `python docs/build.py`; `tox -e docs` does.
"""

from __future__ import annotations

import sys

from robot.libdoc import libdoc
from robot.libdocpkg import LibraryDocumentation
from robot.libdocpkg.model import LibraryDoc

from documented_attributes import LIBRARIES, PROJECT, wrong_attributes
from rekindle.variable_reference import reference

DOCS = PROJECT / "docs"


def undocumented(documentation: LibraryDoc) -> list[str]:
    """Return every keyword, and every argument of a keyword, that the documentation does not explain."""
    name = documentation.name
    gaps = [] if documentation.doc else [f"{name}: no introduction"]
    for keyword in documentation.keywords:
        if not keyword.doc:
            gaps.append(f"{name}: {keyword.name} has no documentation")
        gaps += [
            f"{name}: {keyword.name} does not explain its argument {argument.name}"
            for argument in keyword.args
            if not argument.doc
        ]
    return gaps


def main() -> int:
    """Build a page for each library; return the exit code."""
    documentations = [LibraryDocumentation(str(library)) for library in LIBRARIES]
    gaps = [gap for documentation in documentations for gap in undocumented(documentation)]
    gaps += wrong_attributes(documentations)
    target = DOCS / "keywords"
    target.mkdir(exist_ok=True)
    for library in LIBRARIES:
        libdoc(str(library), str(target / f"{library.stem}.html"), quiet=True)
    (DOCS / "variables.md").write_text(reference())
    print(f"{len(LIBRARIES)} libraries documented in {target.relative_to(PROJECT)}")
    print(*gaps, sep="\n", file=sys.stderr)
    return bool(gaps) or not LIBRARIES


if __name__ == "__main__":
    sys.exit(main())
