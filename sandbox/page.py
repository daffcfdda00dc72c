"""The web page of a cloud: its address with the login, and how it is shown."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Mapping

from sandbox.state import CloudConfig

LOGIN = "/login?auto_login=demo"
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def login_address(config: CloudConfig) -> str:
    """Return the address that logs the user in who runs the cloud, on the port that the page actually has."""
    return config.for_users.console + LOGIN


def show(address: str, environment: Mapping[str, str], open_browser: Callable[[str], bool] = webbrowser.open) -> str:
    """Open an address in the user's browser where there is a display; return a line for the user.

    Args:
        address: what to open.
        environment: variables of the user.
        open_browser: opens an address; returns whether a browser was found.
    """
    if any(environment.get(name) for name in DISPLAYS) and open_browser(address):
        return f"Opened in your browser: {address}"
    return f"There is no display or no browser here. The page with its login: {address}"
