"""SQL laid out for people."""

from __future__ import annotations

import pytest

from gatekeeper.sql.catalog import EMPTY
from gatekeeper.sql.facts import extract
from gatekeeper.sql.pretty import pretty


def test_a_query_is_laid_out_by_its_clauses() -> None:
    assert pretty("select id, name from customers where id = 1").splitlines() == [
        "SELECT", "  id,", "  name", "FROM customers", "WHERE", "  id = 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "sql", ["", "selct 1", "vacuum full t", "select 1; select 2", "\0", "(" * 5000, "do $$ x $$"]
)
def test_what_is_not_known_stays_as_it_is(sql: str) -> None:
    assert pretty(sql) == sql


@pytest.mark.parametrize(
    "sql",
    ["delete from orders", "with x as (delete from t returning *) select * from x", "update t set a = 1"],
)
def test_laying_out_changes_no_effect(sql: str) -> None:
    before, after = extract(sql, EMPTY), extract(pretty(sql), EMPTY)
    assert before.tags == after.tags
    assert [e.where_missing for s in before.statements for e in s.effects] == [
        e.where_missing for s in after.statements for e in s.effects
    ]
