"""The CPU cloud as a client sees it, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2

ZONE = "europe-west1-b"


class CpuCloudApi:
    """Reads and changes the machines of the project. Each call says which status it expects and returns the JSON."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.root = f"{environment['GCP_URL']}/compute/v1/projects/{environment['GCP_PROJECT']}"
        self.http = httpx2.Client(
            headers={"Authorization": f"Bearer {environment['GCP_ACCESS_TOKEN']}"}, timeout=60, trust_env=False
        )

    def close(self) -> None:
        self.http.close()

    def call(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        answer = self.http.request(method, f"{self.root}/{path}", **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def insert(self, name: str, key: str = "", status: int = 200, zone: str = ZONE, **order: Any) -> Any:
        body = {
            "name": name,
            "machineType": f"zones/{zone}/machineTypes/e2-medium",
            "metadata": {"items": [{"key": "ssh-keys", "value": f"root:{key}\n"}] if key else []},
            "scheduling": {"provisioningModel": "SPOT"},
            "disks": [{"boot": True, "initializeParams": {"diskSizeGb": "20"}}],
            **order,
        }
        return self.call("POST", f"zones/{zone}/instances", status, json=body)

    def machine(self, name: str) -> dict[str, Any] | None:
        answer = self.http.get(f"{self.root}/zones/{ZONE}/instances/{name}")
        assert answer.status_code in (200, 404), answer.text
        return dict(answer.json()) if answer.status_code == 200 else None

    def machines(self) -> list[dict[str, Any]]:
        """All of the project: the witness that nothing is left."""
        scopes = self.call("GET", "aggregated/instances")["items"].values()
        return [row for scope in scopes for row in scope["instances"]]
