"""Paths and words given to ssh and rsync, which split them again: the quoting of both sides, on the real programs."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rekindle import quoting as library
from rekindle.errors import Misconfigured
from rekindle.settings import read_env_file
from rekindle.tables import link
from sandbox.control import quoting as product
from sandbox.environment import quoted

QUOTES: dict[str, Callable[[Path], str]] = {"control plane": product.ssh_path, "SSH of the libraries": library.ssh_path}
ODD = "- '\"%\\#$,;:=*?[]{}~&|<>()`!\tü漢k"
NAMES = st.text(st.sampled_from(ODD), min_size=1, max_size=12).filter(lambda name: "${" not in name)
# Nothing of the user's home, which may have an odd path itself.
SSH = ("ssh", "-F", "/dev/null", "-o", "UserKnownHostsFile=/dev/null")
# Each example starts a program.
SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def as_ssh_reads(option: str, value: str) -> str:
    """The value of an option, as ssh itself prints it after it has split the line. `%` is expanded later."""
    shown = subprocess.run([*SSH, "-G", "-o", f"{option}={value}", "host"], capture_output=True, check=True)
    lines = shown.stdout.decode().splitlines()
    return next(line for line in lines if line.startswith(option.lower() + " ")).split(" ", 1)[1]


@pytest.mark.parametrize("quote", QUOTES.values(), ids=QUOTES)
@SLOW
@given(name=NAMES)
@example(name="rek it's 100%")
@example(name="-leading dash")
@example(name='"quoted"')
@example(name="back\\slash \\' \\\"")
@example(name="#not a comment")
def test_ssh_reads_one_literal_path(quote: Callable[[Path], str], name: str) -> None:
    path = Path("/folder") / name
    assert as_ssh_reads("IdentityFile", quote(path)) == str(path).replace("%", "%%")


@pytest.mark.parametrize("quote", QUOTES.values(), ids=QUOTES)
def test_ssh_opens_the_very_file(quote: Callable[[Path], str]) -> None:
    # A socket's path must be short, which that of pytest's folder need not be.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder) / '-it\'s "100%h" a\\b #1 $HOME ünï'
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)
        command = [*SSH, "-o", "IdentityFile=none", "-o", f"ControlPath={quote(path)}", "-O", "check", "host"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as ssh:
            connection, _ = listener.accept()
            connection.close()
            assert ssh.wait(30) != 0


def test_what_follows_a_path_keeps_its_meaning() -> None:
    assert product.ssh_path(Path("/100%"), "/%k") == '"/100%%/%k"'


@pytest.mark.parametrize("name", ["two\nlines", "a ${HOME}"])
def test_a_path_that_ssh_cannot_take_literally_is_refused_in_a_sentence(name: str) -> None:
    message = f"ssh cannot use the path {name!r}, because it holds a line break or ${{."
    with pytest.raises(ValueError, match="line break") as refused:
        product.ssh_path(Path(name))
    assert str(refused.value) == message
    with pytest.raises(Misconfigured) as rejected:
        library.ssh_path(Path(name))
    assert str(rejected.value) == f"{message} Rename it."


@SLOW
@given(words=st.lists(st.text(st.sampled_from(ODD), max_size=12), min_size=1, max_size=4))
@example(words=["-o", 'IdentityFile="/rek it\'s 100%%/key"'])
def test_rsync_splits_its_remote_shell_into_the_same_words(words: list[str], tmp_path: Path) -> None:
    show = tmp_path / "show.py"
    show.write_text("import json, sys\nopen(sys.argv[1], 'w').write(json.dumps(sys.argv[2:]))\n")
    shell = product.remote_shell([sys.executable, str(show), str(tmp_path / "words"), *words])
    subprocess.run(["rsync", "-e", shell, "host:/from", tmp_path / "to"], capture_output=True, check=False)
    assert json.loads((tmp_path / "words").read_text())[: len(words)] == words


@SLOW
@given(value=st.text(st.sampled_from(ODD), max_size=12))
@example(value="rek it's 100%/key")
def test_a_printed_variable_is_read_by_shells_and_from_files(value: str, tmp_path: Path) -> None:
    line = f"export NAME={quoted(value)}"
    shell = subprocess.run(
        ["bash", "-c", 'eval "$1"; printf %s "$NAME"', "-", line], capture_output=True, text=True, check=True
    )
    assert shell.stdout == value
    if not {"'", "\\"} & set(value) or not {"$", "`"} & set(value):
        (tmp_path / ".env").write_text(line + "\n", encoding="utf-8")
        assert read_env_file(tmp_path / ".env") == {"NAME": value}


def test_links_lead_to_files_with_odd_names() -> None:
    assert link("a b#1/50%?.json") == '<a href="a%20b%231/50%25%3F.json">a b#1/50%?.json</a>'
    assert link("shots/<b>.png", "<b>") == '<a href="shots/%3Cb%3E.png">&lt;b&gt;</a>'
