"""The network's proxies: every toxic does what its name says, to connections that there are and to those that come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from sandbox.toxics.api import create_app
from sandbox.toxics.network import Network, ProxyOrder, Refused, ToxicOrder

ADMIN = "admin"
BIG = bytes(200_000)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # the proxy has reset the connection: that is the test
    finally:
        writer.close()


class Way:
    """A proxy before a server that echoes."""

    def __init__(self, network: Network, server: asyncio.Server) -> None:
        self.network = network
        self.server = server

    @property
    def port(self) -> int:
        return self.network.proxy("way").listen[1]

    def add(self, type_: str, stream: str = "downstream", *, toxicity: float = 1, **attributes: int) -> None:
        order = {"type": type_, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        self.network.add_toxic("way", ToxicOrder.model_validate(order))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def echo(self, data: bytes) -> bytes:
        """What comes back of some data, until all of it has come or the connection ends."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            return await reader.readexactly(len(data))
        except asyncio.IncompleteReadError as cut:
            return cut.partial
        finally:
            writer.close()


@asynccontextmanager
async def a_way() -> AsyncIterator[Way]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    network = Network()
    port = server.sockets[0].getsockname()[1]
    await network.create(ProxyOrder(name="way", upstream=f"127.0.0.1:{port}"))
    try:
        yield Way(network, server)
    finally:
        await network.close()
        server.close()


