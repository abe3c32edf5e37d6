"""PREPARE, EXECUTE, DECLARE and FETCH in SQL, and names that code nobody read may have changed."""

from __future__ import annotations

import pytest

from gatekeeper.errors import ProtocolError
from tests.proxy.playbook import (
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    NOTE,
    PARSE_COMPLETE,
    REDACTED,
    REFUSED_QUERY,
    RULES,
    SSN,
    SYNC,
    SYNTAX,
    Play,
    _whole,
    bind,
    cells,
    close,
    columns,
    complete,
    error,
    errors,
    execute,
    function_call,
    message,
    playbook,
    prepare,
    ready,
    row,
    setting,
    sql,
    types,
)

MASKED = "select upper(ssn) from customers"
COMPUTED = SSN.__class__("upper", 0, 0, 25, 0)


def run(play: Play, text: str, tag: str, status: str = "I") -> None:
    play.client(sql(text)).server(complete(tag), ready(status))
    _ = play.to_client, play.to_server


def fetched(play: Play, text: str) -> list[list[bytes | None]]:
    play.client(sql(text)).server(columns(COMPUTED), row(b"111"), complete("FETCH 1")).server(ready("T"))
    return cells(play.to_client)


@playbook()
def test_execute_is_masked_as_what_it_executes(play: Play) -> None:
    run(play, f"prepare p as {MASKED}", "PREPARE")
    run(play, "prepare q as select note from orders", "PREPARE")
    assert fetched(play, "execute p") == [[REDACTED]]
    assert fetched(play, "execute q") == [[b"111"]]


@playbook()
def test_a_prepare_that_failed_changes_nothing(play: Play) -> None:
    run(play, f"prepare p as {MASKED}", "PREPARE")
    play.client(sql("prepare p as select note from orders")).server(error("42P05"), ready())
    _ = play.to_client
    assert fetched(play, "execute p") == [[REDACTED]]


@playbook()
def test_a_statement_prepared_in_sql_can_be_bound(play: Play) -> None:
    play.client(sql(f"begin; prepare p as {MASKED}"))
    play.server(complete("BEGIN"), complete("PREPARE"), ready("T"))
    _ = play.to_client
    play.client(bind("", "p"), execute(), SYNC)
    play.server(BIND_COMPLETE, columns(COMPUTED), row(b"111"), complete("SELECT 1"), ready())
    assert cells(play.to_client) == [[REDACTED]]


@playbook()
def test_executing_an_old_portal_brings_no_old_meaning_back(play: Play) -> None:
    run(play, "begin", "BEGIN", "T")
    run(play, "prepare p as select note from orders", "PREPARE", "T")
    play.client(bind("x", "p"), close(b"S", "p"), prepare(MASKED, "p"), SYNC)
    play.server(BIND_COMPLETE, CLOSE_COMPLETE, PARSE_COMPLETE, ready("T"))
    play.client(execute("x"), SYNC).server(columns(NOTE), row(b"a"), complete("SELECT 1"), ready("T"))
    _ = play.to_client
    play.client(bind("", "p"), execute(), SYNC)
    play.server(BIND_COMPLETE, columns(COMPUTED), row(b"111"), complete("SELECT 1"), ready("T"))
    assert cells(play.to_client) == [[REDACTED]]


@playbook()
def test_fetch_is_masked_as_what_the_cursor_reads(play: Play) -> None:
    run(play, "begin", "BEGIN", "T")
    run(play, f"declare c cursor for {MASKED}", "DECLARE CURSOR", "T")
    run(play, "declare d cursor for select note from orders", "DECLARE CURSOR", "T")
    assert fetched(play, "fetch c") == [[REDACTED]]
    assert fetched(play, "fetch d") == [[b"111"]]
    assert fetched(play, "fetch nobody_knows") == [[REDACTED]]


@playbook()
def test_a_cursor_can_be_executed_as_a_portal(play: Play) -> None:
    run(play, "begin", "BEGIN", "T")
    run(play, f"declare c cursor for {MASKED}", "DECLARE CURSOR", "T")
    play.client(execute("c"), SYNC).server(columns(COMPUTED), row(b"111"), complete("FETCH 1"), ready("T"))
    got = play.to_client
    assert types(got) == "DCZ"
    assert cells(got) == [[REDACTED]]


