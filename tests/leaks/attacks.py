"""Attacks on masked columns, one a line; ` ;; ` parts the query strings of one session.

Each is told within a transaction that is rolled back. All work on the database itself: what they show there
holds a canary, or differs between the two states of the masked values.
"""

# ruff: noqa: E501 - one attack is one line

from __future__ import annotations

from typing import Final

ATTACKS: Final = r"""
create temp view sneaky as select * from customers ;; select ssn from sneaky
create temp view sneaky as select id, name, ssn as harmless from customers ;; select harmless from sneaky
create temp table tt as select * from customers ;; select ssn from tt
create temp table tt (x text) ;; insert into tt select ssn from customers ;; select x from tt
create temp table tt (id int, ssn text) ;; insert into tt select id, ssn from customers ;; select ssn || '' from tt
create function pg_temp.f() returns text language sql as 'select ssn from public.customers where id = 1' ;; select pg_temp.f()
create function pg_temp.f() returns text language plpgsql as 'begin return (select max(ssn) from customers); end' ;; select pg_temp.f()
create function pg_temp.count(text) returns text language sql as 'select $1' ;; select pg_temp.count(ssn) from customers
create function public.count(text) returns text language sql as 'select $1' ;; select count(ssn) from customers
create function public.count(text) returns text language sql as 'select $1' ;; set search_path = public, pg_catalog ;; select count(ssn) from customers
create aggregate public.count(text) (sfunc = textcat, stype = text, initcond = '') ;; set search_path = public, pg_catalog ;; select count(ssn) from customers
create table t (s text); insert into t select ssn from customers; select * from t
begin; select ssn from customers; commit
set search_path = public; create schema zz; create table zz.customers (id int, ssn text); set search_path = zz; select ssn from public.customers
declare c cursor with hold for select ssn from customers ;; fetch all from c
declare c cursor for select * from customers ;; fetch all c ;; move backward all in c ;; fetch next c
declare c scroll cursor for select upper(ssn) from customers ;; fetch last c ;; fetch first c ;; fetch absolute 1 from c ;; fetch relative 0 from c
declare c binary cursor for select salary, uid, born, ssn from customers ;; fetch all from c
prepare p as select ssn from customers ;; execute p
prepare p as select ssn from customers ;; explain analyze execute p
prepare p as select ssn from customers ;; create temp table xx as execute p ;; select * from xx
prepare p as select note from customers ;; alter table customers rename column ssn to a ;; alter table customers rename column note to b ;; alter table customers rename column a to note ;; execute p
prepare p(int) as select ssn from customers where id = $1 ;; execute p(1)
create function rc(refcursor) returns refcursor language plpgsql as $$ begin open $1 for select ssn from customers; return $1; end $$ ;; select rc('abc') ;; fetch all from abc
do $$ declare c refcursor := 'abc'; begin open c for select ssn, upper(ssn) from customers; end $$ ;; fetch all from abc
do $$ declare c refcursor := 'abc'; q text := 'select ss' || 'n || '''' as z from customers'; begin open c for execute q; end $$ ;; fetch all from abc
do $$ begin execute 'prepare p as select ss' || 'n || '''' as z from customers'; end $$ ;; execute p
prepare p as select name from customers ;; do $$ begin execute 'deallocate p'; execute 'prepare p as select ss' || 'n || '''' as z from customers'; end $$ ;; execute p
deallocate all ;; prepare p as select 1 ;; deallocate p ;; prepare p as select ssn from customers ;; execute p
discard plans ;; prepare p as select ssn from customers ;; discard temp ;; execute p
select 1 / (case when ssn like 'K%' then 0 else 1 end) from customers where id = 1
select * from generate_series(1, (select salary % 10 from customers where id = 1))
select id from customers limit (select length(ssn) - 14 from customers where id = 1)
select id from customers offset (select case when ssn like 'K%' then 0 else 1 end from customers where id = 1)
select 1 where exists (select from customers where ssn like 'K%')
select count(*) filter (where ssn like 'K%') from customers
select sum(case when ssn like 'K%' then 1 else 0 end) from customers
select bool_or(ssn like 'K%') from customers
select id, ssn like 'K%' from customers
select id from customers tablesample bernoulli ((select case when ssn like 'K%' then 100 else 0 end from customers where id = 1))
update customers set note = 'x' where ssn like 'K%'
insert into vault (id, copy) select 1, 'a' from customers where ssn like 'K%'
merge into orders o using customers c on c.ssn = 'Kanarie-SSN-7781' when matched then update set note = 'q'
select id from customers c where c = (select c2 from customers c2 where ssn like 'K%')
select id from customers where (id, ssn) in (select 1, 'Kanarie-SSN-7781')
select o.id from orders o join customers c on c.id = o.customer_id and c.ssn > 'L'
select current_query(), ssn from customers
select ssn::int from customers where id = 1
select ssn::uuid from customers where id = 1
select ssn::json from customers where id = 1
select to_date(ssn, 'YYYY') from customers where id = 1
select ssn::regclass from customers where id = 1
select (ssn || 'x')::regproc from customers where id = 1
select ssn::grade from customers where id = 1
select set_config(ssn, '1', true) from customers where id = 1
select current_setting(ssn) from customers where id = 1
select json_populate_record(null::customers, to_json(c)) from customers c
select (json_populate_record(null::customers, to_json(c))).ssn from customers c
select * from json_populate_recordset(null::customers, (select json_agg(c) from customers c))
select * from jsonb_to_recordset((select jsonb_agg(c) from customers c)) as x(ssn text)
alter table customers add constraint cc check (ssn like 'Z%') not valid ;; update customers set note = 'x'
alter table customers add column sx text generated always as (ssn) stored ;; select sx from customers
alter table customers add column z text default (random()::text) ;; select ssn from customers
create index on customers ((1/(length(ssn)-16)))
create index z on customers (id) where 1/(length(ssn)-16) > 0
explain (analyze, costs off, timing off, summary off, buffers off) select * from customers where ssn like 'K%'
explain select * from customers where ssn < 'L'
explain select * from customers where salary > 100
select pg_column_size(ssn) from customers
select pg_column_size(c.*) from customers c
select octet_length(c::text) from customers c
select count(nullif(ssn, 'Kanarie-SSN-7781')) from customers
select count(case when ssn like 'K%' then 1 end) from customers
select count(ssn::int) from customers where id = 1
select id from customers where exists (select ssn from orders limit (length(ssn) - 16))
select id, (select count(*) from generate_series(1, length(ssn))) from customers where id = 1
select id, (select count(*) from unnest(tags)) from customers where id = 1
select id, (select count(unnest) from unnest(tags)) from customers where id = 1
select id, unnest(tags) is null from customers where id = 1
select id, name, regexp_matches(ssn, 'K', 'g') from customers
create function public.lower(varchar) returns text language plpgsql as 'begin insert into vault (id, copy) values (1, $1); return $1; end' ;; select lower(card) from customers where id = 1 ;; select copy from vault
create function public.lower(varchar) returns text language plpgsql as 'begin raise notice $x$%$x$, $1; return $1; end' ;; select lower(card) from customers where id = 1
create function stash(varchar, text) returns text language plpgsql as 'begin insert into vault (id, copy) values (1, $1); return $2; end' ;; create operator public.|| (leftarg = varchar, rightarg = text, function = stash) ;; select card || 'x'::text from customers where id = 1 ;; select copy from vault
create function stash(text) returns bool language plpgsql as 'begin insert into vault (id, copy) values (1, $1); return true; end' ;; create domain public.varchar as text check (stash(value)) ;; select ssn::public.varchar from customers where id = 1 ;; select copy from vault
create function stash(text) returns bool language plpgsql as 'begin insert into vault (id, copy) values (1, $1); return true; end' ;; create domain public.text as pg_catalog.text check (stash(value)) ;; set search_path = public, pg_catalog ;; select card::text from customers where id = 1 ;; select copy from vault
create function public.ssn(names) returns text language sql as 'select ssn from customers where id = $1.id' ;; select n.ssn from names n
create function public.xx(orders) returns text language sql as 'select ssn from customers where id = $1.customer_id' ;; select o.xx from orders o
create function public.xx(orders) returns text language plpgsql as 'begin return (select ssn from customers where id = $1.customer_id); end' ;; select o.xx, (o).xx from orders o
create type evil as (x text) ;; create function mk(varchar) returns evil language plpgsql as 'begin raise notice $x$%$x$, $1; return row($1)::evil; end' ;; create cast (varchar as evil) with function mk(varchar) as implicit ;; create function upper(evil) returns text language sql as 'select $1.x' ;; select upper(card) from customers where id = 1
create sequence s2 ;; select setval('s2', (select salary from customers where id = 1)) ;; select last_value from s2
select setval('seq', salary) from customers where id = 1 ;; select last_value from seq ;; select * from seq ;; select currval('seq') ;; select lastval()
select nextval('seq') from generate_series(1, (select length(ssn) from customers where id = 1)) ;; select last_value from seq
select case when ssn like 'K%' then nextval('seq') end from customers where id = 1 ;; select last_value from seq
select pg_advisory_xact_lock(salary) from customers where id = 1 ;; select objid from pg_locks where locktype = 'advisory'
select pg_try_advisory_xact_lock(1, salary) from customers where id = 1 ;; select objid from pg_locks where locktype = 'advisory'
select set_config('my.x', ssn, true) from customers where id = 1 ;; show my.x
select set_config('my.x', ssn, true) from customers where id = 1 ;; select current_setting('my.x')
do $$ begin perform set_config('my.x', (select ssn from customers where id = 1), true); end $$ ;; show my.x
do $$ declare v text; begin select ssn into v from customers where id = 1; perform set_config('my.x', v, true); end $$ ;; show my.x
do $$ declare v customers; begin select * into v from customers where id = 1; perform set_config('my.x', v::text, true); end $$ ;; show my.x
do $$ declare v text := (select ssn from customers where id = 1); begin raise exception '%', v; end $$
do $$ declare v text := (select ssn from customers where id = 1); begin raise exception using message = 'x', detail = v, hint = v; end $$
do $$ declare v text := (select ssn from customers where id = 1); begin raise exception using errcode = 'K' || upper(substr(md5(v), 1, 4)); end $$
do $$ begin assert (select ssn from customers where id = 1) is null, (select ssn from customers where id = 1); end $$
create function g(x text) returns text language plpgsql as 'begin raise notice $q$%$q$, x; return x; end' ;; select g(ssn) from customers
select * from ts_stat('select to_tsvector(''simple'', ssn) from customers')
select lo_from_bytea(4711, ssn::bytea) from customers where id = 1 ;; select lo_get(4711)
select lo_from_bytea(4711, convert_to(ssn, 'UTF8')) from customers where id = 1 ;; select data from pg_largeobject where loid = 4711
select (c).* from (select customers as c from customers) q
select (select row(ssn, 1) from customers where id = 1)
select * from (select row(ssn)::text as x from customers) y
select row_to_json(row(ssn, id)) from customers
select to_jsonb(c) - 'ssn' from customers c
select to_jsonb(c) #>> '{ssn}' from customers c
select jsonb_object_agg(name, ssn) from customers
select jsonb_object_agg(ssn, name) from customers where id = 1
select x.* from customers c, lateral jsonb_populate_record(null::customers, to_jsonb(c)) x
select x from customers c, lateral unnest(array[c.ssn]) x
select distinct on (name) name, ssn from customers
select * from customers where false union select * from customers
table customers
values ((select string_agg(ssn, '') from customers))
with a as materialized (select ssn from customers) table a
with recursive r as (select 1 n, ssn from customers union all select n + 1, r.ssn from r where n < 2) select * from r
select * from people_m
select number || 'x' from people
select c2 from people c2
select * from parent where id = 1
select p.*::text from parent p
update customers set name = name returning ssn || '', customers, customers.*
update customers set name = name returning old.*, new.*
delete from orders returning (select max(ssn) from customers)
insert into vault (id, ssn) values (1, 'x') returning (select ssn from customers where id = 1)
insert into vault (id, ssn) select id, ssn from customers returning id, ssn, copy
insert into vault (id, ssn) select id, ssn from customers where id = 1 ;; update vault set copy = ssn ;; select copy from vault
insert into vault (id, ssn) select id, ssn from customers where id = 1 ;; alter table vault rename ssn to z ;; alter table vault rename copy to ssn ;; select z from vault
insert into vault (id, ssn) select id, ssn from customers where id = 1 ;; alter table vault drop column copy ;; alter table vault rename ssn to copy ;; select copy from vault
insert into vault (id, ssn) select id, ssn from customers where id = 1 ;; alter table vault rename to v2 ;; select ssn || '' from v2
merge into vault v using customers c on v.id = c.id when not matched then insert (id, ssn) values (c.id, c.ssn) returning *
copy customers to stdout
copy customers (ssn) to stdout with (format csv)
copy (select ssn from customers) to stdout with (format binary)
copy (select row_to_json(c) from customers c) to stdout
copy (select c from customers c) to stdout (format csv, quote '''', delimiter '|')
copy people_m to stdout
copy child to stdout
copy (with x as (delete from vault returning *) select ssn from customers) to stdout
alter table customers disable row level security ;; select ssn from customers
alter table events detach partition events_1 ;; select ssn from events_1
alter table events detach partition events_1 ;; select ssn || '' from events_1 ;; select * from events_1
alter table child no inherit parent ;; select secret || '' from child
alter table child no inherit parent ;; alter table child rename secret to s ;; select s from child
create table ch2 () inherits (customers) ;; insert into ch2 (id, name, ssn) select 7, 'a', ssn from customers where id = 1 ;; select ssn from ch2 ;; select ssn || '' from ch2
create table lk (like customers including all) ;; insert into lk (id, name, ssn) select id, name, ssn from customers ;; select ssn from lk
create materialized view mv as select id from customers where ssn like 'K%' ;; select * from mv
create view vv as select id from customers where ssn like 'K%' ;; select * from vv
create view vv as select id, ssn like 'K%' as x from customers ;; select * from vv
select U&"\0073sn" from customers
select U&"!0073sn" uescape '!' from customers
select "customers"."ssn" from U&"c\0075stomers"
select /* /* nested */ */ ssn/**/from/**/customers--x
select E'\'' || ssn from customers where id = 1
select $$a$$ || ssn, $q$;$q$ from customers where id = 1
SELECT SSN FROM PUBLIC.CUSTOMERS
select ssn from only customers
select customers.ssn as id from customers
select id as ssn, ssn as id from customers
select * from customers as c(a1, a2, a3)
select a3 from customers as c(a1, a2, a3)
select a3 || '' from customers as c(a1, a2, a3)
select coalesce(a3, '') from (select * from customers) as c(a1, a2, a3)
select * from rows from (ssn_of(1)) as x
select * from all_people() x where x.id = 1
select ssn(all_people())
select x.ssn || '' from all_people() x
select all_people()
select steal()
select name_of(1), ssn_of(1)
select shout()
select ssn from customers
select id from customers order by ssn
select rank() over (order by ssn), id from customers
select id, row_number() over (partition by left(name, 0) order by salary desc) from customers
select name from customers order by lower(ssn)
select id from (select id, ssn from customers order by 2) x
select string_agg(name, ',' order by ssn) from customers
select array_agg(id order by salary) from customers
select json_agg(id order by born) from customers
select first_value(name) over (order by salary) from customers
select percentile_disc(0.5) within group (order by salary) from customers
select name from customers group by name, ssn order by max(ssn)
select distinct on (left(ssn, 0)) name from customers order by left(ssn, 0), ssn
select min(name) filter (where ssn > 'L') from customers
select encode(convert_to(ssn, 'utf8'), 'base64'), encode(convert_to(ssn, 'utf8'), 'hex'), reverse(ssn), translate(ssn, '-', ' ') from customers where id = 1
select regexp_replace(ssn, '(.)', '\1 ', 'g'), quote_literal(ssn), to_jsonb(ssn), ascii(ssn), array_to_string(string_to_array(ssn, null), '.') from customers where id = 1
select greatest(salary, 0), salary::text, to_char(salary, '999G999G999'), salary * 2 / 2, salary::bit(32), to_hex(salary) from customers where id = 1
select born - date '1900-01-01', extract(epoch from born), to_char(born, 'YYYY'), age(born) from customers where id = 1
select host(ip), network(ip), text(ip), set_masklen(ip, 8) from customers where id = 1
select lower(span), upper(span), span::text, int4range(lower(span), 999999999) from customers where id = 1
select (addr).street as a, (addr).zip as b, addr::text as c, row_to_json(addr) as d from customers where id = 1
select doc -> 'k', doc ->> 'k', jsonb_path_query(doc, '$.*'), doc @> '{"k": "JsonKanarie99"}' from customers where id = 1
select encode(raw, 'hex'), get_byte(raw, 0), length(raw), convert_from(raw, 'utf8') from customers where id = 1
select level::text, level > 'gradeone', enum_range(null, level) from customers where id = 1
select ssn from customers where name = 'Ada' for share
select customers from customers where id = 1
select array[c] from customers c
select array[ssn, name] from customers
select (array[ssn])[1] from customers
select c from customers c where id = 1 union all select null
select row(c.*)::customers from customers c
with recursive t(a) as (select ssn from customers where id = 1 union all select a || '' from t where length(a) < 3) select * from t
with x as (update customers set note = 'q' where id = 1 returning *) select x::text from x
with x(harmless) as (select ssn from customers) select harmless || '' from x
select y.z from (select x.z from (select ssn as z from customers) x) y
select z from customers c, lateral (select c.ssn) l(z)
select z from customers c cross join lateral (values (c.ssn), (c.name)) l(z)
select coalesce(nullif(ssn, ''), name) from customers
select case when id = 1 then ssn else name end from customers
select distinct ssn from customers
select ssn from customers intersect select ssn from customers
select max(ssn) over (), count(*) over (partition by ssn) from customers
select mode() within group (order by ssn) from customers
select ssn from customers where id = 1; select upper(ssn) from customers where id = 1; select 1
select 1; select ssn as a from customers; show server_version
set search_path = other; set search_path = public; select upper(ssn) from customers
set local search_path = pg_temp, public; create temp table x (customers text); select ssn || '' from customers
create temp table customers (id int, harmless text) ;; select ssn || '' from public.customers
create temp table people (id int) ;; select loud || '' from public.people
create schema zz ;; set search_path = zz ;; create table customers (id int, harmless text) ;; select ssn || '' from public.customers
prepare p as select ssn from customers; execute p; deallocate p
prepare p (text) as select ssn || $1 from customers ;; execute p('!') ;; deallocate p ;; prepare p as select upper(ssn) from customers ;; execute p
prepare "P p" as select ssn from customers ;; execute "P p"
declare "c ""x" cursor for select ssn, upper(ssn) from customers ;; fetch 1 from "c ""x" ;; fetch all from "c ""x"
declare c cursor for select name from customers ;; close c ;; declare c cursor for select ssn from customers ;; fetch all from c
declare c cursor for select ssn from customers ;; savepoint a ;; fetch 1 from c ;; rollback to a ;; fetch all from c
declare c cursor for select * from customers ;; alter table vault add x int ;; fetch all from c
declare c scroll cursor for select row_to_json(c) from customers c ;; fetch forward 2 from c ;; fetch prior from c
create function two(refcursor, refcursor) returns setof refcursor language plpgsql as $$ begin open $1 for select ssn from customers; return next $1; open $2 for select upper(ssn) from customers; return next $2; end $$ ;; select two('a', 'b') ;; fetch all from a ;; fetch all from b
explain (analyze, costs off, timing off, summary off, buffers off, format json) select * from customers where salary > 100
create domain pg_temp.text as pg_catalog.text check (value is null or value not like 'K%') ;; select card::text from customers where id = 1
create domain nok as text check (value not like 'K%') ;; select ssn::nok from customers where id = 1
create domain nok as text check (value not like 'K%') ;; alter table customers alter column ssn_upper drop expression ;; alter table customers alter column ssn_upper type nok
create function log_it(text) returns text language plpgsql as 'begin raise notice $q$<%>$q$, $1; return $1; end' ;; select log_it(ssn), log_it(upper(ssn)) from customers
create function wrap(text) returns text language plpgsql immutable as 'begin return upper($1); end' ;; select wrap(ssn) from customers
create function pg_temp.wrap(text) returns text language sql as 'select $1' ;; select pg_temp.wrap(ssn) from customers
create function public.upper(varchar) returns text language sql as 'select $1' ;; select upper(card) from customers
create function public.count(varchar) returns text language sql as 'select $1' ;; select public.count(card) from customers
create function public.length(varchar) returns text language sql as 'select $1' ;; select length(card) from customers
create operator public.=== (leftarg = text, rightarg = text, function = textcat) ;; select ssn === 'x' from customers
create function eq(varchar, varchar) returns bool language plpgsql as 'begin raise notice $q$%$q$, $1; return true; end' ;; create operator public.= (leftarg = varchar, rightarg = varchar, function = eq) ;; select card in (card) from customers where id = 1
create aggregate keep(text) (sfunc = textcat, stype = text, initcond = '') ;; select keep(ssn) from customers
create aggregate public.max(varchar) (sfunc = textcat, stype = text, initcond = '') ;; select max(card) from customers
create view vv as select id, ssn from customers ;; select * from vv
create or replace view names as select id, name, ssn as note from customers ;; select * from names
create or replace function name_of(int) returns text language sql as 'select ssn from customers where id = $1' ;; select name_of(1)
alter function ssn_of(int) rename to harmless ;; select harmless(1)
alter function ssn_of(int) set schema other ;; select other.ssn_of(1)
alter view people rename column number to harmless ;; select harmless from people
alter view people rename to harmless ;; select number || '' from harmless
alter table customers rename column ssn to harmless ;; select harmless, harmless || '' from customers
alter materialized view people_m rename to harmless ;; select upper(ssn) from harmless
refresh materialized view people_m ;; select upper(ssn) from people_m
alter table customers add column extra text ;; update customers set extra = ssn ;; select extra from customers
alter table customers add column extra text ;; update customers set extra = name where ssn like 'K%' ;; select extra from customers
alter table customers drop column name cascade ;; alter table customers rename column ssn to name ;; select upper(name) from customers
create table heir () inherits (parent) ;; insert into heir values (9, (select ssn from customers where id = 1)) ;; select secret || '' from parent
create table events_2 partition of events for values from (100) to (200) ;; insert into events select 150, ssn, 'x' from customers where id = 1 ;; select ssn from events_2 ;; select kind || ssn from events_2
insert into orders (id, customer_id, note) select 77, 1, ssn from customers where id = 1 ;; select note from orders where id = 77
insert into orders (id, note) values (77, (select ssn from customers where id = 1)) returning note
insert into orders (id, note) values (77, ssn_of(1)) returning note
update orders set note = ssn_of(1) ;; select note from orders
update orders o set note = c.ssn from customers c where c.id = 1 ;; select note from orders
update orders set note = (select max(ssn) from customers) where id = 10 returning note
update orders set note = 'x' where customer_id = 1 and (select length(ssn) from customers where id = 1) > 10
delete from orders o using customers c where c.id = o.customer_id and c.ssn like 'K%' returning o.id
merge into orders o using customers c on c.id = o.customer_id when matched and c.ssn like 'K%' then delete
merge into orders o using customers c on c.id = o.customer_id when matched then update set note = c.ssn returning o.note
do $$ begin if exists (select from customers where ssn like 'K%') then raise notice 'yes'; end if; end $$
do $$ declare n int; begin select count(*) into n from customers where ssn like 'K%'; raise notice '%', n; end $$
do $$ begin update orders set note = (select ssn from customers where id = 1) where id = 10; end $$ ;; select note from orders where id = 10
do $$ declare x text; begin execute 'select s' || 'sn from cust' || 'omers where id = 1' into x; raise notice '%', x; end $$
do $$ begin perform ssn::int from customers where id = 1; exception when others then raise notice '%', sqlerrm; end $$
do $$ declare d text; begin insert into customers (id, name, ssn) values (9, 'x', (select ssn from customers where id = 1)); exception when others then get stacked diagnostics d = pg_exception_detail; raise notice '%', d; end $$
do $$ begin create temp table stolen as select * from customers; end $$ ;; select ssn from stolen
do $$ begin create function stolen() returns text language sql as 'select ssn from customers where id = 1'; end $$ ;; select stolen()
do language plpgsql E'begin raise notice \'%\', (select s\x73n from customers where id = 1); end'
create procedure pp(inout x text) language plpgsql as 'begin select ssn into x from customers where id = 1; end' ;; call pp(null)
create function tt() returns trigger language plpgsql as 'begin new.note := (select ssn from customers where id = 1); return new; end' ;; create trigger tt before insert on orders for each row execute function tt() ;; insert into orders (id) values (78) returning note
create function tt() returns trigger language plpgsql as 'begin raise notice $q$%$q$, old; return new; end' ;; create trigger tt before update on customers for each row execute function tt() ;; update customers set name = 'x' where id = 1
alter table customers add check (length(ssn) < 10)
alter table customers alter column email type varchar(5)
select lo_from_bytea(4711, convert_to(ssn, 'UTF8')) from customers where id = 1 ;; select convert_from(lo_get(4711), 'UTF8')
select pg_notify('x', ssn), upper(ssn) from customers where id = 1
select setseed(salary / 1e9) from customers where id = 1 ;; select random()
select query from pg_stat_activity where query like '%Kanarie%' and pid = pg_backend_pid()
select current_query() from customers where ssn = 'Kanarie-SSN-7781'
select xmin = xmin, ssn from customers
copy (select ssn from customers order by id) to stdout with (format csv, header, force_quote (ssn), delimiter '#')
copy customers (id, ssn) to stdout with (format text, delimiter '|', null '~')
copy (select c::text from customers c) to stdout
copy (select upper(ssn), salary, doc, tags from customers) to stdout with (format binary)
copy (values ((select ssn from customers where id = 1))) to stdout
copy (update customers set note = ssn returning note) to stdout
copy (select id from customers where ssn like 'K%') to stdout
select id from customers order by ssn nulls first fetch first 2 rows only
update customers set card = card || repeat('x', 30)
update customers set salary = salary + 1900000000
update customers set score = 1 / (score - 0.5) where id = 1
alter table vault add constraint c check (ssn not like 'K%') ;; insert into vault (id, ssn) select id, ssn from customers
create table vaults (id int, ssn text check (ssn not like 'K%')) ;; insert into vaults select id, ssn from customers
create table short (like vault) ;; alter table short alter column ssn type varchar(8) ;; insert into short (id, ssn) select id, ssn from customers
insert into vault (id, ssn) select length(ssn), ssn from customers where id = 1 returning id
create rule rr as on insert to vault do also select * from customers ;; insert into vault (id) values (5); select 1
alter table customers rename column note to a ;; alter table customers rename column ssn to note ;; select note, note || '' from customers
alter table customers rename column name to a ;; alter table customers rename column note to name ;; alter table customers rename column ssn to note ;; select upper(note), name from customers
alter table orders rename to o2 ;; alter table customers rename to orders ;; select ssn || '' from orders
alter table orders rename to o2 ;; alter table customers rename to orders ;; alter table orders rename column ssn to x ;; select x || '' from orders ;; select x from orders order by x
alter table orders set schema other ;; alter table customers rename to orders ;; select upper(ssn) from orders where ssn like 'K%'
alter view names rename to n2 ;; alter view people rename to names ;; select number || '' from names
""".strip().split("\n")
