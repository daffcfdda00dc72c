"""What a run must be told: addresses, accounts and keys, under the names that `python -m sandbox env` prints."""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import httpx2
from dotenv.parser import parse_stream
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from rekindle.errors import Misconfigured
from rekindle.quoting import ssh_path

ADVICE = 'For the embedded cloud, `eval "$(python -m sandbox env)"` sets them all.'

NEAR_MISS = 0.91  # similarity from which a name counts as a misspelled one; B2_ENDPOINT and R2_ENDPOINT are below it

WITHOUT_MARKET = "Without the market as a witness: --variable DECLINED_WITNESSES:market"
WITHOUT_GCP = "Without the CPU cloud as a witness: --variable DECLINED_WITNESSES:gcp"


class Settings(BaseModel):
    """The addresses and credentials of one target. Each field is the variable of the same name in capitals.

    The optional ones belong to witnesses that a user may be unable to give; `require` demands them where they are
    needed after all.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    dumont_api_url: str = Field(description="the address of the Dumont API, such as http://localhost:8766")
    dumont_email: str = Field(description="the e-mail of the Dumont account")
    dumont_password: SecretStr = Field(description="the password of the Dumont account")
    vast_url: str | None = Field(None, description="the address of the market, such as https://console.vast.ai")
    vast_api_key: SecretStr | None = Field(None, description="the API key of the market's account")
    gcp_url: str | None = Field(None, description="the address of the CPU cloud, https://compute.googleapis.com")
    gcp_project: str | None = Field(None, description="the project of the CPU cloud in which standbys live")
    gcp_access_token: SecretStr | None = Field(None, description="an access token of the CPU cloud's project")
    dumont_console_url: str | None = Field(
        None, description="the address of the web page; that of the API when missing"
    )
    b2_key_id: str = Field(description="the id of the bucket's application key")
    b2_application_key: SecretStr = Field(description="the bucket's application key")
    b2_bucket: str = Field(description="the bucket that holds the snapshots")
    b2_endpoint: str = Field(description="the bucket's S3 endpoint, such as s3.us-west-000.backblazeb2.com")
    restic_repository: str | None = Field(None, description="the restic repository, such as s3:https://…/bucket/restic")
    restic_password: SecretStr | None = Field(None, description="the password of the restic repository")
    ssh_key_path: Path = Field(description="the private SSH key that the market's account knows")

    warnings: tuple[str, ...] = ()
    """What the user should know although nothing failed, one sentence each. Not a variable."""

    @classmethod
    def variables(cls) -> list[str]:
        """Return the names of the variables, in capitals."""
        return [name.upper() for name, field in cls.model_fields.items() if field.description]

    @classmethod
    def from_environment(cls, env_file: Path | None = None, also: Sequence[str] = ()) -> Settings:
        """Reads the environment, and for what it lacks a file.

        Args:
            env_file: lines of `NAME=value`.
            also: optional fields that are needed this time.

        Raises:
            Misconfigured: the file cannot be read, or `from_mapping` does not like what was found.
        """
        env_file = env_file.expanduser() if env_file else None
        from_file = read_env_file(env_file) if env_file else {}
        from_outside = {name: value for name, value in os.environ.items() if value.strip()}
        settings = cls.from_mapping(from_file | from_outside, also)
        warnings = tuple(_file_warnings(env_file)) if env_file and from_file else ()
        return settings.model_copy(update={"warnings": warnings})

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str], also: Sequence[str] = ()) -> Settings:
        """Takes the variables from a mapping of names to values. An empty value counts as missing.

        Args:
            mapping: values by the names of the variables.
            also: optional fields that are needed this time.

        Raises:
            Misconfigured: names every variable that is missing and what it is for, or the one that cannot be right.
        """
        variables = [name for name, field in cls.model_fields.items() if field.description]
        given = {name: value for name in variables if (value := mapping.get(name.upper())) and value.strip()}
        needed = [name for name in variables if cls.model_fields[name].is_required() or name in also]
        cls._demand(given, needed, present=mapping)
        read: dict[str, Any] = dict(given)
        for name in ("dumont_api_url", "vast_url", "gcp_url", "dumont_console_url"):
            if name in read:
                read[name] = _address(name, read[name])
        endpoint = given["b2_endpoint"]
        read["b2_endpoint"] = _address("b2_endpoint", endpoint if "://" in endpoint else f"https://{endpoint}")
        read["ssh_key_path"] = _private_key(given["ssh_key_path"])
        return cls(**read)

    def secrets(self) -> dict[str, str]:
        """The values that nobody may see, by the names of their variables. The id of a key goes with its key."""
        given = {name.upper(): getattr(self, name) for name in type(self).model_fields}
        hidden = {name: value.get_secret_value() for name, value in given.items() if isinstance(value, SecretStr)}
        return {**hidden, "B2_KEY_ID": self.b2_key_id}

    def require(self, *names: str) -> None:
        """Demands optional fields, by field name.

        Raises:
            Misconfigured: names every one that is missing and what it is for.
        """
        self._demand({name: value for name in names if (value := getattr(self, name))}, names)

    @classmethod
    def _demand(cls, given: Mapping[str, Any], names: Sequence[str], present: Iterable[str] = ()) -> None:
        missing = [name for name in names if name not in given]
        if missing:
            width = max(map(len, missing))
            lines = [f"  {name.upper():{width}}  {cls.model_fields[name].description}" for name in missing]
            lines += _near_misses(missing, set(present) - set(cls.variables()))
            advice = [ADVICE, *([WITHOUT_MARKET] if {"vast_url", "vast_api_key"} & set(missing) else [])]
            advice += [WITHOUT_GCP] if any(name.startswith("gcp_") for name in missing) else []
            names = ", ".join(name.upper() for name in missing)
            raise Misconfigured("\n".join([f"Missing in the environment and in .env: {names}.", *lines, *advice]))


def _near_misses(missing: Iterable[str], present: Iterable[str]) -> Iterator[str]:
    """Sentences about variables that are set and resemble a missing one."""
    bare = {name.replace("_", "").upper(): name for name in present}
    for name in missing:
        for near in get_close_matches(name.replace("_", "").upper(), bare, 1, NEAR_MISS):
            yield f"{bare[near]} is set: did you mean {name.upper()}?"


def read_env_file(path: Path) -> dict[str, str]:
    """Reads `NAME=value` lines (`export` and quotes allowed, nothing is substituted).

    Raises:
        Misconfigured: it is not there, is no file, cannot be read, or holds a line that is something else; names the
            line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Misconfigured(
            f"ENV_FILE names {path}, which does not exist. Mend it, or leave it out: then .env in the project is read, "
            "where there is one."
        ) from None
    except IsADirectoryError:
        raise Misconfigured(f"{path} is a directory: it must be a file of NAME=value lines, or not be there.") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"{path} is not UTF-8 text: it must be a file of NAME=value lines.") from None
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be read: {error.strerror}. Make it yours: chmod 600 {shlex.quote(str(path))}"
        ) from None
    values: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key and binding.value is None):
            # The line may hold a secret: only its number is told. A binding begins with the blank lines before it.
            original = binding.original
            blank = len(original.string) - len(original.string.lstrip())
            line = original.line + original.string[:blank].count("\n")
            raise Misconfigured(f"{path}, line {line}: not NAME=value. Mend or remove that line.")
        if binding.key and binding.value is not None:
            values[binding.key] = binding.value
    return values


