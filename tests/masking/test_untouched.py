"""What plainly does not derive from a masked column arrives byte for byte, and is not refused."""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

import re

import pytest
from asyncpg.introspection import INTRO_LOOKUP_TYPES

from tests.masking.probe import Probe
from tests.servers import psql

pytestmark = pytest.mark.server

UNTOUCHED = """
select 1
select count(*) from customers
select count(ssn), count(salary), count(c.email) from customers c
select count(*) from customers where name = 'Ada'
select id, name, note from customers
select id, name, note from customers order by name desc nulls first limit 1 offset 0
select c.id, upper(c.name), c.note is null from customers c where c.id between 1 and 5
select (c).id, (c).name from customers c
select name_upper, name_upper || '!' from customers
select c.name, sum(o.total), count(*) from customers c join orders o on o.customer_id = c.id group by c.name having count(*) > 0 order by 2
select c.name, o.* from customers c left join orders o on o.customer_id = c.id
select o.id, (select c.name from customers c where c.id = o.customer_id) from orders o
select id from customers where id in (select customer_id from orders where total > 1)
select exists (select 1 from customers where id = 1), not exists (select ssn from customers where id = 7)
select exists (select * from customers)
select * from orders
select o::text, row_to_json(o), array_agg(o) over () from orders o
select * from names
select n.note, upper(n.name) from names n
select * from totals
select id, upper(name) from people
select id + 1, name || '' from people_m
select id, kind, upper(kind) from events
select id, extra from child
select max(id), min(name) from customers
select name_of(1), plus_one(3)
select loud('x'), loud(name) from customers
select name, row_number() over (order by id), lag(name) over (order by id) from customers
with x as (select id, name from customers) select upper(x.name), count(*) from x group by 1
with recursive t(n) as (values (1) union all select n + 1 from t where n < 5) select sum(n) from t
select coalesce(c.note, 'none'), case when c.id = 1 then 'a' else c.name end from customers c
select id from customers union select id from orders order by 1
select name from customers except select note from orders
select distinct name, note from customers
select distinct on (name) id, name from customers order by name, id
select ctid is null, tableoid::regclass::text, xmin is null from customers
select generate_series(1, 3), now() is null, current_user = ''
select g from generate_series(1, 3) g
select * from unnest(array[1, 2]) with ordinality as u(x, n)
select c.id, u.x from customers c, unnest(array[c.id, 2]) as u(x)
select v.*, c.name from (values (1, 'a'), (2, 'b')) v(a, b) join customers c on c.id = v.a
select key, value from jsonb_each_text('{"a": 1}')
select * from other.customers
select upper(ssn), size + 1 from other.customers
select max(ssn) from other.customers group by ssn order by ssn
insert into customers (id, name, ssn) values (5, 'Eve', 'secret') returning id, name, upper(name)
insert into customers (id, name, ssn) select id + 100, note, 'new' from orders where id = 10 returning id
insert into customers (id, name, ssn) values (1, 'x', 'y') on conflict (id) do update set ssn = excluded.ssn, name = excluded.name returning id
insert into customers (id, name, ssn) values (1, 'x', 'y') on conflict do nothing
update customers set ssn = 'new' where id = 1 returning id, upper(name)
update customers set ssn = default, salary = 5 where id = 1
update public.customers set ssn = trim(ssn) where id = 1
update customers set name = upper(name) from orders o where o.customer_id = customers.id returning customers.id, o.note
delete from orders using customers c where c.id = customer_id and c.name = 'Ada' returning orders.*, c.name, upper(c.name)
merge into customers c using orders o on c.id = o.customer_id + 100 when not matched then insert (id, name, ssn) values (o.id, 'm', o.id::text || 'x')
create table z as select id, name from customers; select * from z
create temp table z as select id, name from customers; select id + 1, upper(name) from z
create temp table z (id int, ssn text); insert into z values (1, 'x'); select upper(ssn) from z where ssn = 'x' order by ssn
create view z as select id, name from customers; select * from z
create function z() returns bigint language sql as 'select count(*) from customers'
create function z() returns text language sql as 'select name from customers where id = 1'
create function z() returns int language plpgsql as 'declare n int; begin select c.id into n from customers c where c.name = $q$Ada$q$; return n; end'
create function z() returns trigger language plpgsql as 'begin new.note := upper(new.note); return new; end'; create trigger z before update on customers for each row execute function z()
create index z on customers (ssn)
create unique index z on customers (lower(name)) where note is not null
alter table customers add column extra text default 'x'
alter table customers add constraint z check (name <> '')
alter table customers alter column ssn set default 'none'
alter table orders add constraint z foreign key (customer_id) references customers (id) not valid
alter table vault alter column id type bigint
alter table customers alter column ssn drop not null
do $$ begin perform count(*) from customers; update customers set note = 'x' where id = 1; end $$
do $$ declare n int; begin select count(*) into n from orders; if n > 100 then raise exception 'many'; end if; end $$
explain select * from customers where id = 1
explain (analyze, timing off, summary off, costs off) select name from customers where name = 'Ada'
explain (format json) select * from orders
prepare z as select id, name from customers where id = $1
lock table customers in share mode
truncate vault
grant execute on function ssn_of(int) to public
alter function ssn_of(int) cost 50
comment on function steal() is 'x'
drop function steal()
create domain z as text check (value <> '')
create type z as (a int, b text)
create aggregate z(int) (sfunc = int4pl, stype = int)
comment on column customers.ssn is 'secret'
grant select on customers to public
analyze customers
drop table vault
create table z (like customers including all)
create table z () inherits (parent)
create table z (id int, card_number text check (length(card_number) > 3), up text generated always as (upper(card_number)) stored)
copy customers (id, name, note) to stdout
copy (select id, upper(name) from customers order by id) to stdout (format csv, header)
copy orders to stdout (format binary)
copy (select * from names) to stdout
select * from pg_class where relname = 'customers'
select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'customers'::regclass and attnum > 0
select column_name, data_type from information_schema.columns where table_name = 'customers' order by ordinal_position
select table_name from information_schema.tables where table_schema = 'public'
select relname, n_live_tup from pg_stat_user_tables
select pid, state, upper(usename::text) from pg_stat_activity where pid = pg_backend_pid()
select schemaname, attname, null_frac, n_distinct from pg_stats where tablename = 'customers'
select pg_relation_size('customers'), pg_get_viewdef('people'::regclass)
select current_setting('server_version'), current_schemas(true), version()
show search_path
set application_name = 'x'
select nextval('seq'), currval('seq')
select pg_advisory_xact_lock(1)
select set_config('application_name', 'x', true)
savepoint z
""".strip().split("\n")


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("sql", UNTOUCHED)
def test_what_does_not_derive_from_a_masked_column_is_untouched(probe: Probe, sql: str, binary: bool) -> None:
    if binary and ";" in sql:
        pytest.skip("several statements go by the simple protocol alone")
    outcome = probe.run(sql, binary=binary)
    assert outcome.refused is None
    assert outcome.plan.hold is None
    assert not outcome.direct.errors, outcome.direct.errors
    assert outcome.masked == ()
    assert outcome.through.rows == outcome.direct.rows
    assert outcome.through.copied == outcome.direct.copied


