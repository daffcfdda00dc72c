"""The model file: what is in it, and what is said when it cannot be written or is another one."""

from __future__ import annotations

import hashlib
import shlex
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from rekindle.errors import Misconfigured, Mismatch, RekindleError, Unknown
from rekindle.manifest import take_manifest
from rekindle.model_file import NAME, check_fit, check_model_file, create_model_file, size_in_bytes
from rekindle.progress import Done
from tests.unit.local_machine import LocalMachine, tools

MACHINE = LocalMachine()
SIZE = 8_000_001


def test_is_hashed_while_it_is_written(tmp_path: Path) -> None:
    model = create_model_file(MACHINE, str(tmp_path), "n1", SIZE)
    data = (tmp_path / NAME).read_bytes()
    assert (model.name, model.size) == (NAME, len(data)) == (NAME, SIZE)
    assert model.sha256 == hashlib.sha256(data).hexdigest()
    assert model.md5 == hashlib.md5(data, usedforsecurity=False).hexdigest()
    check_model_file(take_manifest(MACHINE, str(tmp_path)), model)


def test_one_half_is_noise_and_the_other_like_weights(tmp_path: Path) -> None:
    create_model_file(MACHINE, str(tmp_path), "n1", SIZE)
    data = (tmp_path / NAME).read_bytes()
    noise, weights = data[:4_000_000], data[4_300_000:]
    assert len(zstandard.compress(noise)) >= len(noise)
    assert 0.90 < len(zstandard.compress(weights)) / len(weights) < 0.94
    # Little-endian fp16: the low bytes are noise, the high bytes hold sign and exponent.
    low, high = weights[::2], weights[1::2]
    assert len(zlib.compress(low)) > 0.99 * len(low)
    assert len(zlib.compress(high)) < 0.8 * len(high)


def test_bytes_follow_from_the_nonce(tmp_path: Path) -> None:
    first, same, other = (create_model_file(MACHINE, str(tmp_path), nonce, 1_000_000) for nonce in ("a", "a", "b"))
    assert first == same
    assert first.sha256 != other.sha256


@pytest.mark.parametrize("size", [1, 2, 262_143, 262_145])
def test_may_be_small(tmp_path: Path, size: int) -> None:
    model = create_model_file(MACHINE, str(tmp_path), "n", size)
    assert hashlib.sha256((tmp_path / NAME).read_bytes()).hexdigest() == model.sha256
    assert (tmp_path / NAME).stat().st_size == size


def test_needs_no_openssl(tmp_path: Path) -> None:
    machine = LocalMachine(tools(tmp_path / "bin", without=("openssl",)))
    model = create_model_file(machine, str(tmp_path), "n", SIZE)
    assert model.md5 == hashlib.md5((tmp_path / NAME).read_bytes(), usedforsecurity=False).hexdigest()


def test_tells_how_far_it_is(tmp_path: Path) -> None:
    """The clock of the machine runs fast, so that a second passes with each block."""
    (tmp_path / "Fast.pm").write_text(
        "package Fast; my $now = 0; *CORE::GLOBAL::time = sub { return $now++ }; 1;\n", encoding="utf-8"
    )
    path = tools(
        tmp_path / "tools",
        without=("perl",),
        replaced={"perl": f'exec /usr/bin/perl -I{shlex.quote(str(tmp_path))} -MFast "$@"'},
    )
    seen: list[Done] = []
    create_model_file(LocalMachine(path), str(tmp_path), "n", 1 << 20, seen.append)
    assert seen == [Done(part << 18, 1 << 20) for part in (1, 2, 3, 4)]


@pytest.mark.parametrize("tool", ["perl", "df"])
def test_a_missing_tool_is_named(tmp_path: Path, tool: str) -> None:
    machine = LocalMachine(tools(tmp_path / "bin", without=(tool,)))
    with pytest.raises(Unknown, match=f"not found on the machine: {tool}. Install it there"):
        create_model_file(machine, str(tmp_path), "n", SIZE)
    assert not (tmp_path / NAME).exists()


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"^There is no directory .*/gone on the machine: nothing was written"):
        create_model_file(MACHINE, f"{tmp_path}/gone", "n", SIZE)