def _file_warnings(path: Path) -> Iterator[str]:
    """Who else may read the credentials in a file, or change them."""
    status = path.stat()
    if (mode := status.st_mode & 0o777) & 0o077:
        yield f"{path} holds credentials and can be read by others (mode {mode:o}): chmod 600 {shlex.quote(str(path))}"
    if status.st_uid not in {os.geteuid(), 0}:
        yield (
            f"{path} holds credentials and belongs to another user (number {status.st_uid}), who can read and change "
            f"them: chown {os.geteuid()} {shlex.quote(str(path))}"
        )


def _address(name: str, value: str) -> str:
    try:
        url = httpx2.URL(value.strip().rstrip("/"))
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        raise Misconfigured(f"{name.upper()} is not an address: it must be like http://host:port or https://host.")
    return str(url)


def _private_key(value: str) -> Path:
    path = Path(value).expanduser()
    ssh_path(path)  # refuses what ssh cannot open, before anything is rented
    if not path.is_file():
        seen = "is not a file" if path.exists() else "does not exist"
        raise Misconfigured(f"SSH_KEY_PATH: {path} {seen}. It must name the private SSH key that the market knows.")
    if not os.access(path, os.R_OK):
        raise Misconfigured(f"SSH_KEY_PATH: {path} cannot be read by this user.")
    if (mode := path.stat().st_mode & 0o777) & 0o077:
        raise Misconfigured(
            f"SSH_KEY_PATH: {path} can be read by others (mode {mode:o}), and ssh refuses such keys: "
            f"chmod 600 {shlex.quote(str(path))}"
        )
    return path
