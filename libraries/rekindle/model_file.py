"""A large file like a model, written on a machine and hashed in the same pass.

Its first half does not compress at all. The second half is like weights in half precision (fp16): numbers around
zero, of which the low bytes are noise and the high bytes are not, so that a compression ratio means something.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import cast

from rekindle.errors import Misconfigured, Mismatch, Unknown
from rekindle.manifest import Manifest
from rekindle.progress import MIB, Done
from rekindle.ssh import Machine
from rekindle.unpacking import writing
from rekindle.variable_checks import check_argument
from rekindle.variables import BY_NAME
from rekindle.wording import number

NAME = "large-model.bin"
# The spread of the weights. Another one moves their exponents, and compresses as well.
_SIGMA = 0.02
# What stays free beside the file: a file system that is filled to its last byte fails in other ways too.
_SPARE = 16 * MIB

# "$2" the file's name, "$3" its size, "$4" and "$5" key and start of the noise, "$6" the table that turns noise into
# high bytes. Writes a line with the bytes done every second, then the two hashes.
_CREATE = r"""
need perl df tail
room "$1" "$(($3 + SPARE))"
if command -v openssl >/dev/null; then
    noise() { openssl enc -aes-128-ctr -nosalt -K "$1" -iv "$2" -bufsize 1048576 -in /dev/zero 2>/dev/null || true; }
    hashers=("openssl dgst -sha256 -r" "openssl dgst -md5 -r")
else
    need sha256sum md5sum
    noise() { cat /dev/urandom 2>/dev/null || true; }
    hashers=(sha256sum md5sum)
fi
cd -- "$1" || failed "$1"
noise "$4" "$5" | perl -e '
    use strict;
    use warnings;
    my ($path, $size, $table, @hashers) = @ARGV;
    my $block = 1 << 18;
    # A larger pipe means fewer changes between processes. Where that is not allowed, it is only slower.
    sub widen { my $widened = fcntl $_[0], 1031, 1 << 20 }
    sub write_all {
        my ($to, $data) = @_;
        for (my $at = 0; $at < length $$data;) {
            $at += syswrite($to, $$data, length($$data) - $at, $at) // die "$path: $!\n";
        }
    }
    widen(*STDIN);
    open my $file, ">", $path or die "$path: $!\n";
    my @to = ($file);
    for my $hasher (@hashers) {
        open my $pipe, "|-", split " ", $hasher or die "$hasher: $!\n";
        widen($pipe);
        push @to, $pipe;
    }
    # The table is part of the program, because tr takes no variables.
    eval "sub make_high { \$_[0] =~ tr/\\x00-\\xff/$table/ } 1" or die;
    my ($low, $high) = ("\xff\0" x ($block / 2), "\0\xff" x ($block / 2));
    my ($done, $told) = (0, time);
    $| = 1;
    while ($done < $size) {
        my $data = "";
        while (length $data < $block) {
            sysread STDIN, $data, $block - length $data, length $data or die "the noise ended\n";
        }
        if ($done >= $size / 2) {
            my $weights = $data;
            make_high($weights);
            $data = ($data & $low) | ($weights & $high);
        }
        substr($data, $size - $done) = "" if $size - $done < $block;
        write_all($_, \$data) for @to;
        $done += length $data;
        if ($told != time) {
            $told = time;
            print "done $done\n";
        }
    }
    close $_ or die "$path: $!\n" for @to;
' -- "$2" "$3" "$6" "${hashers[@]}" || failed "$1"
""".replace("SPARE", str(_SPARE))


@dataclass(frozen=True)
class ModelFile:
    """A large file that was written to a machine.

    Attributes:
        name: path below the root.
        size: size in bytes.
        sha256: SHA-256 in hexadecimal, computed while the file was written.
        md5: MD5 in hexadecimal, computed while the file was written.
    """

    name: str
    size: int
    sha256: str
    md5: str


def size_in_bytes(megabytes: str) -> int:
    """Return the bytes of a model file of so many MB of 1 048 576 bytes.

    Raises:
        Misconfigured: it is not a legal value of LARGE_FILE_MB.
    """
    return int(cast(float, BY_NAME["LARGE_FILE_MB"].read(megabytes)) * MIB)


def check_fit(megabytes: str, disk_gb: str) -> None:
    """Makes sure that a model file of so many MB (as above) has room on a disk of so many GB (of 10⁹ bytes).

    Raises:
        Misconfigured: either is out of bounds, or the file does not fit.
    """
    size, disk = size_in_bytes(megabytes), cast(int, BY_NAME["DISK_GB"].read(disk_gb)) * 10**9
    if size + _SPARE > disk:
        wanted = -(-(size + _SPARE) // 10**9)
        raise Misconfigured(
            f"LARGE_FILE_MB:{megabytes} is a file of {number(size)} bytes, which does not fit the disk of "
            f"DISK_GB:{disk_gb} that would be rented. Say --variable DISK_GB:{wanted} or more, or a smaller "
            "LARGE_FILE_MB."
        )


def create_model_file(
    machine: Machine, root: str, nonce: str, size: int, show: Callable[[Done], None] = lambda _: None
) -> ModelFile:
    """Writes a model file of `size` bytes below `root`, and hashes its bytes on their way to the disk.

    The bytes follow from the nonce where the machine has openssl, so that another run's file cannot be taken for this
    one; else from /dev/urandom.

    Args:
        machine: where.
        root: an existing directory.
        nonce: differs from run to run.
        size: bytes.
        show: is told every second how far it has come.

    Raises:
        Misconfigured: the size is out of bounds, the root is missing, or the disk has not enough room; nothing was
            written then.
        Unknown: a tool is missing on the machine, or the hashes did not arrive.
        RekindleError: it could not be written for another reason, or the machine does not answer.
    """
    key, start = (hashlib.sha256(f"{nonce} {word}".encode()).hexdigest()[:32] for word in ("key", "start"))
    check_argument("size", "LARGE_FILE_BYTES", size)
    hashes: list[str] = []
    for line in _lines(writing(machine, _CREATE, root, NAME, str(size), key, start, _table())):
        word, _, rest = line.partition(" ")
        if word == "done":
            show(Done(int(rest), size))
        else:
            hashes.append(word)
    if [len(digest) for digest in hashes] != [64, 32]:
        raise Unknown(f"The hashes of {root}/{NAME} did not arrive: {hashes} was seen. Create it again.")
    return ModelFile(NAME, size, *hashes)


def check_model_file(manifest: Manifest, model: ModelFile) -> None:
    """Makes sure that a manifest holds the file with the size and the hashes that its bytes had when they were written.

    Raises:
        Mismatch: it does not; says what was expected and seen.
    """
    entry = manifest.entries.get(model.name)
    if entry is None:
        raise Mismatch(f"{manifest.root}/{model.name} is missing: {manifest.summary()} are there.")
    for what, expected, seen in (
        ("size", model.size, entry.size),
        ("SHA-256", model.sha256, entry.sha256),
        ("MD5", model.md5, entry.md5),
    ):
        if expected != seen:
            raise Mismatch(
                f"{manifest.root}/{model.name} is not what was written: its {what} is {seen}, and was {expected} when "
                "it was written."
            )


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in whole)


def _table() -> str:
    """The high bytes of 256 weights, evenly spread over their distribution, as Perl's tr spells them."""
    weights = NormalDist(sigma=_SIGMA)
    return "".join(f"\\x{struct.pack('<e', weights.inv_cdf((step + 0.5) / 256))[1]:02x}" for step in range(256))
