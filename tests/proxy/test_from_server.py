"""What a server may say at any time, what it may not, and rows that are larger than a buffer."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.errors import ProtocolError
from gatekeeper.events import StatementClosed
from gatekeeper.model import Refusal
from gatekeeper.proxy import actions
from tests.proxy.playbook import (
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    EMPTY,
    NO_DATA,
    NOTE,
    PARSE_COMPLETE,
    REDACTED,
    REFUSED_QUERY,
    RULES,
    SSN,
    SUSPENDED,
    SYNC,
    SYNTAX,
    Play,
    _pieces,
    _two,
    _whole,
    bind,
    cells,
    columns,
    complete,
    copy_data,
    copy_response,
    error,
    errors,
    execute,
    message,
    notice,
    parameter_types,
    playbook,
    prepare,
    query,
    ready,
    row,
    setting,
    sql,
)

NOTIFICATION = message(b"A", b"\0\0\0\7channel\0payload\0")


@playbook()
def test_notifications_notices_and_settings_pass_at_any_time(play: Play) -> None:
    always = NOTIFICATION + notice("hi") + setting("TimeZone", "UTC")
    assert play.server(always).to_client == always
    play.client(sql("select note from orders"))
    answer = always + columns(NOTE) + always + row(b"a") + always + complete("SELECT 1") + always + ready()
    assert play.server(answer).to_client == answer


@playbook()
def test_an_error_that_nobody_asked_for_passes(play: Play) -> None:
    farewell = error("57P01", "terminating connection", "FATAL")
    assert play.server(farewell).to_client == farewell


@playbook()
def test_the_end_of_the_database_is_told_once(play: Play) -> None:
    play.client(sql("select 1")).server(error("57P01", "terminating connection", "FATAL"))
    play.step(
        lambda: play.session.end(Refusal("57P01", "the database closed the connection"), "database gone")
    )
    assert len(errors(play.to_client)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE, NO_DATA, SUSPENDED, ready(), complete("SELECT 1"),
        columns(NOTE), row(b"a"), parameter_types(23), copy_response(b"H"), copy_response(b"W"),
        message(b"V", b"\0\0\0\0"), message(b"R", b"\0\0\0\0"), message(b"K", bytes(8)), message(b"x"),
        message(b"\0"),
    ],
)  # fmt: skip
@playbook(cuts=[_pieces(1), _two(1), _two(5)])
def test_an_answer_to_what_was_never_asked_is_a_protocol_error(play: Play, answer: bytes) -> None:
    with pytest.raises(ProtocolError):
        play.server(answer)


@pytest.mark.parametrize(
    "answer",
    [
        PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE, NO_DATA, SUSPENDED, row(b"a"), parameter_types(),
        message(b"V", b"\0\0\0\0"), message(b"Z", b""), message(b"Z", b"II"), message(b"T", b"\0\1"),
        message(b"H", b""), message(b"D", b""), b"C\0\0\0\3", b"C\xff\xff\xff\xff", b"C\x7f\xff\xff\xff",
    ],
)  # fmt: skip
@playbook(cuts=[_pieces(1), _two(1), _two(5)])
def test_an_answer_to_something_else_is_a_protocol_error(play: Play, answer: bytes) -> None:
    play.client(sql("select note from orders"))
    with pytest.raises(ProtocolError):
        play.server(answer)


@playbook(cuts=[])
def test_a_row_that_does_not_fit_its_description_is_a_protocol_error(play: Play) -> None:
    play.client(sql("select ssn from customers"))
    with pytest.raises(ProtocolError):
        play.server(columns(SSN), message(b"D", b"\0\1\0\0\0\x09abc"))
    other = Play(_whole, RULES)
    other.client(sql("select note from orders"))
    with pytest.raises(ProtocolError):
        other.server(columns(NOTE), row(b"a", b"b"))


_kinds = st.sampled_from(b"123tTnDCIsENZSAGHdcVWRK")
_messages = st.tuples(_kinds, st.binary(max_size=20)).map(lambda m: message(bytes([m[0]]), m[1]))


@settings(max_examples=300, deadline=None)
@given(st.lists(_messages, max_size=6), st.booleans())
def test_no_server_raises_anything_but_a_protocol_error(answers: list[bytes], extended: bool) -> None:
    play = Play(_whole, RULES)
    asked = prepare("select ssn from customers") + bind() + execute() + SYNC
    play.client(asked if extended else sql("select ssn from customers; copy customers to stdout"))
    with contextlib.suppress(ProtocolError):
        play.server(*answers)


_asked = st.one_of(
    st.sampled_from(
        [sql("select 1"), prepare("select 1", "s"), bind("", "s"), execute(), SYNC, sql("begin")]
    ),
    st.tuples(st.sampled_from(b"QPBEDCSHFXdcf"), st.binary(max_size=12)).map(
        lambda m: message(bytes([m[0]]), m[1])
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_asked, max_size=6))
def test_no_client_raises_anything_but_a_protocol_error(asked: list[bytes]) -> None:
    play = Play(_whole, RULES)
    with contextlib.suppress(ProtocolError):
        play.client(*asked)


# --- settings that decide what a text means --------------------------------------------------------------


@playbook()
def test_a_session_whose_strings_change_their_meaning_ends(play: Play) -> None:
    with pytest.raises(ProtocolError, match="standard_conforming_strings"):
        play.server(setting("standard_conforming_strings", "off"))


@pytest.mark.parametrize("encoding", ["SJIS", "BIG5", "GBK", "GB18030", "UHC", "JOHAB", "MULE_INTERNAL", "x"])
@playbook(cuts=[])
def test_a_session_whose_encoding_cannot_be_judged_ends(play: Play, encoding: str) -> None:
    with pytest.raises(ProtocolError, match="encoding"):
        play.server(setting("client_encoding", encoding))


@playbook()
def test_texts_are_read_and_errors_written_in_the_clients_encoding(play: Play) -> None:
    play.client(sql("set client_encoding to latin1"))
    play.server(setting("client_encoding", "LATIN1"), complete("SET"), ready())
    _ = play.to_client, play.to_server
    asked = query("select 'é'".encode("latin-1"))
    assert play.client(asked).to_server == asked
    assert play.opened[-1].sql == "select 'é'"
    play.server(complete("SELECT 1"), ready())
    _ = play.to_client, play.to_server
    assert play.client(query("é é".encode("latin-1"))).to_server == REFUSED_QUERY
    play.server(SYNTAX, ready())
    assert 'at or near "é"'.encode("latin-1") in play.to_client


# --- large rows ------------------------------------------------------------------------------------------

BIG = b"x" * 400_000


def outcome(cut: int | None, text: str, *answer: bytes) -> tuple[bytes, list[object]]:
    play = Play(_whole if cut is None else _two(cut), RULES)
    play.client(sql(text)).server(*answer)
    return play.to_client, [e for e in play.events if isinstance(e, StatementClosed)]


@pytest.mark.parametrize("cut", [None, *range(30, 60), 100_000, 399_990, 400_030, 400_060])
def test_a_row_larger_than_a_buffer_is_the_same_however_it_comes(cut: int | None) -> None:
    answer = [columns(NOTE), row(BIG), row(b"small"), complete("SELECT 2"), ready()]
    assert outcome(cut, "select note from orders", *answer) == outcome(
        None, "select note from orders", *answer
    )
    assert outcome(cut, "select note from orders", *answer)[0] == b"".join(answer)


@pytest.mark.parametrize("header", range(1, 6))
def test_a_row_larger_than_a_buffer_streams(header: int) -> None:
    play = Play(_whole, RULES)
    big = row(BIG)
    play.client(sql("select note from orders")).server(columns(NOTE), big[:header])
    assert (columns(NOTE) + big).startswith(got := play.to_client)
    play.server(big[header:1000])
    assert got + play.to_client == columns(NOTE) + big[:1000]
    play.step(lambda: play.session.relay.notice(notice("ours")))
    assert play.to_client == b""
    play.server(big[1000:300_000])
    assert play.to_client == big[1000:300_000]
    play.server(big[300_000:] + complete("SELECT 1") + ready())
    assert play.to_client == big[300_000:] + notice("ours") + complete("SELECT 1") + ready()


def test_a_large_row_that_is_masked_is_masked_whole() -> None:
    got, _ = outcome(1000, "select ssn from customers", columns(SSN), row(BIG), complete("SELECT 1"), ready())
    assert cells(got) == [[REDACTED]]
    assert BIG[:100] not in got


def test_copy_data_streams_where_it_is_not_masked() -> None:
    play = Play(_whole, RULES)
    data = copy_data(BIG)
    play.client(sql("copy orders to stdout")).server(copy_response(b"H", 2), data[:1000])
    assert play.to_client.endswith(data[:1000])


def test_a_session_that_ends_in_the_middle_of_a_row_says_nothing_in_it() -> None:
    play = Play(_whole, RULES)
    play.client(sql("select note from orders")).server(columns(NOTE), row(BIG)[:1000])
    _ = play.to_client
    play.step(lambda: play.session.end(Refusal("57P01", "x"), "killed"))
    assert play.to_client == b""
    assert play.take_request(actions.Close).running


@playbook()
def test_an_empty_query_needs_no_row(play: Play) -> None:
    play.client(sql("")).server(EMPTY, ready())
    assert play.outcomes == [(1, "EMPTY", None)]
