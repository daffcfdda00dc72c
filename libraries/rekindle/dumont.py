"""The client of the Dumont API. It reads both forms of its answers: the product's own and the embedded cloud's.

What the product says here is a claim. Its witnesses are the market, the bucket and the machine itself.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from pydantic import SecretStr

from rekindle.dumont_views import (
    Balance,
    Executed,
    InstanceView,
    Offer,
    RestoreResult,
    SnapshotResult,
    WakeResult,
    instance_view,
    integer,
    number,
    offer_view,
)
from rekindle.errors import CapabilityMissing, Mismatch, RekindleError, Unknown, Weather
from rekindle.failover_views import FailoverReport, Progression, StandbyView, failover_report, progression, standby_view
from rekindle.http import AnswerLost, Habits, Json, Refused, ServiceClient, StorageFull

API = "/api/v1"
MARKET_IS_AWAY = 503  # what the product answers when the market does not serve it


class AmbiguousCreate(RekindleError):
    """A machine may have been rented, and the answer does not tell. Look for its label before renting another.

    Attributes:
        market_is_away: the answer was that the market does not serve the product (503).
    """

    def __init__(self, message: str, *, market_is_away: bool = False) -> None:
        super().__init__(message)
        self.market_is_away = market_is_away


class DumontClient(ServiceClient):
    """One user's view of one Dumont Cloud. Logs in by itself before the first call that needs it. Thread-safe.

    Args:
        url: the address of the API, without `/api/v1`.
        email: the account.
        password: its password.
        habits: as in `rekindle.http.Habits`.
    """

    service = "Dumont API"
    address = "DUMONT_API_URL"
    asked = "Dumont API"
    credentials = "DUMONT_EMAIL and DUMONT_PASSWORD"

    def __init__(self, url: str, email: str, password: str, **habits: Unpack[Habits]) -> None:
        super().__init__(url, **habits)
        self.credential = f"login of {email}"
        self._email = email
        self._password = SecretStr(password)
        self._http.hide(self._password)
        self._lock = threading.Lock()
        self._token: SecretStr | None = None
        self._routes: frozenset[tuple[str, str]] | None = None

    def __repr__(self) -> str:
        return f"DumontClient({self._http.url!r}, {self._email!r})"

    def login(self) -> None:
        """Logs in.

        Raises:
            Misconfigured: the e-mail or the password is wrong, or nobody answers at the address.
        """
        try:
            answer = self._http.post(f"{API}/auth/login", {"email": self._email, "password": self._password_text()})
        except Refused as refused:
            if refused.status in {400, 401, 403, 422}:
                raise self._kept_out(refused) from None
            raise
        answer = _object(answer, "POST /auth/login")
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str):
            raise Unknown("Dumont API accepted the login, but its answer holds neither `token` nor `access_token`.")
        self._token = SecretStr(token)
        self._http.authorize(self._token)

    def token(self) -> SecretStr:
        """The bearer token of the login, for clients that are not this one. Logs in where that has not happened yet."""
        with self._lock:
            if self._token is None:
                self.login()
            assert self._token is not None  # noqa: S101 - login sets it or raises
            return self._token

    # Routes

    def routes(self) -> frozenset[tuple[str, str]]:
        """Every route that the target's OpenAPI names, as (method, path); parameters stand as `{}`."""
        if self._routes is None:
            document = _object(self._http.get(f"{API}/openapi.json"), "GET /openapi.json")
            paths = document.get("paths")
            if not isinstance(paths, dict) or not paths:
                raise Unknown("Dumont API's OpenAPI names no paths, so that its capabilities cannot be told.")
            self._routes = frozenset(
                (method.upper(), _template(path)) for path, operations in paths.items() for method in operations
            )
        return self._routes

    def needs(self, method: str, path: str, activity: str = "what needs it") -> None:
        """Makes sure that the target has a route, whatever its parameters are called there.

        Args:
            method: in capitals.
            path: such as `/api/v1/instances/{id}/wake`.
            activity: what cannot be done without it, for the message: "waking".

        Raises:
            CapabilityMissing: names the route.
        """
        if (method, _template(path)) not in self.routes():
            short = path.removeprefix(API)
            raise CapabilityMissing(f"This Dumont Cloud has no {method} {short}: {activity} cannot be tested on it.")

    # Machines

    def offers(self, **filters: Any) -> list[Offer]:
        """Machines that can be rented, cheapest first. Filters are the query of `GET /instances/offers`.

        Raises:
            Weather: the market does not serve the product.
        """
        try:
            answer = self._call("GET", "/instances/offers", params=filters)
        except Refused as refused:
            if refused.status == MARKET_IS_AWAY:
                raise Weather(f"The market cannot be searched: {refused} Wait some minutes.") from None
            raise
        return [offer_view(row) for row in _rows(answer, "offers", "GET /instances/offers")]

    def create_instance(
        self,
        offer_id: int,
        label: str,
        disk_gb: float,
        image: str | None = None,
        *,
        timeout: float = 300.0,
        failover_strategy: str | None = None,
    ) -> int:
        """Rents a machine, once: nothing here repeats a request that may have been obeyed.

        Args:
            offer_id: one of `offers`.
            label: by which the machine is found when the answer is lost.
            disk_gb: its disk in GB, at least 10.
            image: the container image; the product's own choice when None.
            timeout: seconds to wait for the answer.
            failover_strategy: where it must be chosen with the rent (`regional_volume`).

        Returns:
            The machine's id.

        Raises:
            AmbiguousCreate: a machine may have been rented all the same.
            Refused, RateLimited: none was rented.
        """
        body = {"offer_id": offer_id, "label": label, "disk_size": disk_gb, "skip_standby": True}
        if image:
            body["image"] = image
        if failover_strategy:
            body["failover_strategy"] = failover_strategy
        answer = self._rent("/instances", body, f"label {label}", timeout)
        instance_id = integer(answer.get("id") or answer.get("instance_id"))
        if instance_id is None:
            raise AmbiguousCreate(f"Dumont API answered the rent of label {label} without an id: look for the label.")
        return instance_id

    def instance(self, instance_id: int) -> InstanceView | None:
        """The machine, or None when the product says it has none of this id (which it also says when the market
        does not answer it: not a proof that the machine is gone)."""
        try:
            return instance_view(_object(self._call("GET", f"/instances/{instance_id}"), "GET /instances/{id}"))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def instances(self) -> list[InstanceView]:
        """Every machine of the account. An error is raised, never an empty list."""
        return [instance_view(row) for row in _rows(self._call("GET", "/instances"), "instances", "GET /instances")]

    def destroy(self, instance_id: int, *, timeout: float = 120.0) -> bool:
        """Asks for the machine's end. The answer is a claim: look at the market for the proof.

        Returns:
            Whether there was such a machine. An unknown one is 404, or on the older product 500.
        """
        try:
            answer = self._call("DELETE", f"/instances/{instance_id}", timeout=timeout)
        except Refused as refused:
            if refused.status == 404 or (refused.status == 500 and not self._knows(instance_id)):
                return False
            raise
        if isinstance(answer, dict) and answer.get("success") is False:
            raise Mismatch(f"Dumont API did not destroy machine {instance_id}: {answer.get('message') or answer}.")
        return True

    def _knows(self, instance_id: int) -> bool:
        return self.instance(instance_id) is not None or any(row.id == instance_id for row in self.instances())

    def pause(self, instance_id: int) -> None:
        """Asks for the machine to be stopped; its disk stays and is paid for."""
        self._succeed("POST", f"/instances/{instance_id}/pause", timeout=120.0)

    def resume(self, instance_id: int) -> None:
        """Asks for a stopped machine to be started."""
        self._succeed("POST", f"/instances/{instance_id}/resume", timeout=120.0)

    def exec(self, instance_id: int, command: str, *, timeout: float = 120.0) -> Executed:
        """Has the product run a shell command on the machine."""
        self.needs("POST", f"{API}/instances/{{id}}/exec", "running a command through the API")
        answer = _object(
            self._call("POST", f"/instances/{instance_id}/exec", {"command": command}, timeout=timeout),
            "POST /instances/{id}/exec",
        )
        exit_code = integer(answer.get("exit_code"))
        if exit_code is None:
            raise Unknown(f"Dumont API ran a command on machine {instance_id} and gave no exit_code.")
        return Executed(exit_code, str(answer.get("stdout") or ""), str(answer.get("stderr") or ""))

    def balance(self) -> Balance:
        """The market account's money as the product sees it."""
        answer = _object(self._call("GET", "/instances/balance"), "GET /instances/balance")
        return Balance(
            credit=number(answer.get("credit")),
            balance=number(answer.get("balance")),
            balance_threshold=number(answer.get("balance_threshold")),
            email=str(answer.get("email") or ""),
        )

    # Snapshots

    def snapshot(
        self, instance_id: int, path: str = "/workspace", tags: Sequence[str] = (), *, timeout: float = 3600.0
    ) -> SnapshotResult:
        """Has a directory of a machine saved. The call lasts as long as the snapshot.

        Raises:
            Mismatch: the product says that it failed, or says success and names no snapshot.
            Refused: with the product's words (the machine is not running, restic failed, …).
        """
        body = {"instance_id": instance_id, "source_path": path, "tags": list(tags)}
        begun = time.monotonic()
        answer = _object(self._call("POST", "/snapshots", body, timeout=timeout), "POST /snapshots")
        seconds = time.monotonic() - begun
        snapshot_id = answer.get("snapshot_id")
        if answer.get("success") is not True or not snapshot_id:
            raise Mismatch(
                f"The snapshot of {path} on machine {instance_id} failed: success is {answer.get('success')!r}, "
                f"snapshot_id {snapshot_id!r}, {_reasons(answer)}."
            )
        counts = {
            name: int(number(answer.get(name)))
            for name in (
                "files_new",
                "files_changed",
                "files_unmodified",
                "total_files_processed",
                "data_added",
                "total_bytes_processed",
            )
        }
        return SnapshotResult(snapshot_id=str(snapshot_id), seconds=seconds, **counts)

    def snapshots(self, instance_id: int | None = None) -> list[dict[str, Any]]:
        """The snapshots that the product lists, newest first; of one machine when asked (by field or by tag, because
        the older product ignores the filter)."""
        params = None if instance_id is None else {"instance_id": instance_id}
        rows = _rows(self._call("GET", "/snapshots", params=params), "snapshots", "GET /snapshots")
        if instance_id is None:
            return rows
        tag = f"instance:{instance_id}"
        return [row for row in rows if integer(row.get("instance_id")) == instance_id or tag in (row.get("tags") or ())]

    def restore(
        self, snapshot_id: str, instance_id: int, target_path: str = "/workspace", *, timeout: float = 3600.0
    ) -> RestoreResult:
        """Has a snapshot brought onto a machine. The call lasts as long as the restore.

        Raises:
            Mismatch: `success` is not true or `errors` is not empty (the older product says success either way), or
                the answer names another snapshot.
            Refused: with the product's words (unknown snapshot, the machine is not running, …).
        """
        body = {"snapshot_id": snapshot_id, "target_path": target_path, "instance_id": instance_id}
        begun = time.monotonic()
        answer = _object(
            self._call("POST", "/snapshots/restore", body, params={"instance_id": instance_id}, timeout=timeout),
            "POST /snapshots/restore",
        )
        seconds = time.monotonic() - begun
        if answer.get("success") is not True or answer.get("errors"):
            raise Mismatch(
                f"The restore of snapshot {snapshot_id} onto machine {instance_id} failed: "
                f"success is {answer.get('success')!r}, {_reasons(answer)}."
            )
        told = str(answer.get("snapshot_id") or snapshot_id)
        if not told.startswith(snapshot_id) and not snapshot_id.startswith(told):  # ids may be told in short
            raise Mismatch(f"Snapshot {snapshot_id} was to be restored onto machine {instance_id}, not {told}.")
        return RestoreResult(
            snapshot_id=told,
            target_path=str(answer.get("target_path") or target_path),
            files_restored=int(number(answer.get("files_restored"))),
            seconds=seconds,
        )

    def delete_snapshot(self, snapshot_id: str, *, timeout: float = 300.0) -> None:
        """Has a snapshot forgotten and its objects removed."""
        self._succeed("DELETE", f"/snapshots/{snapshot_id}", timeout=timeout)

    # Hibernation

    def hibernation(self, instance_id: int) -> dict[str, Any]:
        """What the idle detector knows of a machine (`status`, `idle_since`, `snapshot_id`, `error`, …); empty when
        it has not heard of it."""
        try:
            return _object(self._call("GET", f"/agent/instances/{instance_id}"), "GET /agent/instances/{id}")
        except Refused as refused:
            if refused.status == 404:
                return {}
            raise

    def configure_hibernation(self, instance_id: int, **fields: Any) -> dict[str, Any]:
        """Sets some of `auto_hibernation_enabled`, `pause_after_minutes`, `delete_after_minutes`,
        `gpu_usage_threshold` (percent), `idle_timeout_seconds`; the others stay. Returns the answer."""
        self.needs("PUT", f"{API}/instances/{{id}}/config", "setting a machine's idle time")
        return _object(self._call("PUT", f"/instances/{instance_id}/config", fields), "PUT /instances/{id}/config")

    def hibernate(self, instance_id: int, *, timeout: float = 3600.0) -> dict[str, Any]:
        """Has a machine saved and destroyed now. Returns the answer, a claim."""
        self.needs("POST", f"{API}/instances/{{id}}/hibernate", "hibernating at once")
        return self._succeed("POST", f"/instances/{instance_id}/hibernate", timeout=timeout)

    def wake(
        self,
        instance_id: int,
        max_price: float,
        *,
        gpu_type: str | None = None,
        region: str | None = None,
        timeout: float = 1200.0,
    ) -> WakeResult:
        """Has a hibernated machine brought back on a new one. The call lasts until its files are there.

        Args:
            instance_id: the id it had.
            max_price: USD an hour.
            gpu_type: the GPU model; any when None.
            region: as in `offers`; any when None.
            timeout: seconds to wait for the answer.

        Raises:
            AmbiguousCreate: a machine may have been rented all the same.
            Refused: none was rented.
        """
        self.needs("POST", f"{API}/instances/{{id}}/wake", "waking")
        body = {"max_price": max_price, "gpu_type": gpu_type, "region": region}
        body = {name: value for name, value in body.items() if value is not None}
        begun = time.monotonic()
        answer = self._rent(f"/instances/{instance_id}/wake", body, f"machine {instance_id}, woken", timeout)
        seconds = time.monotonic() - begun
        if answer.get("success") is not True:
            raise AmbiguousCreate(
                f"Machine {instance_id} was not woken: success is {answer.get('success')!r}, {_reasons(answer)}. "
                "A machine may have been rented all the same: compare the list of machines."
            )
        host, port = answer.get("ssh_host"), integer(answer.get("ssh_port"))
        return WakeResult(
            new_instance_id=integer(answer.get("new_instance_id")) or self._at_address(host, port, instance_id),
            old_instance_id=instance_id,
            snapshot_id=answer.get("snapshot_id"),
            ssh_host=host,
            ssh_port=port,
            time_taken=None if answer.get("time_taken") is None else number(answer["time_taken"]),
            seconds=seconds,
            message=str(answer.get("message") or ""),
        )

    def _at_address(self, host: str | None, port: int | None, woken: int) -> int:
        """The older product wakes a machine and does not say which: it is found by its SSH address."""
        found = [row.id for row in self.instances() if host and port and (row.ssh_host, row.ssh_port) == (host, port)]
        if len(found) != 1:
            raise AmbiguousCreate(
                f"Machine {woken} was woken without telling the new id, and {len(found)} machines listen at "
                f"{host}:{port}: compare the list of machines."
            )
        return found[0]

    # Standby, failover, migration

    def enable_standby(self, instance_id: int) -> None:
        """Asks for a CPU standby of a machine. The answer comes before it is there.

        Raises:
            Refused: with the product's words (no such machine, it has one already, …).
        """
        self.needs("POST", f"{API}/standby/{{id}}/enable", "CPU standbys")
        self._call("POST", f"/standby/{instance_id}/enable", {})

    def stop_syncing(self, instance_id: int) -> None:
        """Has a standby left as it is, while its machine goes on."""
        self._succeed("POST", f"/standby/associations/{instance_id}/stop-sync", timeout=60.0)

    def standby(self, instance_id: int) -> StandbyView | None:
        """The standby of a machine, or None when the product knows of none."""
        try:
            row = self._call("GET", f"/standby/associations/{instance_id}")
        except Refused as refused:
            if refused.status == 404:
                return None
            raise
        return standby_view(_object(row, "GET /standby/associations/{id}"))

    def fail_over(self, instance_id: int, reason: str = "spot_interruption") -> str:
        """Has a machine fail over: the product ends it for real. Returns the failover's id.

        Raises:
            Refused: with the product's words (nothing to fail over to, one goes on already, …).
        """
        self.needs("POST", f"{API}/standby/{{id}}/simulate-failover", "failing over by hand")
        answer = _object(
            self._call("POST", f"/standby/{instance_id}/simulate-failover", {"reason": reason}),
            "POST /standby/{id}/simulate-failover",
        )
        return str(answer.get("failover_id") or "")

    def failover(self, failover_id: str) -> Progression:
        """How a failover goes."""
        return progression(
            _object(self._call("GET", f"/standby/failover/status/{failover_id}"), "GET /standby/failover/status/{id}")
        )

    def failovers(self) -> list[Progression]:
        """The failovers that go on, then those that ended in the last day, the newest first."""
        active = _rows(self._call("GET", "/standby/failover/active"), "failovers", "GET /standby/failover/active")
        return [*map(progression, active), *self.failover_report().rows]

    def failover_report(self) -> FailoverReport:
        """What the product says that the failovers of the last day came to."""
        what = "GET /standby/failover/report"
        answer = _object(self._call("GET", "/standby/failover/report", params={"days": 1}), what)
        return failover_report(answer, _rows(answer, "history", what))

    def failover_strategy(self, instance_id: int, strategy: str) -> str:
        """Chooses how a machine shall fail over. Returns the strategy that the product says is in effect."""
        self.needs("PUT", f"{API}/failover/settings/machines/{{id}}", "choosing a failover strategy")
        body = {"use_global_settings": False, "strategy": strategy}
        answer = _object(
            self._call("PUT", f"/failover/settings/machines/{instance_id}", body), "PUT /failover/settings/machines"
        )
        return str(answer.get("effective_strategy") or "")

    def readiness(self, instance_id: int) -> dict[str, Any]:
        """Whether a machine could fail over now, in the product's words."""
        return _object(self._call("GET", f"/failover/readiness/{instance_id}"), "GET /failover/readiness/{id}")

    def migrate(self, instance_id: int, gpu_type: str, max_price: float) -> str:
        """Has a machine moved to another GPU model. Returns the migration's id.

        Raises:
            Refused: with the product's words.
        """
        self.needs("GET", f"{API}/instances/migrate/{{id}}", "following a migration")
        answer = _object(
            self._call("POST", f"/instances/{instance_id}/migrate", {"gpu_type": gpu_type, "max_price": max_price}),
            "POST /instances/{id}/migrate",
        )
        return str(answer.get("migration_id") or "")

    def migration(self, migration_id: str) -> Progression:
        """How a migration goes."""
        return progression(
            _object(self._call("GET", f"/instances/migrate/{migration_id}"), "GET /instances/migrate/{id}")
        )

    # The history of tests

    def keep_test_metrics(self, test_name: str, timestamp: str, metrics: Mapping[str, float]) -> None:
        """Adds to the history of tests, in which the product's own alerts look for what has become slower.

        Args:
            test_name: such as `failover-complete-system`.
            timestamp: when it began, ISO 8601.
            metrics: milliseconds by name.
        """
        self.needs("POST", f"{API}/test-metrics", "keeping the metrics of tests")
        body: Json = {"test_name": test_name, "timestamp": timestamp, "metrics": dict(metrics)}
        self._call("POST", "/test-metrics", body)

    def test_metrics(self, test_name: str) -> list[dict[str, Any]]:
        """The history of a test: `timestamp` and `metrics` of each run, the newest first."""
        answer = self._call("GET", "/test-metrics", params={"test_name": test_name})
        return _rows(answer, "metrics", "GET /test-metrics")

    # The wire

    def _password_text(self) -> str:
        return self._password.get_secret_value()

    def _call(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Json:
        self.token()
        return self._http.request(method, API + path, body=body, params=params, timeout=timeout)

    def _succeed(self, method: str, path: str, *, timeout: float) -> dict[str, Any]:
        answer = self._call(method, path, timeout=timeout)
        answer = answer if isinstance(answer, dict) else {}
        if answer.get("success") is False:
            raise Mismatch(f"Dumont API says that {method} {path} failed: {_reasons(answer)}.")
        return answer

    def _rent(self, path: str, body: Json, whom: str, timeout: float) -> dict[str, Any]:
        try:
            answer = self._call("POST", path, body, timeout=timeout)
        except (AnswerLost, Refused) as error:
            if isinstance(error, StorageFull) or (isinstance(error, Refused) and error.status < 500):
                raise
            raise AmbiguousCreate(
                f"It is not known whether a machine was rented ({whom}): {str(error).removeprefix(Unknown.prefix)} "
                "Nothing was sent a second time. Look for the machine before renting another.",
                market_is_away=isinstance(error, Refused) and error.status == MARKET_IS_AWAY,
            ) from None
        if not isinstance(answer, dict):
            raise AmbiguousCreate(
                f"Dumont API's answer to POST {path} is not an object ({whom}): look for the machine."
            )
        return answer


def _object(answer: Json, what: str) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise Unknown(f"Dumont API answered {what} with {type(answer).__name__} where an object was expected.")
    return answer


def _rows(answer: Json, key: str, what: str) -> list[dict[str, Any]]:
    rows = _object(answer, what).get(key)
    if not isinstance(rows, list):
        raise Unknown(f"Dumont API answered {what} without a list `{key}`: what there is cannot be told.")
    return rows


def _reasons(answer: Mapping[str, Any]) -> str:
    errors = answer.get("errors") or answer.get("error") or answer.get("message") or "no reason given"
    return "; ".join(map(str, errors)) if isinstance(errors, list) else str(errors)


def _template(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path.rstrip("/"))
