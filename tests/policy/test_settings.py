"""Settings: all ordinary ones may be changed, and none that would move a session from under the gate."""

from __future__ import annotations

import asyncpg
import pytest

from gatekeeper.model import Action, SettingChange
from gatekeeper.policy.settings import check_change, check_setting, is_read_only
from tests.policy.cases import action, grant, message
from tests.servers import Database


@pytest.mark.parametrize(
    "sql",
    [
        "set standard_conforming_strings = off",
        "set Standard_Conforming_Strings to false",
        "set standard_conforming_strings = 'of'",
        "set standard_conforming_strings = '0'",
        "set local standard_conforming_strings = no",
        'set "standard_conforming_strings" = off',
        "select set_config('standard_conforming_strings', 'off', false)",
        "select pg_catalog.set_config('STANDARD_CONFORMING_STRINGS', 'off', true)",
        "select set_config('standard_conforming_strings', 'o' || 'ff', false)",
        "set client_encoding = 'SJIS'",
        "set client_encoding to big5",
        "set client_encoding = 'B I-G_5'",
        "set names 'gbk'",
        "set names 'windows-936'",
        "set client_encoding = 'Shift_JIS_2004'",
        "set client_encoding = 'mskanji'",
        "set client_encoding = 'win932'",
        "set client_encoding = 'UHC'",
        "set client_encoding = 'WIN949'",
        "set client_encoding = 'johab'",
        "set client_encoding = 'GB18030'",
        "set client_encoding = 'nobody knows it'",
        "set session_replication_role = replica",
        "set local session_replication_role = local",
        "set session_replication_role = origin",
        "alter database app set session_replication_role = replica",
        "alter role x set session_replication_role = replica",
        "alter function f() set session_replication_role = replica",
        "create function f() returns int language sql set session_replication_role = replica as 'select 1'",
        "set role postgres",
        "set role none",
        "set local role postgres",
        "set session role 'postgres'",
        "select set_config('role', 'postgres', false)",
        "select set_config('role', $1, false)",
        "set session authorization postgres",
        "set local session authorization app_migrator",
        "set gatekeeper.grant_name = 'dba'",
        "set local gatekeeper.subject = 'x'",
        "set \"GateKeeper\".session = 'x'",
        "reset gatekeeper.run",
        "select set_config('gatekeeper.run', 'x', false)",
        "select set_config(name, 'x', false) from pg_settings",
        "select set_config('gate' || 'keeper.run', 'x', false)",
        "update pg_settings set setting = 'off' where name = 'standard_conforming_strings'",
        "do $$ begin perform set_config('role', 'postgres', false); end $$",
        "do $$ begin set role postgres; end $$",
        "explain analyze select set_config('role', 'postgres', false)",
        "set client_encoding from current",
    ],
)
def test_a_protected_setting_is_refused(sql: str) -> None:
    text = '[policy]\ndynamic_sql = "allow"\nopaque_function = "allow"\n'
    who = grant("ci", role="app_migrator")
    assert action(sql, text, by=who) is Action.REJECT
    assert message(sql, text, by=who)


@pytest.mark.parametrize(
    "sql",
    [
        "set standard_conforming_strings = on",
        "set standard_conforming_strings = 't'",
        "reset standard_conforming_strings",
        "set client_encoding = 'UTF8'",
        "set names 'utf-8'",
        "set names default",
        "set client_encoding = latin1",
        "set client_encoding to 'SQL_ASCII'",
        "set client_encoding = 'ISO 8859-1'",
        "set client_encoding = 'EUC_JP'",
        "set role app_migrator",
        "set role 'app_migrator'",
        "reset role",
        "set role to default",
        "set session authorization default",
        "reset session authorization",
        "reset all",
        "discard all",
        "reset session_replication_role",
        "set search_path = tenant_a, public",
        "set statement_timeout = '5s'",
        "set gatekeeper.reason = 'ticket 7'",
        "reset gatekeeper.reason",
        "select set_config('gatekeeper.reason', $1, false)",
        "select set_config('app.tenant', $1, true)",
        "select set_config('search_path', current_user, false)",
        "set default_transaction_read_only = off",
        "begin read write",
        "set transaction read write",
        "alter role x set search_path = y",
        "set session_preload_libraries = 'x'",
    ],
)
def test_an_ordinary_setting_is_free(sql: str) -> None:
    assert action(sql, by=grant("ci", role="app_migrator")) is Action.ALLOW


