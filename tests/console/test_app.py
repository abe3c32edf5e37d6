from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.color import Color

from gatekeeper.console.app import ConsoleApp, ReplayApp, show
from gatekeeper.console.crash import ConsoleError
from gatekeeper.console.themes import THEMES
from tests.console import scene
from tests.console.conftest import Opened
from tests.console.driver import text_of
from tests.console.scripted import Clock, ScriptedOperator


async def test_a_gateway_that_does_not_answer_is_asked_again(
    operator: ScriptedOperator, opened: Opened
) -> None:
    async with opened(operator) as console:
        operator.down = "cannot connect to gatekeeper.sock"
        await console.poll()
        assert console.shows("No answer for 0s, asking again", "cannot conn", "no answer ○")
        assert console.shows("support-bot"), "what was known stays"
        await console.wait(12)
        assert console.shows("for 12s")
        operator.down = None
        await console.poll()
        assert not console.shows("No answer")
        assert console.shows("127.0.0.1:6432 ●")


async def test_another_gateway_behind_the_same_socket_starts_a_new_stream(
    operator: ScriptedOperator, opened: Opened, clock: Clock
) -> None:
    async with opened(operator) as console:
        fresh = scene.empty(clock)
        fresh.login("new")
        fresh.judged("new", "select 'fresh start'")
        console.app.operator = fresh
        await console.poll()
        await console.poll()
        assert console.shows("fresh start")
        assert not console.shows("pg_sleep")


async def test_it_asks_ten_times_a_second(operator: ScriptedOperator, clock: Clock) -> None:
    app = ConsoleApp(operator, clock=clock)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.55)
        assert 3 <= operator.asked <= 7


async def test_q_quits(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.pilot.press("q")
        await console.pilot.pause()
        assert console.app.return_value == 0


async def test_q_asks_first_where_the_gateway_would_go_too(
    operator: ScriptedOperator, opened: Opened
) -> None:
    async with opened(operator, confirm_quit="The gateway stops too; 3 sessions are live.") as console:
        await console.press("q")
        assert console.shows("Leave?", "The gateway stops too")
        await console.press("n")
        assert console.app.return_value is None
        await console.pilot.press("q", "y")
        await console.pilot.pause()
        assert console.app.return_value == 0


async def test_help_tells_the_keys_of_each_screen(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        for key, text in (
            ("1", "pause the stream"),
            ("2", "open the prompt"),
            ("3", "replay the session"),
            ("4", "rule in full"),
        ):
            await console.press(key, "question_mark")
            assert console.shows(text, "ctrl+p", "quit")
            await console.press("down", "up", "escape")


async def test_the_palette_goes_everywhere_and_changes_the_theme(
    operator: ScriptedOperator, opened: Opened
) -> None:
    async with opened(operator) as console:
        await console.press("ctrl+p")
        await console.type("rules")
        await console.pilot.pause(0.3)
        await console.press("enter")
        await console.pilot.pause(0.3)
        assert console.shows("Guards")
        await console.press("ctrl+p")
        await console.type("light")
        await console.pilot.pause(0.3)
        await console.press("enter")
        await console.pilot.pause(0.3)
        assert console.app.theme == "gatekeeper-light"


async def test_an_approval_waits_until_the_palette_is_closed(
    operator: ScriptedOperator, opened: Opened
) -> None:
    async with opened(operator) as console:
        await console.press("ctrl+p")
        operator.hold("a7f3", "5f0c2a")
        await console.poll()
        assert console.prompt is None
        await console.press("escape")
        await console.poll()
        assert console.prompt is not None


@pytest.mark.parametrize("size", [(59, 24), (80, 15), (20, 3)])
async def test_a_terminal_too_small_gets_one_clear_line(
    clock: Clock, opened: Opened, size: tuple[int, int]
) -> None:
    operator = scene.waiting(clock)
    async with opened(operator, size=size) as console:
        await console.wait(1)
        await console.press("a", "d", "1", "2")
        assert (
            " ".join(console.text.split()) == f"Gatekeeper needs 60×16; this terminal is {size[0]}×{size[1]}."
        )
        assert operator.approvals["a7f3"].state == "waiting"
        await console.pilot.resize_terminal(80, 24)
        await console.poll()
        assert console.shows("Approval a7f3")
        await console.pilot.resize_terminal(*size)
        await console.press("a")
        assert console.shows("Gatekeeper needs")


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (100, 30), (119, 33), (120, 33), (140, 40), (200, 60)])
async def test_every_screen_fits_every_size(clock: Clock, opened: Opened, size: tuple[int, int]) -> None:
    operator = scene.busy(clock)
    async with opened(operator, size=size) as console:
        for key in "1234":
            await console.press(key)
            lines = console.text.splitlines()
            assert len(lines) == size[1]
            assert max(map(len, lines)) <= size[0]
            assert "help" in lines[-1]


