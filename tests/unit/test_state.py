"""The state directory: made once, private, and never half written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sandbox.environment import client_environment
from sandbox.state import CloudConfig, Ports, Secrets, StateDir, write_private

CONFIG = CloudConfig(cloud_id="c1", ports=Ports(control=1, market=2, store=3), seed=7)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_in_it_is_private(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "deep" / "state")
    state.create()
    state.write_config(CONFIG)
    for folder in (state.root, state.logs, state.keys, state.machines, state.store):
        assert mode(folder) == 0o700
    for file in (state.root / "secrets.json", state.root / "cloud.json", state.control_key, state.user_key):
        assert mode(file) == 0o600


def test_a_second_start_finds_the_same_secrets_and_keys(tmp_path: Path) -> None:
    first = StateDir(tmp_path)
    first.create()
    secrets, key = first.secrets(), first.user_key.read_text()
    second = StateDir(tmp_path)
    second.create()
    assert second.secrets() == secrets
    assert second.user_key.read_text() == key


def test_an_older_cloud_gets_the_secrets_that_came_later(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.create()
    before = state.secrets()
    write_private(tmp_path / "secrets.json", before.model_dump_json(exclude={"gcp_access_token"}))
    state.create()
    assert state.secrets() == state.secrets()  # kept, not made anew at each reading
    assert state.secrets().vast_api_key == before.vast_api_key


def test_two_clouds_share_no_secret(tmp_path: Path) -> None:
    names = {"dumont_email", "b2_bucket", "r2_bucket", "gcp_project"}  # what is no secret
    one, other = Secrets().model_dump(exclude=names), Secrets().model_dump(exclude=names)
    values = [*one.values(), *other.values()]
    assert len(set(values)) == len(values)
    assert all(len(value) >= 24 for value in values)
    first, second = StateDir(tmp_path / "1"), StateDir(tmp_path / "2")
    first.create()
    second.create()
    assert first.user_key.read_text() != second.user_key.read_text()
    assert first.user_key.read_text() != first.control_key.read_text()


def test_the_config_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert not state.has_config()
    state.write_config(CONFIG)
    assert state.has_config()
    assert state.config() == CONFIG
    assert state.config().market_url == "http://127.0.0.1:2"


def test_a_private_file_replaces_the_old_one_or_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert (file.read_text(), mode(file)) == ("new", 0o600)

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_private(file, "newer")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_clients_get_every_name_they_read(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    secrets = Secrets()
    values = client_environment(state, CONFIG, secrets)
    assert set(values) == {
        *("DUMONT_API_URL", "DUMONT_CONSOLE_URL", "DUMONT_EMAIL", "DUMONT_PASSWORD", "VAST_URL", "VAST_API_KEY"),
        *("GCP_URL", "GCP_PROJECT", "GCP_ACCESS_TOKEN"),
        *("B2_KEY_ID", "B2_APPLICATION_KEY", "B2_BUCKET", "B2_ENDPOINT"),
        *("R2_ACCESS_KEY", "R2_SECRET_KEY", "R2_BUCKET", "R2_ENDPOINT"),
        *("RESTIC_REPOSITORY", "RESTIC_PASSWORD"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"),
        *("SSH_KEY_PATH", "SANDBOX_CONTROL_TOKEN"),
    }
    assert all(values.values())
    assert values["RESTIC_REPOSITORY"] == f"s3:http://127.0.0.1:3/{secrets.b2_bucket}/restic"
    hidden = {secrets.store_admin_key, secrets.jwt_secret, secrets.dumont_vast_api_key}
    assert not hidden & set(values.values()), "clients need none of the cloud's own keys"
