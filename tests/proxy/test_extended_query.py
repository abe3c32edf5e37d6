"""The extended protocol: prepared statements, portals, pipelines, and refusals at every place in them."""

from __future__ import annotations

import pytest

from gatekeeper.events import StatementBound
from gatekeeper.model import Action
from gatekeeper.proxy import actions
from gatekeeper.proxy.wire import frontend
from tests.proxy.playbook import (
    BIND_COMPLETE,
    BLOCK_SELECT,
    CLOSE_COMPLETE,
    EMPTY,
    FLUSH,
    ID,
    NAME,
    NO_DATA,
    NOTE,
    ORDERS,
    PARSE_COMPLETE,
    REDACTED,
    REFUSED,
    REFUSED_PARSE,
    RULES,
    SSN,
    SUSPENDED,
    SYNC,
    SYNTAX,
    Play,
    bind,
    cells,
    close,
    columns,
    complete,
    describe,
    error,
    errors,
    execute,
    parameter_types,
    playbook,
    prepare,
    ready,
    row,
    sql,
    types,
)

GUARD_SELECT = RULES + BLOCK_SELECT
DESCRIBE_PORTAL = describe("P", b"")


@playbook()
def test_a_whole_round_passes_byte_for_byte(play: Play) -> None:
    asked = prepare("select note from orders where id = $1", types=(23,)) + bind(values=[b"1"])
    asked += describe("P", b"") + execute() + SYNC
    assert play.client(asked).to_server == asked
    answer = PARSE_COMPLETE + BIND_COMPLETE + columns(NOTE) + row(b"a") + complete("SELECT 1") + ready()
    assert play.server(answer).to_client == answer
    assert play.outcomes == [(1, "SELECT 1", 1)]
    [opened] = play.opened
    assert (opened.protocol, opened.params) == ("extended", None)
    assert [e.params for e in play.events if isinstance(e, StatementBound)] == [("1",)]


@playbook()
def test_every_execution_has_its_own_record(play: Play) -> None:
    play.client(prepare("select note from orders where id = $1", "s", (23,)), SYNC)
    play.server(PARSE_COMPLETE, ready())
    for n, value in enumerate((b"1", b"2", None), 1):
        play.client(bind(name="s", values=[value]), describe("P", b""), execute(), SYNC)
        play.server(BIND_COMPLETE, columns(NOTE), row(b"a"), complete("SELECT 1"), ready())
        assert play.outcomes[-1] == (n, "SELECT 1", 1)
    assert [e.params for e in play.opened] == [None, ("2",), (None,)]


@playbook()
def test_parameters_are_recorded_as_text_by_their_type(play: Play) -> None:
    play.client(prepare("select $1, $2", types=(23, 0)), frontend.describe("S", b""), SYNC)
    play.server(PARSE_COMPLETE, parameter_types(23, 25), columns(NOTE, NOTE), ready())
    body = b"\0\0" + b"\0\1\0\1" + b"\0\2" + b"\0\0\0\4\0\0\0\7" + b"\0\0\0\1x" + b"\0\0"
    play.client(frontend.message(b"B", body), SYNC)
    assert [e.params for e in play.events if isinstance(e, StatementBound)] == [("7", "x")]


@playbook(GUARD_SELECT)
def test_a_statement_refused_at_parse_skips_to_sync(play: Play) -> None:
    play.client(prepare("select 1", "s"), bind("", "s"), describe("P", b""), execute(), SYNC)
    sent = play.to_server
    assert sent.startswith(frontend.parse(b"s", REFUSED))
    assert b"select 1" not in sent
    got = play.server(SYNTAX, ready()).to_client
    assert types(got) == "EZ"
    assert errors(got)[0]["M"] == 'blocked by guard "no-reading"'
    assert play.outcomes[0] == (1, "42501", None)
    assert not play.session.prepared.values()


