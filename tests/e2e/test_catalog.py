"""What names mean: the snapshot follows DDL, and never waits for a transaction that holds its locks."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from tests.harness import REDACTED, Gate

pytestmark = pytest.mark.server


async def test_a_migration_that_holds_locks_delays_no_other_session(gate: Gate) -> None:
    await gate.sql("create view cities as select city, ssn from customers", grant="dba")
    migration = await gate.asyncpg("dba")
    await migration.execute("begin; alter table customers add column nick text; alter table orders add x int")
    other = await gate.asyncpg()
    began = time.monotonic()
    await other.execute("create table elsewhere (id int)")
    assert await other.fetchval("select count(*) from elsewhere") == 0
    assert time.monotonic() - began < 5
    await migration.execute("commit")
    assert await other.fetchval("select ssn from cities order by city limit 1") == REDACTED
    await other.close()
    await migration.close()


async def test_a_session_that_holds_locks_itself_goes_on(gate: Gate) -> None:
    connection = await gate.asyncpg("dba")
    await connection.execute("create view cities as select city from customers")
    async with connection.transaction():
        await connection.execute("alter table customers add column nick text")
        other = await gate.asyncpg()
        await other.execute("create table elsewhere (id int)")
        assert await asyncio.wait_for(connection.fetchval("select count(*) from orders"), 5) == 20
        await other.close()
    await connection.close()


async def test_a_column_renamed_behind_the_gateway_stays_masked(gate: Gate) -> None:
    assert await gate.sql("select ssn from customers where id = 1") == REDACTED
    direct = await gate.database.connect()
    await direct.execute("alter table customers rename column ssn to harmless")
    await direct.close()
    assert await gate.sql("select harmless from customers where id = 1") == REDACTED
    await asyncio.sleep(6)  # until the next poll
    assert await gate.sql("select upper(harmless) from customers where id = 1") == REDACTED


async def test_ddl_takes_effect_for_the_next_statement(gate: Gate) -> None:
    connection = await gate.asyncpg()
    await connection.execute("create schema s; create table s.t (card_number text, other text)")
    await connection.execute("insert into s.t values ('4111111111111111', 'seen')")
    row = await connection.fetchrow("select card_number, other from s.t")
    assert tuple(row) == (REDACTED, "seen")  # type: ignore[arg-type]
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"s\.t\.card_number"):
        await connection.fetch("select 1 from s.t where card_number like '4%'")
    await connection.close()


async def test_logins_that_come_while_the_catalog_is_read_wait_for_it(gate: Gate) -> None:
    connections = await asyncio.gather(*(gate.asyncpg() for _ in range(6)))
    found = await asyncio.gather(
        *(c.fetchrow("select pg_backend_pid(), ssn from customers") for c in connections)
    )
    assert [tuple(row) for row in found if row] == [(c.get_server_pid(), REDACTED) for c in connections]
    for connection in connections:
        await connection.close()


async def test_a_database_that_nobody_uses_can_be_dropped(gate: Gate) -> None:
    """PostgreSQL waits 5 s for others to leave, and the gateway has left by then."""
    assert await gate.sql("select 1") == "1"
    admin = await asyncpg.connect(gate.database.server.dsn())
    await admin.execute(f'drop database "{gate.database.name}"')
    await admin.execute(f'create database "{gate.database.name}"')
    await admin.close()
    assert await gate.sql("create table fresh (id int); select count(*) from fresh") == "CREATE TABLE\n0"


async def test_sessions_that_make_and_drop_at_once_disturb_each_other_in_nothing(gate: Gate) -> None:
    async def work(name: str) -> None:
        connection = await gate.asyncpg("dba", statement_cache_size=0)
        for _ in range(8):
            await connection.execute(
                f"create table {name} (id int); create view v_{name} as select id from {name}"
            )
            async with connection.transaction():
                await connection.execute(f"alter table {name} add column more text")
                assert await connection.fetchval(f"select count(*) from v_{name}") == 0
            await connection.execute(f"drop view v_{name}; drop table {name}")
        await connection.close()

    await asyncio.gather(*(work(f"t{i}") for i in range(5)))
