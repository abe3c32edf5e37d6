"""Classes: a statement needs every class that it contains to be in the grant."""

from __future__ import annotations

import pytest

from gatekeeper.model import Action, StatementClass
from tests.policy.cases import ALL, action, grant, judge, message, verdict

READ, WRITE, FUNCTION, ROLE, DDL, MISC, SERVER = StatementClass


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("drop table customers", "DDL (DROP TABLE)"),
        ("insert into customers values (1)", "WRITE (INSERT)"),
        ("update customers set id = 2", "WRITE (UPDATE)"),
        ("truncate customers", "WRITE (TRUNCATE TABLE)"),
        ("with d as (delete from customers returning *) select * from d", "WRITE (DELETE)"),
        ("explain analyze delete from customers", "WRITE (DELETE)"),
        ("explain delete from customers", "WRITE (EXPLAIN)"),
        ("prepare p as delete from customers", "WRITE (DELETE)"),
        ("select 1; drop table customers", "DDL (DROP TABLE)"),
        ("select id into t from customers", "DDL (SELECT INTO)"),
        ("select * from customers for update", "WRITE"),
        ("create role x", "ROLE (CREATE ROLE)"),
        ("grant select on customers to x", "ROLE (GRANT)"),
        ("alter default privileges grant select on tables to x", "ROLE (ALTER DEFAULT PRIVILEGES)"),
        ("do $$ begin drop table customers; end $$", "FUNCTION (DO)"),
        ("select purge()", "WRITE (DELETE)"),
        ("vacuum customers", "MISC (VACUUM)"),
        ("listen x", "MISC (LISTEN)"),
        ("select pg_read_file('x')", "SERVER (SELECT)"),
        ("copy customers from '/etc/passwd'", "WRITE"),
        ("copy customers to '/tmp/x'", "SERVER (COPY)"),
        ("load 'x'", "SERVER (LOAD)"),
    ],
)
def test_a_class_not_granted_is_named_with_what_brings_it_in(sql: str, says: str) -> None:
    assert message(sql, by="reader").startswith(f'grant "reader" does not allow {says}')
    assert action(sql, by="reader") is Action.REJECT
    assert action(sql, by=grant("reader", classes=ALL)) is not Action.REJECT


def test_the_message_is_exactly_that_of_the_contract() -> None:
    assert message("drop table x", by="reader") == 'grant "reader" does not allow DDL (DROP TABLE)'


@pytest.mark.parametrize(
    "sql",
    [
        "begin", "commit", "rollback", "savepoint a", "release a", "rollback to a", "show all",
        "set search_path = x",
        "set local statement_timeout = 0", "reset search_path", "reset all", "discard all", "discard plans",
        "fetch next from c", "move c", "close c", "execute p", "deallocate p", "deallocate all",
        "call gatekeeper.end_run()", "set gatekeeper.reason = 'why'", "begin read only", "",
        "set transaction isolation level serializable", "set constraints all deferred",
    ],
)  # fmt: skip
def test_some_statements_are_always_allowed(sql: str) -> None:
    assert action(sql, by=grant("reader", classes=frozenset())) is Action.ALLOW
    assert action(sql, by=grant("reader", require_reason=True)) is Action.ALLOW


def test_what_cannot_be_parsed_is_a_syntax_error() -> None:
    found = verdict("selec 1")
    assert found.action is Action.REJECT
    assert found.refusal is not None
    assert found.refusal.sqlstate == "42601"


def test_a_class_comes_before_any_guard_and_guards_that_matched_are_told_all_the_same() -> None:
    text = '[[guard]]\nname = "no-drop"\nstatements = ["DROP *"]\naction = "block"\n'
    found = verdict("drop table x", text, by="reader")
    assert found.action is Action.REJECT
    assert found.guards == ("no-drop",)


def test_a_refused_statement_asks_for_no_estimate() -> None:
    text = '[[guard]]\nname = "big"\nmin_rows = 5\naction = "block"\n'
    assert action("delete from customers", text, by="reader") is Action.REJECT


@pytest.mark.parametrize("reason", [None, "", "   "])
def test_a_grant_that_requires_a_reason_waits_for_one(reason: str | None) -> None:
    who = grant("ci", require_reason=True)
    assert message("select 1", by=who, reason=reason) == "set gatekeeper.reason first"
    assert (
        message("set gatekeeper.reason = 'x'; select 1", by=who, reason=reason)
        == "set gatekeeper.reason first"
    )
    assert action("select 1", by=who, reason="ticket 7") is Action.ALLOW
    assert action("select 1", by=grant("ci"), reason=reason) is Action.ALLOW


def test_every_statement_of_a_query_counts() -> None:
    assert message("select 1; insert into customers values (1); select 2", by="reader").endswith(
        "WRITE (INSERT)"
    )
    found = judge("select 1; select 2", by="reader")
    assert found.action is Action.ALLOW  # type: ignore[union-attr]
