"""Estimates: what the planner thinks, asked without running anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import asyncpg
import pytest

from gatekeeper.model import Action, Undecided, Verdict
from gatekeeper.policy.decide import decide
from gatekeeper.policy.estimate import estimates, rows
from gatekeeper.policy.query import planned_query, search_paths
from gatekeeper.sql.catalog import Catalog
from gatekeeper.sql.facts import extract
from gatekeeper.sql.snapshot import read_catalog
from tests.conftest import MakeDatabase
from tests.policy.cases import grant, guard, rules
from tests.servers import Database

SCHEMA = """
create table orders (id int primary key, customer int, note text);
insert into orders select i, i % 100, 'x' from generate_series(1, 10000) i;
create table few (id int primary key); insert into few select generate_series(1, 3);
create schema tenant;
create table tenant.few as select i as id from generate_series(1, 5000) i;
create table parted (id int) partition by range (id);
create table parted_1 partition of parted for values from (0) to (1000);
create table parted_2 partition of parted for values from (1000) to (3000);
insert into parted select generate_series(0, 2999);
create table ran (at timestamptz);
create function writes(i int) returns int immutable language plpgsql as
  $$ begin insert into ran values (now()); return i; end $$;
create function trusted() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger t before insert or update on few for each row execute function trusted();
analyze;
"""

Connection: TypeAlias = "asyncpg.Connection[Any]"


@pytest.fixture(params=["pg18", "pg15"])
async def both(
    request: pytest.FixtureRequest, make_database: MakeDatabase, pg18: Any, pg15: Any
) -> AsyncIterator[tuple[Database, Connection]]:
    """A database on the newest and on an old server, with a connection of the gateway's own."""
    database = await make_database(server={"pg18": pg18, "pg15": pg15}[request.param])
    connection = await database.connect()
    await connection.execute(SCHEMA)
    yield database, connection
    if not connection.is_closed():
        await connection.close()


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    found = await database.connect()
    await found.execute(SCHEMA)
    yield found
    if not found.is_closed():
        await found.close()


CASES: list[tuple[str, list[str | None] | None, float]] = [
    ("select * from orders", None, 10000),
    ("select * from orders limit 7", None, 7),
    ("table orders", None, 10000),
    ("select count(*) from orders", None, 1),
    ("delete from orders", None, 10000),
    ("update orders set note = 'y'", None, 10000),
    ("delete from orders where id = 5", None, 1),
    ("insert into few values (10), (11)", None, 2),
    ("insert into few select id + 100 from orders", None, 10000),
    ("with d as (delete from orders returning *) select count(*) from d", None, 10000),
    ("delete from parted", None, 3000),
    ("select * from orders for update", None, 10000),
    ("explain analyze delete from orders", None, 10000),
    ("explain (analyze, buffers) select * from few", None, 3),
    ("prepare p as delete from orders", None, 10000),
    ("declare c cursor for select * from orders", None, 10000),
    ("create table x as select * from orders", None, 10000),
    ("select * into x from orders", None, 10000),
    ("copy orders to stdout", None, 10000),
    ("copy tenant.few (id) to stdout", None, 5000),
    ("copy (delete from orders returning id) to stdout", None, 10000),
    ("delete from orders where id = $1", ["5"], 1),
    ("delete from orders where id <= $1", ["10000"], 10000),
    ("delete from orders where note = $1 and id > 0", ["x"], 10000),
    ("delete from orders where id <= $1 and note is distinct from $2", ["10000", None], 10000),
    ("delete from orders where note = $1", ["it's \\ '; drop table orders; --"], 1),
    ("select '$1', * from few", None, 3),
]


@pytest.mark.server
async def test_the_planner_is_asked_on_every_version(both: tuple[Database, Connection]) -> None:
    _, connection = both
    before = await connection.fetchval("select count(*) from orders")
    for sql, params, expected in CASES:
        found = await rows(connection, sql, params)
        assert found == pytest.approx(expected, rel=0.05, abs=0.5), sql
    assert await connection.fetchval("select count(*) from orders") == before
    assert (
        await connection.fetchval("select count(*) from pg_prepared_statements where name like 'gate%'") == 0
    )
    assert not connection.is_in_transaction()


@pytest.mark.server
async def test_without_values_only_what_does_not_rest_on_them_has_an_estimate(
    both: tuple[Database, Connection],
) -> None:
    """`PREPARE` is judged once, and EXECUTE brings the values: any may come."""
    _, connection = both
    for sql in (
        "delete from orders where customer = $1",
        "delete from orders where $1 or id = 1",
        "prepare p (int) as delete from orders where id < $1",
        "select * from orders limit $1",
        "insert into few select generate_series(1, $1)",
        "insert into few select i from generate_series(1, $1) i",
    ):
        assert await rows(connection, sql, None) is None, sql
        assert await rows(connection, sql, []) is None, sql
    for sql, expected in (
        ("insert into few values ($1)", 1),
        ("insert into few values ($1), ($2), ($3)", 3),
        ("prepare p (int) as insert into few values ($1) on conflict do nothing", 1),
        ("select $1::int", 1),
    ):
        assert await rows(connection, sql, None) == expected, sql