@playbook()
def test_a_statement_refused_at_bind_because_the_rules_changed(play: Play) -> None:
    play.client(prepare("select note from orders", "s"), SYNC).server(PARSE_COMPLETE, ready())
    _ = play.to_server, play.to_client
    play.use(GUARD_SELECT)
    play.client(bind("", "s"), describe("P", b""), execute(), SYNC)
    sent = play.to_server
    assert sent.startswith(REFUSED_PARSE)
    assert bind("", "s") not in sent
    got = play.server(SYNTAX, ready()).to_client
    assert types(got) == "EZ"
    assert errors(got)[0]["C"] == "42501"
    assert [(e.n, e.verdict) for e in play.opened] == [(1, Action.ALLOW), (2, Action.BLOCK)]


@playbook()
def test_a_portal_bound_under_older_rules_is_judged_anew_before_it_runs(play: Play) -> None:
    play.client(prepare("select note from orders", "s"), bind("p", "s"), FLUSH)
    play.server(PARSE_COMPLETE, BIND_COMPLETE)
    _ = play.to_server, play.to_client
    play.use(GUARD_SELECT)
    assert play.client(execute("p"), SYNC).to_server == REFUSED_PARSE + SYNC
    got = play.server(SYNTAX, ready()).to_client
    assert errors(got)[0]["M"] == 'blocked by guard "no-reading"'


@playbook()
def test_a_refusal_in_the_middle_of_a_pipeline_leaves_what_came_before(play: Play) -> None:
    first = prepare("select note from orders") + bind() + describe("P", b"") + execute()
    last = bind() + execute()
    play.client(first, prepare("truncate orders"), last, SYNC, first, SYNC)
    rows = PARSE_COMPLETE + BIND_COMPLETE + columns(NOTE) + row(b"a") + complete("SELECT 1")
    got = play.server(rows, SYNTAX, ready(), rows, ready()).to_client
    assert types(got) == "12TDC" + "EZ" + "12TDC" + "Z"
    assert play.outcomes == [(1, "SELECT 1", 1), (2, "42501", None), (3, "SELECT 1", 1)]


@playbook()
def test_after_a_refusal_what_comes_before_the_sync_is_skipped_even_if_it_comes_later(play: Play) -> None:
    play.client(prepare("truncate orders"), FLUSH)
    assert types(play.server(SYNTAX).to_client) == "E"
    play.client(prepare("select note from orders", "s"))
    play.client(SYNC).server(ready())
    assert play.outcomes == [(1, "42501", None), (2, "skipped", None)]
    play.client(bind("", "s"), SYNC)
    assert play.to_server.endswith(REFUSED_PARSE + SYNC)
    assert errors(play.server(SYNTAX, ready()).to_client)[0]["C"] == "26000"


@playbook()
def test_another_error_at_the_place_of_a_refusal_is_not_rewritten(play: Play) -> None:
    play.client(prepare("truncate orders"), SYNC)
    answer = error("57014", "canceling statement") + ready("E")
    assert play.server(answer).to_client == answer


@playbook()
def test_an_error_of_the_database_is_the_outcome_of_the_statement(play: Play) -> None:
    play.client(prepare("select note from orders"), bind(), execute(), SYNC)
    answer = error("42P01", "relation does not exist") + ready()
    assert play.server(answer).to_client == answer
    assert play.outcomes == [(1, "42P01", None)]


@playbook()
def test_what_is_skipped_after_an_error_is_recorded_as_skipped(play: Play) -> None:
    play.client(
        prepare("select note from orders", "a"), prepare("select id from orders", "b"), bind("", "b"), SYNC
    )
    play.server(error("42P01"), ready())
    assert play.outcomes == [(1, "42P01", None), (2, "skipped", None)]


# --- describing ------------------------------------------------------------------------------------------


