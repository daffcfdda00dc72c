"""All ways of a cloud, by their names."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.toxics.proxy import Address, Proxy
from sandbox.toxics.toxic import ATTRIBUTES, Stream, Toxic, Type


class Refused(Exception):
    """What was asked for cannot be done; `status` says the same to programs."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ProxyOrder(BaseModel):
    """A proxy that shall be. `listen` at port 0 takes any free one."""

    name: str = Field(min_length=1)
    listen: str = "127.0.0.1:0"
    upstream: str
    enabled: bool = True


class ProxyChange(BaseModel):
    listen: str | None = None
    upstream: str | None = None
    enabled: bool | None = None


class ToxicOrder(BaseModel):
    """A toxic that shall act, on all connections unless `toxicity` is less than 1."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="", description="<type>_<stream> when not given")
    type: Type
    stream: Stream = "downstream"
    toxicity: float = Field(1, ge=0, le=1)
    attributes: dict[str, int] = {}


class ToxicChange(BaseModel):
    toxicity: float | None = Field(None, ge=0, le=1)
    attributes: dict[str, int] = {}


class Network:
    def __init__(self) -> None:
        self._proxies: dict[str, Proxy] = {}

    def public(self) -> dict[str, Any]:
        return {name: proxy.public() for name, proxy in self._proxies.items()}

    def proxy(self, name: str) -> Proxy:
        if name not in self._proxies:
            raise Refused(404, f"proxy not found: {name}; there are {', '.join(self._proxies) or 'none'}")
        return self._proxies[name]

    async def create(self, order: ProxyOrder) -> Proxy:
        if order.name in self._proxies:
            raise Refused(409, f"proxy already exists: {order.name}")
        proxy = Proxy(order.name, _address(order.listen), _address(order.upstream))
        if order.enabled:
            await _enable(proxy)
        self._proxies[order.name] = proxy
        return proxy

    async def populate(self, orders: list[ProxyOrder]) -> list[Proxy]:
        """Creates proxies; those that are there already get other ends where they differ, and keep their toxics."""
        proxies = []
        for order in orders:
            if order.name in self._proxies:
                change = ProxyChange(upstream=order.upstream, enabled=order.enabled)
                proxies.append(await self.change(order.name, change))
            else:
                proxies.append(await self.create(order))
        return proxies

    async def change(self, name: str, change: ProxyChange) -> Proxy:
        proxy = self.proxy(name)
        listen = _address(change.listen) if change.listen else proxy.listen
        upstream = _address(change.upstream) if change.upstream else proxy.upstream
        enabled = proxy.enabled if change.enabled is None else change.enabled
        if (listen, upstream) != (proxy.listen, proxy.upstream) or not enabled:
            await proxy.disable()
            proxy.listen, proxy.upstream = listen, upstream
        if enabled:
            await _enable(proxy)
        return proxy

    async def delete(self, name: str) -> None:
        proxy = self.proxy(name)
        del self._proxies[name]
        await proxy.disable()

    async def reset(self) -> None:
        """No toxics any more, and every proxy listens."""
        for proxy in self._proxies.values():
            proxy.toxics = []
            await _enable(proxy)

    async def close(self) -> None:
        for proxy in self._proxies.values():
            await proxy.disable()

    def add_toxic(self, name: str, order: ToxicOrder) -> Toxic:
        proxy = self.proxy(name)
        toxic = _toxic(order.name or f"{order.type}_{order.stream}", order)
        if any(one.name == toxic.name for one in proxy.toxics):
            raise Refused(409, f"toxic already exists: {toxic.name}")
        proxy.toxics = [*proxy.toxics, toxic]
        return toxic

    def toxic(self, name: str, toxic: str) -> Toxic:
        found = next((one for one in self.proxy(name).toxics if one.name == toxic), None)
        if found is None:
            raise Refused(404, f"toxic not found: {toxic}")
        return found

    def change_toxic(self, name: str, toxic: str, change: ToxicChange) -> Toxic:
        """What is not given stays."""
        before = self.toxic(name, toxic)
        order = ToxicOrder(
            type=before.type,
            stream=before.stream,
            toxicity=before.toxicity if change.toxicity is None else change.toxicity,
            attributes=before.attributes.model_dump() | change.attributes,
        )
        after = _toxic(toxic, order)
        proxy = self.proxy(name)
        proxy.toxics = [after if one is before else one for one in proxy.toxics]
        return after

    def remove_toxic(self, name: str, toxic: str) -> None:
        gone = self.toxic(name, toxic)
        proxy = self.proxy(name)
        proxy.toxics = [one for one in proxy.toxics if one is not gone]


def _toxic(name: str, order: ToxicOrder) -> Toxic:
    try:
        attributes = ATTRIBUTES[order.type].model_validate(order.attributes)
    except ValidationError as error:
        first: Mapping[str, Any] = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(400, f"bad attributes of {order.type}: {where}: {first['msg']}") from None
    return Toxic(name, order.type, order.stream, order.toxicity, attributes)


async def _enable(proxy: Proxy) -> None:
    try:
        await proxy.enable()
    except OSError as error:
        raise Refused(409, f"proxy {proxy.name} cannot listen: {error}") from None


def _address(text: str) -> Address:
    """Reads `127.0.0.1:4711`. Nothing beyond this machine is listened to, or spoken with."""
    host, _, port = text.rpartition(":")
    try:
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise Refused(400, f"{text} is not on this machine: only loopback addresses are served")
        number = int(port)
    except ValueError:
        raise Refused(400, f"{text!r} is no address: 127.0.0.1:4711 would be one") from None
    if not 0 <= number <= 65535:
        raise Refused(400, f"{text} has no such port")
    return host, number
