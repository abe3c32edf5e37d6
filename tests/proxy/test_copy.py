"""COPY both ways, in both protocols, ending well and badly."""

from __future__ import annotations

import pytest

from gatekeeper.errors import ProtocolError
from tests.proxy.playbook import (
    BIND_COMPLETE,
    COPY_DONE,
    COPY_DONE_BACK,
    PARSE_COMPLETE,
    REFUSED_QUERY,
    SYNC,
    SYNTAX,
    Play,
    bind,
    complete,
    copy_data,
    copy_fail,
    copy_response,
    describe,
    error,
    execute,
    messages,
    playbook,
    prepare,
    ready,
    sql,
    types,
)
from tests.proxy.test_extended_query import DESCRIBE_PORTAL, NO_DATA

IN, OUT = copy_response(b"G", 2), copy_response(b"H", 2)
COPY_IN = "copy orders from stdin"


@playbook()
def test_copy_in_passes_byte_for_byte(play: Play) -> None:
    play.client(sql(COPY_IN)).server(IN)
    data = copy_data(b"1\ta\n") + copy_data(b"") + copy_data(b"2\tb\n") + COPY_DONE
    _ = play.to_server
    assert play.client(data).to_server == data
    assert play.server(complete("COPY 2"), ready()).to_client == IN + complete("COPY 2") + ready()
    assert play.outcomes == [(1, "COPY 2", 2)]


@playbook()
def test_copy_in_by_the_extended_protocol_ignores_the_sync_before_the_data(play: Play) -> None:
    play.client(prepare(COPY_IN), bind(), describe("P", b""), execute(), SYNC)
    play.server(PARSE_COMPLETE, BIND_COMPLETE, NO_DATA, IN)
    play.client(copy_data(b"1\ta\n"), COPY_DONE, SYNC)
    play.server(complete("COPY 1"), ready())
    assert types(play.to_client) == "12nGCZ"
    assert play.outcomes == [(1, "COPY 1", 1)]
    play.client(sql("select 1"))
    assert not play.session.blocked


@playbook()
def test_a_sync_that_comes_when_the_server_already_waits_for_data_is_ignored_too(play: Play) -> None:
    play.client(prepare(COPY_IN), bind(), execute())
    play.server(PARSE_COMPLETE, BIND_COMPLETE, NO_DATA, IN)
    play.client(SYNC, copy_data(b"1\ta\n"), COPY_DONE, SYNC).server(complete("COPY 1"), ready())
    assert types(play.to_client) == "12GCZ"


@playbook()
def test_a_client_that_gives_up_its_copy(play: Play) -> None:
    play.client(sql(COPY_IN)).server(IN)
    play.client(copy_data(b"1"), copy_fail("no more")).server(
        error("57014", "COPY from stdin failed"), ready()
    )
    assert types(play.to_client) == "GEZ"
    assert play.outcomes == [(1, "57014", None)]
    assert play.client(sql("select 1")).to_server.endswith(sql("select 1"))


@playbook()
def test_a_copy_that_fails_before_its_end_leaves_the_connection_usable(play: Play) -> None:
    play.client(sql(COPY_IN)).server(IN)
    play.client(copy_data(b"x")).server(error("22P02", "bad"), ready())
    _ = play.to_server
    assert play.client(sql("select 1")).to_server == sql("select 1")


@playbook()
def test_data_that_still_comes_after_a_copy_has_failed_is_ignored_by_the_server(play: Play) -> None:
    play.client(sql(COPY_IN)).server(IN)
    play.client(copy_data(b"x")).server(error("22P02", "bad"), ready())
    play.client(copy_data(b"y"), COPY_DONE, sql("select 1"))
    play.server(complete("SELECT 1"), ready())
    assert types(play.to_client) == "GEZCZ"
    assert play.outcomes == [(1, "22P02", None), (2, "SELECT 1", 1)]


@playbook()
def test_a_copy_that_fails_in_the_extended_protocol_skips_to_sync(play: Play) -> None:
    play.client(prepare(COPY_IN), bind(), execute())
    play.server(PARSE_COMPLETE, BIND_COMPLETE, NO_DATA, IN)
    play.client(copy_data(b"x")).server(error("22P02", "bad"))
    play.client(copy_data(b"y"), COPY_DONE, SYNC).server(ready())
    play.client(sql("select 1")).server(complete("SELECT 1"), ready())
    assert types(play.to_client) == "12GEZCZ"


@playbook()
def test_data_may_be_sent_before_the_server_asks(play: Play) -> None:
    asked = sql(COPY_IN) + copy_data(b"1\ta\n") + COPY_DONE + sql("select 1")
    assert play.client(asked).to_server == asked
    play.server(IN, complete("COPY 1"), ready(), complete("SELECT 1"), ready())
    assert play.outcomes == [(1, "COPY 1", 1), (2, "SELECT 1", 1)]


@playbook()
def test_data_for_a_copy_that_was_refused_goes_nowhere(play: Play) -> None:
    asked = sql("copy customers (ssn) from stdin; truncate orders")
    assert play.client(asked).to_server == REFUSED_QUERY
    play.client(copy_data(b"x"), COPY_DONE).server(SYNTAX, ready())
    play.client(sql("select 1")).server(complete("SELECT 1"), ready())
    assert types(play.to_client) == "EZCZ"


@playbook()
def test_a_statement_in_the_middle_of_the_data_ends_the_session(play: Play) -> None:
    play.client(sql(COPY_IN)).server(IN)
    with pytest.raises(ProtocolError, match="COPY"):
        play.client(copy_data(b"1"), sql("select 1"))


@playbook()
def test_copy_out_passes_byte_for_byte(play: Play) -> None:
    play.client(sql("copy orders to stdout"))
    answer = OUT + copy_data(b"1\ta\n") + copy_data(b"2\tb\n") + COPY_DONE_BACK + complete("COPY 2") + ready()
    assert play.server(answer).to_client == answer
    assert play.outcomes == [(1, "COPY 2", 2)]


@playbook()
def test_copy_out_is_masked_in_place(play: Play) -> None:
    play.client(sql("copy customers to stdout"))
    play.server(copy_response(b"H", 3), copy_data(b"1\tAda\t111-22"), copy_data(b"-3333\n2\tBob\t\\N\n"))
    play.server(COPY_DONE_BACK, complete("COPY 2"), ready())
    got = play.to_client
    data = b"".join(body for kind, body in messages(got) if kind == "d")
    assert data == b"1\tAda\t[REDACTED]\n2\tBob\t\\N\n"
    assert play.closings[0].masked_columns == ("public.customers.ssn",)


@playbook()
def test_copy_out_that_fails_in_the_middle(play: Play) -> None:
    play.client(sql("copy customers to stdout"))
    play.server(copy_response(b"H", 3), copy_data(b"1\tAda\t111-22-3333\n"), error("57014"), ready())
    assert b"111" not in play.to_client
    play.client(sql("copy orders to stdout")).server(OUT, copy_data(b"1\t2\n"), COPY_DONE_BACK)
    assert play.to_client == OUT + copy_data(b"1\t2\n") + COPY_DONE_BACK


@playbook()
def test_copy_out_by_the_extended_protocol(play: Play) -> None:
    play.client(prepare("copy orders to stdout"), bind(), execute(), SYNC)
    assert play.to_server.endswith(DESCRIBE_PORTAL + execute() + SYNC)
    play.server(
        PARSE_COMPLETE, BIND_COMPLETE, NO_DATA, OUT, copy_data(b"1\n"), COPY_DONE_BACK, complete("COPY 1")
    )
    play.server(ready())
    assert types(play.to_client) == "12HdcCZ"
