from __future__ import annotations

import pytest
from textual.widgets import Input

from gatekeeper.control.operator import DecisionView
from gatekeeper.model import Impact, TableImpact
from tests.console import scene
from tests.console.conftest import Opened
from tests.console.scripted import UPDATE, Clock, ScriptedOperator

ARMED = 0.5


@pytest.fixture
def waiting(clock: Clock) -> ScriptedOperator:
    return scene.waiting(clock)


@pytest.mark.parametrize("screen", ["1", "2", "3", "4"])
async def test_an_approval_pops_up_over_any_screen(
    operator: ScriptedOperator, opened: Opened, screen: str
) -> None:
    async with opened(operator) as console:
        await console.press(screen)
        assert console.prompt is None
        operator.hold("a7f3", "5f0c2a")
        await console.poll()
        assert console.prompt is not None
        assert console.shows("Approval a7f3")


async def test_the_prompt_says_all_in_one_screen_of_80_by_24(
    waiting: ScriptedOperator, opened: Opened
) -> None:
    async with opened(waiting) as console:
        assert console.shows(
            "ci-migrations · repo:acme/shop:environment:prod",
            "run 8812.1",
            "repository\u00a0acme/shop".replace("\u00a0", " "),
            "environment prod",
            "close abandoned orders, OPS-1423",
            "UPDATE public.orders",
            "WHERE closed_at < now() - interval '90 days'",
            "AND status = 'open'",
            "big-write · office-hours",
            "public.orders · 1.2M rows · 340 MB · RowExclusiveLock",
            "order_lines.order_id (CASCADE)",
            "about 41.9k rows",
            "a transaction for 12s, 3 statements",
            "1:50 left",
            "a approve",
            "d deny",
            "esc later",
        )
        assert "more lines" not in console.text


async def test_a_approves(waiting: ScriptedOperator, opened: Opened) -> None:
    async with opened(waiting) as console:
        await console.wait(ARMED)
        await console.press("a")
        assert waiting.approvals["a7f3"].state == "approved"
        assert console.prompt is None
        assert waiting.approvals["a7f3"].decisions[0].who == "mia"


async def test_d_denies_with_a_reason(waiting: ScriptedOperator, opened: Opened) -> None:
    async with opened(waiting) as console:
        await console.wait(ARMED)
        await console.press("d")
        await console.type("add a limit")
        assert waiting.approvals["a7f3"].state == "waiting"
        await console.press("enter")
        assert waiting.approvals["a7f3"].state == "denied"
        assert waiting.approvals["a7f3"].decisions[0].reason == "add a limit"
        assert console.prompt is None


async def test_escape_leaves_the_reason_and_then_the_prompt(
    waiting: ScriptedOperator, opened: Opened
) -> None:
    async with opened(waiting) as console:
        await console.wait(ARMED)
        await console.press("d", "a", "escape")
        assert console.prompt is not None
        assert waiting.approvals["a7f3"].state == "waiting"
        await console.press("escape")
        assert console.prompt is None
        await console.wait(2)
        assert console.prompt is None, "later means not again by itself"
        assert console.shows("◆ 1")


async def test_keys_right_after_the_prompt_appears_decide_nothing(
    waiting: ScriptedOperator, opened: Opened
) -> None:
    async with opened(waiting) as console:
        await console.press("a")
        await console.wait(0.3)
        await console.press("a")  # 0.3 s after the last: still the same burst
        await console.wait(0.3)
        await console.press("d")
        assert waiting.approvals["a7f3"].state == "waiting"
        assert not console.app.screen.query_one("#why").display
        await console.wait(ARMED)
        await console.press("a")
        assert waiting.approvals["a7f3"].state == "approved"


async def test_it_never_pops_up_over_a_field_in_which_one_types(
    operator: ScriptedOperator, opened: Opened
) -> None:
    async with opened(operator) as console:
        await console.press("slash")
        await console.type("sel")
        operator.hold("a7f3", "5f0c2a")
        await console.poll()
        assert console.prompt is None
        assert console.shows("◆ 1", "waits for you")
        await console.type("ad")
        assert console.app.screen.query_one("#filter", Input).value == "selad"
        assert operator.approvals["a7f3"].state == "waiting"
        await console.press("enter")
        assert console.prompt is not None


async def test_it_does_not_cover_another_question(operator: ScriptedOperator, opened: Opened) -> None:
    async with opened(operator) as console:
        await console.press("k")
        operator.hold("a7f3", "5f0c2a")
        await console.poll()
        assert console.prompt is None
        await console.press("n")
        assert console.prompt is not None
        assert len(operator.sessions_now) == 3


