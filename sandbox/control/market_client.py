"""The market over HTTP: patient with calls that may be repeated, careful with the one that may not."""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from contextlib import suppress
from typing import Any

import httpx2
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sandbox.control.errors import ApiError
from sandbox.disk_answers import INSUFFICIENT_STORAGE

RETRIES = 3
LONGEST_PAUSE = 30.0  # seconds between two tries
GONE_WITHIN = 20.0  # seconds that the market may take to end a machine
TOKEN = "DUMONT_RENT"  # noqa: S105 - the name of the mark by which a rented machine is recognised


class MarketError(ApiError):
    """The market refused, or did not answer."""


class OfferGone(MarketError):
    """Somebody else has rented it, or it never was: another offer may do."""


class MarketInstance(BaseModel):
    """A machine as the market lists it. Memory in MB, disk in GB, prices in USD an hour."""

    model_config = ConfigDict(extra="ignore")

    id: int
    intended_status: str | None = None
    actual_status: str | None = None
    status_msg: str | None = None
    machine_id: int | str | None = None
    label: str | None = None
    gpu_name: str | None = None
    num_gpus: int | None = None
    gpu_ram: float | None = None
    gpu_util: float | None = None
    gpu_temp: float | None = None
    cpu_cores: float | None = None
    cpu_ram: float | None = None
    disk_space: float | None = None
    dph_total: float | None = None
    public_ipaddr: str | None = None
    ssh_host: str | None = None
    ssh_port: int | None = None
    ports: dict[str, list[dict[str, str]]] | None = None
    start_date: float | None = None
    geolocation: str | None = None
    image_uuid: str | None = None
    extra_env: list[list[str]] = Field(default_factory=list)

    @property
    def rent_token(self) -> str | None:
        return next((pair[1] for pair in self.extra_env if pair[:1] == [TOKEN]), None)

    @property
    def is_running(self) -> bool:
        return self.actual_status == "running"


class MarketVolume(BaseModel):
    """A volume as the market lists it. Size in GB, price in USD an hour; `instance_id`: the machine that uses it."""

    model_config = ConfigDict(extra="ignore")

    id: int
    name: str
    size: float
    region: str
    dph_total: float | None = None
    instance_id: int | None = None


class Rent(BaseModel):
    """What is rented. The token makes the machine recognisable when the market's answer is lost."""

    image: str
    disk: float
    label: str | None = None
    onstart: str | None = None
    ports: list[int] = [8080]
    volume_id: int | None = None
    token: str = Field(default_factory=lambda: uuid.uuid4().hex)

    def body(self) -> dict[str, JsonValue]:
        published: list[JsonValue] = [[f"-p {port}:{port}", "1"] for port in sorted({8080, *self.ports})]
        body: dict[str, JsonValue] = {
            "client_id": "me",
            "image": self.image,
            "disk": self.disk,
            "runtype": "jupyter",
            "onstart": self.onstart,
            "extra_env": [*published, [TOKEN, self.token]],
        }
        body |= {"volume_id": self.volume_id} if self.volume_id else {}
        return body | ({"label": self.label} if self.label else {})


