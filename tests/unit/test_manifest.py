"""Manifests: what a tree is read into, how two are compared, and that nothing unknown passes."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rekindle.errors import Mismatch, Unknown
from rekindle.manifest import Entry, Kind, Manifest, compare, take_manifest
from tests.accounts import ROOT_ONLY
from tests.unit.local_machine import LocalMachine, tools

LONG_AGO = 1_500_000_000_123_456_789
MACHINE = LocalMachine()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with everything that gets lost easily."""
    root = tmp_path / "work space"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty directory").mkdir()
    (root / "empty").touch()
    (root / "plain.txt").write_text("hello\n")
    (root / "sub" / "deep" / "secret").write_bytes(bytes(range(256)) * 40)
    (root / "link").symlink_to("sub/deep/secret")
    (root / "dangling").symlink_to("no where\n")
    for name in (b"-n", b"two  spaces", b"new\nline", "maçã 漢字".encode(), b"not utf-8 \xff\xfe", b"\\back\\slash\t"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(name)
    (root / "empty").chmod(0o600)
    (root / "plain.txt").chmod(0o4755)
    os.utime(root / "sub" / "deep", ns=(0, -1_500_000_000))
    os.utime(root / "link", ns=(0, 1), follow_symlinks=False)
    os.utime(root / "plain.txt", ns=(0, LONG_AGO))
    return root


def described_by_python(root: Path) -> Iterator[Entry]:
    """The same tree, read without the tools of the machine."""
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        kind: Kind = "link" if path.is_symlink() else "directory" if path.is_dir() else "file"
        data = path.read_bytes() if kind == "file" else b""
        yield Entry(
            path="" if path == root else str(path.relative_to(root)),
            kind=kind,
            size=len(data),
            mode=stat.S_IMODE(status.st_mode),
            mtime_ns=status.st_mtime_ns,
            link_target=str(path.readlink()) if kind == "link" else None,
            sha256=hashlib.sha256(data).hexdigest() if kind == "file" else None,
            md5=hashlib.md5(data, usedforsecurity=False).hexdigest() if kind == "file" else None,
            uid=status.st_uid,
            gid=status.st_gid,
        )


# Reading


def test_reads_everything(tree: Path) -> None:
    manifest = take_manifest(MACHINE, str(tree))
    assert manifest.entries == {entry.path: entry for entry in described_by_python(tree)}
    assert manifest.entries["sub/deep"].mtime_ns == -1_500_000_000
    assert manifest.entries["not utf-8 \udcff\udcfe"].size == 12
    assert manifest.summary() == "9 files (10 304 bytes), 3 directories, 2 links"


def test_leaves_out_sockets(tree: Path) -> None:
    before = take_manifest(MACHINE, str(tree))
    os.mknod(tree / "ear", stat.S_IFSOCK | 0o600)
    os.utime(tree, ns=(0, before.entries[""].mtime_ns))
    assert take_manifest(MACHINE, str(tree)).entries == before.entries


def test_reads_thousands(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"file number {number} with a name that is long enough to fill the pipes").write_text(str(number))
    manifest = take_manifest(MACHINE, str(tmp_path))
    assert manifest.files == 3000
    for number in (0, 1777, 2999):
        path = f"file number {number} with a name that is long enough to fill the pipes"
        assert manifest.entries[path].sha256 == hashlib.sha256(str(number).encode()).hexdigest()


def test_an_empty_root_has_no_files(tmp_path: Path) -> None:
    manifest = take_manifest(MACHINE, str(tmp_path))
    assert (manifest.files, manifest.bytes, list(manifest.entries)) == (0, 0, [""])


def test_a_listing_without_even_the_root_is_unknown(tree: Path, tmp_path: Path) -> None:
    blind = LocalMachine(tools(tmp_path / "bin", replaced={"find": "exit 0"}))
    with pytest.raises(Unknown, match=r"^UNKNOWN: The manifest of .* is empty: not even the root itself was listed\."):
        take_manifest(blind, str(tree))


def test_a_missing_root_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match=r"^There is no .*/gone on the machine\. Is the path right"):
        take_manifest(MACHINE, f"{tmp_path}/gone")


