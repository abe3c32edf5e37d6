"""No value of a masked column reaches the client in any form; each attack is first proven on the database."""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

import pytest

from tests.masking.probe import Probe
from tests.masking.schema import leaks

pytestmark = pytest.mark.server

ALL = "ssn, email, card, salary, score, born, uid, doc, tags, raw, seen, addr, level, ip, span, code"

MASKED_IN_PLACE = """
select * from customers
select ssn as name, email as note from customers
select c.* from customers as c(a, b, d)
select upper(ssn), lower(email), ssn || 'x', ssn::text, left(ssn, 8), reverse(ssn), md5(ssn) || ssn from customers
select coalesce(ssn, 'none'), concat(ssn, name), substr(ssn, 1, 8), replace(ssn, '-', '') from customers
select sha256(convert_to(ssn, 'UTF8')), convert_to(ssn, 'UTF8') from customers
select max(ssn), min(salary), array_agg(ssn), string_agg(ssn, ','), json_agg(ssn), avg(salary) from customers
select c from customers c
select c::text from customers c
select (c).ssn, (c.addr).street, (c).salary from customers c
select (c).* from customers c
select row_to_json(c), to_jsonb(c), json_agg(c), array_agg(c) from customers c group by c.id
select row(c.*) from customers c
select json_build_object('a', ssn), jsonb_build_array(salary, born) from customers
select xmlelement(name x, ssn), xmlforest(ssn, salary) from customers
select tags[1], doc->>'k', doc#>>'{k}' from customers
select ssn_upper from customers
select number, loud, salary from people
select n2 from people2
select * from people_m
select * from events
select * from events_1
select * from only events_1
select * from parent
select * from child
select (select ssn from customers where id = 1)
select array(select ssn from customers)
select x.s from (select ssn as s from customers) x
select * from (select * from customers) x
with x as (select * from customers) select x.ssn || '' from x
with recursive r(n, s) as (select 1, ssn from customers union all select n + 1, s from r where n < 2) select * from r
with recursive a as (select * from b), b as (select ssn::text || '' as s from customers) select * from a
select o.id, c.ssn from orders o join customers c on c.id = o.customer_id
select o.id, l.s from orders o, lateral (select c.ssn as s from customers c where c.id = o.customer_id) l
select * from orders o natural join (select id as customer_id, ssn from customers) c
select * from customers tablesample system (100)
select ssn_of(1)
select * from all_people()
select (all_people()).ssn
select steal()
select dyn('select ssn from customers')
select lag(ssn) over (order by id), first_value(ssn) over (order by id) from customers
values ((select ssn from customers where id = 1))
table customers
update customers set note = 'x' returning *
update customers set note = 'x' returning old.ssn, new.ssn, upper(old.ssn), new
update customers set note = 'x' returning with (old as o, new as n) o.ssn || '', n.salary
delete from orders using customers c where c.id = orders.customer_id returning c.ssn, c
insert into orders select 99, 1 returning (select ssn from customers where id = 1)
merge into orders o using customers c on c.id = o.customer_id when matched then update set note = 'y' returning c.ssn, o.id
with x as (update customers set note = 'z' returning ssn) select ssn || '' from x
select salary::text, salary + 0, salary::bigint from customers
select query_to_xml('select ssn from customers', true, true, '')
select table_to_xml('customers', true, true, '')
select schema_to_xml('public', true, true, '')
select * from ts_stat('select to_tsvector(ssn) from customers')
select most_common_vals, histogram_bounds from pg_stats where tablename = 'customers'
select * from pg_stats
select stavalues1, stavalues2 from pg_statistic
select s::text from pg_stats s
select U&"s\\0073n" from customers
select "ssn", "customers"."ssn", public.customers.ssn from public.customers
select CUSTOMERS.SSN from CUSTOMERS
select ssn /* , */ from customers -- x
select greatest(ssn, 'A'), least(ssn, 'z') from customers
select '' || c.* from customers c where false union all select c::text from customers c
select ssn collate "C" from customers
select ssn from customers union all select 'x'
select count(*), max(ssn) from customers group by id
select id, grouping(id), max(email) from customers group by rollup (id)
copy customers to stdout
copy customers (id, ssn, salary) to stdout (format csv, header)
copy customers to stdout (format binary)
copy (select ssn, upper(ssn), name, c from customers c) to stdout
copy (select ssn || 'x' as s, salary, doc from customers) to stdout (format csv, force_quote *)
copy people_m to stdout
copy (select * from customers) to stdout (format binary)
copy (select U&"\\0073sn" from customers) to stdout
copy events_1 to stdout
copy (table people) to stdout (delimiter '|', null 'NIL')
declare c cursor for select ssn from customers; fetch all from c
prepare p as select upper(ssn) from customers; execute p
explain analyze select ssn, ssn_of(1) from customers
select any_value(ssn), mode() within group (order by id) from customers
select distinct on (id) ssn from customers
select (select c from customers c where id = 1)
select (x.c).ssn from (select c from customers c) x
select x from (select ssn, salary from customers) x
select case when id = 1 then ssn else '' end, case id when 1 then salary end from customers
select string_agg(c::text, '|') from customers c
select customers from customers
select json_arrayagg(ssn), json_objectagg(id : ssn) from customers
select json_object('a': ssn), json_array(ssn, salary) from customers
select o.note, s.* from orders o left join (select id, ssn as note from customers) s using (id) union all select null, 1, ssn from customers
""".strip().split("\n")

