"""Attacks on a guarded table and on read-only grants, one a line; ` ;; ` parts the query strings of a session."""

# ruff: noqa: E501 - one attack is one line

from __future__ import annotations

from typing import Final

GUARDED: Final = r"""
delete from precious
delete from public.precious where id = 1
select 1; delete from precious
with x as (delete from precious returning *) select count(*) from x
explain analyze delete from precious
explain (analyze on) delete from precious
explain (analyze false, analyze true) delete from precious
explain (analyze 1) delete from precious
explain (analyze 'on') delete from precious
prepare p as delete from precious ;; execute p
copy (delete from precious returning id) to stdout
do $$ begin delete from precious; end $$
do language plpgsql $$ begin execute 'delete from precious'; end $$
do 'begin delete from precious; end'
do E'begin delete from pre\x63ious; end'
do U&'begin delete from pre\0063ious; end'
select wipe()
select wipe_sql()
call wipe_p()
select wipe_dyn('precious')
select public.wipe_dyn(t) from (values ('precious')) v(t)
delete from through
delete from through2
update through set v = 'x'
insert into log (what) values ('wipe')
select ### 1
select 1::checked
select cast(1 as checked)
insert into defaults default values
select agg(id) from other
select imm(1)
explain select imm(1)
select * from imm(1)
select count(*) filter (where imm(1) = 1)
values (wipe())
select (select wipe())
select case when true then wipe() end
select 1 order by wipe()
select 1 limit wipe()
select coalesce(null, wipe())
truncate precious
truncate only precious, other
drop table precious cascade
drop table tall, precious cascade
delete from only precious
delete from "precious"
delete from PRECIOUS
delete from U&"pre\0063ious"
delete from/**/precious
delete /* /* */ where */ from precious
/* x */ delete from precious --
create temp view sneaky as select * from precious ;; delete from sneaky
create temp view sneaky as select * from precious ;; delete from pg_temp.sneaky
create view sneaky as select * from precious ;; delete from sneaky
begin ;; create view sneaky as select * from precious ;; delete from sneaky ;; commit
begin; create view sneaky as select * from precious; delete from sneaky; commit
create view sneaky as select * from precious; delete from sneaky
begin ;; alter table precious rename to p2 ;; delete from p2 ;; alter table p2 rename to precious ;; commit
begin ;; create schema s ;; alter table precious set schema s ;; delete from s.precious ;; alter table s.precious set schema public ;; commit
begin ;; alter schema public rename to pub ;; delete from pub.precious ;; alter schema pub rename to public ;; commit
begin ;; create table par (id int, v text) ;; alter table precious inherit par ;; delete from par ;; commit
create table par (id int, v text) ;; alter table precious inherit par ;; delete from par
create function w2() returns int language sql as 'delete from precious; select 1' ;; select w2()
create function w2() returns int language plpgsql as 'begin delete from precious; return 1; end' ;; select w2()
begin ;; create function w2() returns int language plpgsql as 'begin delete from precious; return 1; end' ;; select w2() ;; commit
create procedure w2() language plpgsql as 'begin delete from precious; end' ;; call w2()
create function w2() returns trigger language plpgsql as 'begin delete from precious; return new; end' ;; create trigger tt before insert on log for each row execute function w2() ;; insert into log (what) values ('x')
create rule rr as on insert to log do also delete from precious ;; insert into log (what) values ('x')
create function w2() returns int language sql begin atomic delete from precious; select 1; end ;; select w2()
create function w2() returns event_trigger language plpgsql as 'begin delete from precious; end' ;; create event trigger et on ddl_command_end execute function w2() ;; create table zz ()
declare c cursor with hold for select wipe()
begin ;; declare c cursor for select wipe() ;; fetch c ;; commit
begin ;; declare c cursor for select * from precious for update ;; fetch c ;; delete from precious where current of c ;; commit
merge into precious p using other o on p.id = o.id when matched then delete
merge into through p using other o on p.id = o.id when matched then delete
merge into precious p using (select 1 as id) o on p.id = o.id when matched then update set v = 'x'
insert into precious values (1, 'x') on conflict (id) do update set v = 'y'
update only tall set v = 'x'
update tall set v = 'x'
delete from tall
alter table other add column z int default wipe()
create table ct as select wipe()
create table pp (id int check (imm(id) = 1)) ;; insert into pp values (1)
alter table other add check (imm(id) = 1)
select setval('seq', wipe())
select set_config('x.y', wipe()::text, false)
set search_path = nope, public ;; delete from precious
set search_path = ''; delete from public.precious
set client_encoding to latin1; delete from precious
listen x; delete from precious
begin; end; delete from precious
create table zz (a int) ;; insert into zz select wipe()
begin ;; create domain pg_temp.text as pg_catalog.text check (wipe() = 1) ;; select 'a'::text ;; commit
alter domain checked rename to ck ;; select 1::ck
prepare p as select 1 ;; deallocate p ;; prepare p as select wipe() ;; execute p
prepare p(int) as insert into defaults values ($1) ;; insert into defaults (id) values (default)
insert into defaults values (default)
create table d2 (like defaults including all) ;; insert into d2 default values
create temp table tt as select 1 as a; delete from precious
do $$ begin perform wipe(); end $$
do $$ begin call wipe_p(); end $$
do $$ declare x int := wipe(); begin end $$
do $$ begin for i in 1..wipe() loop end loop; end $$
do $$ begin if wipe() = 1 then end if; end $$
do $$ begin raise notice '%', wipe(); end $$
do $$ <<delete>> declare x int; begin x := (select wipe()); end $$
do $$ declare r record; begin for r in delete from precious returning * loop end loop; end $$
do $$ declare r record; begin for r in execute 'delete from precious returning *' loop end loop; end $$
do $$ declare x int; begin execute format('delete from %I', 'precious'); end $$
do $$ begin begin begin delete from precious; end; end; end $$
do $$ declare x int; begin with q as (delete from precious returning id) select count(*) into x from q; end $$
do $$ begin perform 1; delete/* x */from precious where true; end $$
do $$ begin case when true then delete from precious; end case; end $$
do $$ begin loop delete from precious; exit; end loop; end $$
do $$ declare x int; begin get diagnostics x = row_count; delete from precious; end $$
do $$ begin assert wipe() = 1; end $$
do $$ declare x int[]; begin x[wipe()] := 1; end $$
do $$ begin create temp view sneaky as select * from precious; delete from sneaky; end $$
do $$ begin alter table precious rename to p9; delete from p9; alter table p9 rename to precious; end $$
create function w3() returns int language plpgsql as 'begin create temp view sneaky as select * from precious; delete from sneaky; return 1; end' ;; select w3()
create function w3() returns int language plpgsql as 'begin delete from sneaky; return 1; end' ;; create view sneaky as select * from precious ;; select w3()
create function w3() returns int language plpgsql as 'begin delete from sneaky; return 1; end' ;; create temp view sneaky as select * from precious ;; select w3()
begin ;; create function w3() returns int language plpgsql as 'begin delete from sneaky; return 1; end' ;; create view sneaky as select * from precious ;; select w3() ;; commit
create view v3 as select id, v from precious ;; create view v4 as select * from v3 ;; truncate v4 ;; delete from v4
create view v3 as select id, v from precious ;; alter view v3 rename to v5 ;; delete from v5
set search_path = pg_temp, public ;; delete from precious
insert into checks values (1)
insert into doubled values (1)
insert into indexed values (1)
insert into typed values (1)
select with_default(1)
select * from with_default(1)
select takes(1)
select gives()
do $$ declare x public."checked" not null = 1; begin end $$
select row(1)::wrapped::int
select cast(row(1)::wrapped as int)
select (1)::public.checked
select '1'::checked
select array[1]::checked[]
select '{1}'::checked[]
select operator(public.###) 1
select 1 where ### 1 = 1
select count(*) from other group by ### id
prepare p(checked) as select $1 ;; execute p(1)
copy (select wipe()) to stdout
copy (select ### 1) to stdout
create table ct as select ### 1 as a
create temp table ct (a checked) ;; insert into ct values (1)
alter table other alter column id type checked
alter table other add column c checked default 1
do $$ declare x checked := 1; begin x := 2; end $$
do $$ begin perform ### 1; end $$
do $$ begin perform 1::checked; end $$
create view sneaky as select * from precious; create view sneaky2 as select * from sneaky; delete from sneaky2
create view pg_temp.sneaky as select * from precious ;; delete from sneaky
create temp view sneaky as select * from through2 ;; delete from sneaky
create temp view other as select * from precious ;; delete from other
create temp view sneaky as select * from precious ;; update pg_temp.sneaky set v = 'x'
create temp view sneaky as select * from precious ;; prepare p as delete from sneaky ;; execute p
create temp view sneaky as select * from precious ;; explain analyze delete from sneaky
create temp view sneaky as select * from precious ;; with x as (delete from sneaky returning *) select * from x
create temp view sneaky as select * from precious ;; merge into sneaky s using other o on s.id = o.id when matched then delete
create temp view sneaky as select * from precious ;; insert into sneaky values (1, 'x') on conflict (id) do update set v = 'y'
create temp view sneaky as select * from precious ;; do $$ begin delete from sneaky; end $$
begin; create temp view sneaky as select * from precious; do $$ begin delete from sneaky; end $$; commit
begin ;; alter view through rename to harmless ;; delete from harmless ;; commit
begin ;; alter table precious rename to a ;; alter table a rename to b ;; delete from b ;; alter table b rename to precious ;; commit
begin ;; alter table other rename to o2 ;; alter table precious rename to other ;; delete from other ;; alter table other rename to precious ;; commit
begin ;; create view v1 as select * from precious ;; alter view v1 rename to v2 ;; delete from v2 ;; commit
begin ;; create schema s ;; alter table precious set schema s ;; truncate s.precious, s.precious cascade ;; commit
begin ;; create schema s create view v as select * from public.precious ;; delete from s.v ;; commit
begin ;; create table par (id int, v text) ;; alter table precious inherit par ;; update par set v = 'x' ;; commit
begin ;; create table par (like precious) partition by range (id) ;; alter table precious no inherit par ;; rollback ;; delete from through
begin ;; savepoint a ;; create view sneaky as select * from precious ;; release a ;; delete from sneaky ;; commit
begin ;; create rule rr as on delete to other do instead delete from precious ;; delete from other ;; commit
begin ;; create function w() returns trigger language plpgsql as 'begin delete from precious; return null; end' ;; create trigger tt after insert on log execute function w() ;; insert into log (what) values ('x') ;; commit
set search_path = pg_catalog ;; delete from public.precious
set search_path to "$user", public; delete from precious
""".strip().split("\n")
"""Each of them writes to `precious` where nobody keeps it."""
READ_ONLY: Final = r"""
insert into precious values (99, 'x')
select nextval('seq')
select setval('seq', 5)
select * from precious for update
select * from precious for key share
select lo_create(0)
select lo_creat(-1)
select lo_from_bytea(0, 'x')
select lo_import('/etc/passwd')
select lo_put(1, 0, 'x')
create temp table t (a int)
create temporary view t as select 1
select 1 as a into temp t
select 1 as a into t
lock table precious
lock table precious in access exclusive mode
notify x
select pg_notify('x', 'y')
listen x
begin read write; insert into precious values (99, 'x'); commit
begin; set transaction read write; insert into precious values (99, 'x'); commit
begin ;; set transaction read write ;; select nextval('seq') ;; commit
commit; set session characteristics as transaction read write; select nextval('seq')
set default_transaction_read_only = off ;; select nextval('seq')
set transaction_read_only = off
set local transaction_read_only = 0
reset transaction_read_only
reset all ;; select nextval('seq')
discard all ;; select nextval('seq')
select set_config('transaction_read_only', 'off', true)
select set_config('transaction' || '_read_only', 'off', true)
select set_config(name, 'off', true) from pg_settings where name = 'transaction_read_only'
update pg_settings set setting = 'off' where name = 'transaction_read_only'
do $$ begin insert into precious values (99, 'x'); end $$
call wipe_p()
select wipe_sql()
select wipe_dyn('precious')
select imm(1)
select agg(id) from other
copy precious from stdin
copy precious from '/etc/passwd'
copy precious to '/tmp/x'
copy precious to program 'true'
copy (insert into precious values (99, 'x') returning id) to stdout
explain analyze insert into precious values (99, 'x')
explain (analyze) delete from precious
with x as (insert into precious values (99, 'x') returning *) select * from x
prepare p as insert into precious values (99, 'x') ;; execute p
prepare p as select nextval('seq') ;; execute p
declare c cursor for select nextval('seq')
refresh materialized view nope
analyze precious
vacuum precious
reindex table precious
cluster precious
checkpoint
truncate precious
create table x as select 1
comment on table precious is 'x'
grant select on precious to public
set role postgres
set session authorization postgres
set session_replication_role = replica
set local role none ;; insert into precious values (99, 'x')
select set_config('role', 'postgres', false)
select pg_terminate_backend(pg_backend_pid())
select pg_cancel_backend(pg_backend_pid())
select pg_reload_conf()
select pg_read_file('/etc/passwd')
select pg_ls_dir('.')
select pg_stat_file('/etc/passwd')
select pg_stat_reset()
select pg_switch_wal()
select pg_logical_emit_message(true, 'x', 'y')
select query_to_xml('select nextval(''seq'')', true, true, '')
select dblink('', 'delete from precious')
load 'x'
alter system set work_mem = '1MB'
create extension hstore
select pg_create_physical_replication_slot('x')
select brin_summarize_new_values('x')
select gin_clean_pending_list('x')
select pg_nextoid('pg_class', 'oid', 'pg_class_oid_index')
select * from pg_get_keywords() limit 1 for share
merge into precious p using other o on p.id = o.id when matched then delete
security label on table precious is 'x'
select pg_log_backend_memory_contexts(pg_backend_pid())
select pg_drop_replication_slot('x')
select pg_import_system_collations('pg_catalog')
select pg_restore_relation_stats('schemaname', 'public', 'relname', 'precious', 'relpages', 5)
select pg_clear_relation_stats('public', 'precious')
select pg_replication_origin_create('x')
unlisten *
set dynamic_library_path = '/tmp'
set session_preload_libraries = 'x'
set local_preload_libraries = 'x'
set jit_provider = 'x'
set "role" = postgres
set U&"r\006fle" = postgres
set session characteristics as transaction isolation level serializable, read write
begin isolation level serializable, read write
start transaction read write
begin ;; rollback and chain ;; set transaction read write
begin ;; savepoint a ;; set transaction read write ;; rollback to a
begin; commit and chain; select nextval('seq')
set names 'sjis'
set client_encoding = gbk
set gatekeeper.grant_name = 'dba'
set gatekeeper.subject = 'x'
select set_config('gatekeeper.grant_name', 'dba', false)
reset gatekeeper.grant_name
alter role postgres set default_transaction_read_only = off
alter database x set default_transaction_read_only = off
""".strip().split("\n")
"""Each of them writes, locks, or would let the session write: a grant with READ alone is refused it."""
