"""Every screen as it looks, at the smallest and the usual size. `pytest --snapshot-update` after a change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from gatekeeper.console.app import ConsoleApp
from gatekeeper.control.operator import DecisionView
from tests.console import scene
from tests.console.scripted import NOW, Clock, ScriptedOperator

SIZES = [pytest.param((80, 24), id="80x24"), pytest.param((140, 40), id="140x40")]
SnapCompare = Callable[..., bool]


def doing(*keys: str, wait: float = 0.0) -> Callable[[Pilot[int]], Awaitable[None]]:
    """Take a snapshot, press the keys with a look after each, and move the clock."""

    async def run(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await app.poll()
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
            for _ in range(2):
                await pilot.pause()
                await app.poll()
        app.monotonic.now += wait
        app.clear_notifications()
        await app.poll()
        await pilot.pause()
        await pilot.pause()

    return run


def app_over(operator: ScriptedOperator, theme: str | None = None) -> ConsoleApp:
    app = ConsoleApp(operator, clock=operator.clock, monotonic=Clock(1_000.0), poll_s=None)
    if theme is not None:
        app.theme = theme
    return app


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("keys", "made"),
    [
        pytest.param((), scene.empty, id="welcome"),
        pytest.param(("y",), scene.empty, id="login-lines"),
        pytest.param((), scene.busy, id="live"),
        pytest.param(("up", "up", "up", "up", "enter"), scene.busy, id="details"),
        pytest.param(("k",), scene.busy, id="end-session"),
        pytest.param(("n",), scene.busy, id="notices"),
        pytest.param(("2", "down"), scene.busy, id="approvals"),
        pytest.param(("escape", "2"), scene.waiting, id="approvals-waiting"),
        pytest.param(("3",), scene.busy, id="recordings"),
        pytest.param(("3", "down", "enter", "right", "right"), scene.busy, id="replay"),
        pytest.param(("4",), scene.busy, id="rules"),
        pytest.param(("question_mark",), scene.busy, id="help"),
        pytest.param((), scene.waiting, id="prompt"),
    ],
)
def test_a_screen_looks_as_before(
    snap_compare: SnapCompare,
    size: tuple[int, int],
    keys: tuple[str, ...],
    made: Callable[[Clock], ScriptedOperator],
) -> None:
    assert snap_compare(app_over(made(Clock())), run_before=doing(*keys), terminal_size=size)


@pytest.mark.parametrize("size", SIZES)
def test_the_prompt_asks_for_the_reason_of_a_denial(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    async def run(pilot: Pilot[int]) -> None:
        await doing(wait=1.0)(pilot)
        await doing("d", *"too broad")(pilot)

    operator = scene.waiting(Clock())
    operator.becomes("a7f3", needed=2, decisions=(DecisionView("jon", NOW - 4, True, "fine by me"),))
    assert snap_compare(app_over(operator), run_before=run, terminal_size=size)


@pytest.mark.parametrize("theme", ["gatekeeper-light", "gatekeeper-contrast"])
@pytest.mark.parametrize("made", [scene.busy, scene.waiting], ids=["live", "prompt"])
def test_other_themes_look_as_before(
    snap_compare: SnapCompare, theme: str, made: Callable[[Clock], ScriptedOperator]
) -> None:
    assert snap_compare(app_over(made(Clock()), theme), run_before=doing(), terminal_size=(80, 24))


def test_a_lost_gateway_looks_as_before(snap_compare: SnapCompare) -> None:
    operator = scene.busy(Clock())

    async def run(pilot: Pilot[int]) -> None:
        await doing()(pilot)
        operator.down = "cannot connect to gatekeeper.sock"
        await doing()(pilot)

    assert snap_compare(app_over(operator), run_before=run, terminal_size=(80, 24))


def test_a_terminal_that_is_too_small(snap_compare: SnapCompare) -> None:
    assert snap_compare(app_over(scene.busy(Clock())), run_before=doing(), terminal_size=(50, 12))