@pytest.mark.parametrize("pipelined", [False, True])
@playbook()
def test_after_code_that_nobody_read_a_name_may_mean_anything(play: Play, pipelined: bool) -> None:
    code = "do $$ begin execute 'deallocate p; prepare p as ' || current_setting('a.b'); end $$"
    play.client(sql("prepare p as select note from orders"))
    if pipelined:
        play.client(sql(code)).decide("approved")
        play.server(complete("PREPARE"), ready()).server(complete("DO"), ready())
    else:
        play.server(complete("PREPARE"), ready())
        play.client(sql(code)).decide("approved").server(complete("DO"), ready())
    _ = play.to_client
    assert fetched(play, "execute p") == [[REDACTED]]
    play.client(bind("", "p"), execute(), SYNC)
    play.server(BIND_COMPLETE, columns(COMPUTED), row(b"111"), complete("SELECT 1"), ready("T"))
    assert cells(play.to_client) == [[REDACTED]]


@playbook()
def test_after_code_that_nobody_read_a_cursor_may_read_anything(play: Play) -> None:
    run(play, "begin", "BEGIN", "T")
    run(play, "declare c cursor for select note from orders", "DECLARE CURSOR", "T")
    play.client(sql("do $$ begin execute 'close ' || current_setting('a.b'); end $$")).decide("approved")
    play.server(complete("DO"), ready("T"))
    _ = play.to_client
    assert fetched(play, "fetch c") == [[REDACTED]]
    play.client(execute("c"), SYNC).server(columns(COMPUTED), row(b"111"), complete("FETCH 1"), ready("T"))
    assert cells(play.to_client) == [[REDACTED]]


@playbook()
def test_a_name_that_is_not_known_is_refused_as_the_database_does(play: Play) -> None:
    assert play.client(sql("execute nope")).to_server == REFUSED_QUERY
    [fields] = errors(play.server(SYNTAX, ready()).to_client)
    assert fields["C"] == "26000"


# --- FunctionCall ----------------------------------------------------------------------------------------


@playbook()
def test_a_function_call_is_judged_as_a_select_of_it(play: Play) -> None:
    assert play.client(function_call(870)).to_server == function_call(870)
    answer = message(b"V", b"\0\0\0\1x") + ready()
    assert play.server(answer).to_client == answer
    assert play.opened[0].protocol == "function"
    assert play.outcomes == [(1, "FUNCTION", None)]


@playbook()
def test_a_function_that_nobody_knows_is_refused(play: Play) -> None:
    assert play.client(function_call(4711)).to_server == REFUSED_QUERY
    got = play.server(SYNTAX, ready()).to_client
    assert types(got) == "EZ"
    assert errors(got)[0]["C"] == "42883"


# --- names in the encoding of the client -----------------------------------------------------------------


@playbook()
def test_names_in_utf8_are_followed(play: Play) -> None:
    run(play, f"prepare zürich as {MASKED}", "PREPARE")
    assert fetched(play, "execute zürich") == [[REDACTED]]
    play.client(bind("", "zürich"), execute(), SYNC)
    play.server(BIND_COMPLETE, columns(COMPUTED), row(b"111"), complete("SELECT 1"), ready("T"))
    assert cells(play.to_client) == [[REDACTED]]


@pytest.mark.parametrize("name", ["é" * 32, "x" + "é" * 31 + "è"])
@playbook(cuts=[])
def test_a_name_that_the_database_may_cut_elsewhere_ends_the_session(play: Play, name: str) -> None:
    with pytest.raises(ProtocolError):
        play.client(prepare("select 1", name))
    other = Play(_whole, RULES)
    with pytest.raises(ProtocolError):
        other.client(sql(f"prepare {name} as select 1"))


@playbook(cuts=[])
def test_in_other_encodings_names_are_ascii(play: Play) -> None:
    play.server(setting("client_encoding", "LATIN1"))
    play.client(prepare("select 1", "s"), SYNC).server(PARSE_COMPLETE, ready())
    for message_ in (prepare("select 1", "é"), bind("é", "s"), close(b"S", "é"), execute("é")):
        with pytest.raises(ProtocolError):
            play.client(message_)
        play.session._message = None
