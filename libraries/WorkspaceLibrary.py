"""Fills a machine's workspace, and compares all of it."""

from __future__ import annotations

from robot.api import logger
from robot.api.deco import keyword, library

from library_parts.console import ProgressLine, tell
from library_parts.returned import converters
from rekindle import report
from rekindle.changing import change_files
from rekindle.data_set import create_data_set
from rekindle.manifest import Manifest, compare, take_manifest
from rekindle.model_file import ModelFile, check_fit, check_model_file, create_model_file, size_in_bytes
from rekindle.poison import poison
from rekindle.rented import RentedMachine
from rekindle.tables import table
from rekindle.wording import counted, number
from rekindle.workspace_files import WorkspacePlan, create_test_files

WITNESS = "SSH to the machine"
NAMED = 5


@library(scope="GLOBAL", doc_format="MARKDOWN", converters=converters(Manifest, ModelFile, RentedMachine))
class WorkspaceLibrary:
    """Fills a machine's workspace, and compares all of it.

    A *manifest* is everything that can be said of a tree of files: path, kind, size, mode, owner, time of change, link
    target, SHA-256 and MD5 of every entry, empty files and empty directories included. It is taken in one round trip.
    """

    @keyword
    def create_test_files(
        self, machine: RentedMachine, root: str, small_files: int = 1000, large_bytes: int = 64_000_000
    ) -> None:
        """Fills a directory with files that are hard to lose unnoticed.

        Five text files, two hidden files, an empty file, an empty directory, a link, odd names, many small files, and a
        large one that does not compress. All contents are new in every run, so that an old snapshot cannot pass for a
        new one.

        Args:
            machine: where to.
            root: an existing directory, such as `/workspace`.
            small_files: how many of them.
            large_bytes: size of the large one.

        Raises:
            AssertionError: the directory is missing, or the machine's disk is full.
        """
        plan = WorkspacePlan(small_files=small_files, large_bytes=large_bytes)
        created = create_test_files(machine.machine, root, machine.label, plan)
        for file in created[:NAMED]:
            tell(f"Created: {file.path} ({number(file.size)} bytes, MD5: {file.md5[:8]}…)")
        rest = created[NAMED:]
        tell(f"Created: {number(len(rest))} more files ({number(sum(file.size for file in rest))} bytes)")
        report.current().resources["test_files_count"] = len(created)

    @keyword
    def create_many_files(self, machine: RentedMachine, root: str, files: int) -> None:
        """Fills a directory with very many small files: a data set, and the virtual environment that goes with it.

        Deep folders, empty and hidden files, programs, read-only files and links. All contents are new in every run.

        Args:
            machine: where to.
            root: an existing directory, such as `/workspace`.
            files: how many.

        Raises:
            AssertionError: the directory is missing, or the machine's disk is full.
        """
        written = create_data_set(machine.machine, root, machine.label, files)
        tell(f"Created: {number(files)} files ({number(written)} bytes)")
        report.current().resources["test_files_count"] = files

    @keyword
    def change_files(self, machine: RentedMachine, root: str, nonce: str) -> None:
        """Changes files as work does, so that no snapshot of before can pass for one that is taken now.

        Some get other bytes of the same size (one of them keeps its time of change too), one grows, a hidden one is
        added, one removed, one renamed, and the largest one changes in its middle.

        Args:
            machine: whose files.
            root: a directory with some files in it, such as `/workspace`.
            nonce: new in each cycle; which files change, and how, follows from it.

        Raises:
            AssertionError: the directory is missing or has too few files, or the machine's disk is full.
        """
        changes = change_files(machine.machine, root, nonce)
        tell(f"Changed: {changes}")

    @keyword
    def model_file_should_fit_disk(self, megabytes: str, disk_gb: str) -> None:
        """Makes sure, before anything is rented, that a model file of that size has room on the disk.

        Args:
            megabytes: its size, as for [Create Model File].
            disk_gb: the disk that will be rented, GB.

        Raises:
            AssertionError: one of them is out of bounds, or the file does not fit; says what would.
        """
        check_fit(megabytes, disk_gb)

    @keyword
    def create_model_file(self, machine: RentedMachine, root: str, megabytes: float) -> ModelFile:
        """Writes one large file that is like a model, and hashes it in the same pass.

        One half does not compress, the other is like weights in half precision, which compress a little. Its bytes
        are new in every run.

        Args:
            machine: where to.
            root: an existing directory, such as `/workspace`.
            megabytes: its size, in MB of 1 048 576 bytes.

        Returns:
            The file: `name`, `size`, and the `sha256` and `md5` of the bytes on their way to the disk.

        Raises:
            AssertionError: the directory is missing, or its disk has not enough room.
        """
        with ProgressLine("Model file") as line:
            model = create_model_file(machine.machine, root, machine.label, size_in_bytes(str(megabytes)), line.show)
        tell(f"Created: {root}/{model.name} ({number(model.size)} bytes, MD5: {model.md5})")
        tell(f"SHA-256: {model.sha256}")
        report.current().resources |= {
            "large_file": f"{root}/{model.name}",
            "large_file_bytes": model.size,
            "large_file_sha256": model.sha256,
            "large_file_md5": model.md5,
        }
        return model

    @keyword
    def model_file_should_be_as_written(self, manifest: Manifest, model: ModelFile) -> None:
        """Compares a model file with the size and the hashes that were taken while it was written.

        Args:
            manifest: of the tree that it is in, on the first machine or on another.
            model: as it was written.

        Raises:
            AssertionError: it is missing or another one; says what was expected and seen.
        """
        check_model_file(manifest, model)
        tell(f"Equal: SHA-256 and MD5 of {model.name} are those of the bytes when they were written")
        report.current().validation |= {"sha256_equal": True, "md5_equal": True}
        report.current().add_check("model file is as written", WITNESS, files=1, bytes=model.size, hashes=2)

    @keyword
    def take_manifest(self, machine: RentedMachine, root: str) -> Manifest:
        """Reads the whole tree below a directory of a machine.

        Args:
            machine: whose tree.
            root: an existing directory, such as `/workspace`.

        Returns:
            The manifest: `files`, `bytes`, and every entry.

        Raises:
            AssertionError: the directory is missing, or (`UNKNOWN:`) a file could not be read or changed meanwhile.
        """
        manifest = take_manifest(machine.machine, root)
        machine.seen_alive()
        tell(f"Manifest: {manifest.summary()}")
        report.current().add_check("manifest taken", WITNESS, files=manifest.files, bytes=manifest.bytes)
        return manifest

    @keyword
    def run_on_machine(self, machine: RentedMachine, script: str, *arguments: str) -> str:
        """Runs a bash script on a machine, over the connection whose host key is pinned.

        Args:
            machine: where.
            script: its text.
            arguments: reach it as `"$1"`, `"$2"`, …, whatever characters they hold.

        Returns:
            What it wrote to standard output, without the last line end.

        Raises:
            AssertionError: it failed; with its exit code and what it wrote to standard error.
        """
        return machine.machine.run(script, *arguments).text

    @keyword
    def poison_workspace(self, machine: RentedMachine, manifest: Manifest) -> None:
        """Writes wrong bytes where the files will be restored: same path, same size, same time, other content.

        A restore that does nothing, or trusts size and time, cannot pass on such a workspace.

        Args:
            machine: where the restore will go.
            manifest: of what will be restored.
        """
        poisoned = poison(machine.machine, manifest)
        tell(f"Poisoned: {counted(poisoned, 'file')}, so that a restore must really write them")

    @keyword
    def workspace_should_equal_manifest(self, machine: RentedMachine, manifest: Manifest) -> Manifest:
        """Compares a machine's tree, entry by entry and both ways, with the manifest that was taken before.

        Args:
            machine: whose tree.
            manifest: what it must hold.

        Returns:
            The manifest of what is there.

        Raises:
            AssertionError: names what is missing, changed (and how) or extra; also when nothing was compared.
        """
        actual = take_manifest(machine.machine, manifest.root)
        comparison = compare(manifest, actual)
        heading, *rows = comparison.table()
        logger.info(table([str(cell) for cell in heading], rows), html=True)
        comparison.raise_unless_equal()
        files, size = comparison.checked_files, comparison.checked_bytes
        tell(f"Compared: {counted(files, 'file')}, {counted(size, 'byte')}: all equal")
        report.current().validation["files_validated"] = files
        report.current().add_check("workspace equals manifest", WITNESS, files=files, bytes=size)
        report.current().not_witnessed += comparison.not_witnessed
        return actual