@pytest.mark.server
@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("delete from nobody", None),
        ("delete from orders where id = 'x'", None),
        ("delete from orders where id = $1", ["\\x00ff"]),
        ("delete from orders where id = $1", ["1", "2"]),
        ("delete from orders where note = $1", ["\x00"]),
        ("delete from orders where note = $1", ["\udc80"]),
        ("drop table orders", None),
        ("do $$ begin end $$", None),
        ("select 1; drop table orders", None),
        ("selec", None),
        ("", None),
        ("explain analyze execute p", None),
    ],
)
async def test_what_cannot_be_planned_has_no_estimate(
    connection: Connection, sql: str, params: list[str | None] | None
) -> None:
    assert await rows(connection, sql, params) is None
    assert not connection.is_in_transaction()
    assert await rows(connection, "select * from few") == 3


@pytest.mark.server
async def test_a_locked_table_has_no_estimate_and_nobody_waits_long(
    connection: Connection, database: Database
) -> None:
    other = await database.connect()
    try:
        async with other.transaction():
            await other.execute("lock table orders in access exclusive mode")
            async with asyncio.timeout(1.5):
                assert await rows(connection, "delete from orders") is None
        assert await rows(connection, "delete from orders") == 10000
    finally:
        await other.close()


@pytest.mark.server
async def test_a_closed_connection_has_no_estimate(connection: Connection) -> None:
    await connection.close()
    assert await rows(connection, "select 1") is None


@pytest.mark.server
async def test_a_connection_that_is_cancelled_is_closed(connection: Connection, database: Database) -> None:
    other = await database.connect()
    try:
        async with other.transaction():
            await other.execute("lock table orders in access exclusive mode")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await rows(connection, "delete from orders")
        assert connection.is_closed()
    finally:
        await other.close()


@pytest.mark.server
async def test_a_name_in_several_schemas_counts_as_the_largest(connection: Connection) -> None:
    catalog = await read_catalog(connection, 1)
    facts = extract("delete from few; delete from tenant.few; delete from public.few", catalog)
    found = await estimates(connection, facts, (0, 1, 2), None, catalog)
    assert found == {0: 5000, 1: 5000, 2: 3}
    known = await estimates(connection, facts, (0,), None, catalog, search_path="public")
    assert known == {0: 3}


@pytest.mark.server
async def test_functions_of_users_are_never_run_by_an_estimate(connection: Connection) -> None:
    catalog = await read_catalog(connection, 1)
    for sql in (
        "delete from orders where id = writes(5)",
        "select writes(5)",
        "with a as (select public.writes(1)) delete from orders",
    ):
        facts = extract(sql, catalog)
        assert await estimates(connection, facts, (0,), None, catalog) == {0: None}
    # And should one be run all the same, its transaction cannot write.
    assert await rows(connection, "delete from orders where id = writes(5)") is None
    assert await connection.fetchval("select count(*) from ran") == 0


@pytest.mark.server
async def test_the_planner_is_asked_as_the_role_of_the_grant(connection: Connection) -> None:
    await connection.execute("create role estimate_nobody; grant select on orders to estimate_nobody")
    assert await rows(connection, "select * from orders", role="estimate_nobody") == 10000
    assert await rows(connection, "select * from tenant.few", role="estimate_nobody") is None
    assert await rows(connection, "select * from orders", role="not there") is None
    assert await connection.fetchval("select current_user") == "postgres"
    await connection.execute("drop owned by estimate_nobody; drop role estimate_nobody")


@pytest.mark.server
async def test_a_guard_on_rows_decides_by_the_planner(connection: Connection) -> None:
    catalog: Catalog = await read_catalog(connection, 1)
    force = rules(guard(name="big-write", classes=["WRITE"], min_rows=1000, action="approve"))

    async def judged(sql: str, params: list[str | None] | None = None) -> Verdict:
        facts = extract(sql, catalog)
        found = decide(facts, grant(), "app", force, catalog, 0.0)
        if isinstance(found, Undecided):
            sizes = await estimates(connection, facts, found.statements, params, catalog)
            found = decide(facts, grant(), "app", force, catalog, 0.0, sizes)
        assert isinstance(found, Verdict)
        return found

    table: list[tuple[str, list[str | None] | None, Action]] = [
        ("delete from orders", None, Action.APPROVE),
        ("delete from orders where id < $1", ["10"], Action.ALLOW),
        ("delete from orders where id < $1", ["9000"], Action.APPROVE),
        ("delete from orders where id < $1", None, Action.APPROVE),
        ("prepare p as delete from orders where id = $1", [], Action.APPROVE),
        ("prepare p as insert into few values ($1)", [], Action.ALLOW),
        ("insert into few values (9)", None, Action.ALLOW),
        ("delete from public.few; delete from orders where id = 1", None, Action.ALLOW),
        ("delete from public.few; delete from orders", None, Action.APPROVE),
        ("delete from nobody", None, Action.APPROVE),
        ("select * from orders", None, Action.ALLOW),
    ]
    for sql, params, expected in table:
        assert (await judged(sql, params)).action is expected, sql


def test_what_wraps_a_query_is_taken_off() -> None:
    assert planned_query('copy "A b"."t""x" to stdout') == 'TABLE "A b"."t""x"'
    assert planned_query("copy t from stdin") is None
    assert planned_query("explain (analyze) create table x as select 1") == "SELECT 1"
    assert planned_query("create view v as select 2") == "SELECT 2"
    assert planned_query("explain analyze select " + "1+" * 20_000 + "1") is None


def test_too_many_schemas_give_no_path() -> None:
    from tests.policy.cases import relation

    many = Catalog(1, relations={i: relation(i, f"s{i}", "t") for i in range(1, 30)})
    statements = extract("select * from t", many).statements
    assert search_paths(statements, many) == ()
    assert search_paths(extract("select * from s1.t", many).statements, many) == ("",)
