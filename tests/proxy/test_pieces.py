"""Messages too long for memory: what goes on as it comes, what waits, and what is refused unread."""

from __future__ import annotations

import pytest

from gatekeeper.errors import ProtocolError
from gatekeeper.events import StatementBound
from gatekeeper.proxy import actions, long_messages
from gatekeeper.proxy.wire import bind_pieces, framing
from tests.proxy.playbook import (
    BIND_COMPLETE,
    BLOCK_SELECT,
    COPY_DONE,
    NOTE,
    PARSE_COMPLETE,
    REFUSED_PARSE,
    REFUSED_QUERY,
    RULES,
    SYNC,
    SYNTAX,
    Play,
    _whole,
    bind,
    columns,
    complete,
    copy_data,
    copy_response,
    errors,
    execute,
    playbook,
    prepare,
    ready,
    row,
    sql,
)

GUARD_SELECT = RULES + BLOCK_SELECT
HOLD_SELECT = RULES + BLOCK_SELECT.replace('"block"', '"approve"')
STATEMENT = "select note from orders where note in ($1, $2, $3)"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long means something else here, so that every cut can be tried."""
    monkeypatch.setattr(framing, "HEAD_BYTES", 40)
    monkeypatch.setattr(framing, "MAX_WHOLE_BYTES", 300)
    monkeypatch.setattr(framing, "_LONGER", {ord("d"): 40, ord("B"): 64})
    monkeypatch.setattr(bind_pieces, "MAX_KEPT_VALUE_BYTES", 8)
    monkeypatch.setattr(long_messages, "MAX_COLLECTED_BYTES", 150)


@playbook()
def test_long_copy_data_passes_byte_for_byte(play: Play) -> None:
    play.client(sql("copy orders from stdin")).server(copy_response(b"G", 2))
    data = copy_data(b"1\t" + b"a" * 100 + b"\n") + copy_data(b"2\tb\n") + COPY_DONE
    _ = play.to_server
    assert play.client(data).to_server == data
    play.server(complete("COPY 2"), ready())
    assert play.outcomes == [(1, "COPY 2", 2)]


@playbook()
def test_a_long_bind_passes_byte_for_byte_and_its_small_values_are_recorded(play: Play) -> None:
    play.client(prepare(STATEMENT, "s"), SYNC).server(PARSE_COMPLETE, ready())
    asked = bind(name="s", values=[b"one", b"x" * 90, None]) + execute() + SYNC
    _ = play.to_server
    found = play.client(asked).to_server
    assert found.startswith(asked[: len(bind(name="s", values=[b"one", b"x" * 90, None]))])
    assert found.endswith(execute() + SYNC)
    assert [e.params for e in play.events if isinstance(e, StatementBound)] == [
        ("one", "(90 bytes, not kept)", None)
    ]
    play.server(BIND_COMPLETE, columns(NOTE), row(b"a"), complete("SELECT 1"), ready())
    assert play.outcomes == [(1, "SELECT 1", 1)]


def test_the_end_of_a_long_bind_waits_for_its_record() -> None:
    play = Play(_whole, RULES)
    client = play.session.client_data
    client(prepare(STATEMENT, "s") + SYNC, play.now)
    play.session.server_data(PARSE_COMPLETE + ready(), play.now)
    play._take()
    message = bind(name="s", values=[b"x" * 90, b"y" * 90, b"z"])
    client(message[:-1], play.now)
    assert not play.session.gated
    assert len(b"".join(play.session.to_server)) == len(message) - 2
    client(message[-1:], play.now)
    [(place, entry)] = play.session.gated
    assert play.session.to_server[place] == message[-2:]
    # The record cannot be written: the server has a message without an end, and never gets it.
    left = play.session.recording_failed(play.session.to_server, [(place, entry)])
    assert left[place] == b""
    assert play.session.closed
    assert b"58030" in b"".join(play.session.to_client)


@playbook(GUARD_SELECT)
def test_a_long_bind_that_is_refused_goes_nowhere(play: Play) -> None:
    play.use(RULES)
    play.client(prepare(STATEMENT, "s"), SYNC).server(PARSE_COMPLETE, ready())
    play.use(GUARD_SELECT)
    _ = play.to_server
    play.client(bind(name="s", values=[b"x" * 90, b"y", None]), execute(), SYNC)
    assert play.to_server.startswith(REFUSED_PARSE)
    play.server(SYNTAX, ready())
    assert [e["C"] for e in errors(play.to_client)] == ["42501"]


@playbook()
def test_a_long_bind_of_a_statement_that_is_not_there_goes_nowhere(play: Play) -> None:
    play.client(bind(name="nobody", values=[b"x" * 90]), SYNC)
    assert play.to_server == REFUSED_PARSE + SYNC
    play.server(SYNTAX, ready())
    assert [e["C"] for e in errors(play.to_client)] == ["26000"]


@playbook(HOLD_SELECT)
def test_a_long_bind_that_people_decide_on_is_shown_to_them_whole(play: Play) -> None:
    play.client(prepare(STATEMENT, "s"), SYNC).server(PARSE_COMPLETE, ready())
    message = bind(name="s", values=[b"x" * 80, b"y", None])
    _ = play.to_server
    play.client(message, execute(), SYNC)
    assert play.requests
    request = play.requests[0]
    assert isinstance(request, actions.Hold)
    assert request.request.params == ("x" * 80, "y", None)
    assert message not in play.to_server
    play.decide("approved")
    assert play.to_server.startswith(message)


@playbook(HOLD_SELECT)
def test_a_bind_too_long_to_be_shown_to_people_is_refused(play: Play) -> None:
    play.client(prepare(STATEMENT, "s"), SYNC).server(PARSE_COMPLETE, ready())
    _ = play.to_server
    play.client(bind(name="s", values=[b"x" * 180, b"y", None]), SYNC)
    assert play.to_server.startswith(REFUSED_PARSE)
    play.server(SYNTAX, ready())
    assert [e["C"] for e in errors(play.to_client)] == ["54000"]


@playbook()
def test_a_query_too_long_to_be_judged_is_refused_and_the_next_one_runs(play: Play) -> None:
    play.client(sql("select '" + "x" * 400 + "'"), sql("select 1"))
    assert play.to_server == REFUSED_QUERY + sql("select 1")
    play.server(SYNTAX, ready())
    assert [e["C"] for e in errors(play.to_client)] == ["54000"]


@playbook()
def test_a_parse_too_long_to_be_judged_takes_the_unnamed_statement_away(play: Play) -> None:
    play.client(prepare(STATEMENT), SYNC).server(PARSE_COMPLETE, ready())
    play.client(prepare("select '" + "x" * 400 + "'"), SYNC).server(SYNTAX, ready())
    _ = play.to_server, play.to_client
    play.client(bind(values=[b"a", b"b", b"c"]), SYNC)
    assert play.to_server == REFUSED_PARSE + SYNC


@pytest.mark.parametrize(
    "broken",
    [
        bind(name="s", values=[b"x" * 90])[:-2] + b"\0\7",  # says more result formats than there are
        bind(name="s", values=[b"x" * 90]).replace(b"\0\0\0\x5a", b"\0\0\0\x70"),  # a value past the end
        bind(name="s", values=[b"x" * 90]).replace(b"\0\0\0\x5a", b"\xff\xff\0\0"),  # a negative length
        bind(name="s", values=[b"x" * 90]).replace(b"\0\0\0\x5a", b"\0\0\0\x10"),  # bytes left over
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_long_bind_that_does_not_fit_itself_is_an_error(broken: bytes, size: int) -> None:
    play = Play(_whole, RULES)
    play.session.client_data(prepare(STATEMENT, "s") + SYNC, play.now)
    play.session.server_data(PARSE_COMPLETE + ready(), play.now)
    with pytest.raises(ProtocolError):
        for at in range(0, len(broken), size):
            play.session.client_data(broken[at : at + size], play.now)
    assert not play.session.pending.head
