"""Statements that wait for people, for the planner, or for the catalog; and what ends the wait."""

from __future__ import annotations

import pytest

from gatekeeper.events import StatementDecided
from gatekeeper.model import Approval, Refusal
from gatekeeper.proxy import actions
from tests.proxy.playbook import (
    BIND_COMPLETE,
    FLUSH,
    NO_DATA,
    PARSE_COMPLETE,
    REFUSED_PARSE,
    REFUSED_QUERY,
    RULES,
    SYNC,
    SYNTAX,
    TERMINATE,
    Play,
    bind,
    complete,
    describe,
    errors,
    execute,
    playbook,
    prepare,
    ready,
    sql,
    types,
)

DELETE = sql("delete from orders")
BIG = (
    RULES
    + """
[[guard]]
name = "big"
classes = ["WRITE"]
min_rows = 1000
action = "block"
"""
)


@playbook()
def test_a_held_statement_is_not_sent_and_what_came_before_is_flushed(play: Play) -> None:
    assert play.client(DELETE).to_server == FLUSH
    assert play.session.held
    request = play.requests[0]
    assert isinstance(request, actions.Hold)
    assert (request.request.sql, request.request.hold.guard) == ("delete from orders", "unbounded")
    assert play.to_client == b""
    assert play.client(sql("select 1")).to_server == b""
    assert play.session.status().state == "held"


@playbook()
def test_the_client_is_told_that_it_waits(play: Play) -> None:
    play.client(DELETE)
    approval = Approval("a7", play.requests[0].request, play.now, play.now + 20)  # type: ignore[union-attr]
    play.step(lambda: play.session.announce(approval))
    [fields] = errors(play.to_client)
    assert fields["V"] == "NOTICE"
    assert fields["M"] == 'waiting for approval a7 (guard "unbounded"), up to 20 s'


@playbook()
def test_an_approved_statement_runs_and_what_waited_behind_it_too(play: Play) -> None:
    play.client(DELETE, sql("select 1"))
    _ = play.to_server
    assert play.decide("approved").to_server == DELETE + sql("select 1")
    play.server(complete("DELETE 5"), ready())
    assert play.outcomes == [(1, "DELETE 5", 5)]
    assert [e.approval.decision for e in play.events if isinstance(e, StatementDecided)] == ["approved"]


@pytest.mark.parametrize(
    ("state", "fields"),
    [
        ("denied", {"C": "42501", "M": "denied by ann", "D": "not today"}),
        ("timed_out", {"C": "57014", "M": "approval a1 timed out"}),
        ("withdrawn", {"C": "57014", "M": "approval a1 was withdrawn"}),
    ],
)
@playbook()
def test_a_statement_that_is_not_approved_is_refused(play: Play, state: str, fields: dict[str, str]) -> None:
    play.client(DELETE)
    _ = play.to_server
    assert play.decide(state, reason="not today").to_server == REFUSED_QUERY
    play.server(SYNTAX, ready())
    [found] = errors(play.to_client)
    assert found == {"S": "ERROR", "V": "ERROR", **fields}
    assert play.outcomes == [(1, fields["C"], None)]


@playbook()
def test_a_cancel_ends_the_wait(play: Play) -> None:
    play.client(DELETE)
    held = play.requests[0]
    play.step(lambda: play.session.cancel_begins())
    assert isinstance(play.requests.pop(), actions.Withdraw)
    assert play.requests == [held]
    _ = play.to_server
    assert play.decide("withdrawn").to_server == REFUSED_QUERY
    [fields] = errors(play.server(SYNTAX, ready()).to_client)
    assert (fields["C"], fields["M"]) == ("57014", "canceling statement due to user request")
    play.client(DELETE)
    assert play.decide("approved").to_server.endswith(DELETE)


@playbook()
def test_a_client_that_is_gone_needs_no_decision(play: Play) -> None:
    play.client(DELETE)
    play.step(lambda: play.session.gone("client gone"))
    assert [type(r) for r in play.requests] == [actions.Hold, actions.Withdraw, actions.Close]
    assert play.to_server == FLUSH


