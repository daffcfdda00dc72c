"""What clients of a cloud read from the environment: addresses and credentials, under the names they expect."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from sandbox.state import CloudConfig, Secrets, StateDir


def client_environment(state: StateDir, config: CloudConfig, keys: Secrets) -> dict[str, str]:
    seen = config.for_users
    return {
        "DUMONT_API_URL": seen.control,
        "DUMONT_CONSOLE_URL": seen.console,
        "DUMONT_EMAIL": keys.dumont_email,
        "DUMONT_PASSWORD": keys.dumont_password,
        "VAST_URL": seen.market,
        "VAST_API_KEY": keys.vast_api_key,
        "GCP_URL": f"{seen.market}/gcp",
        "GCP_PROJECT": keys.gcp_project,
        "GCP_ACCESS_TOKEN": keys.gcp_access_token,
        "B2_KEY_ID": keys.b2_key_id,
        "B2_APPLICATION_KEY": keys.b2_application_key,
        "B2_BUCKET": keys.b2_bucket,
        "B2_ENDPOINT": seen.store,
        "R2_ACCESS_KEY": keys.r2_access_key,
        "R2_SECRET_KEY": keys.r2_secret_key,
        "R2_BUCKET": keys.r2_bucket,
        "R2_ENDPOINT": seen.store,
        "RESTIC_REPOSITORY": f"s3:{seen.store}/{keys.b2_bucket}/restic",
        "RESTIC_PASSWORD": keys.restic_password,
        "AWS_ACCESS_KEY_ID": keys.b2_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.b2_application_key,
        "AWS_ENDPOINT_URL": seen.store,
        "AWS_DEFAULT_REGION": "us-east-1",
        "SSH_KEY_PATH": str(state.user_key),
        "SANDBOX_CONTROL_TOKEN": keys.admin_token,
        **({"TOXIPROXY_URL": config.network_url} if config.network_url else {}),
    }


def proxy_exceptions(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep clients from going to this machine through a proxy of the user.

    Args:
        environment: variables of the user, whose exceptions are kept. Without a proxy nothing is returned.
    """
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    if not any(environment.get(name) or environment.get(name.upper()) for name in proxies):
        return {}
    exceptions = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host for host in exceptions.split(",") if host]
    missing = [host for host in ("127.0.0.1", "localhost") if host not in hosts]
    if "*" in hosts or not missing:
        return {}
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join([*hosts, *missing]))


def quoted(value: str) -> str:
    """Return a value as both shells and `.env` files read it.

    The two differ on apostrophes and backslashes together with `$` or a backquote: there the form is that of shells.
    """
    if not {"'", "\\"} & set(value) or {"$", "`"} & set(value):
        return shlex.quote(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
