from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.sql.redact import redact_sql

P = "hunter2"


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("create role a password 'hunter2'", "create role a password '[REDACTED]'"),
        ("CREATE USER a WITH LOGIN ENCRYPTED PASSWORD 'hunter2' VALID UNTIL '2030-01-01'", None),
        ("alter user a password E'hunt\\x65r2'", "alter user a password '[REDACTED]'"),
        ("alter user a password E'it\\'s hunter2'", "alter user a password '[REDACTED]'"),
        ("alter role a with password U&'hunt\\0065r2'", None),
        ("alter role a with password U&'hunt!0065r2' uescape '!'", None),
        ("alter group a password $$hunter2$$", "alter group a password '[REDACTED]'"),
        (
            "alter role a password $x$hunter2$x$; select 'kept'",
            "alter role a password '[REDACTED]'; select 'kept'",
        ),
        ("alter role a password 'hun'\n'ter2 hunter2'", "alter role a password '[REDACTED]'"),
        ("alter role a password /* ' */ -- '\n 'hunter2'", None),
        (
            "select 'ü', 'é'; alter role a password 'hunter2' -- ü",
            "select 'ü', 'é'; alter role a password '[REDACTED]' -- ü",
        ),
        ("alter role a pasword 'hunter2'", None),
        ("alter role a password = 'hunter2'", None),
        ('alter role a password "hunter2"', None),
        ("alter role a password hunter2", None),
        ("alter role a password N'hunter2'", None),
        ("alter role a password 'hunter2", None),
        ("alter role a password $$hunter2", None),
        ("alter role a pasword 'hunter2", None),
        ("alter/**/user/**/a/**/password/**/'hunter2", None),
        ("alter role a password 'it''s hunter2'", "alter role a password '[REDACTED]'"),
        (
            "do $$ begin create role a password 'hunter2'; perform 'kept'; end $$",
            "do $$ begin create role a password '[REDACTED]'; perform 'kept'; end $$",
        ),
        (
            "do $$ begin execute 'alter role a password ''hunter2'''; end $$",
            "do $$ begin execute 'alter role a password ''[REDACTED]'''; end $$",
        ),
        ("do $$ begin execute format('alter role a password %L', 'hunter2'); end $$", None),
        ("do $$ begin execute 'alter role a password ' || quote_literal('hunter2'); end $$", None),
        ("do E'begin alter role a p\\x61ssword \\'hunter2\\'; end'", None),
        ("create function f() returns void language sql as $$ alter role a password 'hunter2' $$", None),
        ("prepare x as select 1; create user a password 'hunter2'", None),
        (
            "create user mapping for a server s options (user 'bob', password 'hunter2')",
            "create user mapping for a server s options (user 'bob', password '[REDACTED]')",
        ),
        ("alter user mapping for a server s options (set password 'hunter2')", None),
        ("alter server s options (add \"password\" 'hunter2')", None),
        ("create server s foreign data wrapper w options (U&\"p\\0061ssword\" 'hunter2')", None),
        (
            "create subscription s connection 'host=h user=u password=hunter2' publication p",
            "create subscription s connection 'host=h user=u password=[REDACTED]' publication p",
        ),
        ("create subscription s connection 'host=h password = ''hun ter2 hunter2''' publication p", None),
        (
            "create subscription s connection 'postgresql://u:hunter2@h/d' publication p",
            "create subscription s connection 'postgresql://u:[REDACTED]@h/d' publication p",
        ),
        ("create subscription s connection 'postgresql://u:a@hunter2@h/d' publication p", None),
        ("create subscription s connection 'postgresql://h/d?user=a&password=hunter2' publication p", None),
        ("create subscription s connection 'postgresql://h/d?p%61ssword=hunter2' publication p", None),
        ("select dblink_connect('dbname=x password=hunter2')", None),
        ("select dblink_connect(E'dbname=x p\\141ssword=hunter2')", None),
        ("select dblink('dbname=x password=hunter2', 'select ''kept''')", None),
        ("select 1 -- postgresql://u:hunter2@h/d", None),
        ("select 'unterminated password=hunter2", None),
    ],
)
def test_no_password_is_left(sql: str, shown: str | None) -> None:
    clean = redact_sql(sql)
    assert P not in clean
    assert "[REDACTED]" in clean
    if shown is not None:
        assert clean == shown
    assert redact_sql(clean) == clean


@pytest.mark.parametrize(
    "sql",
    [
        "select 'x' from users where password = 'y'",
        "update users set name = 'create user' where id = 1",
        "insert into notes values ('the user forgot it''s password')",
        "insert into notes values ('create a new user''s group')",
        "alter role a valid until '2030-01-01'",
        "alter role a set search_path = 'x', 'y'",
        "alter role a set search_path to 'x'",
        "alter role a password null",
        "create table t (password text default 'x')",
        "select '\\d', E'\\n', 'https://example.org/a?b=c'",
        "create user mapping for a server s options (user 'bob')",
        "select 'unterminated",
        "",
        "alter user a rename to b",
    ],
)
def test_everything_else_is_left_as_it_is(sql: str) -> None:
    assert redact_sql(sql) == sql


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    redact_sql("alter role a " + text)
    redact_sql(text + "passw\\")


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=3))
def test_whatever_the_password_is_it_is_redacted(password: str) -> None:
    quoted = "'" + password.replace("'", "''") + "'"
    assert redact_sql(f"alter role a password {quoted} login") == "alter role a password '[REDACTED]' login"
    tag = "$zq$"
    if "$" not in password:
        body = f"do {tag} begin alter role a password {quoted}; end {tag}"
        assert redact_sql(body) == f"do {tag} begin alter role a password '[REDACTED]'; end {tag}"