REFUSED_OR_MASKED = """
do $$ begin alter table customers rename column ssn to x; alter table customers rename column note to ssn; end $$; select x, x || '' from customers
prepare q as select ssn from customers; create table x as execute q; select ssn || '' from x
copy (update customers set note = 'x' returning ssn, note || ssn) to stdout
select ((select c from customers c where id = 1)).ssn
select (c.*)::text from customers c
select array_to_string(array(select ssn from customers), ',')
alter table orders add column z text default ssn_of(1); select z from orders
create aggregate first_of(int) (sfunc = int4pl, stype = int, finalfunc = ssn_of); select first_of(1)
create operator @@@ (function = ssn_of, rightarg = int); select @@@ 1
create domain d as int check (ssn_of(value) = 'Kanarie-SSN-7781'); select 1::d, ssn_of(1)
create table x (id int, z text default ssn_of(1)); insert into x (id) values (1); select z from x
create view x as select ssn_of(1) as z; select z from x
create function g() returns text language sql as 'select ssn_of(1)'; select g()
create function g() returns table (a text) language plpgsql as 'begin return query select c.ssn from customers c; end'; select * from g()
create procedure g() language plpgsql as 'begin insert into vault (id, copy) select 1, ssn from customers where id = 1; end'; call g(); select copy from vault
create trigger g after insert on orders for each row execute function suppress_redundant_updates_trigger(); select ssn || '' from customers
merge into vault v using customers c on v.id = c.id when not matched then insert (id, copy) values (c.id, c.ssn) returning copy
with x as (insert into vault (id, copy) select id, lower(ssn) from customers returning *) select copy from x
insert into vault (id, copy) values (1, 'x') on conflict (id) do nothing returning (select ssn from customers where id = 1)
select string_agg(x::text, '') from (select * from customers) x
select jsonb_pretty(to_jsonb(array_agg(c))) from customers c
select l.x from customers c cross join lateral (values (c.ssn), (c.email)) l(x)
select t.* from customers c, lateral (select c.*) t
select name from (select ssn as name from customers) c
select upper(name) from (select ssn as name from customers) c
select n from (select ssn from customers) c(n)
select x.column1 from (values ((select ssn from customers where id = 1))) x
select c.ssn from orders o right join customers c using (id)
select j.ssn from (orders o join customers c on o.customer_id = c.id) j(a, b, t, n, at, i, nm, ssn)
select ssn from customers for update
select first_value(c) over (order by id) from customers c
select public.ssn_of(1), pg_catalog.upper(ssn) from customers
select operator(pg_catalog.-) 1, ssn operator(pg_catalog.||) 'x' from customers
select s from rows from (ssn_of(1), generate_series(1, 2)) as r(s, g)
select * from ssn_of(1) as s
select steal() as a, name from customers
select lower(steal()), upper(ssn_of(id)) from customers
create table events_2 partition of events for values from (100) to (200); update events set id = 150; select ssn from events_2
create table events_2 partition of events for values from (100) to (200); update events set id = 150; select * from events_2
do $$ declare d text; begin update customers set name = null where id = 1; exception when others then get stacked diagnostics d = pg_exception_detail; insert into vault (id, copy) values (1, d); end $$; select copy from vault
do $$ begin update customers set name = null where id = 1; exception when others then raise notice '%', sqlerrm; declare d text; begin get stacked diagnostics d = pg_exception_detail; raise notice '%', d; end; end $$
update customers set name = null where id = 1
select pg_advisory_xact_lock(salary::bigint) from customers where id = 1; select objid::bigint + (classid::bigint << 32) as n from pg_locks where locktype = 'advisory'
select setval('seq', salary::bigint) from customers where id = 1
create function f() returns trigger language plpgsql as 'begin raise notice $q$%$q$, row_to_json(new); return new; end'; create trigger f after update on customers for each row execute function f(); update customers set note = 'x'
create or replace function plus_one(int) returns int language plpgsql as 'begin raise notice $q$%$q$, (select ssn from customers where id = 1); return 1; end'; select plus_one(1)
select hstore(c)::text from customers c
select ssn as a from customers intersect all select ssn from customers where false union all select ssn from customers
select * from json_to_record((select to_json(c) from customers c where id = 1)) as x(ssn text, salary int)
select name(c), ssn(c) from customers c
select ssn::int from customers
select cast(ssn as date) from customers
select ssn::jsonb from customers where ssn is not null
select ('x' || ssn)::regclass from customers
select 'x'::text from customers where (ssn::int) > 1
select unnest(tags) from customers
select * from unnest((select tags from customers where id = 1))
select * from jsonb_each_text((select to_jsonb(c) from customers c where id = 1))
select key, value from customers c, jsonb_each_text(to_jsonb(c))
select * from each(hstore((select c from customers c where id = 1)))
select regexp_split_to_table(ssn, '-') from customers
select loud(ssn) from customers
select xmlparse(content ssn) from customers where id = 1
select max(ssn) from customers group by ssn
select ssn from customers order by ssn
select distinct ssn from customers
select ssn from customers union select 'x'
select nullif(ssn, 'x'), ssn from customers
select case when ssn like 'K%' then ssn end from customers
select set_config('application_name', ssn, false) from customers where id = 1
select set_config('application_name', (select ssn from customers where id = 1), false)
select pg_notify('x', ssn), ssn from customers
select shout()
insert into vault (id, copy) select id, ssn from customers returning copy
update customers set note = ssn returning note
update customers set note = 'was ' || ssn returning note
update customers set (note, name) = (select ssn, email from customers where id = 1) returning note
update orders set note = c.ssn from customers c where c.id = customer_id returning orders.note
merge into orders o using customers c on c.id = o.customer_id when matched then update set note = c.ssn returning o.note
insert into customers (id, name, note) values (1, 'x', 'y') on conflict (id) do update set note = customers.ssn returning note
create table x as select ssn from customers; select * from x
select ssn into x from customers; select * from x
create temp table x as select upper(ssn) as u from customers; select u from x
create materialized view x as select ssn from customers; select * from x
create view x as select ssn from customers; select * from x
create view x as select c from customers c; select * from x
insert into vault (id, copy) values (1, (select ssn from customers where id = 1)); select copy from vault
with m as (insert into vault (id, copy) select id, ssn from customers returning copy) select * from m
do $$ begin raise notice '%', (select ssn from customers where id = 1); end $$
do $$ declare r record; begin for r in select * from customers loop raise notice '%', r.ssn; end loop; end $$
do $$ begin execute 'create table x as select ss' || 'n as a from cust' || 'omers'; end $$; select a from x
do $$ begin insert into vault (id, copy) select id, ssn from customers; end $$; select copy from vault
create function f() returns text language sql as 'select ssn from customers where id = 1'; select f()
create function f() returns text language sql begin atomic select ssn from customers where id = 1; end; select f()
create function f() returns setof customers language sql as 'select * from customers'; select * from f()
create function f() returns text language plpgsql as 'begin return (select max(ssn) from customers); end'; select f()
alter table vault alter column copy type text using upper(ssn); select copy from vault; select ssn || '' from customers
alter table customers add column z text generated always as (lower(ssn)) stored; select z from customers
create table par (id int, secret text); alter table child inherit par; select secret from par
create rule r as on update to orders do also select ssn from customers; update orders set note = 'x'
create function t() returns trigger language plpgsql as 'begin new.note := new.ssn; return new; end'; create trigger t before update on customers for each row execute function t(); update customers set name = 'x' returning note
alter table customers rename to c2; select upper(ssn) from c2
alter table customers rename column ssn to x; select x || '' from customers
alter table customers rename column ssn to x; alter table customers rename column note to ssn; select x, x || '' from customers
alter table orders rename to o2; alter table customers rename to orders; select max(ssn) from orders
alter schema public rename to pub; select upper(ssn) from pub.customers
insert into customers (id, name, ssn) values (3, 'x', 'Kanarie-SSN-7781')
insert into customers (id, name, ssn) select 3, 'x', ssn from customers where id = 1
select generate_series(1, least(salary, 3)), salary from customers
select repeat('x', 3) || ssn, pg_sleep(length(ssn) * 0) from customers
select json_value(doc, '$.k') from customers
select * from json_table((select doc from customers where id = 1), '$' columns (k text path '$.k')) j
select * from xmltable('/r' passing (select xmlelement(name r, ssn) from customers where id = 1) columns s text path '.') x
select percentile_disc(0.5) within group (order by ssn) from customers
select ssn from customers group by rollup (ssn)
select query_to_xml('select * from customers where ssn = ' || quote_literal(ssn), true, true, '') from customers where id = 1
select lo_from_bytea(0, ssn::bytea), ssn from customers where id = 1
create index on customers (lower(ssn)); analyze customers; select s::text from pg_stats s where tablename like 'customers%'
explain verbose select * from customers where ssn = 'Kanarie-SSN-7781'
""".strip().split("\n")


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("sql", MASKED_IN_PLACE)
def test_a_masked_value_is_masked_in_place(probe: Probe, sql: str, binary: bool) -> None:
    if binary and ";" in sql:
        pytest.skip("several statements go by the simple protocol alone")
    outcome = probe.run(sql, binary=binary)
    assert outcome.refused is None
    assert outcome.plan.hold is None
    direct, through = outcome.direct, outcome.through
    if any("XML" in error.get("M", "") for error in direct.errors):
        pytest.skip("this PostgreSQL is built without libxml")
    assert leaks(direct.everything()) or "stat" in sql or "explain" in sql or "false" in sql, direct
    assert not leaks(through.everything()), through
    assert len(through.rows) == len(direct.rows)
    for was, now in zip(direct.rows, through.rows, strict=True):
        for a, b in zip(was, now, strict=True):
            assert b in (a, b"[REDACTED]", None)


@pytest.mark.parametrize("sql", REFUSED_OR_MASKED)
def test_a_masked_value_takes_no_other_way_out(strict: Probe, sql: str) -> None:
    outcome = strict.run(sql)
    if any("XML" in error.get("M", "") for error in outcome.direct.errors):
        pytest.skip("this PostgreSQL is built without libxml")
    assert leaks(outcome.direct.everything()), outcome.direct
    if outcome.refused is None:
        assert not leaks(outcome.through.everything()), outcome.through
        assert outcome.plan.touches
    else:
        assert outcome.refused.startswith('column "public.')
        assert outcome.refused.endswith('" is masked')
