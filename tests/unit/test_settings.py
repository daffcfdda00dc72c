"""What a run must be told: what is missing is named at once, and nothing secret is ever shown."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from rekindle.errors import Misconfigured
from rekindle.settings import Settings, read_env_file
from sandbox.environment import quoted

NAMES = [name.upper() for name, field in Settings.model_fields.items() if field.description]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.touch(0o600)
    return path


@pytest.fixture
def full(key: Path) -> dict[str, str]:
    return {
        "DUMONT_API_URL": "http://127.0.0.1:8766/",
        "DUMONT_EMAIL": "test@test.com",
        "DUMONT_PASSWORD": "canary-1",
        "VAST_URL": "https://console.vast.ai",
        "VAST_API_KEY": "canary-2",
        "B2_KEY_ID": "key-id",
        "B2_APPLICATION_KEY": "canary-3",
        "B2_BUCKET": "bucket",
        "B2_ENDPOINT": "s3.us-west-000.backblazeb2.com",
        "RESTIC_REPOSITORY": "s3:http://127.0.0.1:1/bucket/restic",
        "RESTIC_PASSWORD": "canary-4",
        "SSH_KEY_PATH": str(key),
    }


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_every_variable_is_taken(full: dict[str, str], key: Path) -> None:
    settings = Settings.from_mapping(full)
    assert settings.dumont_api_url == "http://127.0.0.1:8766"
    assert settings.dumont_email == "test@test.com"
    assert settings.dumont_password.get_secret_value() == "canary-1"
    assert settings.vast_url == "https://console.vast.ai"
    assert settings.vast_api_key
    assert settings.vast_api_key.get_secret_value() == "canary-2"
    assert (settings.b2_key_id, settings.b2_bucket) == ("key-id", "bucket")
    assert settings.b2_application_key.get_secret_value() == "canary-3"
    assert settings.b2_endpoint == "https://s3.us-west-000.backblazeb2.com"
    assert settings.restic_repository == "s3:http://127.0.0.1:1/bucket/restic"
    assert settings.restic_password
    assert settings.ssh_key_path == key
    assert settings.warnings == ()


def test_the_scheme_of_an_endpoint_is_kept(full: dict[str, str]) -> None:
    settings = Settings.from_mapping(full | {"B2_ENDPOINT": "http://127.0.0.1:9000"})
    assert settings.b2_endpoint == "http://127.0.0.1:9000"


def test_all_that_is_missing_is_named_in_one_error() -> None:
    with pytest.raises(Misconfigured) as error:
        Settings.from_mapping({"DUMONT_EMAIL": "a@b.c", "B2_BUCKET": "  ", "DUMONT_PASSWORD": ""})
    assert (
        str(error.value)
        == """\
Missing in the environment and in .env: DUMONT_API_URL, DUMONT_PASSWORD, B2_KEY_ID, B2_APPLICATION_KEY, B2_BUCKET, \
B2_ENDPOINT, SSH_KEY_PATH.
  DUMONT_API_URL      the address of the Dumont API, such as http://localhost:8766
  DUMONT_PASSWORD     the password of the Dumont account
  B2_KEY_ID           the id of the bucket's application key
  B2_APPLICATION_KEY  the bucket's application key
  B2_BUCKET           the bucket that holds the snapshots
  B2_ENDPOINT         the bucket's S3 endpoint, such as s3.us-west-000.backblazeb2.com
  SSH_KEY_PATH        the private SSH key that the market's account knows
