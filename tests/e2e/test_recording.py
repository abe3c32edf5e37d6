"""Points 6 and 7: everything is recorded before it is sent; rules change under live sessions."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest

from gatekeeper.errors import RecordingError
from gatekeeper.events import Committed, Event
from tests.harness import ENDED, REDACTED, Gate

pytestmark = pytest.mark.server


async def test_every_statement_is_recorded_refused_ones_too(gate: Gate) -> None:
    await gate.psql(
        stdin="select id, ssn from customers order by id;\ntruncate orders;\n"
        "selct 1;\nselect * from nowhere;\n"
    )
    records = await gate.records()
    assert [(r.sql, r.verdict, r.outcome) for r in records] == [
        ("select id, ssn from customers order by id;", "allow", "SELECT 3"),
        ("truncate orders;", "block", "42501"),
        ("selct 1;", "reject", "42601"),
        ("select * from nowhere;", "allow", "42P01"),
    ]
    assert records[0].masked_columns == ("public.customers.ssn",)
    assert records[0].sample_columns == ("id", "ssn")
    assert records[0].sample_rows[:2] == (("1", REDACTED), ("2", REDACTED))
    assert records[1].guards == ("no-drop-database",)
    assert all(r.subject == "repo:acme/shop" and r.run == "4711" for r in records)


async def test_parameters_are_recorded_as_text(gate: Gate) -> None:
    connection = await gate.asyncpg()
    await connection.fetch("select $1::int, $2::text, $3::date", 7, "x", None)
    await connection.close()
    [record] = [r for r in await gate.records() if r.sql and "$3" in r.sql]
    assert record.params == ("7", "x", None)
    assert record.protocol == "extended"


async def test_a_statement_is_not_sent_before_its_record_is_committed(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorder that cannot commit: the client gets 58030 and the database nothing."""
    connection = await gate.asyncpg()
    await connection.execute("create table seen (id int)")
    prepared = await connection.prepare("insert into seen values ($1)")
    member = next(iter(gate.runtime.gateway._members.values()))
    recorder = member.link._recorder

    class Broken:
        def submit(self, events: list[Event], then: Committed | None = None) -> None:
            if then is not None:
                asyncio.get_running_loop().call_later(0.05, then, RecordingError("disk full"))

    monkeypatch.setattr(member.link, "_recorder", Broken())
    for run in (lambda: connection.execute("insert into seen values (1)"), lambda: prepared.fetch(2)):
        with pytest.raises(asyncpg.PostgresError) as caught:
            await run()
        assert caught.value.sqlstate == "58030"
    monkeypatch.setattr(member.link, "_recorder", recorder)
    assert await connection.fetchval("select count(*) from seen") == 0
    await connection.close()


async def test_rules_change_what_the_next_statement_of_a_live_session_meets(gate: Gate) -> None:
    connection = await gate.asyncpg()
    prepared = await connection.prepare("select count(*) from orders")
    assert await prepared.fetchval() == 20
    gate.change_rules(
        "[[mask]]", '[[guard]]\nname = "closed"\nrelations = ["public.orders"]\naction = "block"\n\n[[mask]]'
    )
    await asyncio.sleep(2)
    for run in (lambda: prepared.fetchval(), lambda: connection.fetchval("select count(*) from orders")):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="closed"):
            await run()
    assert await connection.fetchval("select count(*) from customers") == 3
    await connection.close()


async def test_a_broken_rules_file_changes_nothing_and_says_why(gate: Gate) -> None:
    gate.rules_file.write_text(gate.rules_file.read_text() + "\n[[guard]]\nname = 'x'\nacton = 'block'\n")
    for _ in range(60):
        await asyncio.sleep(0.05)
        rules = (await gate.runtime.operator.snapshot()).rules
        if rules.problems:
            break
    assert any("acton" in p for p in rules.problems)
    assert "blocked" in await gate.sql("truncate orders")


async def test_a_grant_that_is_taken_away_ends_its_sessions(gate: Gate) -> None:
    connection = await gate.asyncpg()
    text = gate.rules_file.read_text()
    gate.rules_file.write_text(text.replace('{ repository = "acme/*" }', '{ repository = "other/*" }'))
    deadline = time.monotonic() + 5
    with pytest.raises(ENDED):
        while time.monotonic() < deadline:
            await connection.fetchval("select 1")
            await asyncio.sleep(0.05)


async def test_no_token_and_no_password_is_anywhere_on_disk(gate: Gate) -> None:
    token = gate.token()
    await gate.psql("-c", "select 1", token=token)
    await gate.psql("-c", "create role gk_test_role password 'hunter2hunter2'", grant="dba")
    await gate.psql("-c", "drop role if exists gk_test_role", grant="dba")
    await asyncio.sleep(0.2)
    for path in _files(gate.directory):
        content = path.read_bytes()
        assert token.encode() not in content
        assert b"hunter2hunter2" not in content


def _files(directory: Path) -> list[Path]:
    return [p for p in directory.rglob("*") if p.is_file()]


async def test_a_portal_that_was_bound_under_older_rules_is_not_read_on_under_stricter_ones(
    gate: Gate,
) -> None:
    connection = await gate.asyncpg()
    async with connection.transaction():
        cursor = await connection.cursor("select id from orders order by id")
        assert [row["id"] for row in await cursor.fetch(2)] == [1, 2]
        gate.change_rules(
            "[[mask]]",
            '[[guard]]\nname = "big"\nclasses = ["READ"]\nmin_rows = 1\naction = "block"\n\n[[mask]]',
        )
        await asyncio.sleep(2)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await cursor.fetch(2)
    await connection.close()


async def test_a_cursor_that_was_declared_under_older_rules_is_not_fetched_from(gate: Gate) -> None:
    connection = await gate.asyncpg()
    await connection.execute("begin; declare c cursor for select id from orders order by id")
    assert await connection.fetchval("fetch c") == 1
    gate.change_rules(
        "[[mask]]", '[[guard]]\nname = "closed"\nrelations = ["public.orders"]\naction = "block"\n\n[[mask]]'
    )
    await asyncio.sleep(2)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="closed"):
        await connection.execute("fetch c")
    await connection.close()


async def test_a_cursor_outlives_rules_that_let_it(gate: Gate) -> None:
    connection = await gate.asyncpg()
    await connection.execute("begin; declare c cursor for select id, ssn from customers order by id")
    gate.change_rules("Drop databases by ticket only.", "By ticket.")
    await asyncio.sleep(2)
    for number, ssn in ((1, REDACTED), (2, REDACTED), (3, None)):
        row = await connection.fetchrow("fetch c")
        assert row is not None
        assert tuple(row) == (number, ssn)
    await connection.close()
