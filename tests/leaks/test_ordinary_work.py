"""Ordinary work goes through unhindered, and its answers are byte for byte those of the database."""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

import asyncio
import re
from typing import Any

import psycopg
import pytest

from tests.leaks.attack import How
from tests.leaks.states import States
from tests.servers import psql

pytestmark = pytest.mark.server

MIGRATIONS = r"""
create table invoices (id bigint generated always as identity primary key, customer_id int not null references customers (id), total numeric(12,2) not null default 0, created_at timestamptz not null default now(), note varchar(200), meta jsonb default '{}') ;; insert into invoices (customer_id, total) values (1, 9.5), (2, 3) ;; select id, customer_id, total, note, meta from invoices order by total
alter table orders add column status text not null default 'new' ;; update orders set status = 'done' where id = 10 ;; select id, status from orders order by id
alter table orders add column a int, add column b int, alter column note set default 'none', drop column at ;; update orders set a = id where a is null ;; alter table orders alter column a set not null ;; select * from orders order by id
alter table customers add column nick text ;; update customers set nick = lower(name) where nick is null ;; alter table customers alter column nick set not null ;; select id, nick from customers order by id
alter table customers add constraint name_check check (length(name) > 0) not valid ;; alter table customers validate constraint name_check
alter table customers drop column card ;; select id, name, note from customers
alter table customers rename column note to remark ;; select id, remark from customers order by 1
alter table orders rename to purchases ;; alter table purchases rename column total to amount ;; select id, amount from purchases order by amount ;; insert into purchases (id, amount) values (50, 1) returning *
create index concurrently_not on orders (customer_id) ;; create unique index on orders (id, customer_id) ;; drop index concurrently_not
create view order_totals as select c.id, c.name, sum(o.total) as total from customers c join orders o on o.customer_id = c.id group by c.id, c.name ;; select * from order_totals order by id ;; create or replace view order_totals as select c.id, c.name, sum(o.total) as total, count(*) as n from customers c join orders o on o.customer_id = c.id group by c.id, c.name ;; select n from order_totals order by 1
create materialized view big_orders as select id, total from orders where total > 1 ;; select * from big_orders order by id ;; refresh materialized view big_orders
create function touch() returns trigger language plpgsql as $$ begin new.note := coalesce(new.note, '') || '!'; return new; end $$ ;; create trigger touch before update on orders for each row execute function touch() ;; update orders set total = total + 1 where id = 10 returning id, total, note
create function add_tax(numeric) returns numeric language sql immutable as 'select $1 * 1.2' ;; create procedure archive(int) language plpgsql as 'begin delete from orders where id = $1; end'
create type mood as enum ('ok', 'bad') ;; alter type mood rename value 'bad' to 'sad' ;; create table moods (m mood) ;; insert into moods values ('sad') ;; select m, m > 'ok' from moods
create domain positive as int check (value > 0) ;; create table points (n positive) ;; insert into points values (3) ;; select n, n::positive + 1 from points ;; select 5::positive
create schema billing ;; create table billing.plans (id serial primary key, name text unique, price int) ;; insert into billing.plans (name, price) values ('a', 1) on conflict (name) do update set price = excluded.price returning id, name ;; set search_path = billing, public ;; select id, name from plans
create sequence counter start 100 ;; select nextval('counter') ;; alter sequence counter restart with 5 ;; select nextval('counter'), currval('counter')
create temp table staging (id int, line text) on commit drop ;; insert into staging select g, 'x' || g from generate_series(1, 3) g ;; insert into orders (id, note) select id, line from staging ;; select id, note from orders where id < 5 order by id ;; delete from staging where id = 1 ;; select count(*) from staging
create table months (day date, n int) partition by range (day) ;; create table months_1 partition of months for values from ('2024-01-01') to ('2024-02-01') ;; insert into months values ('2024-01-05', 1) ;; select * from months where day > '2024-01-01' ;; alter table months detach partition months_1
do $$ begin if not exists (select from pg_class where relname = 'flags') then create table flags (name text primary key, value bool); end if; end $$ ;; insert into flags values ('a', true) ;; select * from flags
do $$ declare n int; begin select count(*) into n from orders where note is null; if n > 0 then update orders set note = '' where note is null; end if; raise notice 'done'; end $$
update customers set name = upper(name), note = coalesce(note, '') || ' migrated' where id in (select customer_id from orders) ;; select id, name, note from customers order by id
update customers set ssn = '000-00-0000', salary = 5 where id = 2 ;; update public.customers set ssn = trim(ssn) where id = 1 ;; select count(ssn), count(*) from customers
insert into customers (id, name, ssn, email) values (20, 'New', '9', 'n@n.n') returning id, name, note ;; delete from customers where id = 20
merge into orders o using (values (10, 'merged'), (99, 'made')) v(id, note) on o.id = v.id when matched then update set note = v.note when not matched then insert (id, note) values (v.id, v.note) ;; select id, note from orders order by id
create table alembic_version (version_num varchar(32) not null, constraint alembic_version_pkc primary key (version_num)) ;; insert into alembic_version (version_num) values ('abc') ;; update alembic_version set version_num = 'def' where alembic_version.version_num = 'abc' ;; select alembic_version.version_num from alembic_version
savepoint a ;; create table nope (id int) ;; rollback to savepoint a ;; create table yes (id int) ;; release savepoint a ;; select count(*) from yes
comment on table orders is 'all orders' ;; comment on column customers.ssn is 'secret' ;; alter table orders set (fillfactor = 90) ;; analyze orders
create rule keep as on delete to orders do instead nothing ;; delete from orders where id = 10 ;; drop rule keep on orders
create policy own on orders using (customer_id = 1) ;; alter table orders enable row level security ;; drop policy own on orders
create extension if not exists hstore ;; select 'a=>1'::hstore -> 'a', 'a=>1'::hstore || 'b=>2'
select name_of(1), plus_one(2), loud('x')
select customer_id, add_months.m from orders, (select 1 as m) add_months order by orders.id
truncate vault ;; drop table vault ;; drop view totals ;; drop function loud(text) cascade ;; drop materialized view people_m
""".strip().split("\n")
ANALYSIS = r"""
select 1 as one, null, 'x'::text, 1.5, true, now() is not null, array[1,2], '{"a": 1}'::jsonb
select id, name, note from customers order by id
select c.name, o.id, o.total from customers c left join orders o on o.customer_id = c.id order by 1, 2
select count(*), count(ssn), count(distinct name), max(id), min(name) from customers
select date_trunc('month', at), sum(total), avg(total)::numeric(10,2) from orders group by 1 order by 1
select name, sum(total) over (partition by name order by o.id) from customers c join orders o on o.customer_id = c.id order by o.id
with t as (select customer_id, sum(total) s from orders group by 1) select name, s, rank() over (order by s desc) from t join customers c on c.id = customer_id order by s
select * from orders where total between 1 and 10 and note is not null or id in (10, 11) order by id limit 5 offset 0
select o.*, row_to_json(o) from orders o order by id
select case when total > 5 then 'big' else 'small' end as size, count(*) from orders group by 1 having count(*) > 0 order by 1
select string_agg(name, ', ' order by id) from customers
select name from customers where name ilike 'a%' or name ~ '^B' order by name
select distinct customer_id from orders order by 1
select id from orders union all select id from customers order by 1
select (select count(*) from orders o where o.customer_id = c.id) as n, c.name from customers c order by c.id
select exists (select 1 from orders where total > 100), 5 in (select id from orders)
select x.name, y.total from customers x cross join lateral (select sum(total) as total from orders where customer_id = x.id) y order by x.id
select g::date from generate_series('2024-01-01'::date, '2024-01-03', '1 day') g
select to_char(at, 'YYYY-MM'), extract(year from at) from orders order by id
select percentile_cont(0.5) within group (order by total) from orders
select customer_id, note, sum(total), grouping(customer_id, note) from orders group by grouping sets ((customer_id), (note), ()) order by 1, 2, 3
explain (costs off) select * from orders where id = 10
explain (costs off) select id, name from customers where name = 'x' order by note
select * from names order by id
select * from totals order by name
select id, kind from events
select id, extra from child
select * from other.customers
select column_name, data_type from information_schema.columns where table_name = 'customers' order by ordinal_position
select tablename from pg_tables where schemaname = 'public' order by 1
select relname, relkind from pg_class where relnamespace = 'public'::regnamespace order by 1
select conname, pg_get_constraintdef(oid) from pg_constraint where conrelid = 'orders'::regclass order by 1
select indexname, indexdef from pg_indexes where schemaname = 'public' order by 1
select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid) from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum where a.attrelid = 'customers'::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum
select t.oid, typarray from pg_type t join pg_namespace ns on typnamespace = ns.oid where typname = 'hstore'
select version() is not null, current_database() is not null, current_schema(), pg_is_in_recovery()
show transaction isolation level
select nspname from pg_namespace where nspname !~ '^pg_' order by 1
select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid where c.relname = 'orders' and a.attnum > 0 order by a.attnum
select proname, prosrc from pg_proc where proname = 'plus_one'
select viewname, definition from pg_views where schemaname = 'public' order by 1
select n.nspname, t.typname from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.typtype = 'e'
select e.enumlabel from pg_enum e join pg_type t on t.oid = e.enumtypid where t.typname = 'grade' order by e.enumsortorder
copy orders to stdout
copy (select id, name from customers order by id) to stdout (format csv, header)
copy orders (id, total) to stdout (format binary)
declare c cursor for select id, name from customers order by id ;; fetch 1 from c ;; fetch all from c ;; close c
prepare p (int) as select id, note from orders where id = $1 ;; execute p (10) ;; deallocate p
set local work_mem = '8MB' ;; show work_mem ;; set local search_path = public, other ;; select count(*) from orders
""".strip().split("\n")
WORK = [("ci", work) for work in MIGRATIONS] + [("analyst", work) for work in ANALYSIS]
SINGLE = [(grant, work) for grant, work in WORK if ";" not in work.replace(" ;; ", "")]
CASES: list[tuple[How, str, str]] = [
    *(("simple", grant, work) for grant, work in WORK),
    *(("binary", grant, work) for grant, work in SINGLE),
]