async def test_several_are_walked_through_in_order(
    waiting: ScriptedOperator, opened: Opened, clock: Clock
) -> None:
    waiting.hold("b001", "9b417e", "delete from carts", created_at=clock() - 5)
    waiting.hold("c002", "c11d90", "delete from notes", created_at=clock() - 2)
    async with opened(waiting) as console:
        assert console.shows("Approval a7f3", "1 of 3 waiting")
        await console.wait(ARMED)
        await console.press("a")
        assert console.shows("Approval b001", "1 of 2 waiting")
        await console.press("a")
        assert waiting.approvals["b001"].state == "waiting", "a fresh prompt is not armed yet"
        await console.wait(ARMED)
        await console.press("escape")
        assert console.shows("Approval c002")
        await console.wait(ARMED)
        await console.press("a")
        assert console.prompt is None
        assert [waiting.approvals[i].state for i in ("a7f3", "b001", "c002")] == [
            "approved",
            "waiting",
            "approved",
        ]


async def test_l_leaves_all_for_later(waiting: ScriptedOperator, opened: Opened) -> None:
    waiting.hold("b001", "9b417e", "delete from carts")
    async with opened(waiting) as console:
        await console.press("l")
        assert console.prompt is None
        await console.wait(1)
        assert console.prompt is None


async def test_a_quorum_shows_how_many_have_agreed(
    waiting: ScriptedOperator, opened: Opened, clock: Clock
) -> None:
    waiting.becomes("a7f3", needed=3, decisions=(DecisionView("jon", clock() - 2, True, "looks right"),))
    async with opened(waiting) as console:
        assert console.shows("1 of 3", "approved by jon", "looks right")
        await console.wait(ARMED)
        await console.press("a")
        assert waiting.approvals["a7f3"].state == "waiting"
        assert console.prompt is None, "one has done one's part"
        assert console.shows("2 of 3")
        await console.press("2", "enter")
        await console.wait(ARMED)
        await console.press("a")
        assert console.shows("mia has decided on a7f3 already")


async def test_a_decision_of_another_console_shows_at_once(
    waiting: ScriptedOperator, opened: Opened, clock: Clock
) -> None:
    async with opened(waiting) as console:
        await console.wait(ARMED)
        waiting.becomes("a7f3", state="denied", decisions=(DecisionView("jon", clock(), False, "no"),))
        await console.poll()
        assert console.shows("✗ denied by jon")
        await console.press("a")
        assert waiting.approvals["a7f3"].state == "denied"
        assert console.prompt is not None
        await console.wait(3.5)
        assert console.prompt is None


async def test_an_approval_that_ends_while_the_reason_is_typed_takes_no_answer(
    waiting: ScriptedOperator, opened: Opened
) -> None:
    async with opened(waiting) as console:
        await console.wait(ARMED)
        await console.press("d")
        await console.type("why")
        waiting.becomes("a7f3", state="withdrawn")
        await console.poll()
        assert console.shows("↩ withdrawn")
        await console.press("enter")
        assert waiting.approvals["a7f3"].decisions == ()


async def test_a_decision_that_fails_says_why_and_stays(waiting: ScriptedOperator, opened: Opened) -> None:
    async with opened(waiting) as console:
        await console.wait(ARMED)
        waiting.down = "the gateway closed the connection"
        await console.pilot.press("a")
        await console.pilot.pause()
        assert console.shows("the gateway closed the connection")
        assert console.prompt is not None
        waiting.down = None
        await console.poll()
        await console.press("a")
        assert waiting.approvals["a7f3"].state == "approved"


async def test_the_countdown_goes_down(waiting: ScriptedOperator, opened: Opened) -> None:
    async with opened(waiting) as console:
        assert console.shows("1:50 left")
        await console.wait(61)
        assert console.shows("0:49 left")


async def test_what_is_out_of_sight_has_to_be_read_before_it_is_approved(
    operator: ScriptedOperator, opened: Opened
) -> None:
    sql = (
        "UPDATE orders SET status = 'void'\n" + "\n".join(f"-- line {i}" for i in range(60)) + "\n, total = 0"
    )
    operator.hold("a7f3", "5f0c2a", sql)
    async with opened(operator) as console:
        assert console.shows("more lines", "↑↓ read on")
        await console.wait(ARMED)
        await console.press("a")
        assert operator.approvals["a7f3"].state == "waiting"
        assert console.shows("lines not read yet")
        await console.press(*["pagedown"] * 10)
        assert console.shows(", total = 0")
        await console.press("up", "down", "pageup", "pagedown", "a")
        assert operator.approvals["a7f3"].state == "approved"


