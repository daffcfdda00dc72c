"""What the documentation says of returned objects is true, and what would not be is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import NoneType

import pytest
from robot.libdocpkg import LibraryDocumentation

from documented_attributes import LIBRARIES, PROJECT, Types, in_prose, in_suite, normal, wrong_attributes
from library_parts.returned import RETURNED, NoSuchAttribute, Returned, attribute_type, explanation
from rekindle.manifest import Manifest
from rekindle.rented import RentedMachine
from rekindle.ssh import Machine

TYPES = Types.of(LIBRARIES)


def test_every_documented_attribute_exists() -> None:
    """In keyword documentation, pages, resources, suites and examples."""
    documentations = [LibraryDocumentation(str(library)) for library in LIBRARIES]
    assert wrong_attributes(documentations) == []


def test_libdoc_shows_the_attributes_of_a_returned_object() -> None:
    documentation = LibraryDocumentation(str(PROJECT / "libraries" / "ProvisioningLibrary.py"))
    [shown] = [one for one in documentation.type_docs if one.name == "RentedMachine"]
    assert "- `${machine.hourly_usd}`: Price in USD/h, disk included" in shown.doc
    assert "- `${machine.ssh.key_path}`: " in shown.doc
    assert {"Rent Machine", "Destroy Machine"} <= set(shown.usages)


@pytest.mark.parametrize("one", RETURNED, ids=lambda one: one.type.__name__)
def test_a_returned_object_names_a_keyword_that_returns_it(one: Returned) -> None:
    assert one.type in (TYPES.returned[normal(one.keyword)], TYPES.named[one.name])
    assert TYPES.returned[normal(one.keyword)] not in (None, NoneType)


def test_annotated_attributes_are_set() -> None:
    """A dataclass sets its fields; these classes set theirs by hand."""
    machine = Machine("127.0.0.1", 22, Path("key"), Path("known_hosts"), "alias")
    for instance in (machine, Manifest("/workspace", [])):
        assert type(instance).__annotations__
        assert [name for name in type(instance).__annotations__ if not hasattr(instance, name)] == []


@pytest.mark.parametrize("path", ["price", "ssh_host", "ssh.address", "ssh.host.name", "_interrupted", "id.x"])
def test_an_attribute_that_does_not_exist(path: str) -> None:
    with pytest.raises(NoSuchAttribute, match="has no attribute"):
        attribute_type(RentedMachine, path)


def test_an_attribute_must_be_explained() -> None:
    @dataclasses.dataclass
    class Silent:
        """Explains nothing."""

        size: int

    with pytest.raises(NoSuchAttribute, match="the docstring of Silent does not explain `size`"):
        explanation(Silent, "size")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("log in to `${machine.ssh.host}`", []),
        ("its price is `${machine.price}`", ["${machine.price}, but RentedMachine has no attribute `price`"]),
        ("`${machine.ssh_host}`", ["${machine.ssh_host}, but RentedMachine has no attribute `ssh_host`"]),
        ("`${maschine.id}`", ["${maschine.id}, but no keyword takes or returns a `maschine`"]),
    ],
)
def test_attributes_in_prose(text: str, wrong: list[str]) -> None:
    assert list(in_prose(text, TYPES)) == wrong


SUITE = """\
*** Test Cases ***
Price
    ${first} =    Rent Cheap Machine
    Log    ${first.hourly_usd}
    Log    ${FIRST.price}
    Log    ${{ $first.cheap }}
    ${second} =    Follow Failover
    ...    ${failover.new}    ${failover.newer}
    Log    ${second.ssh.user}, ${second.ssh.name}

Answer
    ${first} =    GET On Session    dumont    /health
    Log    ${first.text}

*** Keywords ***
Rent Cheap Machine
    ${machine} =    Rent Machine    max_price=0.1
    RETURN    ${machine}
"""


def test_attributes_in_a_suite() -> None:
    types = Types.of(LIBRARIES)
    types.add_user_keywords(SUITE)
    assert list(in_suite(SUITE, types)) == [
        "${FIRST.price}, but RentedMachine has no attribute `price`",
        "${first.cheap}, but RentedMachine has no attribute `cheap`",
        "${failover.newer}, but Failover has no attribute `newer`",
        "${second.ssh.name}, but Machine has no attribute `name`",
    ]
