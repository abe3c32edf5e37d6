"""The simple protocol: what a Query comes to, and what is refused in its place."""

from __future__ import annotations

import pytest

from gatekeeper.events import StatementOpened
from gatekeeper.model import Action
from tests.proxy.playbook import (
    EMPTY,
    ID,
    NAME,
    NOTE,
    REDACTED,
    REFUSED_QUERY,
    RULES,
    SSN,
    SYNTAX,
    Play,
    cells,
    columns,
    complete,
    error,
    errors,
    notice,
    playbook,
    query,
    ready,
    row,
    sql,
    types,
)


@playbook()
def test_an_allowed_query_and_its_result_pass_byte_for_byte(play: Play) -> None:
    asked = sql("select note from orders")
    answer = columns(NOTE) + row(b"a") + row(None) + complete("SELECT 2") + ready()
    assert play.client(asked).to_server == asked
    assert play.server(answer).to_client == answer
    assert play.outcomes == [(1, "SELECT 2", 2)]
    [opened] = play.opened
    assert (opened.protocol, opened.sql, opened.verdict) == (
        "simple",
        "select note from orders",
        Action.ALLOW,
    )
    [closed] = play.closings
    assert closed.sample is not None
    assert (closed.sample.columns, closed.sample.rows) == (("note",), (("a",), (None,)))


@playbook()
def test_a_masked_column_arrives_masked_and_the_rest_as_it_was(play: Play) -> None:
    play.client(sql("select id, name, ssn as x from customers"))
    shape = columns(ID, NAME, SSN)
    play.server(
        shape, row(b"1", b"Ada", b"111-22-3333"), row(b"2", b"Bob", None), complete("SELECT 2"), ready()
    )
    got = play.to_client
    assert got.startswith(shape)
    assert cells(got) == [[b"1", b"Ada", REDACTED], [b"2", b"Bob", None]]
    [closed] = play.closings
    assert closed.masked_columns == ("public.customers.ssn",)
    assert closed.sample is not None
    assert closed.sample.rows[0] == ("1", "Ada", REDACTED.decode())


@pytest.mark.parametrize("status", ["I", "E"])
@playbook()
def test_a_blocked_query_is_replaced_and_its_error_rewritten(play: Play, status: str) -> None:
    assert play.client(sql("truncate orders")).to_server == REFUSED_QUERY
    got = play.server(SYNTAX, ready(status)).to_client
    assert types(got) == "EZ"
    assert errors(got) == [
        {"S": "ERROR", "V": "ERROR", "C": "42501", "M": 'blocked by guard "no-truncate"', "D": "Not here."}
    ]
    assert got.endswith(ready(status))
    assert play.outcomes == [(1, "42501", None)]
    assert play.session.refused == 1


@playbook()
def test_another_error_at_the_place_of_a_refusal_is_not_rewritten(play: Play) -> None:
    play.client(sql("truncate orders"))
    answer = error("57014", "canceling statement due to statement timeout") + ready()
    assert play.server(answer).to_client == answer
    assert play.outcomes == [(1, "57014", None)]


@playbook()
def test_a_syntax_error_of_the_database_is_not_taken_for_a_refusal(play: Play) -> None:
    play.client(sql("select note from orders"))
    assert play.server(SYNTAX, ready()).to_client == SYNTAX + ready()


@playbook()
def test_of_several_statements_one_that_is_blocked_blocks_all(play: Play) -> None:
    assert play.client(sql("select 1; truncate orders; select 2")).to_server == REFUSED_QUERY
    play.server(SYNTAX, ready())
    assert play.opened[0].verdict is Action.BLOCK


@playbook()
def test_several_statements_are_one_record_with_all_their_outcomes(play: Play) -> None:
    play.client(sql("select note from orders; select ssn from customers; set work_mem = '1MB'"))
    play.server(columns(NOTE), row(b"a"), complete("SELECT 1"))
    play.server(columns(SSN), row(b"1"), row(b"2"), complete("SELECT 2"), complete("SET"), ready())
    assert cells(play.to_client) == [[b"a"], [REDACTED], [REDACTED]]
    assert play.outcomes == [(1, "SELECT 1; SELECT 2; SET", 3)]