def on_a_way(test: Callable[[Way], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20), a_way() as way:
            await test(way)

    asyncio.run(run())


def test_nothing_is_changed_without_a_toxic() -> None:
    async def test(way: Way) -> None:
        data = bytes(range(256)) * 40_000
        assert await way.echo(data) == data

    on_a_way(test)


def test_latency_delays_and_does_not_narrow() -> None:
    async def test(way: Way) -> None:
        way.add("latency", latency=80)
        begun = time.monotonic()
        assert await way.echo(BIG) == BIG
        assert time.monotonic() - begun >= 0.08

    on_a_way(test)


def test_bandwidth_narrows() -> None:
    async def test(way: Way) -> None:
        way.add("bandwidth", rate=1000)
        begun = time.monotonic()
        assert await way.echo(BIG) == BIG
        assert time.monotonic() - begun >= 0.2

    on_a_way(test)


def test_slicer_keeps_every_byte() -> None:
    async def test(way: Way) -> None:
        way.add("slicer", average_size=700, size_variation=300)
        data = bytes(range(256)) * 100
        assert await way.echo(data) == data

    on_a_way(test)


def test_limit_data_ends_the_connection_after_its_bytes() -> None:
    async def test(way: Way) -> None:
        way.add("limit_data", bytes=1234)
        assert len(await way.echo(BIG)) == 1234

    on_a_way(test)


def test_reset_peer_resets() -> None:
    async def test(way: Way) -> None:
        way.add("reset_peer")
        with pytest.raises(ConnectionResetError):
            await way.echo(b"data")

    on_a_way(test)


def test_timeout_swallows_then_closes() -> None:
    async def test(way: Way) -> None:
        way.add("timeout", timeout=50)
        assert await way.echo(b"data") == b""

    on_a_way(test)


def test_timeout_of_nothing_closes_when_it_is_taken_away() -> None:
    async def test(way: Way) -> None:
        way.add("timeout", timeout=0)
        reader, writer = await way.connect()
        writer.write(b"data")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        await way.network.reset()
        assert await reader.read(1) == b""
        writer.close()

    on_a_way(test)


def test_slow_close_keeps_the_connection_open() -> None:
    async def test(way: Way) -> None:
        way.add("slow_close", delay=80)
        reader, writer = await way.connect()
        begun = time.monotonic()
        writer.write_eof()
        assert await reader.read() == b""
        assert time.monotonic() - begun >= 0.08
        writer.close()

    on_a_way(test)


def test_a_toxic_acts_on_connections_that_there_are() -> None:
    async def test(way: Way) -> None:
        reader, writer = await way.connect()
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        way.add("reset_peer", "upstream")
        writer.write(b"two")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()

    on_a_way(test)


def test_a_toxic_that_is_taken_away_lets_what_waits_go() -> None:
    async def test(way: Way) -> None:
        way.add("latency", latency=3_600_000)
        reader, writer = await way.connect()
        writer.write(b"data")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        way.network.remove_toxic("way", "latency_downstream")
        assert await reader.readexactly(4) == b"data"
        writer.close()

    on_a_way(test)


def test_toxicity_is_the_share_of_connections() -> None:
    async def test(way: Way) -> None:
        way.add("timeout", toxicity=0.5, timeout=1)
        whole = [await way.echo(b"data") for _ in range(40)].count(b"data")
        assert 0 < whole < 40

    on_a_way(test)


def test_a_disabled_proxy_refuses_and_ends_what_there_is() -> None:
    async def test(way: Way) -> None:
        port = way.port
        reader, writer = await way.connect()
        writer.write(b"data")
        assert await reader.readexactly(4) == b"data"
        await way.network.proxy("way").disable()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await way.network.reset()
        assert (way.port, await way.echo(b"data")) == (port, b"data")

    on_a_way(test)


def test_a_server_that_is_gone_is_a_reset() -> None:
    async def test(way: Way) -> None:
        way.server.close()
        with pytest.raises(ConnectionResetError):
            await way.echo(b"data")

    on_a_way(test)


def test_many_bytes_wait_for_a_slow_reader() -> None:
    async def test(way: Way) -> None:
        reader, writer = await way.connect()
        data = bytes(20_000_000)

        async def send() -> None:
            writer.write(data)
            await writer.drain()

        sending = asyncio.create_task(send())
        assert await reader.readexactly(len(data)) == data
        await sending
        writer.close()

    on_a_way(test)


# --- the API ---


def ask(*calls: tuple[str, str, Any]) -> list[httpx2.Response]:
    """What the API of a network with one proxy, `way`, answers to these calls."""

    async def run() -> list[httpx2.Response]:
        async with asyncio.timeout(20), a_way() as way:
            transport = httpx2.ASGITransport(app=create_app(way.network, ADMIN, "cloud"))
            async with httpx2.AsyncClient(
                transport=transport, base_url="http://network", headers={"Authorization": f"Bearer {ADMIN}"}
            ) as client:
                return [await client.request(method, path, json=body) for method, path, body in calls]

    return asyncio.run(run())


def test_a_toxic_is_added_changed_and_removed_as_toxiproxy_does() -> None:
    toxics = "/proxies/way/toxics"
    added, changed, proxy, removed, left = ask(
        ("POST", toxics, {"type": "latency", "attributes": {"latency": 100}}),
        ("POST", f"{toxics}/latency_downstream", {"attributes": {"jitter": 5}}),
        ("GET", "/proxies/way", None),
        ("DELETE", f"{toxics}/latency_downstream", None),
        ("GET", toxics, None),
    )
    toxic = {
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1.0,
        "attributes": {"latency": 100, "jitter": 0},
    }
    assert (added.status_code, added.json()) == (200, toxic)
    toxic["attributes"] = {"latency": 100, "jitter": 5}
    assert changed.json() == toxic
    assert proxy.json()["toxics"] == [toxic]
    assert (removed.status_code, left.json()) == (204, [])


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/proxies/no/toxics", {"type": "latency"}, 404, "proxy not found: no; there are way"),
        ("/proxies/way/toxics", {"type": "rust"}, 400, "bad request body: type: Input should be 'latency',"),
        ("/proxies/way/toxics", {"type": "latency", "stream": "sideways"}, 400, "bad request body: stream: "),
        ("/proxies/way/toxics", {"type": "latency", "attributes": {"latncy": 1}}, 400, "bad attributes of latency: "),
        ("/proxies", {"name": "way", "upstream": "127.0.0.1:1"}, 409, "proxy already exists: way"),
        ("/proxies", {"name": "out", "upstream": "192.0.2.1:80"}, 400, "192.0.2.1:80 is not on this machine"),
        ("/proxies", {"name": "out", "listen": "0.0.0.0:0", "upstream": "127.0.0.1:1"}, 400, "0.0.0.0:0 is not on"),
        ("/proxies", {"name": "odd", "upstream": "4711"}, 400, "'4711' is no address"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(path: str, body: Any, status: int, words: str) -> None:
    (answer,) = ask(("POST", path, body))
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.json()["error"].startswith(words)


def test_the_same_toxic_twice_is_refused() -> None:
    once = ("POST", "/proxies/way/toxics", {"type": "timeout"})
    assert [answer.status_code for answer in ask(once, once)] == [200, 409]


def test_only_the_admin_may() -> None:
    async def run() -> int:
        transport = httpx2.ASGITransport(app=create_app(Network(), ADMIN, "cloud"))
        async with httpx2.AsyncClient(transport=transport, base_url="http://network") as client:
            return (await client.get("/proxies")).status_code

    assert asyncio.run(run()) == 401


def test_populate_keeps_what_is_there() -> None:
    async def test(way: Way) -> None:
        way.add("latency", latency=1)
        before = way.network.proxy("way")
        order = ProxyOrder(name="way", upstream=f"127.0.0.1:{before.upstream[1]}")
        (after,) = await way.network.populate([order])
        assert (after is before, after.enabled, len(after.toxics)) == (True, True, 1)
        with pytest.raises(Refused, match="already exists"):
            await way.network.create(order)

    on_a_way(test)