@playbook()
def test_a_session_that_is_killed_while_it_waits_ends_at_once(play: Play) -> None:
    play.client(DELETE)
    play.step(lambda: play.session.end(Refusal("57P01", "killed"), "killed"))
    assert [type(r) for r in play.requests] == [actions.Hold, actions.Withdraw, actions.Close]
    [fields] = errors(play.to_client)
    assert (fields["V"], fields["C"]) == ("FATAL", "57P01")


@playbook()
def test_rules_that_forbid_what_waits_end_the_wait(play: Play) -> None:
    play.client(DELETE)
    play.use(RULES.replace('action = "approve"\ntimeout = "20s"', 'action = "block"'))
    assert isinstance(play.requests.pop(), actions.Withdraw)
    _ = play.to_server
    assert play.decide("withdrawn").to_server == REFUSED_QUERY
    assert errors(play.server(SYNTAX, ready()).to_client)[0]["M"] == 'blocked by guard "unbounded"'


@playbook()
def test_rules_that_ask_others_ask_again(play: Play) -> None:
    play.client(DELETE)
    play.use(RULES.replace('timeout = "20s"', 'timeout = "20s"\napprovals = 2'))
    _ = play.to_server
    assert play.decide("approved").to_server == FLUSH
    assert play.requests[0].request.hold.approvals == 2  # type: ignore[union-attr]


@playbook()
def test_in_the_extended_protocol_the_wait_is_at_bind_with_its_parameters(play: Play) -> None:
    parse = prepare("delete from orders returning $1", types=(25,))
    play.client(parse, bind(values=[b"x"]), describe("P", b""), execute(), SYNC)
    assert play.to_server == parse + FLUSH
    play.server(PARSE_COMPLETE)
    request = play.requests[0]
    assert isinstance(request, actions.Hold)
    assert request.request.params == ("x",)
    assert play.decide("approved").to_server.startswith(bind(values=[b"x"]))
    play.server(BIND_COMPLETE, NO_DATA, complete("DELETE 0"), ready())
    assert types(play.to_client) == "12nCZ"


@playbook()
def test_a_bind_that_is_denied_skips_to_sync(play: Play) -> None:
    play.client(prepare("delete from orders"), bind(), execute(), SYNC)
    play.server(PARSE_COMPLETE)
    _ = play.to_server
    assert play.decide("denied").to_server.startswith(REFUSED_PARSE)
    play.server(SYNTAX, ready())
    assert types(play.to_client) == "1EZ"
    assert play.outcomes == [(1, "42501", None)]


@playbook()
def test_each_execution_of_a_held_statement_waits_anew(play: Play) -> None:
    play.client(prepare("delete from orders", "s"), SYNC).server(PARSE_COMPLETE, ready())
    for _ in range(2):
        play.client(bind("", "s"), execute(), SYNC)
        play.decide("approved")
        play.server(BIND_COMPLETE, NO_DATA, complete("DELETE 1"), ready())
    assert [o for _, o, _ in play.outcomes] == ["DELETE 1", "DELETE 1"]


@playbook()
def test_an_approval_is_asked_for_once_though_a_name_has_to_settle(play: Play) -> None:
    play.client(sql("prepare p as select 1"), sql("delete from orders; execute p"))
    assert not play.requests
    play.server(complete("PREPARE")).server(ready())
    _ = play.to_server
    assert play.decide("approved").to_server == sql("delete from orders; execute p")


# --- the planner and the catalog -------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "refused"), [(5.0, False), (5000.0, True), (None, True)])
@playbook(BIG)
def test_a_guard_on_rows_waits_for_the_planner(play: Play, rows: float | None, refused: bool) -> None:
    insert = sql("insert into orders select 1")
    assert play.client(insert).to_server == b""
    asked = play.take_request(actions.Estimate)
    assert asked.statements == (0,)
    play.step(lambda: play.session.estimated({0: rows}, play.now))
    assert play.to_server == (REFUSED_QUERY if refused else insert)
    assert len(play.opened) == 1


@playbook(BIG)
def test_the_planner_is_asked_at_bind_with_the_parameters(play: Play) -> None:
    parse = prepare("insert into orders select $1::int", types=(23,))
    play.client(parse, bind(values=[b"7"]), execute(), SYNC)
    assert play.to_server == parse
    assert play.take_request(actions.Estimate).params == ("7",)
    play.step(lambda: play.session.estimated({0: 1.0}, play.now))
    assert play.to_server.startswith(bind(values=[b"7"]))


