"""Which browser is driven, and what a person reads when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle import browsers
from rekindle.browsers import choose, explained, own_environment
from rekindle.errors import Misconfigured
from rekindle.private_folder import place_for_sockets
from rekindle.redaction import Redactor

LOCAL, ELSEWHERE = "http://127.0.0.1:4890", "https://dumont.example"
NO_NAMES = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost"
NO_PROXY = "--no-proxy-server"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "chrome"
    path.touch(0o755)
    return path


def nothing(_: str) -> None:
    return None


def test_the_one_that_is_asked_for(program: Path) -> None:
    assert choose(str(program), LOCAL, environment={"BROWSER_PATH": "/else"}, which=nothing).path == program


def test_the_one_of_the_environment(program: Path) -> None:
    assert choose(None, LOCAL, environment={"BROWSER_PATH": str(program)}, which=nothing).path == program
    assert choose("", LOCAL, environment={"BROWSER_PATH": str(program)}, which=nothing).path == program


@pytest.mark.parametrize("kind", ["missing", "folder", "text"])
def test_one_that_is_no_program(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "chrome"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.touch(0o644)
    with pytest.raises(
        Misconfigured, match=r"BROWSER_PATH names .*chrome, and there is no program\. .*apt-get install"
    ):
        choose(str(path), LOCAL, environment={}, which=nothing)


def test_that_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path) -> None:
    found = {"google-chrome": "/usr/bin/google-chrome"}
    assert choose(None, LOCAL, environment={}, which=found.get).path == Path("/usr/bin/google-chrome")
    both = found | {"chromium": "/usr/bin/chromium"}
    monkeypatch.setattr(browsers, "BEHIND_THE_SCRIPT", tmp_path / "nothing")
    assert choose(None, LOCAL, environment={}, which=both.get).path == Path("/usr/bin/chromium")
    monkeypatch.setattr(browsers, "BEHIND_THE_SCRIPT", program)
    assert choose(None, LOCAL, environment={}, which=both.get).path == program


def test_that_of_playwright() -> None:
    assert choose(None, LOCAL, environment={}, which=nothing).path is None


@pytest.mark.parametrize(
    ("page", "user", "arguments"),
    [
        (LOCAL, 0, ("--no-sandbox", NO_NAMES, NO_PROXY)),
        (LOCAL, 1000, (NO_NAMES, NO_PROXY)),
        ("http://localhost:1", 1000, (NO_NAMES, NO_PROXY)),
        (ELSEWHERE, 1000, ()),
    ],
)
def test_it_talks_to_nobody_but_the_page(page: str, user: int, arguments: tuple[str, ...]) -> None:
    assert choose(None, page, environment={}, which=nothing, user=user).arguments == arguments


def test_what_playwright_says_is_explained() -> None:
    missing = AssertionError("browserType.launch: Executable doesn't exist at /root/.cache/ms-playwright/chrome")
    assert "rfbrowser install chromium" in str(explained(missing))
    screenless = AssertionError("browserType.launch: Target page has been closed\n[err] Missing X server or $DISPLAY\n")
    assert str(explained(screenless)).startswith("HEADLESS:False shows the browser's window, and there is no screen")
    long = AssertionError("browserType.launch: closed\n[err] FATAL:x.cc:315] Socket path too long: /x/SingletonSocket.")
    assert str(explained(long)).endswith("set TMPDIR to a directory with a short path.")
    other = AssertionError("Page crashed")
    assert explained(other) is other


def test_the_browser_inherits_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Redactor()
    known.learn("DUMONT_PASSWORD", "c4n4ry-0f-4-p4ssw0rd")
    monkeypatch.setattr(browsers, "KNOWN", known)
    before = {"PATH": "/bin", "VAST_API_KEY": "short", "NOTE": "it is c4n4ry-0f-4-p4ssw0rd", "SSH_KEY_PATH": "/key"}
    environment = dict(before)
    with own_environment(environment):
        assert environment == {"PATH": "/bin", "SSH_KEY_PATH": "/key", "TMPDIR": str(place_for_sockets())}
        environment["PLAYWRIGHT_BROWSERS_PATH"] = "0"
    assert environment == before | {"PLAYWRIGHT_BROWSERS_PATH": "0"}


def test_the_directory_of_the_user_is_set_again() -> None:
    environment = {"TMPDIR": f"/{'x' * 150}"}
    with own_environment(environment):
        assert len(environment["TMPDIR"]) < 70
    assert environment == {"TMPDIR": f"/{'x' * 150}"}
