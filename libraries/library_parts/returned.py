"""Objects that keywords return and other keywords take: their documentation in Libdoc, and the error for a wrong value.

Robot Framework documents a type if the library has a converter for it. These converters accept no other value, because
such an object can only come from a keyword.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from library_parts.crowd import Crowd
from rekindle.failover import Failover
from rekindle.kept_hibernations import Hibernation
from rekindle.manifest import Manifest
from rekindle.model_file import ModelFile
from rekindle.rented import RentedMachine
from rekindle.renting import Expected
from rekindle.restic_repository import Stored
from rekindle.standby import Standby, Synced
from rekindle.sweeping import Swept


class NoSuchAttribute(Exception):
    """A type does not have the documented attribute, or its docstring does not explain it."""


@dataclass(frozen=True)
class Returned:
    """A type that keywords return.

    Attributes:
        type: the type.
        name: of a variable that holds such an object, as the documentation shows it.
        keyword: a keyword that returns it.
        attributes: the attributes that suites may use, with dots for attributes of attributes.
    """

    type: type[Any]
    name: str
    keyword: str
    attributes: tuple[str, ...]

    def documentation(self) -> str:
        """Return what Libdoc shows, in Markdown; the texts are those of the docstrings.

        Raises:
            NoSuchAttribute: an attribute does not exist or is not explained.
        """
        summary = (inspect.getdoc(self.type) or "").partition("\n\n")[0]
        rows = [f"- `${{{self.name}.{path}}}`: {explanation(self.type, path)}" for path in self.attributes]
        return "\n".join([summary, "", f"*{self.keyword}* returns it. Its attributes:", "", *rows])

    def converter(self) -> Callable[[Any], Any]:
        """Return a converter for Robot Framework that accepts no other value, and says which keyword returns one."""

        # Without an annotation, so that Libdoc shows no types that it converts.
        def convert(value) -> Any:  # type: ignore[no-untyped-def]
            raise ValueError(f"pass the object that {self.keyword} returns, such as ${{{self.name}}}")

        convert.__doc__ = self.documentation()
        return convert


# As Robot Framework's decorator wants them.
Converter = Callable[[Any], Any] | Callable[[Any, Any], Any]

SSH = ("ssh.host", "ssh.port", "ssh.user", "ssh.key_path")

RETURNED = (
    Returned(
        RentedMachine,
        "machine",
        "Rent Machine",
        ("id", "label", "gpu_name", "hourly_usd", "traffic_prices", "provision_seconds", *SSH, "gone"),
    ),
    Returned(Standby, "standby", "Enable Standby", ("name", "zone", "hourly_usd", "machine", *SSH, "gone")),
    Returned(Synced, "synced", "Wait Until Standby Is Synced", ("seconds", "claimed_lag", "path", "nonce", "looks")),
    Returned(
        Failover,
        "failover",
        "Fail Over",
        ("id", "kind", "old", "new", "standby", "wall_seconds", "loss", "loss.seconds", "loss.lost", "stood_still"),
    ),
    Returned(
        Hibernation,
        "hibernation",
        "Find Newest Hibernation",
        ("snapshot_id", "instance_id", "label", "maker", "manifest"),
    ),
    Returned(Manifest, "manifest", "Take Manifest", ("root", "files", "bytes", "entries")),
    Returned(ModelFile, "model", "Create Model File", ("name", "size", "sha256", "md5")),
    Returned(Stored, "stored", "Snapshot Should Be Whole In Bucket", ("packs", "bytes")),
    Returned(Expected, "expected", "Expect Machine", ("label", "hourly_usd")),
    Returned(Crowd, "crowd", "Rent Machines At Once", ("members",)),
    Returned(Swept, "swept", "Sweep Leftovers", ("looked", "found", "kept", "of_others", "seconds")),
)


def converters(*types: type[Any]) -> dict[type, Converter]:
    """Return the converters for `@library(converters=…)`: of the types that its keywords return or take."""
    return {known.type: known.converter() for known in RETURNED if known.type in types}


def attribute_type(owner: Any, path: str) -> Any:
    """Return the annotated type of an attribute; with dots, of an attribute of an attribute.

    Raises:
        NoSuchAttribute: names the first part that does not exist.
    """
    for name in path.split("."):
        owner = _annotation(_without_none(owner), name)
    return _without_none(owner)


def explanation(owner: Any, path: str) -> str:
    """Return what the docstrings say of an attribute: under `Attributes:`, or of the property.

    Raises:
        NoSuchAttribute: it does not exist or is not explained.
    """
    attribute_type(owner, path)
    holder, _, name = path.rpartition(".")
    owner = attribute_type(owner, holder) if holder else owner
    member = inspect.getattr_static(owner, name, None)
    if isinstance(member, property | functools.cached_property):
        text = (inspect.getdoc(member) or "").partition("\n\n")[0]
    else:
        text = _explained(inspect.getdoc(owner) or "").get(name, "")
    if not text:
        raise NoSuchAttribute(f"the docstring of {owner.__name__} does not explain `{name}`")
    text = " ".join(text.split())
    return text[0].upper() + text[1:]


def _annotation(owner: Any, name: str) -> Any:
    if isinstance(owner, type):
        member = inspect.getattr_static(owner, name, None)
        if isinstance(member, property):
            return get_type_hints(member.fget).get("return", Any)
        if isinstance(member, functools.cached_property):
            return get_type_hints(member.func).get("return", Any)
        hints = get_type_hints(owner)
        if name in hints and not name.startswith("_"):
            return hints[name]
        if callable(member) and not name.startswith("_"):
            return Any
    raise NoSuchAttribute(f"{getattr(owner, '__name__', owner)} has no attribute `{name}`")


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        return kinds[0] if len(kinds) == 1 else annotation
    return annotation


def _explained(docstring: str) -> dict[str, str]:
    """Return the entries of the section `Attributes:` of a docstring in Google's style."""
    section = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    if not section:
        return {}
    entries = re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n     +.*)*)", section[1], re.MULTILINE)
    return {name: text for names, text in entries for name in names.split(", ")}
