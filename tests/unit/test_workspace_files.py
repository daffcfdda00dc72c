"""The files that a workspace is filled with, and what is said when it cannot be filled."""

from __future__ import annotations

import os
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest

from rekindle.errors import Misconfigured, RekindleError, Unknown
from rekindle.manifest import Manifest, compare, take_manifest
from rekindle.unpacking import write
from rekindle.workspace_files import _LARGE, WorkspacePlan, create_test_files
from sandbox.control.sync import EXCLUDES
from tests.accounts import IS_ROOT, ROOT_ONLY
from tests.unit.local_machine import LocalMachine, tools

PLAN = WorkspacePlan(prefix="test", small_files=20, large_bytes=1_000_001)
MACHINE = LocalMachine()


def filled(root: Path, nonce: str = "n1", machine: LocalMachine = MACHINE) -> Manifest:
    root.mkdir()
    create_test_files(machine, str(root), nonce, PLAN)
    return take_manifest(machine, str(root))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (WorkspacePlan(large_bytes=-5), r"^large_bytes must be a whole number of bytes from 0 to .*; it is -5\.$"),
        (WorkspacePlan(small_files=-3), r"^small_files must be a whole number of files from 0 to .*; it is -3\.$"),
    ],
)
def test_a_plan_out_of_bounds_writes_nothing(tmp_path: Path, plan: WorkspacePlan, message: str) -> None:
    with pytest.raises(Misconfigured, match=message):
        create_test_files(MACHINE, str(tmp_path), "n", plan)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", ["-5", "", "5 G", "abc", "9" * 30])
def test_the_writer_itself_refuses_what_is_no_size(tmp_path: Path, size: str) -> None:
    with pytest.raises(RekindleError, match="not a size in bytes"):
        write(MACHINE, _LARGE, str(tmp_path), "large.bin", size, "0" * 32, "0.0")
    assert not list(tmp_path.iterdir())


def test_says_exactly_what_it_wrote(tmp_path: Path) -> None:
    created = create_test_files(MACHINE, str(tmp_path), "n1", PLAN)
    manifest = take_manifest(MACHINE, str(tmp_path))
    seen = {f"{tmp_path}/{entry.path}": entry for entry in manifest.entries.values() if entry.kind == "file"}
    assert {file.path: (file.size, file.md5) for file in created} == {
        path: (entry.size, entry.md5) for path, entry in seen.items()
    }
    assert [Path(file.path).name for file in created[:5]] == [f"test-{number}.txt" for number in range(1, 6)]


def test_writes_the_whole_mixture(tmp_path: Path) -> None:
    manifest = filled(tmp_path / "workspace")
    entries = manifest.entries
    assert (manifest.files, manifest.count("directory"), manifest.count("link")) == (5 + 6 + 20 + 1, 4, 1)
    assert entries["test-more/empty.txt"].size == 0
    assert entries["test-more/empty directory"].kind == "directory"
    assert entries["test-more/link"].link_target == "../test-1.txt"
    assert (tmp_path / "workspace" / "test-more" / "link").resolve() == tmp_path / "workspace" / "test-1.txt"
    assert entries["test-more/large.bin"].size == PLAN.large_bytes
    assert entries[".test"].size
    assert entries["test-more/.config/settings.json"].size
    assert {"test-more/two  spaces, maçã, 漢字 and a\nnew line.txt", "test-more/latin-1 caf\udce9.txt"} <= set(entries)
    files = [entry for entry in entries.values() if entry.kind == "file"]
    assert {entry.mode for entry in files} == {0o644, 0o600, 0o755, 0o640, 0o444}
    assert len({entry.mtime_ns for entry in files}) == len(files) - 1
    assert all(entry.mtime_ns % 1000 for entry in files)


def test_owners_differ_where_the_user_may_give_files_away(tmp_path: Path) -> None:
    manifest = filled(tmp_path / "workspace")
    others = {(1234, 1234), (1234, 4321)} if IS_ROOT else set()
    assert {(entry.uid, entry.gid) for entry in manifest.entries.values()} == {(os.geteuid(), os.getegid())} | others
    assert bool(compare(manifest, manifest).not_witnessed) == (not IS_ROOT)


def test_bytes_follow_from_the_nonce(tmp_path: Path) -> None:
    first, same, other = filled(tmp_path / "1"), filled(tmp_path / "2"), filled(tmp_path / "3", nonce="n2")
    hashes = [
        {entry.path: entry.sha256 for entry in one.entries.values() if entry.size} for one in (first, same, other)
    ]
    assert hashes[0] == hashes[1]
    assert all(hashes[0][path] != hashes[2][path] for path in hashes[0])


