"""Requests sessions that carry a credential which their owner never sees, and so cannot log."""

from __future__ import annotations

from typing import Any

import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter


class HidingAdapter(HTTPAdapter):
    """Adds the bearer token to a copy of each request, beneath the layer that RequestsLibrary logs."""

    def __init__(self, token: SecretStr) -> None:
        super().__init__()
        self._token = token

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Sends the copy; the response names the request as its owner made it."""
        authorized = request.copy()
        authorized.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        response = super().send(authorized, *args, **kwargs)
        response.request = request
        return response
