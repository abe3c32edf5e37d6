# ruff: noqa: E501 - rows of tables are not wrapped
"""The snapshot of a real database, what lies behind names in it, and PostgreSQL's own command tags."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from gatekeeper.model import Effect, FunctionRef, RelationRef, StatementClass, StatementFacts
from gatekeeper.sql.catalog import Catalog
from gatekeeper.sql.facts import extract
from gatekeeper.sql.snapshot import fingerprint, read_catalog
from tests.conftest import MakeDatabase
from tests.servers import Database, DebianPostgres

pytestmark = pytest.mark.server

SCHEMA = """
create schema app;
create domain app.email as text;
create table app.customers (id int primary key, mail app.email, twice int generated always as (id * 2) stored);
create table app.log (what text);
create table app.events (at int, x text) partition by range (at);
create table app.events_1 partition of app.events for values from (0) to (10);
create view app.v as select id, mail from app.customers;
create view app.vv as select * from app.v where id in (select at from app.events);
create materialized view app.m as select count(*) from app.customers;
create function app.purge() returns void language plpgsql as $$begin delete from app.log; end$$;
create function app.outer() returns int language sql as 'select 1 from app.purge()';
create function app.atomic() returns bigint begin atomic select count(*) from app.customers; end;
create function app.over(int) returns int language sql as 'select 1';
create function app.over(text) returns int language plpgsql as $$begin truncate app.log; return 1; end$$;
create function app.dyn(q text) returns void language plpgsql as $$begin execute q; end$$;
create function app.loop() returns void language plpgsql as $$begin perform app.loop(); end$$;
create function app.low() returns int language internal as 'pg_backend_pid';
create function app.as_admin() returns int language sql set role = 'none' as 'select 1';
create function app.total(app.customers) returns int language plpgsql as $$begin delete from app.log; return 1; end$$;
create procedure app.proc() language plpgsql as $$begin update app.customers set mail = ''; commit; end$$;
create function app.audit() returns trigger language plpgsql as $$
begin insert into app.log values (tg_op); new.mail := old.mail; return new; end$$;
create trigger audit after insert on app.customers for each row execute function app.audit();
create trigger audit after delete on app.events_1 for each row execute function app.audit();
create function app.step(int, int) returns int language plpgsql as $$begin delete from app.log; return 1; end$$;
create aggregate app.agg(int) (sfunc = app.step, stype = int);
create table app.ruled (a int);
create rule r as on delete to app.ruled do instead delete from app.log;
"""


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await database.connect()
    await connection.execute(SCHEMA)
    yield connection
    await connection.close()


@pytest.fixture
async def catalog(connection: asyncpg.Connection[Any]) -> Catalog:
    return await read_catalog(connection, 7)


def one(sql: str, catalog: Catalog, *, uncertain: bool = False) -> StatementFacts:
    facts = extract(sql, catalog, uncertain=uncertain)
    assert facts.syntax_error is None
    return facts.statements[0]


DELETE_ALL = Effect("DELETE", where_missing=True)
LOG = RelationRef("app", "log", written=True)


async def test_the_snapshot_knows_relations_columns_and_routines(catalog: Catalog) -> None:
    assert catalog.version == 7
    (customers,) = catalog.named(None, "customers")
    assert [c.name for c in customers.columns] == ["id", "mail", "twice"]
    mail, twice = customers.columns[1:]
    assert catalog.type_names[mail.base_type_oid] == "text" != catalog.type_names[mail.type_oid]
    assert catalog.type_categories[mail.base_type_oid] == "S"
    assert twice.generated == "(id * 2)"
    (events,), (part,) = catalog.named("app", "events"), catalog.named("app", "events_1")
    assert events.kind == "p"
    assert part.parents == (events.oid,)
    assert list(catalog.descendants(events.oid)) == [part.oid]
    (audit,) = catalog.routines_named("app", "audit")
    assert customers.triggers == (audit.oid,)
    assert audit.returns_trigger
    assert "app.customers" in (catalog.named("app", "v")[0].definition or "")
    assert catalog.named("app", "ruled")[0].has_rules
    assert not catalog.named("app", "v")[0].has_rules
    assert "lower" in catalog.builtins
    assert not catalog.routines_named("pg_catalog", "lower")


async def test_the_body_of_a_called_function_counts(catalog: Catalog) -> None:
    for sql in ("select app.purge()", "select purge()", "select app.outer()", "select * from app.outer() x"):
        found = one(sql, catalog)
        assert DELETE_ALL in found.effects, sql
        assert found.classes == {StatementClass.READ, StatementClass.WRITE, StatementClass.FUNCTION}
        assert LOG in found.relations
        assert not found.opaque_functions
        assert not found.changes_catalog


@pytest.mark.parametrize(
    ("sql", "effect"),
    [
        ("select app.over(1)", Effect("TRUNCATE TABLE")),
        ("call app.proc()", Effect("UPDATE", where_missing=True)),
        ("insert into app.customers values (1)", Effect("INSERT")),
        ("insert into app.v values (1)", Effect("INSERT")),
        ("select app.agg(1)", DELETE_ALL),
        ("select c.total from app.customers c", DELETE_ALL),
        ("select (c).total from app.customers c", DELETE_ALL),
        ("select customers.total from app.customers", DELETE_ALL),
        ("do $$begin perform app.purge(); end$$", DELETE_ALL),
        ("explain analyze select app.purge()", DELETE_ALL),
        ("create view w as select app.purge()", DELETE_ALL),
        ("create trigger t before insert on app.log execute function app.audit()", Effect("INSERT")),
    ],
)
async def test_overloads_procedures_triggers_and_aggregates_count(
    catalog: Catalog, sql: str, effect: Effect
) -> None:
    found = one(sql, catalog)
    assert effect in found.effects
    assert LOG in found.relations or "proc" in sql


async def test_a_trigger_of_a_partition_fires_for_its_parent(catalog: Catalog) -> None:
    assert LOG in one("delete from app.events", catalog).relations


async def test_a_column_is_not_a_call(catalog: Catalog) -> None:
    assert one("select c.id, l.what from app.customers c, app.log l", catalog).classes == {
        StatementClass.READ
    }


async def test_relations_behind_a_view_are_read(catalog: Catalog) -> None:
    names = {str(r) for r in one("select * from app.vv", catalog).relations}
    assert names == {"app.vv", "app.v", "app.customers", "app.events"}
    assert {str(r) for r in one("drop view app.vv", catalog).relations} == {"app.vv"}
    assert {str(r) for r in one("select * from app.m", catalog).relations} == {"app.m"}
    assert RelationRef("app", "customers") in one("refresh materialized view app.m", catalog).relations


async def test_what_a_view_stands_for_is_written_through_it(catalog: Catalog) -> None:
    found = one("update app.v set mail = '' where id = 1", catalog)
    assert RelationRef("app", "customers", written=True) in found.relations


async def test_a_rule_is_opaque(catalog: Catalog) -> None:
    assert FunctionRef("app", "rule on ruled") in one("delete from app.ruled", catalog).opaque_functions
    assert not one("select * from app.ruled", catalog).opaque_functions


async def test_dropping_a_schema_touches_all_in_it(catalog: Catalog) -> None:
    assert RelationRef("app", "customers", written=True) in one("drop schema app cascade", catalog).relations


async def test_other_languages_and_dynamic_sql_are_told(catalog: Catalog) -> None:
    assert FunctionRef("app", "low") in one("select app.low()", catalog).opaque_functions
    assert one("select app.dyn('x')", catalog).dynamic_sql
    assert one("select app.as_admin()", catalog).settings[0].name == "role"
    assert not one("select app.loop()", catalog).opaque_functions
    assert one("select app.nowhere()", catalog).opaque_functions


async def test_in_doubt_user_defined_functions_are_opaque(catalog: Catalog) -> None:
    found = one("select app.atomic(), count(*) from app.v", catalog, uncertain=True)
    assert found.opaque_functions == {FunctionRef("app", "atomic")}
    assert not one("select app.atomic()", catalog).opaque_functions


async def test_ddl_runs_event_triggers(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("""
        create function ev() returns event_trigger language plpgsql as $$begin delete from app.log; end$$;
        create event trigger e on ddl_command_end execute function ev();
    """)
    catalog = await read_catalog(connection, 1)
    assert DELETE_ALL in one("create table x (a int)", catalog).effects
    assert DELETE_ALL not in one("select 1", catalog).effects


async def test_functions_of_known_extensions_are_like_built_in_ones(
    pg15: DebianPostgres, make_database: MakeDatabase
) -> None:
    connection = await (await make_database(server=pg15)).connect()
    await connection.execute("create extension pgcrypto; create extension citext; create extension dblink")
    catalog = await read_catalog(connection, 1)
    await connection.close()
    found = one("select crypt('a', gen_salt('bf')), max(1), replace('a', 'b', 'c'), jsonb('{}')", catalog)
    assert found.classes == {StatementClass.READ}
    assert not found.opaque_functions
    found = one("select * from dblink('x', 'drop table y') as t(a int)", catalog)
    assert StatementClass.SERVER in found.classes
    assert found.dynamic_sql


@pytest.mark.parametrize(
    "ddl",
    [
        "alter table app.log rename column what to which",
        "create function app.new() returns int language sql as 'select 1'",
        "create or replace function app.purge() returns void language sql as 'select'",
        "create or replace view app.v as select id, mail from app.customers where id > 1",
        "alter table app.customers disable trigger audit",
        "drop trigger audit on app.customers",
        "alter schema app rename to apps",
        "drop table app.ruled",
        "alter table app.events detach partition app.events_1",
    ],
)
async def test_the_fingerprint_follows_ddl(connection: asyncpg.Connection[Any], ddl: str) -> None:
    before = await fingerprint(connection)
    await connection.execute(ddl)
    assert await fingerprint(connection) != before


async def test_the_fingerprint_ignores_data_and_temporary_tables(connection: asyncpg.Connection[Any]) -> None:
    before = await fingerprint(connection)
    await connection.execute("insert into app.log values ('x'); create temp table x (a int)")
    await connection.execute("analyze app.log")
    await connection.execute("vacuum app.log")
    assert await fingerprint(connection) == before


async def test_a_thousand_tables_are_read_in_a_second(connection: asyncpg.Connection[Any]) -> None:
    columns = ", ".join(f"c{i} text" for i in range(20))
    await connection.execute(
        f"do $$begin for i in 1..1000 loop execute format('create table t%s ({columns})', i); end loop; end$$"
    )
    started = time.monotonic()
    catalog = await read_catalog(connection, 1)
    assert time.monotonic() - started < 5  # 0.15 s on an idle machine
    assert len(catalog.named("public", "t1000")[0].columns) == 20


async def test_postgresql_15_is_read_as_well(pg15: DebianPostgres, make_database: MakeDatabase) -> None:
    database = await make_database(server=pg15)
    connection = await database.connect()
    await connection.execute(SCHEMA)
    catalog = await read_catalog(connection, 1)
    assert DELETE_ALL in one("select app.outer()", catalog).effects
    assert DELETE_ALL in one("select app.agg(1)", catalog).effects
    assert await fingerprint(connection) == await fingerprint(connection)
    await connection.close()


SCRIPT = """
create schema s; create table s.t (a int primary key, b text); insert into s.t values (1) on conflict do nothing;
update s.t set b = 'x'; delete from s.t; merge into s.t using (select 1 as k) k on t.a = k.k when matched then delete;
truncate s.t; alter table s.t add c int; alter table s.t rename column c to d; alter table s.t rename to u;
alter table s.u drop column d; create index i on s.u (b); alter index s.i rename to j; reindex table s.u;
create view s.v as select * from s.u; alter view s.v rename to w; comment on view s.w is 'x'; drop view s.w;
create materialized view s.m as select * from s.u; refresh materialized view s.m;
alter materialized view s.m rename to n; drop materialized view s.n; create sequence s.q; alter sequence s.q restart;
drop sequence s.q; create type s.e as enum ('a'); alter type s.e add value 'b'; create type s.k as (x int);
alter type s.k add attribute y int; drop type s.k; create domain s.d as int; alter domain s.d set not null;
drop domain s.d; create function s.f() returns int language sql as 'select 1'; alter function s.f() rename to g;
comment on function s.g() is 'x'; create procedure s.p() language sql as 'select 1'; call s.p();
alter procedure s.p() rename to pp; alter routine s.pp() rename to p; drop procedure s.p(); do 'begin end';
create function s.h() returns trigger language plpgsql as 'begin return new; end';
create trigger g before insert on s.u for each row execute function s.h(); alter trigger g on s.u rename to gg;
drop trigger gg on s.u; create rule r as on insert to s.u do also select 1; alter rule r on s.u rename to rr;
drop rule rr on s.u; create policy p on s.u; alter policy p on s.u to public; drop policy p on s.u;
create statistics s.st on a, b from s.u; alter statistics s.st set statistics 10; drop statistics s.st;
create aggregate s.ag (int) (sfunc = int4pl, stype = int); alter aggregate s.ag (int) rename to ah;
drop aggregate s.ah (int); create operator s.=== (leftarg = int, rightarg = int, function = int4eq);
alter operator s.=== (int, int) owner to current_user; drop operator s.=== (int, int);
create collation s.c from "C"; alter collation s.c rename to cc; drop collation s.cc;
create cast (s.e as int) with inout; drop cast (s.e as int);
create text search configuration s.x (copy = english); alter text search configuration s.x rename to y;
drop text search configuration s.y; create text search dictionary s.x (template = simple);
alter text search dictionary s.x (accept = true); drop text search dictionary s.x;
create publication p; alter publication p rename to pq; drop publication pq;
create foreign data wrapper w; alter foreign data wrapper w no handler; create server sv foreign data wrapper w;
alter server sv version '1'; create user mapping for public server sv; alter user mapping for public server sv
options (a '1'); create foreign table s.ft (a int) server sv; alter foreign table s.ft add b int;
drop foreign table s.ft; drop user mapping for public server sv; drop server sv; drop foreign data wrapper w;
create event trigger e on ddl_command_end execute function pg_catalog.suppress_redundant_updates_trigger();
grant select on s.u to public; revoke select on s.u from public; create role {role}; alter role {role} login;
alter role {role} set work_mem = '1MB'; grant pg_monitor to {role}; revoke pg_monitor from {role};
alter default privileges grant select on tables to {role}; drop owned by {role}; reassign owned by {role} to
current_user; drop role {role}; analyze s.u; vacuum s.u; cluster s.u using u_pkey; checkpoint; notify x; listen x;
unlisten x; begin; declare c cursor for select 1; fetch c; move c; close c; lock table s.u; savepoint x; release x;
savepoint x; rollback to x; set constraints all deferred; set local work_mem = '1MB'; close all; commit;
start transaction; rollback; prepare z as select 1; deallocate z; deallocate all; set work_mem = '2MB';
reset work_mem; reset all; show work_mem; discard plans; discard sequences; discard temp; discard all;
explain select 1; select 1; values (1); security label on table s.u is null; drop index s.j;
alter schema s rename to ss; drop schema ss cascade
"""


async def test_tags_are_those_that_postgresql_gives(database: Database) -> None:
    connection = await database.connect()
    facts = extract(SCRIPT.format(role=f"r_{database.name}"), await read_catalog(connection, 1))
    assert facts.syntax_error is None
    differing, accepted = [], 0
    for statement in facts.statements:
        try:
            status = await connection.execute(statement.text)
        except asyncpg.PostgresError:
            continue
        accepted += 1
        if status.rstrip(" 0123456789") != statement.tag:
            differing.append((statement.text, status, statement.tag))
    await connection.close()
    # these complete as what they do to rows, or by the name of what they made
    completes_as = {
        "REFRESH MATERIALIZED VIEW": "REFRESH MATERIALIZED VIEW",
        "CREATE MATERIALIZED VIEW": "SELECT",
    }
    assert [d for d in differing if completes_as.get(d[2]) != d[1].rstrip(" 0123456789")] == []
    assert accepted > 130