@playbook()
def test_what_cannot_be_parsed_is_refused_as_a_syntax_error(play: Play) -> None:
    assert play.client(sql("selec 1")).to_server == REFUSED_QUERY
    [fields] = errors(play.server(SYNTAX, ready()).to_client)
    assert fields["C"] == "42601"
    assert "selec" in fields["M"]
    assert play.opened[0].verdict is Action.REJECT


@pytest.mark.parametrize("text", ["", "  ", "-- nothing", ";"])
@playbook()
def test_an_empty_query_is_answered_by_the_database(play: Play, text: str) -> None:
    assert play.client(sql(text)).to_server == sql(text)
    assert play.server(EMPTY, ready()).to_client == EMPTY + ready()
    assert play.outcomes == [(1, "EMPTY", None)]


@playbook()
def test_text_that_is_none_in_its_encoding_is_refused_and_not_recorded(play: Play) -> None:
    assert play.client(query(b"select '\xff'")).to_server == REFUSED_QUERY
    [fields] = errors(play.server(SYNTAX, ready()).to_client)
    assert fields["C"] == "22021"
    assert not play.opened


@playbook()
def test_a_guard_that_warns_warns_before_the_result(play: Play) -> None:
    asked = sql("update orders set note = 'x'")
    assert play.client(asked).to_server == asked
    [warning] = errors(play.to_client)
    assert (warning["V"], warning["C"], warning["M"]) == ("WARNING", "01000", 'guard "watch": Careful.')
    assert play.server(complete("UPDATE 5"), ready()).to_client == complete("UPDATE 5") + ready()
    assert play.opened[0].verdict is Action.WARN


@playbook()
def test_notices_in_the_middle_of_rows_stay_where_they_are(play: Play) -> None:
    play.client(sql("select note from orders"))
    answer = columns(NOTE) + row(b"a") + notice("hello") + row(b"b") + complete("SELECT 2") + ready()
    assert play.server(answer).to_client == answer


@playbook()
def test_values_in_errors_and_notices_of_a_masked_statement_do_not_come_through(play: Play) -> None:
    play.client(sql("select ssn::int from customers"))
    play.server(notice('value "111-22-3333" is odd'))
    play.server(error("22P02", 'invalid input syntax for type integer: "111-22-3333"', W="SQL"), ready())
    assert b"111-22-3333" not in play.to_client


@playbook()
def test_queries_sent_without_waiting_are_answered_in_order(play: Play) -> None:
    play.client(sql("select 1"), sql("truncate orders"), sql("select 2"))
    assert play.to_server == sql("select 1") + REFUSED_QUERY + sql("select 2")
    one = columns(NOTE) + row(b"1") + complete("SELECT 1") + ready()
    play.server(one, SYNTAX, ready(), one)
    assert types(play.to_client) == "TDCZEZTDCZ"
    assert play.outcomes == [(1, "SELECT 1", 1), (2, "42501", None), (3, "SELECT 1", 1)]


@playbook(RULES, record_rows=2)
def test_only_the_first_rows_are_kept_for_replay(play: Play) -> None:
    play.client(sql("select note from orders"))
    answer = columns(NOTE) + row(b"a") + row(b"b") + row(b"c") + complete("SELECT 3") + ready()
    assert play.server(answer).to_client == answer
    [closed] = play.closings
    assert closed.sample is not None
    assert closed.sample.rows == (("a",), ("b",))


@playbook()
def test_a_transaction_is_followed_by_what_the_database_says(play: Play) -> None:
    play.client(sql("begin")).server(complete("BEGIN"), ready("T"))
    assert play.session.status().state == "in transaction"
    play.client(sql("truncate orders")).server(SYNTAX, ready("E"))
    assert play.session.status().state == "failed transaction"
    play.client(sql("rollback")).server(complete("ROLLBACK"), ready())
    assert play.session.status().state == "idle"


@playbook()
def test_new_rules_hold_from_the_next_statement_on(play: Play) -> None:
    play.client(sql("select 1")).server(columns(NOTE), row(b"1"), complete("SELECT 1"), ready())
    play.use(RULES.replace('statements = ["TRUNCATE TABLE"]', 'statements = ["TRUNCATE TABLE", "SELECT"]'))
    _ = play.to_server
    assert play.client(sql("select 1")).to_server == REFUSED_QUERY


@playbook()
def test_passwords_are_not_recorded(play: Play) -> None:
    play.client(sql("alter role app password 'sesame'"))
    assert not any("sesame" in e.sql for e in play.events if isinstance(e, StatementOpened))
