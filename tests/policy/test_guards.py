"""Guards: all are looked at, the strictest that matches decides, every one that matched is recorded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.model import Action, Hold, Undecided
from gatekeeper.policy.guards import NameGlobs
from gatekeeper.rules.globs import matcher
from gatekeeper.sql.catalog import EMPTY
from tests.policy.cases import CATALOG, action, guard, judge, verdict

OPEN = '[policy]\ndynamic_sql = "allow"\nopaque_function = "allow"\n'


def hits(sql: str, catalog: Any = CATALOG, by: Any = "ci", database: Any = "app", **keys: Any) -> bool:
    """True where a guard with these conditions blocks the statement."""
    found = action(sql, OPEN + guard(**keys), catalog=catalog, by=by, database=database)
    assert found in {Action.ALLOW, Action.BLOCK}
    return found is Action.BLOCK


# --- conditions ------------------------------------------------------------------------------------------

DROPS: dict[str, Any] = {"statements": ["DROP *", "TRUNCATE TABLE"]}


@pytest.mark.parametrize(
    "sql",
    [
        "drop table customers",
        "DROP DATABASE app",
        "truncate customers",
        "select 1; truncate customers",
        "explain analyze create table x as select 1; drop table x",
        "do $$ begin truncate customers; end $$",
        "do $$ begin if false then drop table customers; end if; end $$",
        "create function f() returns void language sql as 'truncate customers'",
        "/* /* select */ */ truncate/**/customers",
        "prepare p as select 1; drop view v",
    ],
)
def test_a_guard_on_statements_sees_every_nested_effect(sql: str) -> None:
    assert hits(sql, **DROPS)


@pytest.mark.parametrize(
    "sql", ["select 'drop table x'", "create table truncated (a int)", "delete from customers"]
)
def test_a_guard_on_statements_leaves_others_alone(sql: str) -> None:
    assert not hits(sql, **DROPS)


UNBOUNDED: dict[str, Any] = {"statements": ["UPDATE", "DELETE"], "where": "missing"}


@pytest.mark.parametrize(
    ("sql", "matches"),
    [
        ("delete from customers", True),
        ("delete from customers where true", False),
        ("update customers set id = 1", True),
        ("update customers set id = 1 where id = 2; delete from customers", True),
        ("with d as (delete from customers returning *) select * from d where id = 1", True),
        ("with d as (delete from customers where id = 1 returning *) select * from d", False),
        ("explain analyze delete from customers", True),
        ("explain delete from customers", False),
        ("prepare p as delete from customers", True),
        ("select purge()", True),
        ("select careful()", False),
        ("select * from customers", False),
        ("copy (delete from customers returning id) to stdout", True),
    ],
)
def test_a_missing_where_is_seen_wherever_it_stands(sql: str, matches: bool) -> None:
    assert hits(sql, **UNBOUNDED) is matches
    assert hits(sql, where="missing") is matches


def test_statement_and_missing_where_have_to_be_those_of_one_effect() -> None:
    mixed = "with d as (delete from customers returning *) update customers set id = 1 where id = 2"
    assert not hits(mixed, statements=["UPDATE"], where="missing")
    assert hits(mixed, statements=["DELETE"], where="missing")


def test_conditions_have_to_hold_for_one_and_the_same_statement() -> None:
    keys: dict[str, Any] = {"statements": ["DELETE"], "relations": ["audit.log"]}
    assert not hits("delete from customers where id = 1; select * from audit.log", **keys)
    assert hits("delete from audit.log where id = 1", **keys)


@pytest.mark.parametrize(
    ("sql", "globs", "matches"),
    [
        ("select * from public.customers", ["public.customers"], True),
        ("select * from customers", ["public.customers"], True),
        ("select * from customers", ["other.customers"], False),
        ("select * from other.customers", ["public.customers"], False),
        ('select * from "Customers"', ["public.customers"], False),
        ("select * from items", ["tenant_b.items"], True),
        ("select * from tenant_a.items", ["tenant_b.items"], False),
        # unknown names match every glob whose table part fits
        ("select * from nobody", ["public.nobody"], True),
        ("select * from nobody", ["*.nobody"], True),
        ("select * from nobody", ["*"], True),
        ("select * from nobody", ["public.no*"], True),
        ("select * from nobody", ["public.n?body"], True),
        ("select * from nobody", ["public.somebody"], False),
        ("select * from x.nobody", ["public.nobody"], False),
        # through views and functions
        ("select * from v", ["public.customers"], True),
        ("select * from v", ["public.v"], True),
        ("select purge()", ["public.customers"], True),
        # a partition's rows are its parent's
        ("delete from orders where id = 1", ["archive.orders_2019"], True),
        ("delete from archive.orders_2019 where id = 1", ["public.orders"], True),
        ("drop table orders", ["public.orders"], True),
        ("with customers as (select 1) select * from customers", ["public.customers"], False),
    ],
)
def test_an_unqualified_name_stands_for_every_relation_of_that_name(
    sql: str, globs: list[str], matches: bool
) -> None:
    assert hits(sql, relations=globs) is matches


def test_with_an_empty_catalog_every_name_is_unknown() -> None:
    assert hits("select * from customers", EMPTY, relations=["any.customers"])
    assert not hits("select * from a.customers", EMPTY, relations=["any.customers"])


@given(
    st.text("ab.*?", max_size=6),
    st.text("ab.", min_size=1, max_size=3),
    st.text("ab", min_size=1, max_size=3),
)
def test_a_glob_fits_an_unknown_name_if_some_schema_makes_it_fit(glob: str, schema: str, name: str) -> None:
    if matcher([glob])(f"{schema}.{name}"):
        assert NameGlobs([glob]).any([(None, name)])
    if not NameGlobs([glob]).any([(None, name)]):
        assert not matcher([glob])(f"{schema}.{name}")


@pytest.mark.parametrize(
    ("sql", "globs", "matches"),
    [
        ("select pg_sleep(1)", ["pg_sleep*"], True),
        ("select pg_catalog.pg_sleep(1)", ["pg_sleep*"], True),
        ("select pg_sleep(1)", ["pg_catalog.pg_sleep"], True),
        ("select pg_sleep(1)", ["public.pg_sleep"], False),
        ("select purge()", ["public.purge"], True),
        ("select purge()", ["other.purge"], False),
        ("select purge()", ["purge"], True),
        ("select public.purge()", ["purge"], True),
        ("select nobody()", ["any.nobody"], True),
        ("select 1", ["*"], False),
        ("do $$ begin perform pg_sleep(1); end $$", ["pg_sleep"], True),
    ],
)
def test_functions_match_with_and_without_their_schema(sql: str, globs: list[str], matches: bool) -> None:
    assert hits(sql, functions=globs) is matches


@pytest.mark.parametrize(
    ("keys", "sql", "matches"),
    [
        ({"classes": ["DDL", "ROLE"]}, "create role x", True),
        ({"classes": ["DDL", "ROLE"]}, "select 1", False),
        ({"classes": ["WRITE"]}, "with d as (delete from customers returning 1) select 1", True),
        ({"dynamic": True}, "do $$ begin execute 'select' || x; end $$", True),
        ({"dynamic": True}, "select builder()", True),
        ({"dynamic": True}, "select 1", False),
        ({"pattern": "(?i)secret"}, "select 'my SECRET'", True),
        ({"pattern": "secret"}, "select 'open'", False),
        ({"pattern": "^select"}, "  select 1", True),
        ({"pattern": "id", "statements": ["DELETE"]}, "select 'a'; delete from customers where id = 1", True),
        (
            {"pattern": "'a'", "statements": ["DELETE"]},
            "select 'a'; delete from customers where id = 1",
            False,
        ),
        ({"statements": ["COMMIT"]}, "commit", True),
        ({}, "select 1", True),
    ],
)
def test_other_conditions(keys: dict[str, Any], sql: str, matches: bool) -> None:
    assert hits(sql, **keys) is matches


def test_databases_grants_and_exceptions_choose_whom_a_guard_looks_at() -> None:
    assert hits("select 1", databases=["app"])
    assert not hits("select 1", databases=["app"], database="other")
    assert hits("select 1", grants=["ci"])
    assert not hits("select 1", grants=["ci"], by="reader")
    assert not hits("select 1", except_grants=["ci"])
    assert hits("select 1", except_grants=["ci"], by="reader")


# --- rows ------------------------------------------------------------------------------------------------

BIG = OPEN + guard(name="big", min_rows=1000, action="approve")


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [(999.9, Action.ALLOW), (1000.0, Action.APPROVE), (1e9, Action.APPROVE), (None, Action.APPROVE),
     (float("nan"), Action.APPROVE), (0.0, Action.ALLOW)],
)  # fmt: skip
def test_an_estimate_that_reaches_the_limit_or_cannot_be_had_matches(
    estimate: float | None, expected: Action
) -> None:
    for sql in (
        "delete from customers",
        "select * from customers",
        "insert into customers select * from customers",
    ):
        assert judge(sql, BIG) == Undecided((0,))
        assert action(sql, BIG, estimates={0: estimate}) is expected


@pytest.mark.parametrize(
    "sql", ["create table x (a int)", "show all", "begin", "explain select 1", "truncate orders"]
)
def test_a_statement_without_rows_of_its_own_has_no_estimate(sql: str) -> None:
    assert action(sql, BIG) is Action.ALLOW


def test_copy_from_does_not_match_and_copy_to_is_asked_about() -> None:
    assert action("copy customers from stdin", BIG) is Action.ALLOW
    assert action("copy watched from stdin", BIG) is Action.ALLOW
    assert action("copy customers from '/x'", BIG) is Action.ALLOW
    for sql in (
        "copy customers to stdout",
        "copy (select * from customers) to stdout",
        "copy customers to '/x'",
    ):
        assert judge(sql, BIG) == Undecided((0,))
    assert judge("copy (delete from customers returning 1) to stdout", BIG) == Undecided((0,))


@pytest.mark.parametrize(
    "sql",
    [
        "select purge()",
        "do $$ begin delete from customers where id = 1; end $$",
        "delete from customers where id = nobody()",
        "call purge()",
        "create function f() returns void language sql as 'delete from customers'",
    ],
)
def test_what_the_planner_may_not_be_asked_about_matches(sql: str) -> None:
    assert action(sql, BIG) is Action.APPROVE


def test_functions_of_triggers_do_not_keep_the_planner_from_being_asked() -> None:
    assert judge("insert into watched values (1)", BIG) == Undecided((0,))


def test_only_statements_that_a_guard_would_match_are_asked_about() -> None:
    text = OPEN + guard(min_rows=10, statements=["DELETE"])
    assert judge("select 1; delete from customers; update customers set id = 1", text) == Undecided((1,))
    assert action("select * from customers", text) is Action.ALLOW
    both = text + guard(name="h", min_rows=10, classes=["READ"])
    assert judge("select 1; delete from customers", both) == Undecided((0, 1))
    assert verdict("select 1; delete from customers", both, estimates={0: 1, 1: 50}).guards == ("g",)


# --- verdicts --------------------------------------------------------------------------------------------


def test_a_block_names_its_guard_and_carries_its_message() -> None:
    found = verdict("select 1", guard(message="Not today.") + guard(name="h"))
    assert found.action is Action.BLOCK
    assert found.refusal is not None
    assert (found.refusal.sqlstate, found.refusal.message, found.refusal.detail) == (
        "42501", 'blocked by guard "g"', "Not today.",
    )  # fmt: skip
    assert found.guards == ("g", "h")


def test_the_strictest_guard_decides_and_all_are_recorded_in_the_order_of_the_file() -> None:
    text = (
        guard(name="a", action="warn", message="careful")
        + guard(name="b", action="approve", approvals=2)
        + guard(name="c", statements=["DELETE"])
        + guard(name="d", action="approve", approvals=3, timeout="10s")
        + guard(name="e", action="warn")
    )
    held = verdict("select 1", text)
    assert held.action is Action.APPROVE
    assert held.guards == ("a", "b", "d", "e")
    assert held.warnings == ('guard "a": careful', 'guard "e" matched')
    assert held.hold == Hold("d", 3, 10.0)
    assert held.refusal is None
    blocked = verdict("delete from customers", text)
    assert blocked.action is Action.BLOCK
    assert blocked.guards == ("a", "b", "c", "d", "e")
    assert blocked.hold is None


def test_a_warning_lets_the_statement_run() -> None:
    found = verdict("select 1", guard(action="warn", message="slow"))
    assert (found.action, found.warnings) == (Action.WARN, ('guard "g": slow',))


def test_a_hold_waits_as_long_as_the_policy_says_where_the_guard_says_nothing() -> None:
    text = '[policy]\napproval_timeout = "7s"\n' + guard(action="approve")
    assert verdict("select 1", text).hold == Hold("g", 1, 7.0)
    assert verdict("select 1", guard(action="approve", timeout="2m")).hold == Hold("g", 1, 120.0)


@pytest.mark.parametrize(
    ("key", "sql"),
    [("dynamic_sql", "select builder()"), ("opaque_function", "select sealed()")],
)
def test_the_policy_stands_for_a_guard(key: str, sql: str) -> None:
    def with_mode(mode: str) -> Any:
        return verdict(sql, f'[policy]\n{key} = "{mode}"\n' + guard(name="w", action="warn"))

    name = f"policy.{key}"
    assert with_mode("allow").guards == ("w",)
    assert (with_mode("warn").action, with_mode("warn").guards) == (Action.WARN, (name, "w"))
    assert with_mode("approve").hold == Hold(name, 1, 300.0)
    assert with_mode("block").refusal.message == f'blocked by guard "{name}"'
    assert verdict(sql).hold == Hold(name, 1, 300.0)  # approve is the default
    assert action("select 1", f'[policy]\n{key} = "block"\n') is Action.ALLOW


def test_the_verdict_says_which_functions_cannot_be_read() -> None:
    found = verdict("select sealed(), nobody()", '[policy]\nopaque_function = "block"\n')
    assert found.refusal is not None
    assert found.refusal.detail is not None
    assert "nobody" in found.refusal.detail
    assert "sealed" in found.refusal.detail


# --- wrapped at random -----------------------------------------------------------------------------------

GUARDED = st.sampled_from(["truncate customers", "delete from customers", "drop table customers"])
PADDING = st.sampled_from(["", " ", "\n", "/* x */", "-- y\n", "/* /* z */ */\t"])


@st.composite
def wrapped(draw: st.DrawFn) -> str:
    """A guarded statement behind anything that runs it all the same."""
    sql = draw(GUARDED)
    for depth in range(draw(st.integers(0, 3))):
        pad = draw(PADDING)
        quote = f"$q{depth}$"
        forms = [
            f"select 1;{pad}{sql}",
            f"{pad}{sql}{pad}; select 2",
            f"do{pad} {quote}begin {sql}; end{quote}",
            f"do {quote}begin if 1 = 2 then{pad} {sql}; end if; exception when others then null; end{quote}",
            f"create function f{depth}() returns void language sql as {quote}{sql}{quote}",
            f"create procedure p{depth}() language plpgsql as {quote}begin{pad} {sql}; end{quote}",
        ]
        if sql.startswith("delete"):
            forms += [f"explain analyze {pad}{sql}", f"prepare a{depth} as {sql}"]
            if sql == "delete from customers":
                forms += [f"with d as ({sql} returning id) select {pad}* from d"]
        sql = draw(st.sampled_from(forms))
    return sql


@given(wrapped())
def test_a_guarded_statement_stays_guarded_however_it_is_wrapped(sql: str) -> None:
    text = OPEN + guard(statements=["TRUNCATE TABLE", "DROP TABLE", "DELETE"])
    assert action(sql, text) is Action.BLOCK
