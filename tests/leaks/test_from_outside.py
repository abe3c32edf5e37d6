"""What others do on the database itself is seen before a statement meets it, not at the next poll."""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gatekeeper.embedded import EmbeddedPostgres
from tests.harness import REDACTED, Gate
from tests.leaks.attack import How, at_the_gate, tell
from tests.leaks.states import States
from tests.masking.schema import leaks

pytestmark = pytest.mark.server


@pytest.fixture
async def outside(states: States) -> AsyncIterator[States]:
    """The gateway has just read the catalog; what a test makes goes again."""
    async with at_the_gate(states.gate) as wire:
        await tell(wire, ["select 1"])
    yield states
    await states.connection.execute("drop schema if exists fresh cascade")


@pytest.mark.parametrize("how", ["simple", "text", "binary"])
@pytest.mark.parametrize(
    "made",
    [
        "create view fresh.seen as select id, ssn as harmless from public.customers",
        "create materialized view fresh.seen as select id, ssn as harmless from public.customers",
        "create table fresh.seen partition of public.events for values from (500) to (600); alter table public.events rename ssn to harmless; insert into public.events values (501, 'Kanarie-SSN-7781')",
        "create table fresh.seen () inherits (public.parent); alter table public.parent rename secret to harmless; insert into fresh.seen values (1, 'Kanarie-SSN-7781')",
    ],
)
async def test_a_relation_made_by_others_is_known_before_it_is_read(
    outside: States, made: str, how: How
) -> None:
    await outside.connection.execute("create schema fresh")
    try:
        await outside.connection.execute(made)
        async with at_the_gate(outside.gate) as wire:
            heard = await tell(wire, ["select harmless, harmless || '' from fresh.seen"], how)
        assert not leaks(heard.everything)
        assert [REDACTED.encode(), REDACTED.encode()] in heard.rows
        shown = await outside.connection.fetch("select harmless from fresh.seen")
        assert any(row[0] == "Kanarie-SSN-7781" for row in shown)
    finally:
        await outside.rebuild()


async def test_a_function_made_by_others_is_known_before_it_is_called(outside: States) -> None:
    await outside.connection.execute("create schema fresh")
    await outside.connection.execute(
        "create function fresh.harmless() returns text language sql as"
        " 'select ssn from public.customers where id = 1'"
    )
    async with at_the_gate(outside.gate) as wire:
        heard = await tell(wire, ["select fresh.harmless()"])
    assert not leaks(heard.everything)


async def test_a_session_s_own_temporary_tables_are_ordinary_tables(outside: States) -> None:
    async with at_the_gate(outside.gate) as wire:
        heard = await tell(
            wire,
            [
                "create temp table scratch (id int, ssn text)",
                "insert into scratch values (1, 'mine')",
                "select ssn || '!' from scratch where ssn = 'mine'",
                "create temp table scratch2 on commit drop as select id, name from customers",
                "select * from scratch2",
            ],
        )
    assert heard.rows == [[b"mine!"]]
    assert heard.codes == ["42P01"]  # the last one: it went with its transaction


async def test_a_description_of_a_view_that_was_replaced_is_not_trusted(
    pg18: EmbeddedPostgres, outside: States
) -> None:
    gate: Gate = outside.gate
    connection = await gate.asyncpg()
    prepared = await connection.prepare("select note from names where id = 1")
    assert await prepared.fetchval() == "plain note"
    dba = await gate.asyncpg("dba")
    await dba.execute("create or replace view names as select id, name, ssn as note from customers")
    assert await prepared.fetchval() == REDACTED
    await connection.close()
    await dba.close()
    await outside.rebuild()
