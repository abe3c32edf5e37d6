from __future__ import annotations

import msgspec
import pytest
from textual.widgets import Input

from gatekeeper.console.screens.approvals import Approvals
from gatekeeper.console.screens.details import Details
from gatekeeper.console.screens.hints import HintLines
from gatekeeper.console.screens.live import Live
from gatekeeper.console.screens.replay import Replay
from tests.console import scene
from tests.console.conftest import Opened
from tests.console.driver import Console
from tests.console.scripted import Clock, ScriptedOperator


def live(console: Console) -> Live:
    assert isinstance(console.app.screen, Live)
    return console.app.screen


# --- live -----------------------------------------------------------------------------------------------


async def test_the_numbers_go_to_the_screens(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        for key, text in (
            ("2", "3 decided"),
            ("3", "24 sessions"),
            ("4", "no-truncate"),
            ("1", "Sessions 3"),
        ):
            await console.press(key)
            assert console.shows(text), key


async def test_live_shows_sessions_stream_and_metrics(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        assert console.shows("support-bot", "jti-77aa01", "active 10s", "open tx 10s", "1h 05m")
        assert console.shows("⊘ support-bot SELECT * FROM customers", "42501", "2 210 184 ms")
        assert console.shows("54/s", "refused 31", "held 6", "p50 0.42 ms", "p99 18 ms")
        assert console.shows("login refused: grant ci-migrations")


async def test_a_statement_keeps_its_place_when_its_outcome_comes(
    operator: ScriptedOperator, opened: Opened
) -> None:
    async with opened(operator) as console:
        seen = operator.judged("5f0c2a", "select 'slow one'")
        operator.closed(operator.judged("5f0c2a", "select 'quick one'"), "SELECT 1", 1, 0.3)
        await console.poll()
        assert console.text.index("slow one") < console.text.index("quick one")
        operator.closed(seen, "SELECT 7", 7, 950)
        await console.poll()
        assert console.text.index("slow one") < console.text.index("quick one")
        assert console.shows("'slow one' 7 950 ms")


async def test_the_stream_is_filtered_as_one_types(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.press("slash")
        await console.type("block")
        assert {s.verdict for s in live(console)._stream.items} == {"block"}
        await console.press("escape")
        await console.press("slash")
        await console.type("support -ssn")
        shown = live(console)._stream.items
        assert shown
        assert all(s.grant == "support-bot" and "ssn" not in s.sql for s in shown)
        await console.press("enter")
        assert console.shows("/ support -ssn")
        operator.judged("5f0c2a", "select 'not for this filter'")
        await console.poll()
        assert not console.shows("not for this filter")
        await console.press("escape")
        assert console.shows("not for this filter")


async def test_p_holds_the_stream_still_and_loses_nothing(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.press("p")
        operator.judged("5f0c2a", "select 'while paused'")
        await console.poll()
        assert console.shows("paused, 1 new")
        assert not console.shows("while paused")
        await console.press("p")
        assert console.shows("while paused", "following")


async def test_f_follows_the_newest_until_one_moves_away(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.press("up", "up")
        assert console.shows("f follows the newest")
        here = live(console)._stream.current
        for i in range(40):
            operator.judged("5f0c2a", f"select {i}")
        await console.poll()
        assert live(console)._stream.current == here
        assert not console.shows("select 39")
        await console.press("f")
        assert console.shows("select 39", "following")
        await console.press("f")
        assert console.shows("f follows the newest")


async def test_moving_in_the_stream(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        stream = live(console)._stream
        await console.press("home")
        assert stream.cursor == 0
        await console.press("pagedown", "down", "up")
        assert 0 < stream.cursor < len(stream.items) - 1
        await console.press("pageup")
        assert stream.cursor == 0
        await console.press("end")
        assert stream.cursor == len(stream.items) - 1


async def test_enter_shows_a_statement_with_its_facts(
    operator: ScriptedOperator, opened: Opened, clock: Clock
) -> None:
    seen = operator.judged("9b417e", "select ssn from customers", at=clock())
    operator.closed(seen, "SELECT 2", 2, 1.5, masked_columns=("public.customers.ssn",))
    session = operator.sessions_now["9b417e"]
    record = msgspec.structs.replace(
        scene.records("9b417e", clock(), session.grant, session.subject, "app")[2],
        at=clock(),
        sql="select ssn from customers",
        functions=("public.f",),
        sample_columns=("ssn",),
        sample_rows=(("[REDACTED]",),) * 2,
    )
    operator.record_rows["9b417e"] = [record]
    async with opened(operator) as console:
        await console.press("enter")
        assert isinstance(console.app.screen, Details)
        await console.poll()
        assert console.shows("verdict ✓ allow", "SELECT 2 · 2 rows · 1.50 ms", "masked public.customers.ssn")
        assert console.shows("classes READ", "relations public.customers", "functions public.f", "[REDACTED]")
        await console.press("y")
        assert console.app.clipboard == "select ssn from customers"
        await console.press("escape")
        assert isinstance(console.app.screen, Live)


async def test_enter_on_a_session_shows_its_statements_alone(
    operator: ScriptedOperator, opened: Opened
) -> None:
    async with opened(operator) as console:
        await console.press("shift+tab")
        assert live(console)._sessions.has_focus
        await console.press("down", "enter")
        assert {s.session for s in live(console)._stream.items} == {"9b417e"}
        await console.press("escape")
        assert len({s.session for s in live(console)._stream.items}) == 3
        await console.press("tab")
        assert live(console)._stream.has_focus


async def test_k_ends_a_session_after_a_question(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.press("k")
        assert console.shows("End this session?", "session 9b417e")
        await console.press("enter", "escape")
        assert "9b417e" in operator.sessions_now
        await console.press("k", "y")
        assert "9b417e" not in operator.sessions_now
        assert console.shows("Sessions 2", "session ended")
        await console.press("k")
        assert console.shows("That session is over")


async def test_shift_k_ends_a_run(operator: ScriptedOperator, opened: Opened) -> None:
    operator.login("second", grant="support-bot", run="jti-77aa01")
    async with opened(operator) as console:
        await console.press("K")
        assert console.shows("End this run?", "2 sessions")
        await console.press("y")
        assert set(operator.sessions_now) == {"5f0c2a", "c11d90"}


async def test_what_the_gateway_refuses_is_said(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.press("k")
        del operator.sessions_now["9b417e"]
        await console.press("y")
        assert console.shows("no session 9b417e")


async def test_a_newcomer_sees_lines_to_log_in_with(clock: Clock, opened: Opened) -> None:
    operator = scene.empty(clock)
    async with opened(operator) as console:
        assert console.shows("Nobody is logged in yet", 'psql "$(cat ~/.local/state/gatekeeper/demo/psql)"')
        operator.login("5f0c2a")
        await console.poll()
        assert console.shows("Sessions 1")
        assert not console.shows("Nobody is logged in yet")


async def test_y_copies_a_login_line_and_shows_it_whole(clock: Clock, opened: Opened) -> None:
    operator = scene.empty(clock)
    long = "psql postgresql://ci@127.0.0.1:6432/app?password=" + "abcDEF012." * 70
    operator.hints = (long, operator.hints[0])
    async with opened(operator) as console:
        await console.press("y")
        assert isinstance(console.app.screen, HintLines)
        assert console.app.clipboard == long
        assert (
            long in "".join(console.text.replace("▌", " ").split("psql postgresql", 1)[0:1])
            or "".join(line.strip(" ▌█") for line in console.text.splitlines()).count("abcDEF012.") == 70
        )
        await console.press("down", "y")
        assert console.app.clipboard == operator.hints[1]
        await console.press("escape")
        await console.press("y")
        assert console.app.clipboard == long


async def test_notices_are_listed(operator: ScriptedOperator, opened: Opened) -> None:
    operator.says("recording: disk is full", "error")
    async with opened(operator) as console:
        assert console.shows("✗ 14:13:20 recording: disk is full")
        await console.press("n")
        assert console.shows("Notices", "login refused: grant ci-migrations", "disk is full")
        operator.says("rules reloaded", "info")
        await console.poll()
        assert console.shows("rules reloaded")
        await console.press("escape")


# --- approvals ------------------------------------------------------------------------------------------


async def test_decided_approvals_stay_with_their_outcome(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.press("2")
        assert console.shows("0 waiting", "3 decided", "✓ approved", "✗ denied", "◷ timed out")
        await console.press("down")
        assert console.shows("denied by mia", "where is the WHERE?")
        await console.press("enter")
        assert console.prompt is None


async def test_enter_opens_the_prompt_of_one_put_off(clock: Clock, opened: Opened) -> None:
    operator = scene.waiting(clock)
    async with opened(operator) as console:
        await console.press("escape", "2")
        assert console.shows("1 waiting", "1:50 left")
        await console.wait(1)
        assert console.shows("1:49 left")
        await console.press("enter")
        assert console.prompt is not None
        await console.wait(0.5)
        await console.press("a")
        assert operator.approvals["a7f3"].state == "approved"
        assert console.shows("✓ approved", "mia")


async def test_approvals_are_searched(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.press("2", "slash")
        await console.type("denied")
        assert isinstance(console.app.screen, Approvals)
        assert [a.id for a in console.app.screen._queue.items] == ["5d22"]
        await console.press("enter")
        await console.press("y")
        assert console.app.clipboard == "update customers set note = null"
        await console.press("escape")
        assert len(console.app.screen._queue.items) == 3
        await console.press("tab")
        assert console.app.focused is not None
        assert console.app.focused.id == "chosen-scroll"


# --- recordings and replay ------------------------------------------------------------------------------


async def test_recordings_are_searched_in_their_sql(
    operator: ScriptedOperator, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatekeeper.console.screens.recordings._PAUSE_S", 0.0)
    async with opened(operator) as console:
        await console.press("3", "slash")
        await console.type("billing")
        await console.poll()
        assert console.shows("8 sessions")
        await console.press("enter", "escape")
        await console.poll()
        assert console.shows("24 sessions")
        del operator.recordings[next(iter(operator.recordings))]
        await console.press("r")
        assert console.shows("23 sessions")


async def replaying(console: Console) -> Replay:
    await console.press("3", "down", "down", "enter")
    await console.poll()
    assert isinstance(console.app.screen, Replay)
    return console.app.screen


async def test_a_recording_is_stepped_through(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        replay = await replaying(console)
        assert console.shows("1/7", "→ login")
        await console.press("right", "right")
        assert console.shows("3/7", "[REDACTED]", "▒ ssn", "****@", "SELECT 5 · 5 rows")
        await console.press("left")
        assert console.shows("2/7", "2026.09.18")
        await console.press("n")
        assert console.shows("4/7", "42501")
        await console.press("n")
        assert console.shows("5/7", "approved", "mia", "as in OPS-1423")
        await console.press("n")
        assert console.shows("No other one that way")
        await console.press("N")
        assert replay.player.index == 3
        await console.press("up")
        assert replay.player.index == 2
        await console.press("enter")
        assert isinstance(console.app.screen, Details)
        await console.press("escape", "escape")
        assert console.shows("24 sessions")


async def test_a_recording_plays_with_its_own_timing_and_cuts_long_silence(
    operator: ScriptedOperator, opened: Opened
) -> None:
    async with opened(operator, size=(140, 40)) as console:
        replay = await replaying(console)
        assert console.shows("idle cut", "4m 07s skipped")
        replay.frame()
        await console.press("space")
        for expected in (1, 1, 1, 2):  # records at 0, 0.8 and 3.1 s
            replay.frame()
            console.monotonic.now += 0.9
            replay.frame()
            await console.poll()
            assert replay.player.index == expected or replay.player.index == expected - 1
        await console.press("plus", "plus", "minus")
        assert console.shows("▶ 2×")
        await console.press("space")
        assert console.shows("‖ 2×")
        where = replay.player.position_s
        console.monotonic.now += 5
        replay.frame()
        assert replay.player.position_s == where


async def test_a_click_on_the_timeline_seeks(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator, size=(140, 40)) as console:
        replay = await replaying(console)
        await console.pilot.click("#timeline", offset=(80, 0))
        await console.poll()
        assert replay.player.index >= 4


async def test_a_session_that_is_gone_says_so(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        console.app.push_screen(Replay("nothing"))
        await console.poll()
        assert console.shows("no session nothing")


# --- rules ----------------------------------------------------------------------------------------------


async def test_rules_show_hits_and_state(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.press("4")
        assert console.shows(
            "/etc/gatekeeper/rules.toml", "in force for 2h 01m", "Guards", "Grants", "Masks", "1 840"
        )
        await console.press("down")
        assert console.shows("statements UPDATE, DELETE; where missing; 2 approvals within 2m")
        await console.press("enter")
        assert not console.shows("2 approvals within 2m")
        await console.press("enter", "slash")
        await console.type("redact")
        assert console.shows("pii")
        assert not console.shows("no-truncate")
        await console.press("enter", "escape")
        assert console.shows("no-truncate")


async def test_a_broken_file_shows_each_error_and_what_is_in_force(
    operator: ScriptedOperator, opened: Opened, clock: Clock
) -> None:
    async with opened(operator) as console:
        await console.press("4")
        operator.rules = msgspec.structs.replace(
            operator.rules,
            problems=(
                '[[guard]] "no-drop": action: must be warn, approve or block, not "blok"',
                "[gateway] lisen: unknown key",
            ),
            problems_at=clock(),
            restart_needed=("gateway.listen",),
        )
        await console.poll()
        assert console.shows(
            "the file has errors",
            'not "blok"',
            "lisen: unknown key",
            "a restart is needed for gateway.listen",
        )


# --- mouse ----------------------------------------------------------------------------------------------


async def test_the_mouse_does_what_the_keys_do(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        column = console.text.splitlines()[0].index("Recordings")
        await console.pilot.click(offset=(column, 0))
        await console.poll()
        assert console.shows("24 sessions")
        await console.pilot.click("#list", offset=(10, 3), times=2)
        await console.poll()
        assert isinstance(console.app.screen, Replay)
        column = console.text.splitlines()[-1].index("back")
        await console.pilot.click(offset=(column, 23))
        await console.poll()
        assert console.shows("24 sessions")


async def test_a_field_takes_the_keys_of_the_screens(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.press("slash")
        await console.type("1234q?kpy")
        assert console.app.screen.query_one("#filter", Input).value == "1234q?kpy"
        assert isinstance(console.app.screen, Live)
        assert console.app.is_running