@playbook()
def test_execute_without_describe_asks_for_the_shape_and_swallows_the_answer(play: Play) -> None:
    play.client(prepare("select id, ssn from customers"), bind(), execute(), SYNC)
    assert play.to_server.endswith(bind() + DESCRIBE_PORTAL + execute() + SYNC)
    play.server(
        PARSE_COMPLETE, BIND_COMPLETE, columns(ID, SSN), row(b"1", b"111"), complete("SELECT 1"), ready()
    )
    got = play.to_client
    assert types(got) == "12DCZ"
    assert cells(got) == [[b"1", REDACTED]]


@playbook()
def test_execute_without_describe_of_what_gives_no_rows(play: Play) -> None:
    play.client(prepare("insert into orders values (1)"), bind(), execute(), SYNC)
    play.server(PARSE_COMPLETE, BIND_COMPLETE, NO_DATA, complete("INSERT 0 1"), ready())
    assert types(play.to_client) == "12CZ"
    assert play.outcomes == [(1, "INSERT 0 1", 1)]


@playbook()
def test_an_error_at_our_describe_is_the_clients_at_its_execute(play: Play) -> None:
    play.client(prepare("select ssn from customers"), bind(), execute(), SYNC)
    play.server(PARSE_COMPLETE, BIND_COMPLETE, error("25P02", "current transaction is aborted"), ready("E"))
    assert types(play.to_client) == "12EZ"
    assert play.outcomes == [(1, "25P02", None)]


@playbook()
def test_what_was_described_is_not_asked_for_again(play: Play) -> None:
    play.client(prepare("select note from orders", "s"), describe("S", b"s"), SYNC)
    play.server(PARSE_COMPLETE, parameter_types(), columns(NOTE), ready())
    assert types(play.to_client) == "1tTZ"
    _ = play.to_server
    asked = bind("", "s") + execute() + SYNC
    assert play.client(asked).to_server == asked
    play.server(BIND_COMPLETE, row(b"a"), complete("SELECT 1"), ready())
    assert cells(play.to_client) == [[b"a"]]


@playbook()
def test_the_shape_of_a_masked_result_is_asked_for_each_time(play: Play) -> None:
    """What an unqualified name meant at Describe, it need not mean at Bind: search_path may have changed."""
    play.client(prepare("select ssn from customers", "s"), describe("S", b"s"), SYNC)
    elsewhere = SSN.__class__("ssn", ORDERS, 2, 25, 0)
    play.server(PARSE_COMPLETE, parameter_types(), columns(elsewhere), ready())
    _ = play.to_server, play.to_client
    play.client(bind("", "s"), execute(), SYNC)
    assert play.to_server == bind("", "s") + DESCRIBE_PORTAL + execute() + SYNC
    play.server(BIND_COMPLETE, columns(SSN), row(b"111"), complete("SELECT 1"), ready())
    assert cells(play.to_client) == [[REDACTED]]


@playbook()
def test_binary_results_are_masked_in_their_format(play: Play) -> None:
    play.client(prepare("select id, ssn from customers"), bind(results=(1,)), execute(), SYNC)
    shape = columns(*(f.__class__(f.name, f.table_oid, f.attnum, f.type_oid, 1) for f in (ID, SSN)))
    play.server(PARSE_COMPLETE, BIND_COMPLETE, shape, row(b"\0\0\0\1", b"111"), complete("SELECT 1"), ready())
    assert cells(play.to_client) == [[b"\0\0\0\1", REDACTED]]
    [closed] = play.closings
    assert closed.sample is not None
    assert closed.sample.rows == (("1", "[REDACTED]"),)


# --- portals ---------------------------------------------------------------------------------------------