def test_a_disk_that_is_too_small_is_seen_before_anything_is_written(tmp_path: Path) -> None:
    walls = ["bwrap", "--bind", "/", "/", "--dev", "/dev", "--size", "20000000", "--tmpfs", str(tmp_path)]
    with pytest.raises(Misconfigured) as raised:
        create_model_file(LocalMachine(walls=walls), str(tmp_path), "n", 100_000_000)
    assert str(raised.value) == (
        f"{tmp_path} has 20 000 768 bytes free of 20 000 768, too few for the 116 777 216 bytes that are wanted: "
        "nothing was written. Rent a machine with a larger disk, or write less."
    )


def test_a_disk_that_fills_meanwhile_is_told_in_its_words(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to("/dev/full")
    with pytest.raises(Misconfigured, match=r"^No space left on device: .* has [\d ]+ bytes free of [\d ]+\. Rent"):
        create_model_file(MACHINE, str(tmp_path), "n", SIZE)


def test_hashes_that_do_not_arrive_are_unknown(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", without=("openssl", "md5sum"), replaced={"md5sum": "cat >/dev/null"})
    with pytest.raises(Unknown, match=r"The hashes of .* did not arrive"):
        create_model_file(LocalMachine(path), str(tmp_path), "n", SIZE)


def test_a_hash_that_fails_fails(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", without=("openssl", "md5sum"), replaced={"md5sum": "cat >/dev/null; exit 1"})
    with pytest.raises(RekindleError, match=r"^Writing to .* failed: "):
        create_model_file(LocalMachine(path), str(tmp_path), "n", SIZE)


def test_another_file_is_not_what_was_written(tmp_path: Path) -> None:
    model = create_model_file(MACHINE, str(tmp_path), "n", 1000)
    manifest = take_manifest(MACHINE, str(tmp_path))
    with pytest.raises(Mismatch, match=r"its size is 1000, and was 999 when it was written\.$"):
        check_model_file(manifest, replace(model, size=999))
    with pytest.raises(Mismatch, match=r"its SHA-256 is [0-9a-f]{64}, and was 0+ when"):
        check_model_file(manifest, replace(model, sha256="0" * 64))
    with pytest.raises(Mismatch, match=r"its MD5 is [0-9a-f]{32}, and was 0+ when"):
        check_model_file(manifest, replace(model, md5="0" * 32))
    with pytest.raises(Mismatch, match=r"/other.bin is missing: 1 file \(1 000 bytes\) are there\.$"):
        check_model_file(manifest, replace(model, name="other.bin"))


@pytest.mark.parametrize("value", ["0", "-1", "big", "", "nan", "inf", "1e999"])
def test_a_size_must_be_a_number_above_zero(value: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        check_fit(value, "20")
    assert str(raised.value) == (
        f"LARGE_FILE_MB must be a number of MB from 0.001 to 900000, such as LARGE_FILE_MB:1024; it is {value!r}."
    )
    with pytest.raises(Misconfigured, match=r"^DISK_GB must be a whole number of GB from 10 to 10000, such as"):
        check_fit("1", value)


def test_a_size_must_fit_the_disk() -> None:
    check_fit("1024", "20")
    check_fit("19000", "20")
    with pytest.raises(Misconfigured) as raised:
        check_fit("20000", "20")
    assert str(raised.value) == (
        "LARGE_FILE_MB:20000 is a file of 20 971 520 000 bytes, which does not fit the disk of DISK_GB:20 that "
        "would be rented. Say --variable DISK_GB:21 or more, or a smaller LARGE_FILE_MB."
    )
    check_fit("20000", "21")


def test_a_size_may_be_a_fraction() -> None:
    assert [size_in_bytes(text) for text in ("0.5", "1", "1024")] == [1 << 19, 1 << 20, 1 << 30]
