"""A client of a few lines, which says what it likes, and reads what comes back message by message."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from gatekeeper.proxy.wire import backend, frontend
from gatekeeper.proxy.wire.login import UpstreamLogin
from tests.servers import Database

Message = tuple[str, bytes]


@dataclass
class Wire:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pid: int = 0
    key: bytes = b""
    settings: dict[str, str] = field(default_factory=dict)

    async def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))
        await self.writer.drain()

    async def receive(self) -> Message | None:
        """The next message; None at the end."""
        try:
            async with asyncio.timeout(10):
                head = await self.reader.readexactly(5)
                return chr(head[0]), await self.reader.readexactly(int.from_bytes(head[1:], "big") - 4)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def until_ready(self, count: int = 1) -> list[Message]:
        """All messages up to that many ReadyForQuery, or to the end."""
        found: list[Message] = []
        while (message := await self.receive()) is not None:
            found.append(message)
            count -= message[0] == "Z"
            if not count:
                break
        return found

    async def rest(self) -> bytes:
        """All bytes up to the end."""
        try:
            async with asyncio.timeout(10):
                return await self.reader.read()
        except ConnectionError:
            return b""

    async def login(self, user: str, database: str, password: str = "", minor: int = 0) -> list[Message]:
        await self.send(
            frontend.startup({b"user": user.encode(), b"database": database.encode()}, 3 << 16 | minor)
        )
        found: list[Message] = []
        while (message := await self.receive()) is not None:
            kind, body = message
            found.append(message)
            if kind == "R" and body == b"\0\0\0\3":
                await self.send(frontend.message(b"p", password.encode() + b"\0"))
            elif kind == "S":
                name, value = backend.read_parameter_status(body)
                self.settings[name] = value
            elif kind == "K":
                self.pid, self.key = int.from_bytes(body[:4], "big"), body[4:]
            elif kind in "ZE":
                break
        return found

    async def login_direct(self, database: Database) -> None:
        """Log in at PostgreSQL itself."""
        server = database.server
        machine = UpstreamLogin(server.user, server.password)
        await self.send(
            frontend.startup({b"user": server.user.encode(), b"database": database.name.encode()})
        )
        while not machine.done:
            message = await self.receive()
            assert message is not None
            await self.send(machine.receive(ord(message[0]), message[1]))

    async def run(self, text: str) -> list[Message]:
        await self.send(frontend.query(text.encode()))
        return await self.until_ready()


@contextlib.asynccontextmanager
async def connect(
    where: tuple[str, int] | Path, tls: ssl.SSLContext | None = None, **options: object
) -> AsyncIterator[Wire]:
    """A connection to a host and port, or to a socket."""
    if isinstance(where, Path):
        reader, writer = await asyncio.open_unix_connection(where)
    else:
        reader, writer = await asyncio.open_connection(*where, ssl=tls, **options)  # type: ignore[arg-type]
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