@playbook()
def test_a_portal_is_read_in_pages(play: Play) -> None:
    play.client(prepare("select ssn from customers"), bind("p"), execute("p", 1), FLUSH)
    play.server(PARSE_COMPLETE, BIND_COMPLETE, columns(SSN), row(b"1"), SUSPENDED)
    assert types(play.to_client) == "12Ds"
    play.client(execute("p", 1), FLUSH).server(row(b"2"), SUSPENDED)
    assert cells(play.to_client) == [[REDACTED]]
    play.client(execute("p"), SYNC).server(row(b"3"), complete("SELECT 1"), ready())
    assert cells(play.to_client) == [[REDACTED]]
    assert [outcome for _, outcome, _ in play.outcomes] == ["suspended", "suspended", "SELECT 1"]
    closed = play.closings[-1]
    assert closed.sample is not None
    assert len(closed.sample.rows) == 3


@playbook()
def test_pages_asked_for_in_one_pipeline_end_with_their_last_outcome(play: Play) -> None:
    play.client(
        prepare("select note from orders"), bind(), describe("P", b""), execute("", 1), execute("", 1), SYNC
    )
    play.server(
        PARSE_COMPLETE, BIND_COMPLETE, columns(NOTE), row(b"1"), SUSPENDED, complete("SELECT 0"), ready()
    )
    assert play.outcomes[-1][1] == "SELECT 0"


@playbook()
def test_a_portal_that_does_not_exist_is_refused_as_the_database_does(play: Play) -> None:
    assert play.client(execute("nope"), SYNC).to_server == REFUSED_PARSE + SYNC
    [fields] = errors(play.server(SYNTAX, ready()).to_client)
    assert (fields["C"], fields["M"]) == ("34000", 'portal "nope" does not exist')


@pytest.mark.parametrize(
    ("name", "text"),
    [("nope", 'prepared statement "nope" does not exist'), ("", "unnamed prepared statement does not exist")],
)
@playbook()
def test_a_statement_that_does_not_exist_is_refused_as_the_database_does(
    play: Play, name: str, text: str
) -> None:
    assert play.client(bind("", name), SYNC).to_server == REFUSED_PARSE + SYNC
    [fields] = errors(play.server(SYNTAX, ready()).to_client)
    assert (fields["C"], fields["M"]) == ("26000", text)


@playbook()
def test_an_empty_statement_is_answered_by_the_database(play: Play) -> None:
    play.client(prepare(""), bind(), execute(), SYNC)
    answer = PARSE_COMPLETE + BIND_COMPLETE
    play.server(answer, NO_DATA, EMPTY, ready())
    assert play.to_client == answer + EMPTY + ready()


# --- names -----------------------------------------------------------------------------------------------


@playbook()
def test_a_named_statement_that_is_parsed_again_keeps_its_first_meaning(play: Play) -> None:
    play.client(prepare("select ssn from customers", "s"), SYNC).server(PARSE_COMPLETE, ready())
    play.client(prepare("select note from orders", "s"), SYNC).server(error("42P05"), ready())
    _ = play.to_client
    play.client(bind("", "s"), execute(), SYNC)
    play.server(BIND_COMPLETE, columns(SSN), row(b"1"), complete("SELECT 1"), ready())
    assert cells(play.to_client) == [[REDACTED]]


@playbook()
def test_the_unnamed_statement_is_the_newest(play: Play) -> None:
    for text in ("select ssn from customers", "select note from orders"):
        play.client(prepare(text), SYNC).server(PARSE_COMPLETE, ready())
    _ = play.to_client
    play.client(bind(), execute(), SYNC)
    play.server(BIND_COMPLETE, columns(NOTE), row(b"1"), complete("SELECT 1"), ready())
    assert cells(play.to_client) == [[b"1"]]


@playbook()
def test_the_unnamed_statement_is_gone_after_a_refused_parse(play: Play) -> None:
    play.client(prepare("select 1"), SYNC).server(PARSE_COMPLETE, ready())
    play.client(prepare("truncate orders"), SYNC).server(SYNTAX, ready())
    _ = play.to_client, play.to_server
    assert play.client(bind(), SYNC).to_server == REFUSED_PARSE + SYNC