@pytest.mark.parametrize(("how", "grant", "work"), CASES, ids=[f"{how}: {work}" for how, _, work in CASES])
async def test_ordinary_work_is_as_on_the_database(states: States, how: How, grant: str, work: str) -> None:
    grant = "dba" if "extension" in work else grant
    answers = (await states.ask([work], how, grant))[work]
    direct, through = answers.direct[0], answers.through[0]
    assert "42501" not in through.codes
    if grant != "analyst":
        # what is made twice has other OIDs, and what was counted once counts on
        assert through.comparable == direct.comparable
    else:
        assert through.messages == direct.messages


DESCRIBE = ["\\d", "\\d customers", "\\d+ people", "\\dt+", "\\df", "\\df+ ssn_of", "\\du", "\\dn+", "\\dp", "\\di+",
            "\\dT+", "\\dv", "\\dx", "\\d+ events", "\\ds", "\\sf ssn_of", "\\dd", "\\dm+", "\\dy", "\\l", "\\dO",
            "\\do", "\\dC", "\\dD+", "\\ddp", "\\drds", "\\dRp", "\\dA", "\\dF", "\\des", "\\sv people", "\\z"]  # fmt: skip


@pytest.mark.parametrize("grant", ["ci", "analyst"])
async def test_psql_describes_everything(states: States, grant: str) -> None:
    commands = [argument for command in DESCRIBE for argument in ("-c", command)]
    direct = await asyncio.to_thread(psql, states.gate.database.environment(), *commands)
    through = await states.gate.psql(*commands, grant=grant)
    assert direct.returncode == 0
    assert through.stderr == direct.stderr
    assert through.stdout == direct.stdout