DESCRIBE = ["\\d", "\\d customers", "\\d+ people", "\\dt+", "\\df", "\\df+ ssn_of", "\\du", "\\dn+", "\\dp", "\\di+",
            "\\dT+", "\\dv", "\\dx", "\\d events", "\\ds", "\\sf ssn_of", "\\dd", "\\db", "\\dm+", "\\dy"]  # fmt: skip


@pytest.mark.parametrize("command", DESCRIBE)
def test_psql_describes_as_without_masks(probe: Probe, command: str) -> None:
    shown = psql(probe.database.environment(), "-E", "-c", command)
    assert shown.returncode == 0, shown.stderr
    queries = re.findall(
        r"^/\*+ QUERY \*+/\n(.*?)\n/\*+/", shown.stdout, re.MULTILINE | re.DOTALL
    ) or re.findall(r"^\*+ QUERY \*+\n(.*?)\n\*+\n", shown.stdout, re.MULTILINE | re.DOTALL)
    assert queries, shown.stdout
    for sql in queries:
        outcome = probe.run(sql)
        assert outcome.refused is None, sql
        assert outcome.masked == (), sql
        assert not outcome.plan.touches or outcome.through.rows == outcome.direct.rows


def test_asyncpg_introspects_types_as_without_masks(probe: Probe) -> None:
    outcome = probe.run(INTRO_LOOKUP_TYPES, [b"{25,1043,23}"])
    assert not outcome.direct.errors
    assert outcome.refused is None
    assert outcome.masked == ()
    assert outcome.through.rows == outcome.direct.rows