@pytest.mark.parametrize(
    "sql",
    [
        "set transaction read write",
        "begin read write",
        "begin transaction isolation level serializable, read write",
        "start transaction read write",
        "set session characteristics as transaction read write",
        "set default_transaction_read_only = off",
        "set default_transaction_read_only = 'f'",
        "set transaction_read_only = no",
        "reset transaction_read_only",
        "set transaction_read_only to default",
        "select set_config('transaction_read_only', 'off', true)",
        "select set_config('default_transaction_read_only', $1, true)",
    ],
)
def test_a_grant_that_does_not_write_stays_in_read_only_mode(sql: str) -> None:
    assert is_read_only(grant("reader"))
    assert "may not be changed" in message(sql, by="reader")
    assert action(sql, by="ci") is Action.ALLOW


@pytest.mark.parametrize(
    "sql",
    [
        "begin read only",
        "begin",
        "set transaction read only",
        "set default_transaction_read_only = on",
        "reset default_transaction_read_only",
        "set session characteristics as transaction isolation level serializable",
        "begin isolation level repeatable read, read only, deferrable",
    ],
)
def test_read_only_mode_may_be_asked_for(sql: str) -> None:
    assert action(sql, by="reader") is Action.ALLOW


@pytest.mark.parametrize(
    "name",
    [
        "session_preload_libraries",
        "local_preload_libraries",
        "dynamic_library_path",
        "jit_provider",
        "plperl.on_init",
    ],
)
def test_a_setting_that_loads_code_needs_the_server_class(name: str) -> None:
    refusal = check_setting(name, "x", grant("migrator"))
    assert refusal is not None
    assert refusal.message == f'grant "migrator" does not allow SERVER (SET {name})'
    assert check_setting(name, None, grant("migrator")) is None
    assert check_setting(name, "x", grant("ci")) is None


def test_startup_options_meet_the_same_law() -> None:
    reader = grant("reader")
    assert check_setting("role", "postgres", reader) is not None
    assert check_setting("ROLE", "none", reader) is None
    assert check_setting("role", "app_migrator", grant("migrator")) is None
    assert check_setting("gatekeeper.reason", "why", reader) is None
    assert check_setting("gatekeeper.subject", "x", reader) is not None
    assert check_setting("default_transaction_read_only", "off", reader) is not None
    assert check_setting("default_transaction_read_only", "off", grant("migrator")) is None
    assert check_setting("application_name", "x", reader) is None
    assert check_setting("*", None, reader) is None
    assert check_change(SettingChange("?", None, computed=True), grant("ci")) is not None


async def test_every_encoding_that_is_refused_or_free_is_known_rightly(database: Database) -> None:
    """The server knows which encodings only a client may have: those are the ones that cannot be judged."""
    connection = await database.connect()
    try:
        names = [r[0] for r in await connection.fetch(
            "select distinct pg_encoding_to_char(i) from generate_series(0, 60) as i"
            " where pg_encoding_to_char(i) <> ''")]  # fmt: skip
        assert len(names) > 35
        for name in names:
            only_client = False
            try:
                await connection.execute(f"create database e encoding '{name}' template template0 locale 'C'")
            except asyncpg.PostgresError as error:
                only_client = "not a valid encoding" in str(error)
            else:
                await connection.execute("drop database e")
            refused = check_setting("client_encoding", name.lower(), grant("ci")) is not None
            assert refused is only_client, name
    finally:
        await connection.close()


@pytest.mark.server
@pytest.mark.parametrize(
    "sql",
    [
        "reset role", "set role to default", "reset session authorization",
        "set session authorization default", "set local session authorization default",
        "reset all", "discard all", "reset gatekeeper.grant_name",
        "select set_config('gatekeeper.grant_name', null, false)", "select set_config('role', null, false)",
        "reset default_transaction_read_only",
        "reset standard_conforming_strings", "reset client_encoding", "set names default",
    ],
)  # fmt: skip
async def test_reset_goes_back_to_what_the_login_gave(database: Database, sql: str) -> None:
    """Why RESET is free: on a real server none of its forms leaves the role, the grant or read-only mode."""
    admin = await database.connect()
    await admin.execute(
        "do $$ begin create role settings_role; exception when duplicate_object then null; end $$"
    )
    await admin.close()
    given = {
        "role": "settings_role", "gatekeeper.grant_name": "ci", "default_transaction_read_only": "on",
        "standard_conforming_strings": "on", "session_replication_role": "origin", "client_encoding": "utf-8",
    }  # fmt: skip
    connection = await asyncpg.connect(database.dsn(), server_settings=given)
    try:
        await connection.execute(sql)
        for name, value in given.items():
            now = await connection.fetchval("select current_setting($1)", name)
            assert now.replace("UTF8", "utf-8") == value, (sql, name)
        assert await connection.fetchval("select current_user") == "settings_role"
        assert await connection.fetchval("show transaction_read_only") == "on"
    finally:
        await connection.close()
