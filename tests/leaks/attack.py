"""Says to a server what an attacker would say, and keeps every byte that comes back.

An attack is a list of query strings for one session. It is told to the database itself and to the gateway;
what the gateway gives back must hold no canary, and must not depend on the masked values at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gatekeeper.proxy.wire import frontend
from tests.harness import Gate
from tests.proxy.wire import Message, Wire, connect

How = Literal["simple", "text", "binary"]
RULES = """
[gateway]
listen = "127.0.0.1:0"
store = "recordings.db"
control = "gatekeeper.sock"

[policy]
dynamic_sql = "allow"
opaque_function = "allow"
approval_timeout = "5s"

[[issuer]]
name = "local"
issuer = "https://issuer.gatekeeper.localhost"
audience = "gatekeeper"
jwks = "issuer/jwks.json"
algorithms = ["ES256"]

[[database]]
name = "app"
dsn = "{dsn}"
password = "file:password"

[[grant]]
name = "ci"
issuer = "local"
claims = {{ repository = "acme/*" }}
databases = ["app"]
classes = ["READ", "WRITE", "FUNCTION", "DDL", "MISC"]

[[grant]]
name = "dba"
issuer = "local"
claims = {{ repository = "acme/*" }}
databases = ["app"]
classes = ["READ", "WRITE", "FUNCTION", "ROLE", "DDL", "MISC", "SERVER"]

[[grant]]
name = "analyst"
issuer = "local"
claims = {{ repository = "acme/*" }}
databases = ["app"]
classes = ["READ"]
"""
"""Code that cannot be read is allowed, so that masking stands alone."""


@dataclass
class Heard:
    """All that a client received after its login."""

    messages: list[Message] = field(default_factory=list)

    @property
    def everything(self) -> bytes:
        return b"\n".join(kind.encode() + body for kind, body in self.messages)

    @property
    def comparable(self) -> list[Message]:
        """Without the OIDs of tables and own types: what is made twice has another each time."""
        return [(kind, _without_oids(body) if kind == "T" else body) for kind, body in self.messages]

    @property
    def errors(self) -> list[dict[str, str]]:
        return [read_fields(body) for kind, body in self.messages if kind == "E"]

    @property
    def notices(self) -> list[str]:
        return [read_fields(body).get("M", "") for kind, body in self.messages if kind == "N"]

    @property
    def tags(self) -> list[str]:
        return [body[:-1].decode() for kind, body in self.messages if kind == "C"]

    @property
    def rows(self) -> list[list[bytes | None]]:
        return [cells(body) for kind, body in self.messages if kind == "D"]

    @property
    def codes(self) -> list[str]:
        return [error["C"] for error in self.errors]


def _without_oids(body: bytes) -> bytes:
    out, at = bytearray(body[:2]), 2
    for _ in range(int.from_bytes(body[:2], "big")):
        end = body.index(b"\0", at) + 1
        own_type = int.from_bytes(body[end + 6 : end + 10], "big") >= 16384
        type_oid = bytes(4) if own_type else body[end + 6 : end + 10]
        out += body[at:end] + bytes(4) + body[end + 4 : end + 6] + type_oid + body[end + 10 : end + 18]
        at = end + 18
    return bytes(out)


def read_fields(body: bytes) -> dict[str, str]:
    return {part[:1].decode(): part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}


def cells(body: bytes) -> list[bytes | None]:
    found: list[bytes | None] = []
    at = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        length = int.from_bytes(body[at : at + 4], "big", signed=True)
        at += 4
        found.append(None if length < 0 else body[at : at + length])
        at += max(length, 0)
    return found


async def tell(wire: Wire, steps: Sequence[str | bytes], how: How = "simple") -> Heard:
    """Run these query strings one after the other, in one protocol."""
    heard = Heard()
    for step in steps:
        text = step if isinstance(step, bytes) else step.encode()
        if how == "simple":
            await wire.send(frontend.query(text))
        else:
            await wire.send(*extended(text, binary=how == "binary"))
        async with asyncio.timeout(20):
            while (message := await wire.receive()) is not None:
                heard.messages.append(message)
                if message[0] in "GW":
                    await wire.send(frontend.message(b"c", b""))
                if message[0] == "Z":
                    break
    return heard


def extended(text: bytes, *, binary: bool = False, describe: bool = True, sync: bool = True) -> list[bytes]:
    formats = b"\0\1\0\1" if binary else b"\0\0"
    return [
        frontend.parse(b"", text),
        frontend.message(b"B", b"\0\0" + b"\0\0" + b"\0\0" + formats),
        *([frontend.describe("P", b"")] if describe else []),
        frontend.message(b"E", b"\0" + b"\0\0\0\0"),
        *([frontend.message(b"S", b"")] if sync else []),
    ]


@contextlib.asynccontextmanager
async def at_the_database(gate: Gate) -> AsyncIterator[Wire]:
    server = gate.database.server
    async with connect(Path(str(server.host)) / f".s.PGSQL.{server.port}") as wire:
        await wire.login_direct(gate.database)
        await wire.send(frontend.query(b"select 1"))
        await wire.until_ready()
        yield wire


@contextlib.asynccontextmanager
async def at_the_gate(gate: Gate, grant: str = "ci") -> AsyncIterator[Wire]:
    async with connect((gate.host, gate.port)) as wire:
        answer = await wire.login(grant, "app", gate.token())
        assert answer[-1][0] == "Z", answer
        yield wire
