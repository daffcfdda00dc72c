"""A boot that is called off must end, also in the very moment in which the machine answers."""

from __future__ import annotations

import asyncio

from sandbox.hosts import host


def test_a_cancellation_is_never_lost() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH rekindle-banner\r\n")
        await writer.drain()
        writer.close()

    async def call_off(port: int, steps: int) -> bool:
        """Calls a look off after some turns of the event loop. Returns whether it obeyed."""
        look = asyncio.create_task(host._answers(port, "rekindle-banner"))
        for _ in range(steps):
            await asyncio.sleep(0)
        asked = look.cancel()
        await asyncio.wait([look])
        return look.cancelled() or not asked

    async def main() -> list[bool]:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return [await call_off(port, steps) for _ in range(20) for steps in range(30)]

    assert all(asyncio.run(main()))
