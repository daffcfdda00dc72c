"""The canaries: every credential of a cloud, by name, and the forms in which it may sing somewhere else.

The credentials of a cloud are drawn at random for it, so that each is found nowhere by chance. Those that a person
would choose are given characters that every format escapes in its own way.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from urllib.parse import quote

from sandbox.state import write_private

# What stands beside the credentials and is none.
PUBLIC = {"dumont_email", "b2_bucket", "r2_bucket", "gcp_project"}
CHOSEN_BY_A_PERSON = ("dumont_password", "restic_password")
# So many first bytes of a form are looked for, because logs cut what is long.
ENOUGH = 16

# Derived from credentials, and as good as them: known by form. Extended regular expressions, as grep reads them.
# What the second line had to redact, the first one let through: that is a finding too.
DERIVED = {
    "a secret that had to be redacted": rb"\[redacted [A-Za-z]",
    "a token (JWT)": rb"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}",
    "a signed request": rb"Signature=[0-9a-f]{64}",
    "an Authorization header": rb"(Bearer|Basic) [A-Za-z0-9._~+/=-]{20,}",
    "a private key": rb"BEGIN [A-Z ]*PRIVATE KEY",
}


def plant(state_dir: Path) -> None:
    """Gives a cloud that does not exist yet the credentials that a person would choose."""
    state_dir.mkdir(mode=0o700, parents=True)
    chosen = {name: f"{secrets.token_hex(4)} \"'\\/+%&<é>{secrets.token_hex(8)}" for name in CHOSEN_BY_A_PERSON}
    write_private(state_dir / "secrets.json", json.dumps(chosen))


def of_cloud(state_dir: Path) -> dict[str, bytes]:
    """Every credential of a cloud, by name."""
    kept = json.loads((state_dir / "secrets.json").read_text())
    canaries = {name: value.encode() for name, value in kept.items() if name not in PUBLIC}
    for key in ("user", "control"):
        canaries[f"SSH key {key}"] = _secret_part(state_dir / "keys" / key)
    return canaries


def _secret_part(key: Path) -> bytes:
    """What of an Ed25519 key file no other holds: of the 32 secret bytes as many as stand in one line.

    They stand before the third of the three places where its public half is.
    """
    public = base64.b64decode(key.with_suffix(".pub").read_text().split()[1])[-32:]
    lines = key.read_bytes().splitlines()[1:-1]
    at = base64.b64decode(b"".join(lines)).rindex(public)
    first, last = (at - 32) * 8 // 6 + 1, at * 8 // 6
    width = len(lines[0])
    parts = [line[max(first - begin, 0) : max(last - begin, 0)] for begin, line in zip(count(0, width), lines)]
    return max(parts, key=len)


def given(environment: Mapping[str, str]) -> dict[str, bytes]:
    """The credentials that the users of a cloud are given, by their variables."""
    names = re.compile("PASSWORD|KEY|TOKEN|SECRET")
    return {
        name: value.encode() for name, value in environment.items() if names.search(name) and name != "SSH_KEY_PATH"
    }


def needles(canaries: Mapping[str, bytes]) -> dict[bytes, str]:
    """What to look for: the beginning of every form of every canary, and how a finding is called."""
    found: dict[bytes, str] = {}
    for name, value in canaries.items():
        for how, form in _forms(value):
            found.setdefault(form[:ENOUGH], f"{name}{how and f' ({how})'}")
    return found


def _forms(value: bytes) -> Iterator[tuple[str, bytes]]:
    text = value.decode()
    yield "", value
    for how, form in (
        ("in JSON", json.dumps(text)[1:-1]),
        ("in JSON", json.dumps(text, ensure_ascii=False)[1:-1]),
        ("in Python", repr(text)[1:-1]),
        ("in XML", text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")),
        ("in an address", quote(value, safe="")),
        ("in an address", quote(value, safe="/")),
        ("in a form", quote(value, safe="").replace("%20", "+")),
        ("in hexadecimal", value.hex()),
        ("in hexadecimal", value.hex().upper()),
    ):
        yield how, form.encode()
    yield "in UTF-16", text.encode("utf-16-le")
    # In base64 the same bytes look different after each number of bytes before them: three ways.
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value)
        whole = encoded[(before * 8 + 5) // 6 : (before + len(value)) * 8 // 6]
        yield "in base64", whole
        yield "in base64", whole.replace(b"+", b"-").replace(b"/", b"_")