def test_the_large_file_does_not_compress(tmp_path: Path) -> None:
    filled(tmp_path / "workspace")
    large = tmp_path / "workspace" / "test-more" / "large.bin"
    shutil.make_archive(str(tmp_path / "packed"), "gztar", large.parent, large.name)
    assert (tmp_path / "packed.tar.gz").stat().st_size > PLAN.large_bytes


def test_the_large_file_needs_no_openssl(tmp_path: Path) -> None:
    manifest = filled(tmp_path / "workspace", machine=LocalMachine(tools(tmp_path / "bin", without=("openssl",))))
    assert manifest.entries["test-more/large.bin"].size == PLAN.large_bytes


def test_a_plan_may_be_small(tmp_path: Path) -> None:
    created = create_test_files(
        MACHINE, str(tmp_path), "n", WorkspacePlan("x", text_files=1, small_files=0, large_bytes=0)
    )
    assert Path(created[0].path).name == "x-1.txt"
    assert (tmp_path / "x-more" / "large.bin").stat().st_size == 0


def test_a_missing_root_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"^There is no directory .*/gone on the machine: nothing was written\."):
        create_test_files(MACHINE, f"{tmp_path}/gone", "n", PLAN)
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("tool", ["tar", "md5sum"])
def test_a_missing_tool_is_named(tmp_path: Path, tool: str) -> None:
    machine = LocalMachine(tools(tmp_path / "bin", without=(tool,)))
    with pytest.raises(Unknown, match=f"not found on the machine: {tool}. Install it there"):
        create_test_files(machine, str(tmp_path), "n", PLAN)


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    walls = ["bwrap", "--bind", "/", "/", "--dev", "/dev", "--size", "500000", "--tmpfs", str(tmp_path)]
    with pytest.raises(Misconfigured) as raised:
        create_test_files(LocalMachine(walls=walls), str(tmp_path), "n", WorkspacePlan(large_bytes=0))
    assert str(raised.value) == (
        f"No space left on device: {tmp_path} has 0 bytes free of 503 808. Rent a machine with a larger disk, or write "
        "less."
    )


def test_a_disk_that_the_large_file_fills_is_said_to_be_full(tmp_path: Path) -> None:
    (tmp_path / "test-more").mkdir()
    (tmp_path / "test-more" / "large.bin").symlink_to("/dev/full")
    with pytest.raises(Misconfigured, match=r"^No space left on device: .* has [\d ]+ bytes free of [\d ]+\. Rent"):
        create_test_files(MACHINE, str(tmp_path), "n", PLAN)


def test_another_failure_is_told_in_the_words_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "test-1.txt").mkdir()
    (tmp_path / "test-1.txt" / "in the way").touch()
    with pytest.raises(RekindleError, match=r"^Writing to .* failed: tar: [^\n]*test-1\.txt: Cannot open[^\n]*"):
        create_test_files(MACHINE, str(tmp_path), "n", PLAN)


def test_the_nonce_is_only_text(tmp_path: Path) -> None:
    """Nothing that a caller gives is ever part of a command."""
    create_test_files(MACHINE, str(tmp_path), f"$(touch {tmp_path}/broken); `id` ' \"", PLAN)
    assert not (tmp_path / "broken").exists()
    assert len(list((tmp_path / "test-more" / "small").iterdir())) == PLAN.small_files


@ROOT_ONLY
@pytest.mark.parametrize(
    ("walls", "owner"),
    [
        (["setpriv", "--reuid=1234", "--regid=4321", "--clear-groups", "--"], (1234, 4321)),
        (["setpriv", "--bounding-set=-chown", "--inh-caps=-chown", "--"], (0, 0)),
    ],
)
def test_who_may_not_give_files_away_keeps_them(tmp_path: Path, walls: list[str], owner: tuple[int, int]) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005:  # pytest keeps others out of its folders
            folder.chmod(0o755)
    root = tmp_path / "workspace"
    root.mkdir()
    os.chown(root, *owner)
    machine = LocalMachine(walls=walls)
    create_test_files(machine, str(root), "n1", PLAN)
    assert {(entry.uid, entry.gid) for entry in take_manifest(machine, str(root)).entries.values()} == {owner}


def test_no_name_is_one_that_a_standby_leaves_out(tmp_path: Path) -> None:
    """What a failover from a standby never brings would be said to be lost."""
    names = {name for path in filled(tmp_path / "workspace").entries for name in Path(path).parts}
    assert not [name for name in names if any(fnmatch(name, pattern) for pattern in EXCLUDES)]
