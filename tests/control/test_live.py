"""What a console sees of what goes on, from the events alone."""

from __future__ import annotations

import time
from dataclasses import replace

from gatekeeper.control.live import Live
from gatekeeper.control.operator import RuleView
from gatekeeper.events import (
    Login,
    LoginFailed,
    OperatorAction,
    RulesReloaded,
    SessionEnded,
    StatementDecided,
)
from gatekeeper.model import Action, ApprovalRecord
from gatekeeper.rules.schema import Rules
from tests.control.parts import NOW, RULES, closed, opened, session


def live() -> Live:
    made = Live(NOW)
    made.feed([Login(NOW, session())])
    return made


def rules() -> Rules:
    from pathlib import Path

    from gatekeeper.rules.load import parse

    return parse(RULES, Path("/rules.toml"))


def of(views: tuple[RuleView, ...], name: str) -> RuleView:
    return next(view for view in views if view.name == name)


def test_a_statement_appears_when_judged_and_again_when_closed() -> None:
    stream = live()
    stream.feed([opened(1, "select 1"), opened(2, "drop table t", verdict=Action.BLOCK, guards=("no-drop",))])
    first, cursor = stream.statements()
    assert [(s.n, s.verdict, s.outcome) for s in first] == [(1, "allow", None), (2, "block", None)]
    assert (first[0].grant, first[0].subject, first[0].database) == ("deploy", "repo:acme", "app")
    assert stream.statements(cursor) == ((), cursor)
    stream.feed([closed(1, 2.5, rows=7, masked_columns=("public.customers.ssn",))])
    (again,), later = stream.statements(cursor)
    assert (again.n, again.outcome, again.rows, again.duration_ms) == (1, "SELECT 1", 7, 2.5)
    assert again.masked_columns == ("public.customers.ssn",)
    assert again.cursor == later > cursor


def test_a_newcomer_gets_the_newest_five_hundred() -> None:
    stream = live()
    stream.feed([opened(n) for n in range(1, 3001)])
    shown, cursor = stream.statements()
    assert [s.n for s in shown] == list(range(2501, 3001))
    assert cursor == 3000


def test_the_ring_is_bounded_and_an_old_statement_closes_quietly() -> None:
    stream = Live(NOW, ring=10)
    stream.feed([opened(n) for n in range(1, 101)])
    stream.feed([closed(1), closed(100)])
    shown, _ = stream.statements()
    assert [s.n for s in shown] == [*range(91, 100), 100]


def test_a_long_statement_is_cut() -> None:
    stream = live()
    stream.feed([opened(1, "x" * 5000)])
    assert len(stream.statements()[0][0].sql) == 2000


def test_a_statement_keeps_its_session_after_the_session_has_ended() -> None:
    stream = live()
    stream.feed([opened(1), SessionEnded(NOW, "s1", "client closed"), opened(2, session="unknown")])
    shown, _ = stream.statements()
    assert [s.grant for s in shown] == ["deploy", ""]


def test_rules_show_how_often_they_were_met() -> None:
    stream = live()
    stream.feed(
        [
            opened(1, verdict=Action.BLOCK, guards=("no-drop",), at=NOW + 1),
            opened(2, verdict=Action.APPROVE, guards=("big", "no-drop"), at=NOW + 2),
            closed(2, masked_columns=("public.customers.ssn",), at=NOW + 3),
            closed(2, masked_columns=("public.other.x", "public.customers.ssn"), at=NOW + 4),
        ]
    )
    views = stream.rules(rules())
    assert [(v.kind, v.name) for v in views] == [
        ("guard", "no-drop"),
        ("guard", "big"),
        ("grant", "deploy"),
        ("mask", "pii"),
    ]
    assert (of(views, "no-drop").hits, of(views, "no-drop").last_hit_at) == (2, NOW + 2)
    assert of(views, "no-drop").action == "block"
    assert of(views, "big").hits == 1
    assert of(views, "big").summary == "without WHERE"
    assert of(views, "deploy").hits == 2
    assert of(views, "deploy").action == "READ WRITE"
    assert "repository_id = 1" in of(views, "deploy").summary
    assert "for 30m" in of(views, "deploy").summary
    assert (of(views, "pii").hits, of(views, "pii").last_hit_at) == (2, NOW + 4)


def test_hits_outlive_a_reload() -> None:
    stream = live()
    stream.feed([opened(1, guards=("no-drop",))])
    stream.rules(rules())
    assert of(stream.rules(replace(rules(), version="next")), "no-drop").hits == 1


def test_counters_and_the_last_minute() -> None:
    stream = live()
    stream.feed([opened(n, at=NOW + n) for n in range(1, 101)])
    stream.feed([closed(n, float(n)) for n in range(1, 101)])
    stream.feed(
        [
            opened(101, verdict=Action.REJECT, at=NOW + 100),
            opened(102, verdict=Action.APPROVE, at=NOW + 100),
            StatementDecided(NOW, "s1", 102, ApprovalRecord("a", "big", "denied")),
            LoginFailed(NOW, session(), "28000", "no grant 'x'"),
        ]
    )
    metrics = stream.metrics(NOW + 100.5)
    assert (metrics.statements, metrics.refused, metrics.held) == (102, 2, 1)
    assert (metrics.logins, metrics.logins_failed) == (1, 1)
    assert (metrics.p50_ms, metrics.p99_ms) == (51.0, 100.0)
    assert len(metrics.per_second) == 60
    assert metrics.per_second == (1,) * 59 + (3,)
    assert stream.metrics(NOW + 500).per_second == (0,) * 60


def test_before_the_first_statement_there_is_no_duration() -> None:
    metrics = Live(NOW).metrics(NOW)
    assert metrics.p50_ms is None
    assert metrics.p99_ms is None


def test_notices_tell_what_no_statement_tells() -> None:
    stream = live()
    stream.feed(
        [
            LoginFailed(NOW, session(), "28000", "claim ref is 'x', not main"),
            RulesReloaded(NOW, "v2"),
            RulesReloaded(NOW, "v2", ('[[guard]] "x": action: missing', "another")),
            OperatorAction(NOW, "alice", "deny", "a1", "not on Fridays"),
        ]
    )
    stream.note("error", "recordings.db: disk full", NOW)
    notices = stream.notices()
    assert [(n.level, n.text) for n in notices] == [
        ("warning", "login as deploy from 127.0.0.1:5 refused: claim ref is 'x', not main"),
        ("info", "rules v2 are in force"),
        ("error", 'the changed rules are not in force: [[guard]] "x": action: missing (and 1 more)'),
        ("info", "alice: deny a1: not on Fridays"),
        ("error", "recordings.db: disk full"),
    ]
    assert [n.cursor for n in notices] == sorted({n.cursor for n in notices})


def test_notices_are_bounded() -> None:
    stream = live()
    stream.feed([LoginFailed(NOW, session(), "28000", str(n)) for n in range(1000)])
    assert len(stream.notices()) == 100


def test_feeding_costs_microseconds() -> None:
    stream = live()
    events = [(opened(n), closed(n)) for n in range(1, 20_001)]
    before = time.process_time()
    for pair in events:
        stream.feed(pair)
    each_us = (time.process_time() - before) / len(events) * 1e6
    assert each_us < 50
