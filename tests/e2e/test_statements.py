"""Points 2 to 4: masked columns, ordinary work, blocked statements; with psql, asyncpg and psycopg 3."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.harness import REDACTED, Gate, fields

pytestmark = pytest.mark.server

BLOCKED = 'blocked by guard "no-drop-database"'


# --- 2: masks -------------------------------------------------------------------------------------------


async def test_a_masked_column_is_redacted_and_the_rest_is_as_postgresql_sent_it(gate: Gate) -> None:
    sql = "select id, name, ssn, born from customers order by id limit 3"
    assert await gate.sql(sql) == "1|Ada|[REDACTED]|1990-01-02\n2|Bob|[REDACTED]|1991-02-03\n3|Cyd||"


@pytest.mark.parametrize(
    "sql",
    [
        "select ssn as harmless from customers where id = 1",
        "select upper(ssn) from customers where id = 1",
        "select \"ssn\" || '' from only public.customers as c where id = 1",
        "with c as (select * from customers) select ssn from c where id = 1",
        "select (select ssn from customers where id = 1)",
        "select ssn from customers where id = 1 union all select null where false",
        "select max(ssn) from customers where id = 1",
        "copy (select ssn from customers where id = 1) to stdout",
        "insert into customers (id, ssn) values (9, '999-99-9999') returning ssn",
    ],
)
async def test_a_masked_column_is_masked_by_any_way(gate: Gate, sql: str) -> None:
    shown = await gate.sql(sql)
    for value in ("111-22-3333", "222-33-4444", "999-99-9999"):
        assert value not in shown
    assert REDACTED in shown or "is masked" in shown or shown == ""


async def test_a_masked_column_in_a_predicate_is_refused(gate: Gate) -> None:
    shown = await gate.sql("select id from customers where ssn = '111-22-3333'")
    assert shown.splitlines()[0] == 'ERROR:  column "public.customers.ssn" is masked'


async def test_counting_is_free(gate: Gate) -> None:
    assert await gate.sql("select count(*), count(ssn) from customers") == "3|2"


async def test_a_grant_that_is_excepted_sees_all(gate: Gate) -> None:
    assert await gate.sql("select ssn from customers where id = 1", grant="dba") == "111-22-3333"


async def test_binary_results_are_masked_in_their_type(gate: Gate) -> None:
    connection = await gate.asyncpg()
    rows = await connection.fetch("select * from customers order by id")
    assert [r["ssn"] for r in rows] == [REDACTED, REDACTED, None]
    assert [r["card_number"] for r in rows] == [None, None, None]
    assert [r["name"] for r in rows] == ["Ada", "Bob", "Cyd"]
    assert str(rows[0]["born"]) == "1990-01-02"
    await connection.close()


async def test_prepared_statements_and_cursors_keep_their_masks(gate: Gate) -> None:
    connection = await gate.asyncpg()
    prepared = await connection.prepare("select ssn, id from customers where id >= $1 order by id")
    for _ in range(3):
        assert [r["ssn"] for r in await prepared.fetch(1)] == [REDACTED, REDACTED, None]
    async with connection.transaction():
        cursor = await connection.cursor("select ssn from customers order by id")
        assert [r["ssn"] for r in await cursor.fetch(1)] == [REDACTED]
        assert [r["ssn"] for r in await cursor.fetch(5)] == [REDACTED, None]
        await connection.execute("declare c cursor for select ssn from customers order by id")
        assert [r["ssn"] for r in await connection.fetch("fetch 2 from c")] == [REDACTED, REDACTED]
    await connection.execute("prepare p as select ssn from customers where id = 1")
    assert await connection.fetchval("execute p") == REDACTED
    await connection.close()


# --- 3: ordinary work -----------------------------------------------------------------------------------


async def test_psql_does_all_that_it_does_directly(gate: Gate, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    script = f"""
create table notes (id int primary key, body text);
insert into notes values (1, 'one'), (2, 'two');
\\d notes
begin; insert into notes values (3, 'three'); rollback;
begin; insert into notes values (4, 'four'); commit;
\\copy notes to '{data}' csv
delete from notes where id > 0;
\\copy notes from '{data}' csv
select string_agg(body, ',' order by id) from notes;
"""
    through = await gate.psql("-At", stdin=script)
    connection = await gate.database.connect()
    await connection.execute("drop table notes")
    await connection.close()
    direct = await asyncio.to_thread(_psql_direct, gate, script)
    assert through.stdout == direct.stdout
    assert through.stderr == direct.stderr
    assert "one,two,four" in through.stdout


def _psql_direct(gate: Gate, script: str) -> subprocess.CompletedProcess[str]:
    from tests.servers import psql

    return psql(gate.database.environment(), "-At", stdin=script)


async def test_describing_a_table_looks_as_it_does_directly(gate: Gate) -> None:
    through = await gate.psql("-c", "\\d customers", "-c", "\\d+ orders", "-c", "\\dt", "-c", "\\df")
    direct = await asyncio.to_thread(_psql_direct, gate, "\\d customers\n\\d+ orders\n\\dt\n\\df\n")
    wide = await asyncio.to_thread(_psql_aligned, gate)
    assert through.stdout == wide.stdout
    assert through.stderr == direct.stderr == ""


def _psql_aligned(gate: Gate) -> subprocess.CompletedProcess[str]:
    from tests.servers import psql

    environment = gate.database.environment()
    return psql(environment, "-c", "\\d customers", "-c", "\\d+ orders", "-c", "\\dt", "-c", "\\df")


async def test_ctrl_c_cancels_a_long_query(gate: Gate) -> None:
    process = subprocess.Popen(
        ["psql", "-X", "-At"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,  # noqa: E501
        env={"PATH": "/usr/bin:/bin", **gate.environment()},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write("select pg_sleep(60);\n")
    process.stdin.flush()
    for _ in range(100):
        await asyncio.sleep(0.05)
        if any(
            s.state == "active" and "pg_sleep" in (s.current_sql or "")
            for s in gate.runtime.gateway.statuses()
        ):
            break
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.to_thread(process.communicate, None, 20)
    assert "canceling statement due to user request" in err


async def test_the_process_id_is_the_servers_own(gate: Gate) -> None:
    connection = await gate.asyncpg()
    assert connection.get_server_pid() == await connection.fetchval("select pg_backend_pid()")
    await connection.close()


async def test_asyncpg_works_as_it_does_directly(gate: Gate) -> None:
    connection = await gate.asyncpg()
    await connection.execute("create table t (id int, v text)")
    await connection.executemany("insert into t values ($1, $2)", [(i, f"v{i}") for i in range(50)])
    assert await connection.fetchval("select count(*) from t") == 50
    await connection.copy_records_to_table("t", records=[(i, "copied") for i in range(100)])
    assert await connection.fetchval("select count(*) from t where v = $1", "copied") == 100
    with pytest.raises(asyncpg.UndefinedTableError):
        await connection.fetch("select * from missing")
    async with connection.transaction():
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with connection.transaction():
                await connection.fetchval("select 1 / 0")
        assert await connection.fetchval("select 1") == 1
    heard: asyncio.Queue[str] = asyncio.Queue()
    await connection.add_listener("news", lambda *a: heard.put_nowait(a[-1]))
    await connection.execute("notify news, 'hello'")
    assert await asyncio.wait_for(heard.get(), 5) == "hello"
    with pytest.raises(asyncio.TimeoutError):
        await connection.fetchval("select pg_sleep(30)", timeout=0.3)
    assert await connection.fetchval("select 2") == 2
    await connection.close()


async def test_psycopg_works_as_it_does_directly(gate: Gate) -> None:
    async with await gate.psycopg(autocommit=True) as connection:
        async with connection.pipeline():
            cursors = [await connection.execute("select %s::int", (i,)) for i in range(100)]
        assert [(await c.fetchone())[0] for c in cursors] == list(range(100))  # type: ignore[index]
        async with connection.cursor(binary=True) as cursor:
            await cursor.execute(
                "select orders.id, ssn, total from customers join orders on customer_id = customers.id"
            )
            assert {row[1] for row in await cursor.fetchall()} <= {REDACTED, None}
        async with connection.transaction(), connection.cursor("server_side") as named:
            await named.execute("select id from orders order by id")
            assert [r[0] for r in await named.fetchmany(3)] == [1, 2, 3]
        async with connection.cursor().copy("copy orders (id) to stdout") as copy:
            assert len([row async for row in copy.rows()]) == 20


async def test_types_that_people_make_need_no_approval(gate: Gate) -> None:
    await gate.sql("create type span as range (subtype = float8)")
    assert await gate.sql("select span(1, 2) @> 1.5::float8, '[1,2)'::span") == "t|[1,2)"
    assert await gate.sql("select span(0, id) from orders order by id limit 1", grant="analyst") == "[0,1)"


# --- 4: blocked -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "truncate customers",
        "drop database app",
        "select 1; truncate customers",
        "/* harmless */ TRUNCATE -- really\n public.customers",
        "explain analyze truncate customers",
        "do $$ begin truncate customers; end $$",
    ],
)
async def test_a_blocked_statement_is_an_ordinary_error(gate: Gate, sql: str) -> None:
    shown = await gate.sql(sql)
    if "explain" in sql:
        assert "syntax error" in shown  # PostgreSQL does not explain it either
    else:
        assert shown == f"ERROR:  {BLOCKED}\nDETAIL:  Drop databases by ticket only."
    assert await gate.sql("select count(*) from customers") == "3"


async def test_a_held_write_hidden_in_another_statement_is_found(gate: Gate) -> None:
    gate.change_rules('action = "approve"\ntimeout = "20s"', 'action = "block"')
    await asyncio.sleep(2)
    for sql in (
        "explain analyze delete from orders",
        "prepare p as delete from orders",
        "with gone as (delete from orders returning *) select count(*) from gone",
        "begin; delete from orders; commit",
    ):
        assert 'blocked by guard "unbounded-write"' in await gate.sql(sql), sql
    assert await gate.sql("select count(*) from orders") == "20"


async def test_a_blocked_statement_aborts_the_transaction(gate: Gate) -> None:
    script = "begin;\ninsert into orders values (99, 1, 1);\ntruncate orders;\nselect 1;\ncommit;\n"
    script += "select count(*) from orders;\n"
    done = await gate.psql("-At", stdin=script)
    assert "current transaction is aborted" in done.stderr
    assert done.stdout.splitlines() == ["BEGIN", "INSERT 0 1", "ROLLBACK", "20"]


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_blocked_statement_in_the_extended_protocol_leaves_the_connection_usable(
    gate: Gate, driver: str
) -> None:
    connection: Any = await getattr(gate, driver)()
    run = connection.fetch if driver == "asyncpg" else connection.execute
    with pytest.raises((asyncpg.PostgresError, psycopg.Error)) as caught:
        await run("truncate customers")
    assert fields(caught.value) == ("42501", BLOCKED)
    if driver == "psycopg":
        await connection.rollback()
    await run("select 1")
    await connection.close()


async def test_a_blocked_statement_in_a_pipeline_skips_the_rest_up_to_the_sync(gate: Gate) -> None:
    async with await gate.psycopg(autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with connection.pipeline():
                await connection.execute("insert into orders values (100, 1, 1)")
                await connection.execute("truncate orders")
                await connection.execute("insert into orders values (101, 1, 1)")
        cursor = await connection.execute("select array_agg(id) from orders where id >= 100")
        assert (await cursor.fetchone()) == (None,)  # one implicit transaction, as PostgreSQL has it


async def test_a_class_that_is_not_granted_is_named(gate: Gate) -> None:
    shown = await gate.sql("drop table orders", grant="analyst")
    assert shown == 'ERROR:  grant "analyst" does not allow DDL (DROP TABLE)'