async def test_a_migration_tool_works_outside_of_transactions(states: States) -> None:
    connection = await states.gate.asyncpg()
    try:
        await connection.execute("create index concurrently by_note on orders (note)")
        await connection.execute("reindex index concurrently by_note")
        await connection.execute("vacuum analyze orders")
        await connection.execute("alter type grade add value 'gradetwo'")
        await connection.execute("drop index concurrently by_note")
        async with connection.transaction():
            await connection.execute("create table made (id int primary key, v text)")
            await connection.copy_records_to_table("made", records=[(1, "a"), (2, "b")])
            rows = await connection.fetch("select id, upper(v) as v from made order by id")
            assert [tuple(row) for row in rows] == [(1, "A"), (2, "B")]
            await connection.executemany("insert into made values ($1, $2)", [(3, "c"), (4, "d")])
            assert await connection.fetchval("select count(*) from made where v > $1", "a") == 3
    finally:
        await connection.close()
        await states.rebuild()


async def test_psycopg_reads_and_writes_in_pipelines_and_pages(states: States) -> None:
    connection: psycopg.AsyncConnection[Any] = await states.gate.psycopg()
    async with connection:
        async with connection.pipeline():
            first = await connection.execute("select id, name from customers order by id")
            second = await connection.execute("select id, total from orders order by id", binary=True)
            third = await connection.execute("update orders set note = %s where id = %s", ("p", 10))
        assert [row[1] for row in await first.fetchall()] == ["Ada", "Bob", "Cyd"]
        assert len(await second.fetchall()) == 3
        assert third.rowcount == 1
        async with connection.cursor("pages") as pages:
            pages.itersize = 2
            await pages.execute("select id, name from customers order by id")
            assert [row[0] async for row in pages] == [1, 2, 3]
        await connection.rollback()


def test_the_lists_hold_what_they_say() -> None:
    assert len(CASES) > 100
    assert all(
        not re.search(r"\bssn\b", work) or "count(ssn)" in work or "comment" in work for work in ANALYSIS
    )