def test_a_root_that_is_a_file_is_refused(tree: Path) -> None:
    with pytest.raises(Mismatch, match=r"plain\.txt on the machine is not a directory\.$"):
        take_manifest(MACHINE, f"{tree}/plain.txt")


def test_a_missing_tool_is_named(tree: Path, tmp_path: Path) -> None:
    machine = LocalMachine(tools(tmp_path / "bin", without=("md5sum", "paste")))
    with pytest.raises(Unknown, match=r"not found on the machine: md5sum paste\. Install it there\.$"):
        take_manifest(machine, str(tree))


@pytest.mark.parametrize("tool", ["sha256sum", "md5sum"])
def test_a_file_that_cannot_be_read_is_named(tree: Path, tmp_path: Path, tool: str) -> None:
    """Root may read everything, so the tool is made to fail instead."""
    refuse = f"""
        for last; do :; done
        {shutil.which(tool)} "${{@:1:$#-1}}"
        echo "{tool}: $last: Permission denied" >&2; exit 1"""
    machine = LocalMachine(tools(tmp_path / "bin", replaced={tool: refuse}))
    with pytest.raises(Unknown, match="Permission denied" if tool == "sha256sum" else "what was hashed is not"):
        take_manifest(machine, str(tree))


def test_a_directory_that_cannot_be_read_is_named(tree: Path, tmp_path: Path) -> None:
    machine = LocalMachine(
        tools(tmp_path / "bin", replaced={"find": "echo 'find: ./sub: Permission denied' >&2; exit 1"})
    )
    with pytest.raises(Unknown, match=r"could not be taken: find: \./sub: Permission denied"):
        take_manifest(machine, str(tree))


def test_a_file_that_keeps_changing_is_named(tree: Path, tmp_path: Path) -> None:
    change = f'echo more >>./plain.txt; exec {shutil.which("sha256sum")} "$@"'
    machine = LocalMachine(tools(tmp_path / "bin", replaced={"sha256sum": change}))
    with pytest.raises(Unknown, match=r"changed while its manifest was taken: plain\.txt\. Stop what writes there"):
        take_manifest(machine, str(tree))


def test_a_file_that_changes_once_is_read_again(tree: Path, tmp_path: Path) -> None:
    """Same size, and the old time put back: only the time of the change itself betrays it."""
    once = f"""
        if mkdir {shlex.quote(str(tmp_path / "done"))} 2>/dev/null; then
            echo HELLO >./plain.txt; touch -d @{LONG_AGO // 10**9}.{LONG_AGO % 10**9} ./plain.txt
        fi
        exec {shutil.which("sha256sum")} "$@" """
    manifest = take_manifest(
        LocalMachine(tools(tmp_path / "bin", replaced={"md5sum": once.replace("sha256", "md5")})), str(tree)
    )
    assert manifest.entries["plain.txt"].sha256 == hashlib.sha256(b"HELLO\n").hexdigest()
    assert manifest.entries["plain.txt"].md5 == hashlib.md5(b"HELLO\n", usedforsecurity=False).hexdigest()


