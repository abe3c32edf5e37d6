from __future__ import annotations

import msgspec

from gatekeeper.console.feed import Changed, Feed
from tests.console import scene
from tests.console.scripted import Clock, ScriptedOperator


async def test_only_what_changed_is_said(clock: Clock, operator: ScriptedOperator) -> None:
    feed = Feed()
    assert Changed.SESSIONS | Changed.STATEMENTS in feed.take(await operator.snapshot())
    assert feed.take(await operator.snapshot(feed.cursor)) == Changed.NOTHING
    operator.says("something")
    assert feed.take(await operator.snapshot(feed.cursor)) == Changed.NOTICES
    operator.hold("x", "5f0c2a")
    assert feed.take(await operator.snapshot(feed.cursor)) == Changed.APPROVALS | Changed.SESSIONS


async def test_the_ring_is_bounded(clock: Clock) -> None:
    operator, feed = scene.empty(clock), Feed(ring=50)
    operator.login("s")
    for i in range(120):
        operator.judged("s", f"select {i}")
        feed.take(await operator.snapshot(feed.cursor))
    assert [s.n for s in feed.statements] == list(range(71, 121))


async def test_a_link_that_broke_and_came_back_is_a_change(operator: ScriptedOperator) -> None:
    feed = Feed()
    feed.take(await operator.snapshot())
    assert feed.lost("gone", 5.0) == Changed.LINK
    assert feed.lost("gone", 6.0) == Changed.NOTHING
    assert feed.lost_at == 5.0
    assert Changed.LINK in feed.take(await operator.snapshot(feed.cursor))
    assert feed.problem is None


async def test_a_restarted_gateway_is_read_from_its_beginning(
    clock: Clock, operator: ScriptedOperator
) -> None:
    feed = Feed()
    feed.take(await operator.snapshot())
    fresh = scene.busy(clock)
    fresh.metrics = msgspec.structs.replace(fresh.metrics, started_at=fresh.metrics.started_at + 60)
    feed.take(await fresh.snapshot(feed.cursor))
    assert feed.cursor == 0
    feed.take(await fresh.snapshot(feed.cursor))
    assert feed.statements == tuple(fresh.statements)


async def test_what_was_prepared_and_never_run_does_not_run_for_ever(clock: Clock) -> None:
    operator, feed = scene.empty(clock), Feed()
    operator.login("s")
    first = operator.judged("s", "select 1")
    feed.take(await operator.snapshot())
    assert feed.runs(first)
    second = operator.judged("s", "select 1")
    feed.take(await operator.snapshot(feed.cursor))
    assert not feed.runs(first)
    assert feed.runs(second)
    await operator.kill_session("s")
    feed.take(await operator.snapshot(feed.cursor))
    assert not feed.runs(second)
