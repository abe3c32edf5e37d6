"""However a text is written, cut or encoded, the gate reads what the server would read."""

# ruff: noqa: E501 - one attack is one line

from __future__ import annotations

import pytest

from gatekeeper.proxy.wire import frontend
from tests.effects.stage import PRECIOUS, Stage
from tests.leaks.attack import at_the_gate, extended, tell

pytestmark = pytest.mark.server

PADDING = b" " * 2_000_000
TEXTS: dict[str, list[str | bytes]] = {
    "megabytes of white space": [PADDING + b"delete from precious"],
    "megabytes of comment": [b"/*" + PADDING + b"*/delete from precious"],
    "a literal of megabytes": [b"select '" + PADDING + b"'; delete from precious"],
    "many statements": [b"select 1;" * 2_000 + b"delete from precious"],
    "nested comments": [b"/*" * 500 + b"*/" * 500 + b"delete from precious"],
    "deep parentheses": [b"with x as (delete from precious returning id) select " + b"(" * 1_000 + b"1" + b")" * 1_000],
    "deep subqueries": [b"select " + b"(select " * 150 + b"wipe()" + b")" * 150],
    "a NUL hides the rest": [b"delete from precious\0 where false"],
    "invalid UTF-8": [b"delete from precious -- \xff"],
    "invalid UTF-8 in a literal": [b"select '\xc3'; delete from precious; --'"],
    "an overlong apostrophe": [b"select '\xc0\xa7'; delete from precious; --'"],
    "a byte order mark": [b"\xef\xbb\xbfdelete from precious"],
    "a no-break space": ["delete\u00a0from precious", "delete from precious"],
    "a backslash before an apostrophe": ["select '\\'; delete from precious; --'"],
    "an escape string": ["select E'\\''; delete from precious; --'"],
    "a dollar quote in a dollar quote": ["select $a$ $b$ $a$; delete from precious; --$b$"],
    "a dollar in an identifier": ["select 1 as a$b$; delete from precious; --$b$"],
    "a quoted identifier with quotes": ['select 1 as "a""b"; delete from precious; --"'],
    "a string over two lines": ["select 'a'\n'b'; delete from precious; --'"],
    "a carriage return ends a comment": ["-- x\rdelete from precious"],
    "a form feed": ["\fdelete\ffrom\fprecious"],
    "psql's terminators": ["select 1 \\g\ndelete from precious"],
    "an unusual UESCAPE": ["delete from U&\"pre!0063ious\" UESCAPE '!'"],
    "a surrogate pair": ['select U&"\\D83D\\DE00" from other; delete from precious'],
    "latin1 in the same query": ["set client_encoding = latin1; select '\u00a7'; delete from precious"],
    "latin1 in the next query": ["set client_encoding = latin1", b"select '\xc3'; delete from precious; --'"],
    "sjis in the next query": ["set client_encoding = sjis", b"select '\x83\\'; delete from precious; --'"],
    "strings that do not conform": ["set standard_conforming_strings = off", "select '\\'; delete from precious; --'"],
    "strings that do not conform, by a function": ["select set_config('standard_' || 'conforming_strings', 'off', false)", "select '\\'; delete from precious; --'"],
    "strings that do not conform, by a function's SET": ["create function f() returns int language sql set standard_conforming_strings = off as 'select 1'", "delete from precious"],
    "triggers off": ["set session_replication_role = replica", "delete from precious"],
    "backslash_quote": ["set backslash_quote = on; select E'\\''; delete from precious; --'"],
    "quote_all_identifiers": ["set quote_all_identifiers = on; delete from precious"],
    "transform_null_equals": ["set transform_null_equals = on; delete from precious where v = null or true"],
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
async def test_no_way_of_writing_it_gets_a_guarded_effect_through(stage: Stage, text: str) -> None:
    told = await stage.tell(TEXTS[text])
    assert not told.happened
    assert not told.heard.messages or told.heard.messages[-1][0] in "ZE"


async def test_a_refused_statement_in_a_pipeline_stops_what_follows(stage: Stage) -> None:
    await stage.reset()
    before = await stage.state(PRECIOUS)
    async with at_the_gate(stage.gate) as wire:
        await wire.send(
            *extended(b"select nextval('seq')", sync=False),
            *extended(b"delete from precious", sync=False),
            *extended(b"select nextval('seq')", sync=False),
            frontend.message(b"S"),
        )
        answers = [kind for kind, _ in await wire.until_ready()]
        assert answers.count("E") == 1
        assert answers.count("C") == 1
        heard = await tell(wire, ["select last_value, is_called from seq"])
        assert heard.rows == [[b"1", b"t"]]
    assert await stage.state(PRECIOUS) == before


async def test_what_is_made_in_a_pipeline_counts_for_what_follows_in_it(stage: Stage) -> None:
    before = await stage.state(PRECIOUS)
    async with at_the_gate(stage.gate) as wire:
        await wire.send(
            *extended(b"create view sneaky as select * from precious", sync=False),
            *extended(b"delete from sneaky", sync=False),
            frontend.message(b"S"),
        )
        assert [kind for kind, _ in await wire.until_ready()].count("E") == 1
        await wire.send(
            frontend.query(b"create temp view sneaky as select * from precious"),
            frontend.query(b"delete from sneaky"),
        )
        assert [kind for kind, _ in await wire.until_ready(2)].count("E") == 1
    assert await stage.state(PRECIOUS) == before
    await stage.reset()


async def test_a_prepared_statement_is_judged_by_what_its_names_mean_now(stage: Stage) -> None:
    before = await stage.state(PRECIOUS)
    connection = await stage.gate.asyncpg()
    await connection.execute("create temp table sneaky (id int, v text)")
    prepared = await connection.prepare("delete from sneaky")
    await prepared.fetch()
    await connection.execute("drop table sneaky")
    await connection.execute("create temp view sneaky as select * from precious")
    with pytest.raises(Exception, match="blocked by guard"):
        await prepared.fetch()
    await connection.close()
    assert await stage.state(PRECIOUS) == before
    await stage.reset()
