"""A table that no statement may write, and the many ways there are to write it."""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from tests.harness import Gate
from tests.leaks.attack import RULES as ALL_RULES
from tests.leaks.attack import Heard, How, at_the_database, at_the_gate, tell

RULES: Final = (
    ALL_RULES.replace('"allow"', '"block"')
    + """
[[guard]]
name = "keep"
statements = ["DELETE", "UPDATE", "MERGE", "TRUNCATE TABLE", "DROP TABLE"]
relations = ["public.precious"]
action = "block"
"""
)
SETUP: Final = """
create table precious (id int primary key, v text);
insert into precious values (1, 'one'), (2, 'two'), (3, 'three');
create table other (id int primary key, v text);
insert into other select * from precious;
create table log (id serial, what text);
create table parts (id int, v text) partition by range (id);
create sequence seq;
create table tall () inherits (precious);
insert into tall values (10, 'ten');
create function wipe() returns int language plpgsql as $$ begin delete from public.precious; return 1; end $$;
create function wipe_sql() returns int language sql as $$ delete from precious; select 1 $$;
create procedure wipe_p() language plpgsql as $$ begin delete from precious; commit; end $$;
create function wipe_dyn(t text) returns int language plpgsql as $$ begin execute 'delete from ' || t; return 1; end $$;
create function on_other() returns trigger language plpgsql as $$ begin delete from precious where id = new.id; return new; end $$;
create trigger t after insert on other for each row execute function on_other();
create view through as select * from precious;
create view through2 as select id from through where id > 0;
create rule r as on insert to log where new.what = 'wipe' do also delete from precious;
create function imm(int) returns int language plpgsql immutable as $$ begin perform public.wipe(); return 1; end $$;
create operator ### (function = imm, rightarg = int);
create domain checked as int check (public.imm(value) = 1);
create table defaults (id int default wipe());
create table checks (id int check (imm(id) = 1));
create table doubled (id int, twice int generated always as (imm(id)) stored);
create table indexed (id int);
create index on indexed (imm(id));
create table typed (id checked);
create aggregate agg(int) (sfunc = int4pl, stype = int, finalfunc = imm);
create type wrapped as (x int);
create function unwrap(wrapped) returns int language sql as 'select public.wipe()';
create cast (wrapped as int) with function unwrap(wrapped);
create function with_default(a int, b int default wipe()) returns int language plpgsql as 'begin return b; end';
create function takes(a checked) returns int language plpgsql as 'begin return a; end';
create function gives() returns checked language plpgsql as 'begin return 1; end';
create table secured (id int);
insert into secured values (1);
create policy p on secured using (imm(id) = 1);
"""
PRECIOUS: Final = "select string_agg(tableoid::regclass || p::text, ',' order by id) from public.precious p"
EVERYTHING: Final = """
select concat_ws('/', (select string_agg(p::text, ',' order by id) from public.precious p),
    (select string_agg(o::text, ',' order by id) from public.other o), (select count(*) from public.log),
    (select last_value || is_called::text from public.seq), (select count(*) from pg_class where oid >= 16384),
    (select count(*) from pg_proc), (select count(*) from pg_largeobject_metadata))
"""


@dataclass
class Told:
    """What was heard, and whether the effect happened."""

    heard: Heard
    happened: bool


@dataclass
class Stage:
    """Tells attacks to the database and to the gateway, and sets the stage anew after each effect."""

    gate: Gate
    connection: asyncpg.Connection[Any]

    async def state(self, sql: str) -> object:
        try:
            return await self.connection.fetchval(sql)
        except asyncpg.PostgresError as problem:
            return type(problem).__name__

    async def tell(
        self,
        steps: Sequence[str | bytes],
        how: How = "simple",
        grant: str | None = "ci",
        state: str = PRECIOUS,
    ) -> Told:
        """Through the gateway, or to the database itself where there is no grant."""
        before = await self.state(state)
        opened = at_the_database(self.gate) if grant is None else at_the_gate(self.gate, grant)
        async with opened as wire:
            heard = await tell(wire, steps, how)
        happened = await self.state(state) != before
        text = " ".join(s if isinstance(s, str) else s.decode("latin-1") for s in steps)
        if happened or re.search("create|alter|drop", text, re.IGNORECASE):
            await self.reset()
        return Told(heard, happened)

    async def reset(self) -> None:
        """The database as it was; the gateway reads its catalog anew."""
        await self.connection.execute(
            "drop event trigger if exists et; drop schema if exists public, pub, s cascade; create schema public;"
            "select lo_unlink(oid) from pg_largeobject_metadata;" + SETUP
        )
        async with at_the_gate(self.gate, "dba") as wire:
            await tell(wire, ["create table passing ()", "drop table passing", "select 1"])