For the embedded cloud, `eval "$(python -m sandbox env)"` sets them all."""
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [("DUMONT_PASSWD", "DUMONT_PASSWORD"), ("B2_APPLICATIONKEY", "B2_APPLICATION_KEY"), ("b2_bucket", "B2_BUCKET")],
)
def test_a_misspelled_variable_is_recognized(full: dict[str, str], given: str, meant: str) -> None:
    with pytest.raises(Misconfigured) as error:
        Settings.from_mapping({name: value for name, value in full.items() if name != meant} | {given: "x"})
    assert f"\n{given} is set: did you mean {meant}?\n" in str(error.value)


def test_another_store_is_no_misspelled_one(full: dict[str, str]) -> None:
    given = {name: value for name, value in full.items() if not name.startswith("B2_")}
    with pytest.raises(Misconfigured) as error:
        Settings.from_mapping(given | {"R2_ENDPOINT": "x", "R2_BUCKET": "x"})
    assert "did you mean" not in str(error.value)


def test_optional_ones_are_demanded_where_they_are_needed(full: dict[str, str]) -> None:
    optional = ("VAST_URL", "VAST_API_KEY", "RESTIC_REPOSITORY", "RESTIC_PASSWORD")
    Settings.from_mapping(full).require("vast_url", "vast_api_key")
    settings = Settings.from_mapping({name: value for name, value in full.items() if name not in optional})
    assert settings.vast_api_key is None
    with pytest.raises(Misconfigured) as error:
        settings.require("vast_url", "vast_api_key", "b2_bucket")
    assert str(error.value).splitlines()[1:-2] == [
        "  VAST_URL      the address of the market, such as https://console.vast.ai",
        "  VAST_API_KEY  the API key of the market's account",
    ]


def test_nothing_secret_is_shown(full: dict[str, str]) -> None:
    settings = Settings.from_mapping(full)
    assert "canary" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize("url", ["localhost:8766", "ftp://host", "http://", "http://[::1", "not an address"])
def test_an_address_that_is_none(full: dict[str, str], url: str) -> None:
    with pytest.raises(Misconfigured) as error:
        Settings.from_mapping(full | {"DUMONT_API_URL": url})
    assert str(error.value) == "DUMONT_API_URL is not an address: it must be like http://host:port or https://host."


def test_a_key_that_is_not_there(full: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as error:
        Settings.from_mapping(full | {"SSH_KEY_PATH": str(tmp_path / "none")})
    assert str(error.value) == (
        f"SSH_KEY_PATH: {tmp_path}/none does not exist. It must name the private SSH key that the market knows."
    )
    with pytest.raises(Misconfigured, match="is not a file"):
        Settings.from_mapping(full | {"SSH_KEY_PATH": str(tmp_path)})


def test_a_key_that_others_can_read(full: dict[str, str], key: Path) -> None:
    key.chmod(0o640)
    with pytest.raises(Misconfigured) as error:
        Settings.from_mapping(full)
    assert str(error.value) == (
        f"SSH_KEY_PATH: {key} can be read by others (mode 640), and ssh refuses such keys: "
        f"chmod 600 {shlex.quote(str(key))}"
    )


def test_a_key_in_the_home_directory(full: dict[str, str], key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(key.parent))
    assert Settings.from_mapping(full | {"SSH_KEY_PATH": "~/key"}).ssh_key_path == key


def test_a_key_that_ssh_cannot_open_by_its_path_is_refused(full: dict[str, str], tmp_path: Path) -> None:
    key = tmp_path / "${HOME}"
    key.touch(0o600)
    with pytest.raises(Misconfigured, match=r"^ssh cannot use the path '.*\$\{HOME\}', because it holds a line break"):
        Settings.from_mapping(full | {"SSH_KEY_PATH": str(key)})


# The environment and the file


def write(path: Path, values: dict[str, str], mode: int = 0o600) -> Path:
    path.write_text("".join(f"export {name}={quoted(value)}\n" for name, value in values.items()))
    path.chmod(mode)
    return path


def test_the_environment_goes_before_the_file(
    full: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / ".env", full)
    monkeypatch.setenv("DUMONT_EMAIL", "other@test.com")
    monkeypatch.setenv("B2_BUCKET", "")
    settings = Settings.from_environment(file)
    assert (settings.dumont_email, settings.b2_bucket) == ("other@test.com", "bucket")
    assert settings.warnings == ()


def test_a_file_is_not_needed(full: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in full.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment(None) == Settings.from_mapping(full)


def test_a_file_that_is_named_must_be_there(
    full: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in full.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured) as error:
        Settings.from_environment(tmp_path / "my.env")
    assert str(error.value) == (
        f"ENV_FILE names {tmp_path}/my.env, which does not exist. Mend it, or leave it out: then .env in the project "
        "is read, where there is one."
    )


def test_a_file_that_others_can_read_is_warned_of(full: dict[str, str], tmp_path: Path) -> None:
    file = write(tmp_path / ".env", full, 0o644)
    assert Settings.from_environment(file).warnings == (
        f"{file} holds credentials and can be read by others (mode 644): chmod 600 {shlex.quote(str(file))}",
    )


def test_a_file_of_another_user_is_warned_of(
    full: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / ".env", full)
    me = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    if me == 0:  # who can read and change everything anyway
        assert Settings.from_environment(file).warnings == ()
        os.chown(file, 7, -1)
    (warning,) = Settings.from_environment(file).warnings
    assert warning == (
        f"{file} holds credentials and belongs to another user (number {me or 7}), who can read and change them: "
        f"chown {me + 1} {shlex.quote(str(file))}"
    )


def test_values_are_taken_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("\ufeff# comment\n\nA=1\nexport B='two words'\nC=\"${A}$(id)#3\"\nD=a#b # comment\nE=\n")
    assert read_env_file(file) == {"A": "1", "B": "two words", "C": "${A}$(id)#3", "D": "a#b", "E": ""}


@pytest.mark.parametrize(("text", "line"), [("A=1\n\nwhat is this\n", 3), ("LONELY\n", 1), ("A='open\nB=2\n", 1)])
def test_a_line_that_is_something_else_is_named_but_not_shown(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / ".env"
    file.write_text(text)
    with pytest.raises(Misconfigured) as error:
        read_env_file(file)
    assert str(error.value) == f"{file}, line {line}: not NAME=value. Mend or remove that line."


def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as error:
        read_env_file(tmp_path)
    assert str(error.value) == (f"{tmp_path} is a directory: it must be a file of NAME=value lines, or not be there.")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Misconfigured, match=r"/\.env is not UTF-8 text: it must be a file of NAME=value lines\.$"):
        read_env_file(tmp_path / ".env")


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "read_text", refuse)
    file = tmp_path / ".env"
    with pytest.raises(Misconfigured) as error:
        read_env_file(file)
    advice = f"Make it yours: chmod 600 {shlex.quote(str(file))}"
    assert str(error.value) == f"{file} cannot be read: Permission denied. {advice}"