@playbook()
def test_a_stale_catalog_is_read_before_anything_is_judged(play: Play) -> None:
    play.sources.stale = True
    assert play.client(sql("select 1")).to_server == b""
    play.take_request(actions.RefreshCatalog)
    play.sources.stale = False
    play.step(lambda: play.session.refreshed(play.now))
    assert play.to_server == sql("select 1")
    assert len(play.opened) == 1


@playbook()
def test_ddl_makes_the_session_uncertain_until_it_is_committed(play: Play) -> None:
    play.client(sql("begin")).server(complete("BEGIN"), ready("T"))
    play.client(sql("create table t (x int)")).server(complete("CREATE TABLE"), ready("T"))
    assert play.session.uncertain
    assert not play.requests
    play.client(sql("commit")).server(complete("COMMIT"), ready())
    assert not play.session.uncertain
    play.take_request(actions.CatalogChanged)


# --- cancel and recording --------------------------------------------------------------------------------


@playbook()
def test_while_a_cancel_is_under_way_nothing_new_is_sent(play: Play) -> None:
    play.client(sql("select 1"))
    _ = play.to_server
    assert play.session.cancel_begins()
    assert play.session.cancel_begins()
    play.server(complete("SELECT 1"), ready())
    assert play.client(sql("select 2")).to_server == b""
    play.step(lambda: play.session.cancel_ends(play.now))
    assert play.to_server == b""
    play.step(lambda: play.session.cancel_ends(play.now))
    assert play.to_server == sql("select 2")


@playbook()
def test_a_cancel_that_finds_nothing_running_goes_nowhere(play: Play) -> None:
    assert not play.session.cancel_begins()
    play.client(sql("select 1")).server(complete("SELECT 1"), ready())
    assert not play.session.cancel_begins()
    assert not play.session.blocked


@pytest.mark.parametrize("extended", [False, True])
def test_what_cannot_be_recorded_is_replaced(extended: bool) -> None:
    from tests.proxy.playbook import _whole

    play = Play(_whole, RULES)
    session = play.session
    asked = prepare("select 1") + bind() + execute() + SYNC if extended else sql("select 1")
    session.client_data(asked, play.now)
    sent, gated = session.to_server.copy(), session.gated.copy()
    session.to_server.clear()
    replaced = b"".join(session.recording_failed(sent, gated))
    assert replaced.startswith(REFUSED_PARSE if extended else REFUSED_QUERY)
    assert b"select 1" not in replaced
    session.gated.clear()
    [fields] = errors(play.server(SYNTAX, ready()).to_client)
    assert fields["C"] == "58030"


# --- the end ---------------------------------------------------------------------------------------------


@playbook()
def test_the_run_is_ended_by_its_last_step(play: Play) -> None:
    play.client(sql("call gatekeeper.end_run()"))
    assert b"end_run" not in play.to_server
    assert play.server(complete("SET"), ready()).to_client == complete("CALL") + ready()
    play.take_request(actions.EndRun)
    assert play.outcomes == [(1, "CALL", None)]


@playbook()
def test_a_run_whose_end_fails_goes_on(play: Play) -> None:
    from tests.proxy.playbook import error

    play.client(sql("call gatekeeper.end_run()")).server(error("25P02"), ready("E"))
    assert not play.requests


@playbook()
def test_a_client_that_leaves(play: Play) -> None:
    assert play.client(TERMINATE).to_server == TERMINATE
    assert play.requests == [actions.Close("client left", None, running=False)]
    assert play.client(sql("select 1")).to_server == b""


@playbook()
def test_a_client_that_leaves_behind_its_query(play: Play) -> None:
    assert play.client(sql("select 1"), TERMINATE).to_server == sql("select 1") + TERMINATE
    assert not play.requests
    play.client(sql("select 2")).server(complete("SELECT 1"), ready())
    assert play.to_client == complete("SELECT 1") + ready()
    play.step(play.session.server_gone)
    assert play.requests == [actions.Close("client left", None, running=False)]
    assert play.to_client == b""
    assert play.outcomes == [(1, "SELECT 1", 1)]
