"""asyncpg does through the gateway what it does directly; its own suite is in test_asyncpg_suite."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import asyncpg
import pytest

from tests.drivers.place import Place

Connection: TypeAlias = "asyncpg.Connection[Any]"


async def connect(place: Place, grant: str = "postgres", **options: Any) -> Connection:
    env = place.through(grant)
    connection: Connection = await asyncpg.connect(
        host=env["PGHOST"], port=int(env["PGPORT"]), user=env["PGUSER"], password=env["PGPASSWORD"],
        database=env["PGDATABASE"], **{"ssl": False, **options},
    )  # fmt: skip
    return connection


@pytest.fixture
async def connection(place: Place) -> AsyncIterator[Connection]:
    connection = await connect(place)
    yield connection
    await connection.close()


async def test_functions_give_and_raise_what_they_do_directly(connection: Connection) -> None:
    notices: list[str] = []
    connection.add_log_listener(lambda _, message: notices.append(message.message))
    async with connection.transaction():
        await connection.execute("""
            create function pg_temp.plain() returns text language sql as $$ select 'plain' $$;
        """)
    await connection.execute("""
        create function speaks(n int) returns text language plpgsql as $$
        begin raise notice 'n is %', n; return 'spoken ' || n; end $$;
    """)
    try:
        assert await connection.fetchval("select speaks($1)", 4) == "spoken 4"
        with pytest.raises(asyncpg.RaiseError, match="not this"):
            await connection.fetch("do $$ begin raise exception 'not this'; end $$")
        await asyncio.sleep(0)
        assert notices == ["n is 4"]
    finally:
        await connection.execute("drop function speaks(int)")


async def test_prepared_statements_cursors_and_batches(connection: Connection) -> None:
    await connection.execute("create temp table t (id int, name text, data jsonb, at timestamptz)")
    await connection.executemany(
        "insert into t values ($1, $2, $3, now())", [(i, f"name {i}", '{"i": 1}') for i in range(500)]
    )
    statement = await connection.prepare("select name from t where id = $1")
    assert [await statement.fetchval(i) for i in (3, 4)] == ["name 3", "name 4"]
    async with connection.transaction():
        cursor = await connection.cursor("select id from t order by id")
        assert [r[0] for r in await cursor.fetch(3)] == [0, 1, 2]
        await cursor.forward(100)
        assert (await cursor.fetchrow())[0] == 103  # type: ignore[index]


async def test_copy_both_ways(connection: Connection) -> None:
    await connection.execute("create temp table t (id int, name text)")
    rows = [(i, f"name {i}") for i in range(10_000)]
    assert await connection.copy_records_to_table("t", records=rows) == "COPY 10000"
    out = io.BytesIO()
    assert await connection.copy_from_query("select * from t order by id", output=out) == "COPY 10000"
    assert out.getvalue().splitlines()[9999] == b"9999\tname 9999"
    with pytest.raises(asyncpg.BadCopyFileFormatError):
        await connection.copy_to_table("t", source=io.BytesIO(b"1\t2\t3\n"))
    assert await connection.fetchval("select count(*) from t") == 10_000


async def test_a_timeout_cancels_and_the_connection_goes_on(connection: Connection) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await connection.fetch("select pg_sleep(30)", timeout=0.2)
    assert await connection.fetchval("select 1") == 1


async def test_notifications_arrive(place: Place, connection: Connection) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    await connection.add_listener("news", lambda *a: heard.put_nowait(a[3]))
    other = await connect(place)
    await other.execute("notify news, 'one'")
    assert await asyncio.wait_for(heard.get(), 5) == "one"
    await other.close()


async def test_tls_is_verified_in_full_and_direct_too(place: Place) -> None:
    context = ssl.create_default_context(cafile=str(place.ca_file))
    connection = await connect(place, ssl=context)
    assert await connection.fetchval("select repeat('x', 100000)") == "x" * 100_000
    await connection.close()
    context.set_alpn_protocols(["postgresql"])
    connection = await connect(place, ssl=context, direct_tls=True)
    assert await connection.fetchval("select 1") == 1
    await connection.close()


async def test_a_refusal_is_an_ordinary_error(place: Place) -> None:
    connection = await connect(place, "reader")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match='grant "reader" does not allow DDL'):
        await connection.execute("create table x ()")
    assert await connection.fetchval("select ssn from masked_people") == "[REDACTED]"
    await connection.close()
