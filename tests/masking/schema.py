"""A database with canaries in columns of many types; `CANARIES` are the forms in which they may not come
out.
"""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

import struct

from gatekeeper.rules.schema import MaskRules
from tests.masking.probe import forms

TEXTS = (
    "Kanarie-SSN-7781",
    "kanarie.mail@geheim.example",
    "4929-Karte-5512",
    "JsonKanarie99",
    "TagKanarie42",
)
SALARY = 271828183
SETUP = """
create extension if not exists hstore;
create type grade as enum ('gradeone', 'gradekanarie');
create type address as (street text, zip text);
create domain mail as text check (value like '%@%');
create table customers (
    id int primary key, name text not null, ssn text unique, email mail, card varchar(40), salary int, score numeric,
    born date, uid uuid, doc jsonb, tags text[], raw bytea, seen timestamptz, addr address, level grade, ip inet,
    span int4range, code bpchar(20), note text,
    ssn_upper text generated always as (upper(ssn)) stored,
    name_upper text generated always as (upper(name)) stored
);
insert into customers (id, name, ssn, email, card, salary, score, born, uid, doc, tags, raw, seen, addr, level, ip,
                       span, code, note) values
 (1, 'Ada', 'Kanarie-SSN-7781', 'kanarie.mail@geheim.example', '4929-Karte-5512', 271828183, 31415926.53, '1907-11-23',
  'c0ffee00-1234-5678-9abc-def012345678', '{"k": "JsonKanarie99", "n": [1]}', '{TagKanarie42,x}', 'Kanarie-SSN-7781',
  '1907-11-23 01:02:03+00', '("StreetKanarie","Z")', 'gradekanarie', '203.0.113.77', '[271828183,271828199)',
  'Kanarie-SSN-7781', 'plain note'),
 (2, 'Bob', null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null);
create table orders (id int primary key, customer_id int references customers, total numeric, note text, at timestamptz);
insert into orders values (10, 1, 12.5, 'first', '2024-01-01'), (11, 1, 7, null, '2024-01-02'), (12, 2, 1, 'x', null);
create view people as select id, name, ssn as number, upper(ssn) as loud, salary from customers;
create view people2 as select p.id, p.number as n2 from people p where p.id > 0;
create view names as select id, name, note from customers;
create view totals as select c.name, count(c.ssn) as with_ssn, sum(o.total) as total
    from customers c join orders o on o.customer_id = c.id group by c.name;
create materialized view people_m as select id, name, ssn from customers;
create table events (id int, ssn text, kind text) partition by range (id);
create table events_1 partition of events for values from (0) to (100);
insert into events values (1, 'Kanarie-SSN-7781', 'login');
create table parent (id int, secret text);
create table child (extra text) inherits (parent);
insert into child values (1, 'Kanarie-SSN-7781', 'e');
create function ssn_of(int) returns text language sql stable as $$ select ssn from customers where id = $1 $$;
create function name_of(int) returns text language sql stable as $$ select name from customers where id = $1 $$;
create function all_people() returns setof customers language sql stable as $$ select * from customers $$;
create function loud(text) returns text language sql immutable as $$ select upper($1) $$;
create function plus_one(int) returns int language plpgsql immutable as $$ begin return $1 + 1; end $$;
create function steal() returns text language plpgsql as $$
    declare v text; begin select c.ssn into v from customers c where id = 1; return v; end $$;
create function dyn(q text) returns text language plpgsql as $$ declare v text; begin execute q into v; return v; end $$;
create function shout() returns int language plpgsql as $$
    declare v text; begin select c.ssn into v from customers c where id = 1; raise notice 'it is %', v; return 1; end $$;
create schema other;
create table other.customers (id int, ssn text, size int);
insert into other.customers values (1, 'harmless', 5);
create table vault (id int primary key, ssn text, copy text);
create sequence seq;
analyze;
"""
MASK = MaskRules(
    "pii",
    (
        *tuple(
            f"public.customers.{column}"
            for column in [
                "ssn",
                "email",
                "card",
                "salary",
                "score",
                "born",
                "uid",
                "doc",
                "tags",
                "raw",
                "seen",
                "addr",
                "level",
                "ip",
                "span",
                "code",
            ]
        ),
        "public.events.ssn",
        "public.parent.secret",
        "public.vault.ssn",
    ),
)
CANARIES: tuple[bytes, ...] = (
    *forms(*TEXTS, "StreetKanarie", "gradekanarie"),
    b"271828183", b"31415926", b"1907-11-2", b"c0ffee00", b"203.0.113", b"kanarie", b"geheim",
    struct.pack("!i", SALARY), bytes.fromhex("c0ffee00123456789abc"), bytes((203, 0, 113, 77)),
    struct.pack("!i", -33642),  # 1907-11-23 in binary
)  # fmt: skip


def leaks(data: bytes) -> list[bytes]:
    """The canaries in what was received."""
    lower = data.lower()
    return [form for form in CANARIES if form in lower or form in data]