@playbook()
def test_a_closed_statement_is_gone(play: Play) -> None:
    play.client(prepare("select 1", "s"), close(b"S", "s"), SYNC)
    assert (
        play.server(PARSE_COMPLETE, CLOSE_COMPLETE, ready()).to_client
        == PARSE_COMPLETE + CLOSE_COMPLETE + ready()
    )
    _ = play.to_server
    assert play.client(bind("", "s"), SYNC).to_server == REFUSED_PARSE + SYNC
    assert not len(play.session.prepared)


@playbook()
def test_a_close_that_is_skipped_closes_nothing(play: Play) -> None:
    play.client(prepare("select note from orders", "s"), SYNC).server(PARSE_COMPLETE, ready())
    play.client(prepare("truncate orders"), close(b"S", "s"), SYNC).server(SYNTAX, ready())
    _ = play.to_server, play.to_client
    assert play.client(bind("", "s"), SYNC).to_server == bind("", "s") + SYNC


@playbook()
def test_a_name_across_a_sync_waits_until_the_database_has_answered(play: Play) -> None:
    play.client(prepare("select note from orders", "s"), SYNC, bind("", "s"), SYNC)
    assert play.to_server == prepare("select note from orders", "s") + SYNC
    assert play.session.blocked
    play.server(PARSE_COMPLETE)
    assert play.to_server == bind("", "s") + SYNC
    assert not play.session.blocked


@playbook()
def test_a_name_across_a_sync_whose_change_failed_has_its_old_meaning(play: Play) -> None:
    play.client(prepare("select ssn from customers", "s"), SYNC).server(PARSE_COMPLETE, ready())
    play.client(prepare("select note from orders", "s"), SYNC, bind("", "s"), execute(), SYNC)
    _ = play.to_server
    play.server(error("42P05"), ready())
    assert play.to_server == bind("", "s") + DESCRIBE_PORTAL + execute() + SYNC
    _ = play.to_client
    play.server(BIND_COMPLETE, columns(SSN), row(b"1"), complete("SELECT 1"), ready())
    assert cells(play.to_client) == [[REDACTED]]


@playbook()
def test_a_warning_is_given_once_however_long_its_statement_waits(play: Play) -> None:
    play.client(sql("prepare p as select 1"), sql("update orders set note = 'x'; execute p"))
    assert play.session.blocked
    play.server(complete("PREPARE")).server(ready())
    assert [f["C"] for f in errors(play.to_client)] == ["01000"]


@playbook()
def test_a_portal_is_gone_with_its_transaction(play: Play) -> None:
    play.client(prepare("select note from orders"), bind("p"), SYNC)
    play.server(PARSE_COMPLETE, BIND_COMPLETE, ready())
    _ = play.to_server
    assert play.client(execute("p"), SYNC).to_server == REFUSED_PARSE + SYNC


@playbook()
def test_names_longer_than_the_databases_are_cut_as_it_cuts_them(play: Play) -> None:
    long = "s" * 70
    play.client(prepare("select ssn from customers", long), SYNC).server(PARSE_COMPLETE, ready())
    _ = play.to_server, play.to_client
    asked = bind("", "s" * 63)
    assert play.client(asked, execute(), SYNC).to_server == asked + DESCRIBE_PORTAL + execute() + SYNC
    play.server(BIND_COMPLETE, columns(SSN), row(b"1"), complete("SELECT 1"), ready())
    assert cells(play.to_client) == [[REDACTED]]


@playbook()
def test_waiting_for_nothing_needs_no_request(play: Play) -> None:
    play.client(prepare("select name from customers"), bind(), describe("P", b""), execute(), SYNC)
    play.server(PARSE_COMPLETE, BIND_COMPLETE, columns(NAME), row(b"Ada"), complete("SELECT 1"), ready())
    assert not [r for r in play.requests if not isinstance(r, actions.CatalogChanged)]