async def test_resizing_lays_out_anew(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.pilot.resize_terminal(140, 40)
        await console.poll()
        first = console.text.splitlines()[2]
        assert "Sessions" in first
        assert "Statements" in first
        await console.pilot.resize_terminal(80, 24)
        await console.poll()
        assert "Statements" not in console.text.splitlines()[2]


async def test_no_color_means_none(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = ConsoleApp(scene.waiting(clock), clock=clock, poll_s=None)
    async with app.run_test(size=(80, 24)) as pilot:
        await app.poll()
        await pilot.pause()
        for line in app.screen._compositor.render_strips():
            filtered = line._apply_filters(app._filters) if hasattr(line, "_apply_filters") else None
            strip = filtered or line.apply_filter(app._filters[-1], Color(0, 0, 0))
            for segment in strip:
                style = segment.style
                assert style is None or style.color is None or style.color.is_default
                assert style is None or style.bgcolor is None or style.bgcolor.is_default


def _contrast(one: Color, other: Color) -> float:
    def light(color: Color) -> float:
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in color.normalized]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES, ids=lambda t: t.name)
def test_text_is_readable_in_each_theme(theme: Any) -> None:
    for name, value in theme.variables.items():
        if name.startswith("gk-") and name not in {"gk-line", "gk-cursor", "gk-faint"}:
            for ground in (theme.background, theme.surface, theme.variables["gk-cursor"]):
                assert _contrast(Color.parse(value), Color.parse(ground)) >= 4.5, (name, ground)
    for ground in (theme.background, theme.surface):
        assert _contrast(Color.parse(theme.variables["gk-faint"]), Color.parse(ground)) >= 2.8


# --- a crash --------------------------------------------------------------------------------------------


async def test_a_crash_ends_the_console_and_not_the_loop(
    operator: ScriptedOperator, capfd: pytest.CaptureFixture[str]
) -> None:
    served = 0

    async def gateway() -> None:
        nonlocal served
        while True:
            served += 1
            await asyncio.sleep(0.01)

    serving = asyncio.create_task(gateway())
    operator.broken = True
    with pytest.raises(ConsoleError) as caught:
        await show(operator, headless=True)
    assert "secret-token-in-a-message" not in str(caught.value)
    assert "KeyError at app.py:" in str(caught.value)
    before = served
    await asyncio.sleep(0.05)
    assert served > before
    assert not serving.done()
    serving.cancel()
    out, err = capfd.readouterr()
    assert "secret" not in out + err
    assert "locals" not in out + err
    assert "Traceback" not in out + err


async def test_the_loop_keeps_its_own_way_of_starting_tasks(operator: ScriptedOperator, clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    app = ConsoleApp(operator, clock=clock, poll_s=None)
    async with app.run_test():
        assert loop.get_task_factory() is before
    assert loop.get_task_factory() is before


# --- recordings alone -----------------------------------------------------------------------------------


async def test_recordings_alone_need_no_gateway(operator: ScriptedOperator, clock: Clock) -> None:
    app = ReplayApp(operator, clock=clock)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.pause()
        assert "24 sessions" in text_of(app)
        assert "Live" not in text_of(app)
        await pilot.press("enter")
        await pilot.pause()
        assert "1/7" in text_of(app)
        await pilot.press("escape", "1", "2", "question_mark")
        await pilot.pause()
        assert "replay the session" in text_of(app)
        await pilot.press("escape", "q")
    assert app.return_value == 0


async def test_one_session_is_replayed_at_once(operator: ScriptedOperator, clock: Clock) -> None:
    ident = next(iter(operator.recordings))
    app = ReplayApp(operator, ident[:4], clock=clock)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.pause()
        assert f"Replay {ident}" in " ".join(text_of(app).split())
        await pilot.press("escape")
        await pilot.pause()
        assert "24 sessions" in text_of(app)


async def test_another_theme_colours_what_is_in_sight_at_once(
    operator: ScriptedOperator, opened: Opened
) -> None:
    async with opened(operator) as console:
        strip = console.app.screen.query_one("#stream").render_line(0)  # type: ignore[attr-defined]
        before = {s.style.color.triplet.hex for s in strip if s.style and s.style.color}
        console.app.set_theme("gatekeeper-light")
        await console.poll()
        strip = console.app.screen.query_one("#stream").render_line(0)  # type: ignore[attr-defined]
        after = {s.style.color.triplet.hex for s in strip if s.style and s.style.color}
        assert not before & after
