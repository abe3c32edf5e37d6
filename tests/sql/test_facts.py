# ruff: noqa: E501 - rows of tables are not wrapped
"""What statements contain, by the table, and what hides in them."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from postgast.pg_query_pb2 import Node

from gatekeeper.model import Effect, FunctionRef, RelationRef, SettingChange, StatementClass, StatementFacts
from gatekeeper.sql import tree
from gatekeeper.sql.catalog import EMPTY
from gatekeeper.sql.classes import CLASSES
from gatekeeper.sql.facts import extract
from gatekeeper.sql.tags import NOT_STATEMENTS, STATEMENTS
from tests.sql.statements import STATEMENTS as TABLE

INITIALS = {
    "R": StatementClass.READ, "W": StatementClass.WRITE, "F": StatementClass.FUNCTION, "O": StatementClass.ROLE,
    "D": StatementClass.DDL, "M": StatementClass.MISC, "S": StatementClass.SERVER,
}  # fmt: skip


def one(sql: str, **options: bool) -> StatementFacts:
    facts = extract(sql, EMPTY, **options)
    assert facts.syntax_error is None, facts.syntax_error
    assert len(facts.statements) == 1
    return facts.statements[0]


@pytest.mark.parametrize(("sql", "tags", "classes", "relations"), TABLE, ids=[row[0][:70] for row in TABLE])
def test_a_statement_contains_what_the_table_says(sql: str, tags: str, classes: str, relations: str) -> None:
    found = one(sql)
    marked = dict.fromkeys(e.tag + ("!" if e.where_missing else "") for e in found.effects)
    assert set(marked) == set(tags.split(","))
    assert found.tag == next(iter(marked)).rstrip("!") == tags.split(",")[0].rstrip("!")
    assert found.classes == {INITIALS[initial] for initial in classes}
    assert {f"{r}{'*' if r.written else ''}" for r in found.relations} == set(relations.split())


def test_every_statement_node_of_the_grammar_is_classified() -> None:
    nodes = {field.message_type.name for field in Node.DESCRIPTOR.fields}
    statements = {name for name in nodes if name.endswith("Stmt")}
    assert statements == STATEMENTS | NOT_STATEMENTS
    assert CLASSES.keys() == STATEMENTS


def test_an_unclassified_statement_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tree._decode
    monkeypatch.setattr(
        tree, "_decode", lambda json: real(json.replace(b"CheckPointStmt", b"NewFangledStmt"))
    )
    refusal = extract("checkpoint", EMPTY).syntax_error
    assert refusal is not None
    assert refusal.sqlstate == "0A000"


def test_each_statement_of_a_query_has_its_own_text() -> None:
    facts = extract("select 'ä;'; /* x */ drop table é ;; commit", EMPTY)
    assert [s.text for s in facts.statements] == ["select 'ä;'", "drop table é", "commit"]
    assert facts.tags == ("SELECT", "DROP TABLE", "COMMIT")


@pytest.mark.parametrize(
    ("sql", "changes"),
    [
        ("set work_mem = '1MB'", [("work_mem", "1MB", False)]),
        ("set local search_path to a, 'B'", [("search_path", "a, B", False)]),
        ("set names 'latin1'", [("client_encoding", "latin1", False)]),
        ("set time zone 'UTC'", [("timezone", "UTC", False)]),
        ("set role none", [("role", "none", False)]),
        ("reset role", [("role", None, False)]),
        ("set session authorization x", [("session_authorization", "x", False)]),
        ("reset session authorization", [("session_authorization", None, False)]),
        ("reset all", [("*", None, False)]),
        ("discard all", [("*", None, False)]),
        ("set Standard_Conforming_Strings to off", [("standard_conforming_strings", "off", False)]),
        ("set transaction read write", [("transaction_read_only", "off", False)]),
        ("begin read only", [("transaction_read_only", "on", False)]),
        (
            "set session characteristics as transaction read write",
            [("default_transaction_read_only", "off", False)],
        ),
        ("select set_config('Role', 'x', false)", [("role", "x", False)]),
        ("select pg_catalog.set_config('ro' || 'le', 'x', false)", [("?", None, True)]),
        ("select set_config('role'::text, current_user, false)", [("role", None, True)]),
        (
            (
                "select set_config(name, 'view', false) from pg_settings"
                " where name = 'restrict_nonsystem_relation_kind'"
            ),
            [("restrict_nonsystem_relation_kind", "view", False)],
        ),
        ("select set_config(name, 'x', false) from pg_settings where name = 'role'", [("?", None, True)]),
        (
            (
                "select set_config(name, 'x', false) from pg_settings, t"
                " where name = 'restrict_nonsystem_relation_kind'"
            ),
            [("?", None, True)],
        ),
        (
            (
                "select set_config(name, 'x', false) from pg_settings"
                " where name = 'restrict_nonsystem_relation_kind' or true"
            ),
            [("?", None, True)],
        ),
        ("update pg_settings set setting = 'x' where name = 'role'", [("?", None, True)]),
        (
            "alter role x set session_replication_role = replica",
            [("session_replication_role", "replica", False)],
        ),
        ("alter database d set role to x", [("role", "x", False)]),
        ("do $$begin set role x; end$$", [("role", "x", False)]),
        ("do $$begin perform set_config('role', 'x', true); end$$", [("role", "x", False)]),
        ("create function f() returns int language sql set role = 'x' as 'select 1'", [("role", "x", False)]),
        ("with x as (select set_config('role', 'y', true)) select * from x", [("role", "y", False)]),
        ("select 1", []),
    ],
)
def test_settings_are_seen_however_they_change(sql: str, changes: list[tuple[str, str | None, bool]]) -> None:
    found = [(c.name, c.value, c.computed) for c in one(sql).settings]
    assert found == changes


@pytest.mark.parametrize(
    "sql",
    [
        "do $$begin execute 'drop table ' || x; end$$",
        "do $$begin for r in execute q loop null; end loop; end$$",
        "do $$declare c refcursor; begin open c for execute q; end$$",
        "create function f() returns setof int language plpgsql as $$begin return query execute q; end$$",
        "select query_to_xml('select 1', true, true, '')",
        "select table_to_xml('t', true, true, '')",
        "select cursor_to_xml('c', 1, true, true, '')",
        "select * from ts_stat('select x from t')",
        "select ts_rewrite('a'::tsquery, 'select a, b from t')",
        "select * from crosstab('select 1,2,3') as (a int)",
        "select * from public.dblink('x', 'select 1') as t(a int)",
        "select * from connectby('t', 'a', 'b', 'c', 1) as t(a int)",
    ],
)
def test_sql_made_at_run_time_is_dynamic(sql: str) -> None:
    assert one(sql).dynamic_sql


@pytest.mark.parametrize(
    "sql", ["do $$begin execute 'select 1'; end$$", "select ts_rewrite(a, b, c)", "execute p"]
)
def test_sql_that_can_be_read_is_not_dynamic(sql: str) -> None:
    assert not one(sql).dynamic_sql


def test_a_declaration_behind_an_option_is_read() -> None:
    found = one("do $$#option dump declare x int := nextval('s');\nbegin null; end$$")
    assert StatementClass.WRITE in found.classes
    found = one("do $$ #variable_conflict use_column\nbegin delete from a; end$$")
    assert Effect("DELETE", where_missing=True) in found.effects


def test_constant_text_is_read_even_where_it_is_dynamic() -> None:
    found = one("select query_to_xml('delete from a returning 1', true, true, '')")
    assert Effect("DELETE", where_missing=True) in found.effects


@pytest.mark.parametrize(
    ("sql", "field", "value"),
    [
        ("prepare P as select 1", "prepares", "p"),
        ('execute "P"', "executes", "P"),
        ("explain analyze execute p", "executes", "p"),
        ("create table t as execute p", "executes", "p"),
        ("declare c cursor for select 1", "declares", "c"),
        ("fetch 1 from c", "fetches", "c"),
        ("move c", "fetches", "c"),
        ("copy t from stdin", "copy", "in"),
        ("copy t to stdout", "copy", "out"),
        ("copy t to '/x'", "copy", None),
        ("start transaction", "transaction", "BEGIN"),
        ("rollback to s", "transaction", "ROLLBACK TO"),
        ("prepare transaction 'x'", "transaction", "PREPARE TRANSACTION"),
        ("commit", "transaction", "COMMIT"),
        ("call gatekeeper.end_run()", "calls_end_run", True),
        ("call end_run()", "calls_end_run", False),
        ("create index on t (a)", "changes_catalog", False),
        ("drop table t", "changes_catalog", True),
        ("select 1 into t", "changes_catalog", True),
        ("do 'begin null; end'", "changes_catalog", True),
        ("delete from t", "changes_catalog", False),
    ],
)
def test_a_statement_tells_what_it_does_to_the_session(sql: str, field: str, value: object) -> None:
    assert getattr(one(sql), field) == value


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("select f()", "f"),
        ("do language plpython3u 'x'", "do plpython3u"),
        ("create function f() returns int language plpython3u as 'x'", "f"),
        ("do $$begin not plpgsql at all end$$", "do plpgsql"),
        ("call p()", "p"),
    ],
)
def test_what_cannot_be_read_is_opaque(sql: str, name: str) -> None:
    assert FunctionRef(None, name) in one(sql).opaque_functions
    assert StatementClass.FUNCTION in one(sql).classes or sql.startswith("create")


def test_built_in_functions_need_no_class_and_are_not_opaque() -> None:
    found = one("select count(*), lower(x), now(), jsonb_agg(y) from a")
    assert found.classes == {StatementClass.READ}
    assert not found.opaque_functions
    assert FunctionRef(None, "jsonb_agg") in found.functions


@pytest.mark.parametrize(
    ("sql", "sqlstate"),
    [
        ("selec 1", "42601"),
        ("select '", "42601"),
        ("drop table x; nonsense", "42601"),
        ("select 1\0; drop table x", "22021"),
        ("select '\udc80'", "22021"),
        ("select " + "(" * 20_000 + "1" + ")" * 20_000, "54001"),
        ("select " + "+".join(["1"] * 100_000), "54001"),
        ("select " + "/*" * 100_000 + "*/" * 100_000 + "1", "54001"),
        ("select 1" + " " * 5_000_000, "54000"),
        ("select " + "1," * 1_000_000 + "1", "54000"),
        ("select 1;" * 20_000, "54000"),
        ("select " + " ".join(f"$a{i}$" for i in range(300_000)), "54000"),
        ("select $$'$$, " + "1+" * 1_900_000 + "1 -- '", "54000"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_what_cannot_be_judged_is_refused_in_time(sql: str, sqlstate: str) -> None:
    started = time.monotonic()
    facts = extract(sql, EMPTY)
    assert facts.syntax_error is not None
    assert facts.syntax_error.sqlstate == sqlstate
    assert facts.statements == ()
    assert time.monotonic() - started < 15


def test_a_syntax_error_says_what_postgresql_says() -> None:
    refusal = extract("select * form t", EMPTY).syntax_error
    assert refusal is not None
    assert refusal.message == 'syntax error at or near "form"'


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "(" * 5_000 + "f()" + ")" * 5_000,
        "select " + "+".join(["1"] * 3_000) + "+ f()",
        " union all ".join(["select 1"] * 3_000) + " union all select f()",
        "insert into t values ('" + "x" * 3_500_000 + "', f())",
        "select " + "not " * 3_000 + "f()",
    ],
    ids=lambda sql: sql[:30],
)
def test_deep_and_long_statements_are_read_to_the_end(sql: str) -> None:
    assert FunctionRef(None, "f") in one(sql).functions


def test_statements_after_ddl_are_judged_as_uncertain() -> None:
    facts = extract("create function f() returns int language sql as 'select 1'; select f()", EMPTY)
    assert facts.statements[1].opaque_functions == {FunctionRef(None, "f")}


# --- properties -----------------------------------------------------------------------------------------

GUARDED = "delete from guarded"
WRAPPERS = [
    "/* {c} */ {sql} -- {c}",
    "\n\t {sql} ;",
    "select 1; {sql}; select 2",
    "with w as ({sql} returning *) select * from w",
    "explain analyze {sql}",
    "explain (costs off, analyze) {sql}",
    "prepare p as {sql}",
    "copy ({sql} returning 1) to stdout",
    "do $b$begin {sql}; end$b$",
    "do $b$begin if true then /* {c} */ {sql}; end if; end$b$",
    "do $b$begin loop {sql}; exit when 1 > 0; end loop; end$b$",
    "do $b$begin begin null; exception when others then {sql}; end; end$b$",
    "do $b$begin execute $e${sql}$e$; end$b$",
    "do $b$declare r record; begin {sql} returning 1 into r; end$b$",
    "create function f() returns void language sql as $b$ {sql} $b$",
    "create function f() returns void language plpgsql as $b$begin case 1 when 1 then {sql}; end case; end$b$",
    "create procedure p() begin atomic {sql}; end",
    "create rule r as on update to t do instead ({sql}; select 1)",
    "select $q$--$q$; {sql}",
    "select E'\\''; {sql}; select '''; /*'",
]


@given(wrapper=st.sampled_from(WRAPPERS), comment=st.text(alphabet="abc ;'\"$-", max_size=12),
       name=st.sampled_from(["guarded", '"guarded"', 'U&"gu\\0061rded"', "GUARDED", "guarded as g"]))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_a_guarded_statement_is_found_in_any_wrapping(wrapper: str, comment: str, name: str) -> None:
    comment = comment.replace("--", "").replace("$", "")
    sql = wrapper.format(sql=GUARDED.replace("guarded", name), c=comment)
    facts = extract(sql, EMPTY)
    assert facts.syntax_error is None, sql
    found = {effect for s in facts.statements for effect in s.effects}
    assert Effect("DELETE", where_missing=True) in found
    assert any(RelationRef(None, "guarded", written=True) in s.relations for s in facts.statements)


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
@example("do $$begin $$")
@example("do ''")
@example("create function f() returns int language sql")
@example("create function f() returns int language plpgsql as 'a', 'b'")
@example("copy t from stdin; 1\tx\n\\.\n")
def test_any_text_gives_facts(sql: str) -> None:
    assert extract(sql, EMPTY).sql == sql


WORDS = [
    "begin", "end", ";", "declare", "x", ":=", "if", "then", "else", "loop", "for", "in", "execute", "'select 1'",
    "into", "(", ")", ",", "select", "from", "t", "case", "when", "return", "query", "<<a>>", "a", ".", "exception",
    "raise", "using", "delete",
]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=25))
@settings(max_examples=500, deadline=None)
def test_any_body_gives_facts(words: list[str]) -> None:
    body = " ".join(words)
    facts = extract(f"do $b$begin {body} end$b$", EMPTY)
    assert facts.syntax_error is not None or facts.statements[0].tag == "DO"


def test_a_new_simple_statement_is_judged_in_less_than_ten_parses() -> None:
    from postgast.native import lib

    sql = "select a, b from t where id = $1"
    raw = sql.encode()

    def best(work: object, rounds: int = 7, n: int = 300) -> float:
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            for _ in range(n):
                work()  # type: ignore[operator]
            times.append(time.perf_counter() - started)
        return min(times)

    parse = best(lambda: lib.pg_query_free_protobuf_parse_result(lib.pg_query_parse_protobuf(raw)))
    assert best(lambda: extract(sql, EMPTY)) < 10 * parse


def test_a_setting_is_local_where_it_says_so() -> None:
    assert one("set local role = x").settings == (SettingChange("role", "x", local=True),)
