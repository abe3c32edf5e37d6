"""Impact: what an approver is shown of a held statement, found out read-only and in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import asyncpg
import pytest

from gatekeeper.model import Impact, TableImpact
from gatekeeper.policy import locks
from gatekeeper.policy.impact import impact
from gatekeeper.policy.locks import MODES, strongest
from gatekeeper.sql.catalog import Catalog
from gatekeeper.sql.facts import extract
from gatekeeper.sql.snapshot import read_catalog
from tests.policy.cases import CATALOG
from tests.servers import Database

Connection: TypeAlias = "asyncpg.Connection[Any]"

SCHEMA = """
create table customers (id int primary key, code text unique, note text);
create table orders (id int primary key, customer_id int references customers on delete cascade,
                     code text references customers (code) on update cascade);
create table lines (id int primary key, order_id int references orders on delete cascade,
                    note text);
create schema audit;
create table audit.log (id int, order_id int references public.orders on delete set null,
                        line_id int references public.lines);
create table parted (id int primary key) partition by range (id);
create table parted_1 partition of parted for values from (0) to (1000);
create table child (id int references parted on delete cascade);
insert into customers select i, 'c' || i, 'x' from generate_series(1, 2000) i;
insert into orders select i, i, 'c' || i from generate_series(1, 2000) i;
insert into parted select generate_series(0, 999);
create view rich as select * from customers;
analyze;
"""


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    found = await database.connect()
    await found.execute(SCHEMA)
    yield found
    if not found.is_closed():
        await found.close()


async def of(connection: Connection, sql: str, params: list[str | None] | None = None, **more: Any) -> Impact:
    catalog = await read_catalog(connection, 1)
    return await impact(connection, extract(sql, catalog), sql, params, catalog, **more)


def table(found: Impact, name: str) -> TableImpact:
    (one,) = (table for table in found.tables if table.name == name)
    return one


@pytest.mark.server
async def test_a_deletion_shows_rows_plan_and_all_that_cascades(connection: Connection) -> None:
    found = await of(connection, "delete from customers where id <= 500")
    assert found.problem is None
    assert found.estimated_rows == pytest.approx(500, rel=0.05)
    assert any(line.startswith("Delete on customers") for line in found.plan)
    customers = table(found, "public.customers")
    assert customers.rows == 2000
    assert customers.bytes is not None
    assert customers.bytes > 100_000
    assert customers.lock == "RowExclusiveLock"
    assert customers.cascades == (
        "audit.log.order_id (SET NULL)", "lines.order_id (CASCADE)", "orders.customer_id (CASCADE)",
    )  # fmt: skip
    assert customers.conflicts == ()
    assert await connection.fetchval("select count(*) from customers") == 2000


@pytest.mark.server
async def test_an_update_cascades_only_from_the_keys_it_sets(connection: Connection) -> None:
    assert table(await of(connection, "update customers set note = 'y'"), "public.customers").cascades == ()
    keyed = await of(connection, "update customers set code = code || 'z'")
    assert table(keyed, "public.customers").cascades == ("orders.code (CASCADE)",)
    hidden = await of(connection, "do $$ begin update customers set note = 'y'; end $$")
    assert table(hidden, "public.customers").cascades == ("orders.code (CASCADE)",)


@pytest.mark.server
async def test_a_truncation_cascades_if_it_says_so(connection: Connection) -> None:
    assert table(await of(connection, "truncate customers"), "public.customers").cascades == ()
    found = table(await of(connection, "truncate customers cascade"), "public.customers")
    assert found.lock == "AccessExclusiveLock"
    assert set(found.cascades) == {
        "audit.log.order_id (TRUNCATE)", "audit.log.line_id (TRUNCATE)", "lines.order_id (TRUNCATE)",
        "orders.customer_id (TRUNCATE)", "orders.code (TRUNCATE)",
    }  # fmt: skip


@pytest.mark.server
async def test_partitions_share_size_and_foreign_keys(connection: Connection) -> None:
    parent = table(await of(connection, "delete from parted"), "public.parted")
    assert (parent.rows, parent.cascades) == (1000, ("child.id (CASCADE)",))
    part = table(await of(connection, "delete from parted_1"), "public.parted_1")
    assert (part.rows, part.cascades) == (1000, ("child.id (CASCADE)",))


@pytest.mark.server
async def test_parameters_count_in_the_plan(connection: Connection) -> None:
    found = await of(connection, "delete from orders where id <= $1", ["100"])
    assert found.estimated_rows == pytest.approx(100, rel=0.05)
    assert found.problem is None
    prepared = await of(connection, "prepare p as delete from orders where id <= $1", [])
    assert prepared.plan
    assert prepared.problem is None


@pytest.mark.server
async def test_every_table_of_every_statement_is_told_written_ones_first(connection: Connection) -> None:
    found = await of(
        connection, "delete from lines where order_id in (select id from orders); select * from rich"
    )
    assert [(t.name, t.lock) for t in found.tables] == [
        ("public.lines", "RowExclusiveLock"),
        ("public.customers", "AccessShareLock"),
        ("public.orders", "AccessShareLock"),
    ]
    assert found.estimated_rows is not None
    assert found.estimated_rows >= 2000


@pytest.mark.server
async def test_who_holds_and_who_waits_for_a_conflicting_lock_is_named(
    connection: Connection, database: Database
) -> None:
    holder, waiter, reader = [
        await asyncpg.connect(database.dsn(), server_settings={"application_name": name})
        for name in ("nightly", "web", "report")
    ]
    try:
        await reader.execute("begin; select * from orders limit 1")
        await holder.execute("begin; update orders set id = id where id = 1")
        catalog = await read_catalog(connection, 1)
        holder_pid, reader_pid = holder.get_server_pid(), reader.get_server_pid()

        async def conflicts(sql: str, **more: Any) -> tuple[str, ...]:
            found = await impact(connection, extract(sql, catalog), sql, None, catalog, **more)
            assert found.problem is None
            return table(found, "public.orders").conflicts

        held = f"pid {holder_pid} (nightly) holds RowExclusiveLock"
        read = f"pid {reader_pid} (report) holds AccessShareLock"
        assert await conflicts("delete from orders") == ()
        assert await conflicts("create index i on orders (code)") == (held,)
        assert held in await conflicts("drop table orders")
        assert read in await conflicts("drop table orders")
        assert held not in await conflicts("drop table orders", own_pid=holder_pid)

        waiting = asyncio.create_task(waiter.execute("begin; lock table orders in access exclusive mode"))
        async with asyncio.timeout(5):
            while not await holder.fetchval("select exists (select from pg_locks where not granted)"):
                await asyncio.sleep(0.02)
        started = time.monotonic()
        found = await impact(
            connection, extract("delete from orders", catalog), "delete from orders", None, catalog
        )
        assert time.monotonic() - started < 1.5
        assert table(found, "public.orders").conflicts == (
            f"pid {waiter.get_server_pid()} (web) waits for AccessExclusiveLock",
        )
        assert found.problem == "plan: a relation is locked"
        assert table(found, "public.orders").rows == 2000
        waiting.cancel()
    finally:
        for each in (holder, waiter, reader):
            each.terminate()


@pytest.mark.server
async def test_what_cannot_be_found_out_is_said_and_raises_nothing(connection: Connection) -> None:
    found = await of(connection, "delete from orders where id = $1", ["not a number"])
    assert found.problem == "plan: not to be had (SQLSTATE 22P02)"
    assert table(found, "public.orders").rows == 2000
    assert (await of(connection, "delete from nobody")).tables == ()
    assert (await of(connection, "selec")).tables == ()
    assert await of(connection, "") == Impact()
    catalog = await read_catalog(connection, 1)
    await connection.close()
    closed = await impact(connection, extract("delete from orders", catalog), "", None, catalog)
    assert closed.problem == "the database cannot be asked"


@pytest.mark.server
async def test_functions_of_users_are_not_planned(connection: Connection) -> None:
    await connection.execute(
        "create function f() returns int immutable language plpgsql as"
        " $$ begin delete from orders; return 1; end $$"
    )
    found = await of(connection, "delete from customers where id = f()")
    assert (found.estimated_rows, found.plan, found.problem) == (None, (), None)
    assert {t.name for t in found.tables} == {"public.customers", "public.orders"}


@pytest.mark.server
async def test_a_database_that_hangs_is_given_two_seconds(database: Database) -> None:
    """A server that stops answering in the middle: its packets are lost on the way."""
    port = int(database.server.port)
    opener = await database.connect()
    await opener.execute(SCHEMA)
    catalog = await read_catalog(opener, 1)
    await opener.close()
    deaf = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(f"{database.server.host}/.s.PGSQL.{port}")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if not deaf.is_set():
                    sink.write(data)

        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))

    relay = await asyncio.start_server(serve, "127.0.0.1", 0)
    password = database.server.password.reveal()
    connection = await asyncpg.connect(
        host="127.0.0.1", port=relay.sockets[0].getsockname()[1], user=database.server.user,
        password=password, database=database.name, ssl=False,
    )  # fmt: skip
    deaf.set()
    started = time.monotonic()
    found = await impact(connection, extract("delete from orders", catalog), "", None, catalog)
    assert 1.8 < time.monotonic() - started < 3
    assert found.problem == "the database did not answer within 2 s"
    assert [t.name for t in found.tables] == ["public.orders"]
    assert connection.is_closed()
    relay.close()


# --- locks: what the server takes is what the table says ---------------------------------------------------

LOCKS = [
    "select * from customers", "select * from customers for update", "insert into customers values (-1)",
    "update customers set note = 'y' where id = 1", "delete from lines", "copy customers to '/dev/null'",
    "create index i on customers (note)", "create statistics s on id, note from customers",
    "analyze customers",
    "comment on table customers is 'x'", "create trigger t after insert on customers execute function f()",
    "alter table customers add column a int", "alter table customers alter column note set statistics 10",
    "alter table customers set (fillfactor = 90)", "alter table customers disable trigger user",
    "alter table customers add constraint c check (id > -5) not valid",
    "alter table lines add constraint k foreign key (id) references orders not valid",
    "alter table customers rename to x", "alter table customers rename column note to y",
    "alter table orders validate constraint orders_code_fkey",
    "alter table customers cluster on customers_pkey",
    "truncate lines cascade", "drop table lines cascade", "lock table customers in share mode",
    "lock table customers in exclusive mode", "lock customers", "reindex table customers",
    "refresh materialized view m", "create rule r as on insert to customers do also select 1",
    "create policy p on customers", "cluster customers using customers_pkey",
    "create table parted_2 partition of parted for values from (1000) to (2000)",
    "alter table parted detach partition parted_1", "create table heir () inherits (customers)",
    "create view w as select * from customers", "create table c2 as select * from customers",
    "merge into customers c using orders o on c.id = o.id when matched then delete",
    "do $$ begin lock table customers in share mode; end $$", "do $$ begin drop table lines cascade; end $$",
    "with d as (delete from lines returning *) select * from d, customers", "alter view rich rename to poor",
    "grant select on customers to public", "alter sequence sq restart", "drop trigger tr on customers",
    "drop index orders_i", "alter table parted attach partition loose for values from (5000) to (6000)",
]  # fmt: skip


@pytest.mark.server
async def test_no_lock_that_the_server_takes_is_stronger_than_what_is_told(connection: Connection) -> None:
    await connection.execute(
        "create function f() returns trigger language plpgsql as 'begin return new; end';"
        "create materialized view m as select * from customers; create sequence sq;"
        "create table loose (id int not null); create index orders_i on orders (code);"
        "create trigger tr after insert on customers execute function f();"
        "alter table orders drop constraint orders_code_fkey;"
        "alter table orders add constraint orders_code_fkey"
        " foreign key (code) references customers (code) not valid"
    )
    catalog = await read_catalog(connection, 1)
    exact = 0
    for sql in LOCKS:
        told = {
            t.name: t.lock
            for t in (await impact(connection, extract(sql, catalog), "", None, catalog)).tables
        }
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(sql)
        taken = await connection.fetch(
            "select relation, mode from pg_locks where pid = pg_backend_pid() and granted"
        )
        await transaction.rollback()
        strongest_taken: dict[str, str] = {}
        for oid, mode in map(tuple, taken):
            if oid in catalog.relations:
                name = catalog.relations[oid].full_name
                strongest_taken[name] = locks.stronger(strongest_taken.get(name, mode), mode)
        for name, mode in told.items():
            if name in strongest_taken:
                assert locks.stronger(mode, strongest_taken[name]) == mode, (sql, name, mode, strongest_taken)
                exact += mode == strongest_taken[name]
    assert exact > 45


@pytest.mark.parametrize(
    ("sql", "written", "read"),
    [
        (
            "create index concurrently i on customers (id)",
            "ShareUpdateExclusiveLock",
            "ShareUpdateExclusiveLock",
        ),
        ("reindex table concurrently customers", "ShareUpdateExclusiveLock", "ShareUpdateExclusiveLock"),
        ("reindex (concurrently false) table customers", "ShareLock", "ShareLock"),
        ("vacuum customers", "ShareUpdateExclusiveLock", "ShareUpdateExclusiveLock"),
        ("vacuum full customers", "AccessExclusiveLock", "AccessExclusiveLock"),
        ("vacuum (full off) customers", "ShareUpdateExclusiveLock", "ShareUpdateExclusiveLock"),
        ("vacuum (full) customers", "AccessExclusiveLock", "AccessExclusiveLock"),
        ("refresh materialized view concurrently m", "ExclusiveLock", "AccessShareLock"),
        (
            "alter table orders detach partition p concurrently",
            "ShareUpdateExclusiveLock",
            "AccessExclusiveLock",
        ),
        ("drop index concurrently i", "ShareUpdateExclusiveLock", "AccessShareLock"),
        ("lock table customers in row share mode", "RowShareLock", "RowShareLock"),
        (
            "alter table customers enable trigger t, add column x int",
            "AccessExclusiveLock",
            "AccessShareLock",
        ),
    ],
)
def test_forms_that_no_transaction_block_takes(sql: str, written: str, read: str) -> None:
    (statement,) = extract(sql, CATALOG).statements
    assert strongest(statement) == (written, read)


@pytest.mark.server
async def test_the_table_of_conflicts_is_the_servers(database: Database) -> None:
    one, other = await database.connect(), await database.connect()
    try:
        await one.execute("create table t ()")
        for mine in MODES:
            async with one.transaction():
                await one.execute(f"lock table t in {_words(mine)} mode")
                for theirs in MODES:
                    try:
                        async with other.transaction():
                            await other.execute(f"lock table t in {_words(theirs)} mode nowait")
                        conflict = False
                    except asyncpg.LockNotAvailableError:
                        conflict = True
                    assert locks.conflict(mine, theirs) is conflict, (mine, theirs)
    finally:
        await one.close()
        await other.close()


def _words(mode: str) -> str:
    return "".join(f" {c.lower()}" if c.isupper() else c for c in mode.removesuffix("Lock")).strip()


def test_an_empty_catalog_touches_nothing_it_knows() -> None:
    from gatekeeper.policy.touched import touched

    assert touched(extract("delete from orders", Catalog(0)), Catalog(0)) == {}