class MarketClient:
    """One account of the market."""

    def __init__(
        self,
        url: str,
        api_key: str,
        public_key: str,
        *,
        pause: float,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """`public_key`: what lets us into the machines; `pause`: seconds before the first retry, it doubles."""
        self._pause = pause
        self._public_key = public_key
        self._key_is_registered = False
        self._http = httpx2.AsyncClient(
            base_url=f"{url}/api/",
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=httpx2.Timeout(30, connect=5),
            limits=httpx2.Limits(max_connections=50),
            trust_env=False,
            # An empty context: the default one reads the system's certificates for a tenth of a second, for nothing.
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            transport=transport,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def offers(self, query: dict[str, JsonValue], *, order: str, kind: str, limit: int) -> list[dict[str, Any]]:
        answer = await self._call(
            "GET", "v0/bundles/", params={"q": json.dumps(query), "order": order, "type": kind, "limit": str(limit)}
        )
        offers: list[dict[str, Any]] = answer["offers"] if isinstance(answer, dict) else answer
        return offers

    async def rent(self, offer_id: int, rent: Rent) -> int:
        """Rents an offer and returns the new machine's id.

        The request is repeated only when the market has refused it for now (429), or when its answer was lost and
        the account holds no machine with the rent's token.
        """
        await self.register_key()
        for attempt in range(RETRIES + 1):
            pause, refusal = self._pause * 2**attempt, None
            try:
                answer = await self._http.put(f"v0/asks/{offer_id}/", json=rent.body())
            except httpx2.TransportError as error:
                trouble = f"no answer ({error!r})"
            else:
                if answer.status_code == 429:
                    trouble, pause, refusal = _trouble(answer), _pause_asked(answer, pause), answer
                elif answer.status_code < 500 or answer.status_code == INSUFFICIENT_STORAGE:
                    return self._rented(offer_id, answer)
                else:
                    trouble = _trouble(answer)
            if (instance_id := await self.find_rented(rent.token)) is not None:
                return instance_id
            if attempt < RETRIES:
                await asyncio.sleep(pause)
        raise _given_up(f"Renting offer {offer_id} failed {RETRIES + 1} times; at last: {trouble}", refusal)

    def _rented(self, offer_id: int, answer: httpx2.Response) -> int:
        body = _json(answer)
        if answer.is_success and isinstance(body, dict) and isinstance(body.get("new_contract"), int):
            contract: int = body["new_contract"]
            return contract
        words = _words(answer)
        if answer.status_code == INSUFFICIENT_STORAGE:
            raise MarketError(INSUFFICIENT_STORAGE, words)
        if answer.status_code == 402 or any(word in words.lower() for word in ("balance", "credit", "funds")):
            raise MarketError(402, f"Saldo insuficiente: {words}")
        if answer.status_code == 404:
            raise OfferGone(404, f"Oferta {offer_id} indisponível: {words}")
        if answer.status_code in (400, 409, 410):
            raise OfferGone(409, f"Oferta {offer_id} indisponível: {words}")
        raise MarketError(502, f"Renting offer {offer_id}: the market answers {_trouble(answer)}")

    async def find_rented(self, token: str) -> int | None:
        """The machine that a rent with this token brought, if it brought one."""
        return next((one.id for one in await self.instances() if one.rent_token == token), None)

    async def instance(self, instance_id: int) -> MarketInstance | None:
        """The machine, or None when the market says that there is none. Any other trouble is an error."""
        answer = await self._call("GET", f"v0/instances/{instance_id}/", missing=None)
        rows = answer.get("instances", answer) if isinstance(answer, dict) else answer
        row = rows[0] if isinstance(rows, list) and rows else rows
        return MarketInstance.model_validate(row) if isinstance(row, dict) and "id" in row else None

    async def instances(self) -> list[MarketInstance]:
        """All machines of the account, all pages of them."""
        found: list[MarketInstance] = []
        token = None
        while True:
            params = {"order_by": json.dumps([{"col": "id", "dir": "asc"}]), "limit": "25"}
            answer = await self._call("GET", "v1/instances/", params=params | ({"after_token": token} if token else {}))
            found += [MarketInstance.model_validate(row) for row in answer["instances"]]
            token = answer.get("next_token")
            if not token:
                return found

    async def set_state(self, instance_id: int, state: str) -> None:
        """`running` or `stopped`: what the machine shall be."""
        answer = await self._call("PUT", f"v0/instances/{instance_id}/", body={"state": state})
        if not answer.get("success"):
            raise MarketError(502, f"The market refused to make instance {instance_id} {state}: {answer.get('msg')}")

    async def destroy(self, instance_id: int) -> None:
        """Destroys a machine and sees that the market no longer has it."""
        await self._call("DELETE", f"v0/instances/{instance_id}/", body={}, missing=None)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while (left := await self.instance(instance_id)) is not None:
            waited = loop.time() - begun
            if waited > GONE_WITHIN:
                raise MarketError(
                    502,
                    f"The market accepted to destroy instance {instance_id}, but {waited:.0f} s later it still lists "
                    f"it as {left.actual_status}",
                )
            await asyncio.sleep(max(0.05, waited / 10))

    async def volumes(self) -> list[MarketVolume]:
        answer = await self._call("GET", "v0/volumes/")
        return [MarketVolume.model_validate(row) for row in answer["volumes"]]

    async def create_volume(self, name: str, size: float, region: str) -> MarketVolume:
        """Makes a volume; one of this name, which an earlier try may have made, is taken as it is."""
        found = next((one for one in await self.volumes() if one.name == name), None)
        if found is not None:
            return found
        body: JsonValue = {"name": name, "size": size, "region": region}
        return MarketVolume.model_validate(await self._call("POST", "v0/volumes/", body=body))

    async def delete_volume(self, volume_id: int) -> None:
        """Deletes a volume, if it is there."""
        await self._call("DELETE", f"v0/volumes/{volume_id}/", missing=None)

    async def account(self) -> dict[str, Any]:
        answer: dict[str, Any] = await self._call("GET", "v0/users/current/")
        return answer

    async def register_key(self) -> None:
        """Lets us into every machine that is rented from now on."""
        if self._key_is_registered:
            return
        if self._public_key.split()[1] not in json.dumps(await self._call("GET", "v0/ssh/")):
            await self._call("POST", "v0/ssh/", body={"ssh_key": self._public_key})
        self._key_is_registered = True

    async def ssh_keys(self) -> list[str]:
        """The public keys of the account, ours among them: whoever holds one may enter its machines."""
        await self.register_key()
        rows = await self._call("GET", "v0/ssh/")
        return [row.get("key") or row["public_key"] for row in rows]

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: JsonValue = None,
        missing: object = Ellipsis,
    ) -> Any:
        """A call that may be repeated. `missing`: what a 404 stands for; an error when not given."""
        for attempt in range(RETRIES + 1):
            pause, refusal = self._pause * 2**attempt, None
            try:
                answer = await self._http.request(method, path, params=params, json=body)
            except httpx2.TransportError as error:
                trouble = f"no answer ({error!r})"
            else:
                if answer.status_code == 404 and missing is not Ellipsis:
                    return missing
                if answer.is_success:
                    return _json(answer)
                trouble = _trouble(answer)
                if answer.status_code == INSUFFICIENT_STORAGE:  # trying again frees no space
                    raise MarketError(INSUFFICIENT_STORAGE, _words(answer))
                if answer.status_code != 429 and answer.status_code < 500:
                    raise MarketError(502, f"{method} {path}: the market answers {trouble}")
                pause = _pause_asked(answer, pause)
                refusal = answer if answer.status_code == 429 else None
            if attempt < RETRIES:
                await asyncio.sleep(pause)
        raise _given_up(f"{method} {path} failed {RETRIES + 1} times at the market; at last: {trouble}", refusal)


def _given_up(message: str, refusal: httpx2.Response | None) -> MarketError:
    """After the last try: the market is away (503), or has only refused us for now (429), as it may say how long."""
    if refusal is None:
        return MarketError(503, message)
    with suppress(KeyError, ValueError):
        return MarketError(429, message, retry_after=max(0.0, float(refusal.headers["Retry-After"])))
    return MarketError(429, message)


def _json(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise MarketError(502, f"The market answers no JSON: {answer.text[:200]!r}") from None


def _words(answer: httpx2.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return answer.text[:200]
    if not isinstance(body, dict):
        return answer.text[:200]
    return str(body.get("msg") or body.get("error") or body)


def _trouble(answer: httpx2.Response) -> str:
    return f"{answer.status_code}: {_words(answer)}"


def _pause_asked(answer: httpx2.Response, pause: float) -> float:
    with suppress(KeyError, ValueError):
        pause = max(0.0, float(answer.headers["Retry-After"]))
    return min(pause, LONGEST_PAUSE)