class Cut(LocalMachine):
    """Loses the end of what a script says, without any error."""

    def __init__(self, kept: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self.kept = kept

    def stream(self, script: str, *args: str, timeout: float = 600.0) -> Iterator[bytes]:
        yield self.kept(b"".join(super().stream(script, *args, timeout=timeout)))


@pytest.mark.parametrize("lost", [1, 5, 200, 600])
def test_an_answer_that_was_cut_short_is_unknown(tree: Path, lost: int) -> None:
    with pytest.raises(Unknown, match="was cut short"):
        take_manifest(Cut(lambda answer: answer[:-lost]), str(tree))


def test_no_answer_at_all_is_unknown(tree: Path) -> None:
    with pytest.raises(Unknown, match="was cut short"):
        take_manifest(Cut(lambda _: b""), str(tree))


def test_a_lost_hash_is_unknown(tree: Path) -> None:
    def without_first_hash(answer: bytes) -> bytes:
        records = answer.split(b"\0")
        return b"\0".join(records[:1] + records[2:])

    with pytest.raises(Unknown, match="what was hashed is not what is listed"):
        take_manifest(Cut(without_first_hash), str(tree))


# Comparing


@pytest.fixture
def expected(tree: Path) -> Manifest:
    return take_manifest(MACHINE, str(tree))


def test_equal_trees_pass_and_are_counted(expected: Manifest, tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy", symlinks=True)
    comparison = compare(expected, take_manifest(MACHINE, f"{tmp_path}/copy"))
    comparison.raise_unless_equal()
    assert (comparison.checked_files, comparison.checked_bytes) == (9, 10_304)
    assert comparison.table() == [
        ["kind", "expected", "compared", "missing", "changed"],
        ["files", 9, 9, 0, 0],
        ["directories", 3, 3, 0, 0],
        ["links", 2, 2, 0, 0],
        ["bytes", 10_304, 10_304, "", ""],
        ["extra entries", 0, 0, "", ""],
    ]


def rewrite(path: Path) -> None:
    """Replace the bytes; keep size, time and mode. The kernel clears setuid when an ordinary user writes."""
    status = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    path.chmod(stat.S_IMODE(status.st_mode))
    os.utime(path, ns=(0, status.st_mtime_ns))


def drop_link(root: Path) -> None:
    (root / "link").unlink()
    shutil.copy(root / "sub" / "deep" / "secret", root / "link")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda root: (root / "plain.txt").unlink(), "1 missing of .*: missing plain.txt"),
        (lambda root: (root / "empty").unlink(), "1 missing of .*: missing empty"),
        (lambda root: (root / "empty directory").rmdir(), "1 missing of .*: missing empty directory"),
        (lambda root: (root / "dangling").unlink(), "1 missing of .*: missing dangling"),
        (lambda root: (root / "new\nline").unlink(), r"1 missing of .*: missing new\\nline"),
        (lambda root: (root / "not utf-8 \udcff\udcfe").unlink(), r"missing not utf-8 \\xff\\xfe"),
        (
            lambda root: rewrite(root / "plain.txt"),
            r"1 changed of .*: changed plain.txt \(sha256 5891b5b522d5… expected, .{12}… seen\)",
        ),
        (lambda root: (root / "empty").chmod(0o644), r"changed empty \(mode 0600 expected, 0644 seen\)"),
        (lambda root: (root / "plain.txt").chmod(0o755), r"changed plain.txt \(mode 4755 expected, 0755 seen\)"),
        (lambda root: (root / "empty directory").chmod(0o700), r"changed empty directory \(mode"),
        (lambda root: root.chmod(0o700), r"changed the root itself \(mode 0755 expected, 0700 seen\)"),
        (
            lambda root: os.utime(root / "plain.txt", ns=(0, LONG_AGO - 1)),
            r"changed plain.txt \(mtime 2017-07-14 02:40:00.123456789 expected, 2017-07-14 02:40:00.123456788 seen\)",
        ),
        (lambda root: os.utime(root / "sub", ns=(0, 0)), r"changed sub \(mtime .* expected, 1970-01-01"),
        (drop_link, r"changed link \(kind link expected, file seen\)"),
        (lambda root: (root / "extra\n").touch(), r"1 extra of .*: extra extra\\n\.$"),
    ],
)
def test_every_difference_is_named(expected: Manifest, tree: Path, harm: Callable[[Path], object], words: str) -> None:
    harm(tree)
    with pytest.raises(Mismatch, match=f"^Restored workspace differs from the manifest: .*{words}"):
        compare(expected, take_manifest(MACHINE, str(tree))).raise_unless_equal()


@ROOT_ONLY
@pytest.mark.parametrize("name", ["empty", "link", "empty directory"])
@pytest.mark.parametrize(("uid", "gid"), [(1234, 0), (0, 4321), (1234, 4321)])
def test_another_owner_is_named(expected: Manifest, tree: Path, name: str, uid: int, gid: int) -> None:
    os.chown(tree / name, uid, gid, follow_symlinks=False)
    with pytest.raises(Mismatch, match=rf"changed {name} \(owner 0:0 expected, {uid}:{gid} seen\)\.$"):
        compare(expected, take_manifest(MACHINE, str(tree))).raise_unless_equal()


