"""`kill -9` at any moment loses no record of a statement that the database received."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from gatekeeper.identity.devissuer import DevIssuer
from tests.e2e.programs import free_port, program, run
from tests.harness import RULES, dsn_of, new_token
from tests.servers import Database

pytestmark = pytest.mark.server
ROUNDS = 6


async def _write(port: int, token: str, numbers: AsyncIterator[int], *, extended: bool) -> None:
    """Insert numbers until the connection breaks: sent statements are recorded, answered or not."""
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError):
        connection = await asyncpg.connect(
            host="127.0.0.1", port=port, user="ci", password=token, database="app", ssl=False
        )
        async for number in numbers:
            if extended:
                await connection.execute("insert into written values ($1::int, 'x')", number)
            else:
                await connection.execute(f"insert into written values ({number}, 's')")


async def test_no_row_is_without_its_record(tmp_path: Path, sample: Database) -> None:
    direct = await sample.connect()
    await direct.execute("create table written (n int, how text)")
    rules = RULES.format(dsn=dsn_of(sample)).replace("127.0.0.1:0", f"127.0.0.1:{free_port()}")
    (tmp_path / "rules.toml").write_text(rules)
    (tmp_path / "password").write_text(sample.server.password.reveal())
    issuer = DevIssuer(tmp_path / "issuer")
    counter = iter(range(10_000_000))

    async def numbers() -> AsyncIterator[int]:
        for number in counter:
            yield number

    for _ in range(ROUNDS):
        with program(tmp_path, "serve", "--rules", "rules.toml") as gateway:
            port = await asyncio.to_thread(lambda gateway=gateway: gateway.port)
            writers = [
                asyncio.create_task(_write(port, new_token(issuer), numbers(), extended=bool(i % 2)))
                for i in range(4)
            ]
            await asyncio.sleep(random.uniform(0.3, 1.2))
            await asyncio.to_thread(gateway.stop, signal.SIGKILL)
            await asyncio.gather(*writers)

    await asyncio.sleep(0.5)  # the database may still work on what it received
    rows = {(r["n"], r["how"]) for r in await direct.fetch("select n, how from written")}
    await direct.close()
    assert len(rows) > ROUNDS * 10

    with program(tmp_path, "serve", "--rules", "rules.toml") as gateway:  # it opens what the last one left
        await asyncio.to_thread(lambda: gateway.port)
        await asyncio.to_thread(gateway.stop, signal.SIGTERM)
    exported = await asyncio.to_thread(run, tmp_path, "audit", "export", "--format", "jsonl")
    recorded = set()
    for line in exported.stdout.splitlines():
        record = json.loads(line)
        if record["kind"] != "statement" or "written" not in record["sql"]:
            continue
        if record["params"]:
            recorded.add((int(record["params"][0]), "x"))
        elif "'s'" in record["sql"]:
            recorded.add((int(record["sql"].split("(")[1].split(",")[0]), "s"))
    assert rows <= recorded
    verified = await asyncio.to_thread(run, tmp_path, "audit", "verify")
    assert verified.returncode == 0, verified.stderr
