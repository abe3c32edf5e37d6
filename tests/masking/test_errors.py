"""Errors and notices of statements that touch masked columns carry no value, and what helps stays."""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

import pytest

from tests.masking.probe import Probe
from tests.masking.schema import leaks

pytestmark = pytest.mark.server

CARRYING = """
select ssn::int from customers
select ssn::date from customers
select ssn::uuid from customers
select ssn::json from customers where id = 1
select ('x' || ssn)::regclass from customers
select ssn::regrole from customers
select ssn::inet from customers
select (ssn || '"')::int from customers
select to_number(ssn, '9') || ('a' || ssn)::numeric from customers
update customers set name = null where id = 1
update customers set ssn = 'Kanarie-SSN-7781' where id = 2
insert into customers (id, name, ssn) values (7, 'x', 'Kanarie-SSN-7781')
insert into customers (id, name, email) values (7, 'Kanarie-SSN-7781', 'not an address')
alter table customers add constraint z check (ssn <> 'Kanarie-SSN-7781')
create unique index z on customers ((ssn is null or true)); insert into customers (id, name, ssn) values (8, 'x', 'Kanarie-SSN-7781')
select shout()
select query_to_xml('select (ssn || ''x'')::int from customers', true, true, '')
select dyn('select ssn::int::text from customers')
do $$ declare v text; begin select c.ssn into v from customers c where id = 1; raise exception 'it is %', v; end $$
do $$ declare v text; begin select c.ssn into v from customers c where id = 1; raise unique_violation using message = v; end $$
do $$ declare v text; begin select c.ssn into v from customers c where id = 1; raise warning using message = 'x', hint = v, detail = v; end $$
"""


@pytest.mark.parametrize("sql", CARRYING.strip().split("\n"))
def test_no_message_carries_a_masked_value(probe: Probe, sql: str) -> None:
    outcome = probe.run(sql)
    planned = outcome.plan
    assert planned.touches
    for error in outcome.direct.errors:
        cleaned = planned.clean_error(error)
        if "insert" not in sql and "update customers set ssn" not in sql and "check" not in sql:
            assert not leaks("\n".join(cleaned.values()).encode()), cleaned
        assert not leaks(cleaned.get("D", "").encode())
        for code in "SCstcdn":
            assert cleaned.get(code) == error.get(code)
        assert cleaned["M"]


HELPFUL = """
select nosuch from customers
select * from customers where nosuch = 1
select nosuch(id) from customers
selec * from customers; select * from nosuch
insert into customers (id) values (1)
insert into customers (id, name) values (1, 'x')
select id from customers group by name
update customers set nosuch = 1
select 1 from customers limit -1
"""


@pytest.mark.parametrize("sql", HELPFUL.strip().split("\n"))
def test_a_message_without_a_value_stays_as_it_is(probe: Probe, sql: str) -> None:
    if sql.startswith("selec "):
        sql = sql.partition("; ")[2]
    outcome = probe.run(sql)
    assert outcome.refused is None
    (error,) = outcome.direct.errors
    assert outcome.plan.clean_error(error)["M"] == error["M"]


def test_what_touches_no_masked_column_keeps_its_errors(probe: Probe) -> None:
    outcome = probe.run("select note::int from orders where id = 10")
    assert outcome.through.errors == outcome.direct.errors
    assert '"first"' in outcome.direct.errors[0]["M"]
