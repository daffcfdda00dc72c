"""Programs outside the cloud that it talks to on request: on this machine, and nowhere else."""

from __future__ import annotations

import ssl
from ipaddress import ip_address

from pydantic import HttpUrl

# For HTTP clients that never leave this machine. The default context reads the system's certificates for a tenth of a
# second, for nothing.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def on_this_machine(url: HttpUrl) -> HttpUrl:
    """Returns the url.

    Raises:
        ValueError: it leads elsewhere, or is not plain HTTP.
    """
    host = (url.host or "").strip("[]")
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback or url.scheme != "http":
        raise ValueError("must be on this machine: http://127.0.0.1:PORT/…")
    return url
