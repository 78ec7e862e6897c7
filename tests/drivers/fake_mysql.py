"""A server of thirty lines that speaks just enough of the protocol to ask for what it should not get."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ledger.drivers.url import MysqlUrl

SALT = b"12345678" + b"123456789012\0"
OK = b"\0\0\0\2\0\0\0"
CAPABILITIES = 0x000FF7FF & ~0x0800  # everything usual but TLS

Talk = Callable[["Wire"], Awaitable[None]]


class Wire:
    """One client's connection; `heard` is all it ever sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0
        self.heard = b""

    async def send(self, payload: bytes) -> None:
        """One packet."""
        self._writer.write(struct.pack("<I", len(payload))[:3] + bytes([self._number]) + payload)
        self._number += 1
        await self._writer.drain()

    async def receive(self) -> bytes:
        """One packet's payload; empty at the end."""
        try:
            head = await self._reader.readexactly(4)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "little"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        self._number = head[3] + 1
        self.heard += payload
        return payload

    async def greet(self, plugin: str = "mysql_native_password") -> bytes:
        """The greeting, and the client's answer to it."""
        low, high = CAPABILITIES & 0xFFFF, CAPABILITIES >> 16
        await self.send(
            b"\x0a8.0.99-fake\0"
            + struct.pack("<I", 7)
            + SALT[:8]
            + b"\0"
            + struct.pack("<HBHHB", low, 45, 2, high, 21)
            + b"\0" * 10
            + SALT[8:]
            + plugin.encode()
            + b"\0"
        )
        return await self.receive()


@asynccontextmanager
async def fake_server(talk: Talk) -> AsyncIterator[tuple[MysqlUrl, list[Wire]]]:
    """Listen on a free port; each client is talked to by `talk`."""
    wires: list[Wire] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        wires.append(wire)
        try:
            await talk(wire)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield MysqlUrl(host="127.0.0.1", port=port, user="app"), wires
    finally:
        server.close()