def test_a_tree_that_lies_below_itself_is_told(expected: Manifest, tree: Path) -> None:
    shutil.copytree(tree, tree.parent / "copy", symlinks=True)
    (tree.parent / "copy").rename(tree / "workspace")
    (tree / "plain.txt").unlink()
    words = r"1 missing, 15 extra of .* Everything that is expected lies below workspace instead\.$"
    with pytest.raises(Mismatch, match=words):
        compare(expected, take_manifest(MACHINE, str(tree))).raise_unless_equal()
    (tree / "workspace/plain.txt").unlink()
    with pytest.raises(Mismatch, match=r"1 missing, 14 extra of .*(?<!instead)\.$"):
        compare(expected, take_manifest(MACHINE, str(tree))).raise_unless_equal()


def test_another_link_target_is_named(expected: Manifest, tree: Path) -> None:
    (tree / "link").unlink()
    (tree / "link").symlink_to("plain.txt")
    os.utime(tree / "link", ns=(0, 1), follow_symlinks=False)
    with pytest.raises(Mismatch, match=r"changed link \(target sub/deep/secret expected, plain.txt seen\)\.$"):
        compare(expected, take_manifest(MACHINE, str(tree))).raise_unless_equal()


def test_the_time_of_the_root_does_not_count(expected: Manifest, tree: Path) -> None:
    os.utime(tree, ns=(0, 0))
    compare(expected, take_manifest(MACHINE, str(tree))).raise_unless_equal()


@ROOT_ONLY
def test_the_owner_of_the_root_does_not_count(expected: Manifest, tree: Path) -> None:
    os.chown(tree, 1234, 1234)
    compare(expected, take_manifest(MACHINE, str(tree))).raise_unless_equal()


def file(path: str, **changes: object) -> Entry:
    return Entry(path, "file", 3, 0o644, 0, None, "a" * 64, "b" * 32)._replace(**changes)  # type: ignore[arg-type] # any field


def test_the_first_ten_are_named_and_the_rest_counted() -> None:
    expected = Manifest("/workspace", [file(f"file {number:04}") for number in range(1009)])
    with pytest.raises(Mismatch) as raised:
        compare(expected, Manifest("/workspace", [file("other")])).raise_unless_equal("Woken workspace")
    assert str(raised.value) == (
        "Woken workspace differs from the manifest: 1 009 missing, 1 extra of 1 009 files (3 027 bytes): "
        + ", ".join(f"missing file {number:04}" for number in range(10))
        + " … and 1 000 more."
    )


def test_a_manifest_without_files_proves_nothing() -> None:
    nothing = Manifest("/workspace", [Entry("", "directory", 0, 0o755, 0), Entry("a", "directory", 0, 0o755, 0)])
    with pytest.raises(
        Unknown, match=r"^UNKNOWN: .*nothing was compared, because the manifest of /workspace holds no file"
    ):
        compare(nothing, nothing).raise_unless_equal()


# Keeping

names = (
    st.binary(min_size=1, max_size=30)
    .filter(lambda name: not set(name) & set(b"/\0") and name not in {b".", b".."})
    .map(os.fsdecode)
)
hexadecimal = st.binary(min_size=32, max_size=32).map(bytes.hex)
times = st.integers(-(10**18), 4 * 10**18)
modes = st.integers(0, 0o7777)
entries = st.one_of(
    st.builds(Entry, names, st.just("file"), st.integers(0, 10**15), modes, times, st.none(), hexadecimal, hexadecimal),
    st.builds(Entry, names, st.just("directory"), st.just(0), modes, times),
    st.builds(Entry, names, st.just("link"), st.just(0), st.just(0o777), times, names),
)
manifests = st.builds(Manifest, names, st.lists(entries, unique_by=lambda entry: entry.path, max_size=8))


@given(manifests)
def test_json_brings_everything_back(manifest: Manifest) -> None:
    text = manifest.to_json()
    assert text.isascii()
    back = Manifest.from_json(text)
    assert (back.root, back.entries) == (manifest.root, manifest.entries)
    assert back.digest() == manifest.digest()
    json.loads(text)