async def test_blank_lines_do_not_push_a_statement_out_of_sight(
    operator: ScriptedOperator, opened: Opened
) -> None:
    operator.hold(
        "a7f3", "5f0c2a", "SELECT 1;" + "\n" * 500 + "DROP TABLE orders" + " " * 4_000 + ", customers"
    )
    async with opened(operator) as console:
        assert console.shows("⟨500 line breaks⟩", "DROP TABLE orders", "⟨4000 blanks⟩", ", customers")


async def test_nothing_from_outside_can_move_or_hide_what_is_drawn(
    operator: ScriptedOperator, opened: Opened
) -> None:
    evil = "\x1b[2J\x1b[1;1H\u202eevil\u200b[bold]x[/bold]"
    operator.hold(
        "a7f3",
        "5f0c2a",
        f"select '{evil}'",
        grant=evil,
        subject=evil,
        run=evil,
        reason=evil,
        claims={evil: evil},
        guards=(evil,),
        guard=evil,
        database=evil,
        params=(evil,),
        impact=Impact((TableImpact(evil, 1, 1, evil, (evil,), (evil,)),), 1, (evil,), evil),
    )
    async with opened(operator, size=(140, 40)) as console:
        assert console.shows("␛[2J", "<U+202E>", "[bold]x[/bold]")
        assert not set(console.text) & {"\x1b", "\u202e", "\u200b"}
        await console.press("escape", "2")
        assert not set(console.text) & {"\x1b", "\u202e", "\u200b"}
        assert console.shows("<U+202E>")


async def test_the_impact_fills_in_when_it_is_found_out(operator: ScriptedOperator, opened: Opened) -> None:
    operator.hold("a7f3", "5f0c2a")
    async with opened(operator) as console:
        assert console.shows("finding out …")
        operator.becomes("a7f3", impact=scene.IMPACT)
        await console.poll()
        assert console.shows("about 41.9k rows")
        operator.becomes("a7f3", impact=Impact(problem="the database did not answer in 2 s"))
        await console.poll()
        assert console.shows("the database did not answer in 2 s")


async def test_the_longest_prompt_still_has_its_keys_at_80_by_24(
    operator: ScriptedOperator, opened: Opened
) -> None:
    tables = tuple(
        TableImpact(f"public.t{i}", 10, 10, "AccessExclusiveLock", ("a (CASCADE)",), ("pid 7 waits",))
        for i in range(9)
    )
    operator.hold(
        "a7f3",
        "5f0c2a",
        UPDATE * 3,
        impact=Impact(tables, 10, ("Update",) * 9),
        reason="because " * 40,
        claims={f"claim{i}": "x" * 30 for i in range(12)},
        params=tuple(str(i) for i in range(20)),
        needed=2,
        guards=tuple(f"guard-number-{i}" for i in range(12)),
    )
    for size in ((80, 24), (60, 16), (100, 30)):
        async with opened(operator, size=size) as console:
            assert console.shows("Approval a7f3", "a approve", "d deny", "left", "UPDATE public.orders")


async def test_help_works_over_the_prompt(waiting: ScriptedOperator, opened: Opened) -> None:
    async with opened(waiting) as console:
        await console.press("question_mark")
        assert console.shows("deny, with a reason that the agent sees")
        await console.wait(ARMED)
        await console.press("a")
        assert waiting.approvals["a7f3"].state == "waiting"
        await console.press("escape")
        assert console.prompt is console.app.screen


async def test_the_screens_keys_do_nothing_under_the_prompt(
    waiting: ScriptedOperator, opened: Opened
) -> None:
    async with opened(waiting) as console:
        await console.press("2", "k", "q", "slash", "n", "p")
        assert console.prompt is console.app.screen
        assert console.app.is_running


async def test_an_approval_pops_up_over_a_replay_and_the_replay_is_there_after(
    operator: ScriptedOperator, opened: Opened
) -> None:
    async with opened(operator) as console:
        await console.press("3", "down", "enter", "right")
        operator.hold("a7f3", "5f0c2a")
        await console.poll()
        assert console.prompt is console.app.screen
        await console.wait(ARMED)
        await console.press("d")
        await console.type("a d 1")
        await console.press("enter")
        assert operator.approvals["a7f3"].decisions[0].reason == "a d 1"
        assert console.shows("Replay", "2/7")