@settings(max_examples=50)
@given(manifests, st.data())
def test_json_that_was_cut_short_is_unknown(manifest: Manifest, data: st.DataObject) -> None:
    text = manifest.to_json().rstrip()
    with pytest.raises(Unknown, match="cannot be read"):
        Manifest.from_json(text[: data.draw(st.integers(0, len(text) - 1))])


@given(manifests, st.data())
def test_json_in_which_a_character_was_changed_never_says_something_else(
    manifest: Manifest, data: st.DataObject
) -> None:
    text = manifest.to_json()
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from('0a"{}[]:,. 9\\')) + text[at + 1 :]
    try:
        back = Manifest.from_json(changed)
    except Unknown:
        return
    assert (back.root, back.entries) == (manifest.root, manifest.entries)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"size": 3', '"size": 4'),
        ('"mode": "0644"', '"mode": "0645"'),
        ('"path": "one"', '"path": "two"'),
        ("aaaa", "aaab"),
        ('"root": "/workspace"', '"root": "/"'),
        ('"md5":', '"md6":'),
        ('"kind": "file"', '"kind": "pile"'),
        ('"path": "one"', '"path": 1'),
        ('"version": 2', '"version": 3'),
        ('"entries": [', '"entries": [7, '),
        ('"entries": [', '"entries": 7, "old": ['),
    ],
)
def test_json_that_was_changed_is_unknown(old: str, new: str) -> None:
    text = Manifest("/workspace", [file("one"), file("three")]).to_json()
    changed = text.replace(old, new, 1)
    assert changed != text
    with pytest.raises(Unknown, match=r"The manifest (cannot be read|was changed after it was written)"):
        Manifest.from_json(changed)


def test_json_of_version_1_tells_no_owners() -> None:
    """Those who have kept a manifest on another day can still wake what it describes."""
    old = Manifest("/workspace", [file("one")])
    back = Manifest.from_json(old.to_json().replace('"version": 2', '"version": 1'))
    assert back.entries == old.entries
    now = Manifest("/workspace", [file("one", uid=1234, gid=4321)])
    assert compare(back, now).equal
    assert compare(back, now).not_witnessed == ("owners: the manifest does not record them",)


LOOKS_THE_SAME = "so a copy that loses {} looks the same"
ONLY_ROOT = "only root can create files of other users"


@pytest.mark.parametrize(
    ("owners", "not_witnessed"),
    [
        ([(0, 0), (1234, 4321)], ()),
        (
            [(1000, 1000), (1000, 1000)],
            (f"owners: every entry belongs to 1000:1000, {LOOKS_THE_SAME.format('owners')}; {ONLY_ROOT}",),
        ),
        ([(0, 0), (0, 0)], (f"owners: every entry belongs to 0:0, {LOOKS_THE_SAME.format('owners')}",)),
        ([(1000, 1000), (1000, 27)], (f"users: every entry belongs to user 1000, {LOOKS_THE_SAME.format('users')}",)),
        ([(0, 0), (1000, 0)], (f"groups: every entry belongs to group 0, {LOOKS_THE_SAME.format('groups')}",)),
    ],
)
def test_owners_that_do_not_differ_are_not_witnessed(
    owners: list[tuple[int, int]], not_witnessed: tuple[str, ...]
) -> None:
    """A restore that gives everything to one user keeps the owners of such a tree."""
    entries = [file(f"file {number}", uid=uid, gid=gid) for number, (uid, gid) in enumerate(owners)]
    tree = Manifest("/workspace", [Entry("", "directory", 0, 0o755, 0, uid=7, gid=7), *entries])
    assert compare(tree, tree).not_witnessed == not_witnessed


def test_json_of_a_lost_entry_is_unknown() -> None:
    lines = Manifest("/workspace", [file("one"), file("two"), file("three")]).to_json().splitlines()
    with pytest.raises(Unknown, match="was changed after it was written"):
        Manifest.from_json("\n".join(lines[:1] + lines[2:]))


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../outside", "a//b", "a/", "./a"])
def test_json_with_paths_outside_the_root_is_unknown(path: str) -> None:
    """A manifest comes from a bucket, where others may write too."""
    with pytest.raises(Unknown, match="does not lie below the root"):
        Manifest.from_json(Manifest("/workspace", [file(path)]).to_json())
