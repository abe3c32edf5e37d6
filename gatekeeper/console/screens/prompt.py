"""The question that a held statement asks, which takes an answer only from one who has had time to see it.

Law: a key that was meant for elsewhere decides nothing. What the terminal has no room for has to be
looked at before it can be approved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from gatekeeper.console import brief
from gatekeeper.console.screens.drawable import Drawable
from gatekeeper.console.screens.help import EVERYWHERE, Keys
from gatekeeper.console.text import Span, content, joined, safe
from gatekeeper.console.widgets.bars import Hint, KeyBar, Line
from gatekeeper.console.widgets.countdown import Countdown
from gatekeeper.errors import OperatorError

if TYPE_CHECKING:
    from gatekeeper.console.app import ConsoleApp
    from gatekeeper.control.operator import ApprovalView

ARMED_AFTER_S = 0.4
"""Keys within this time after the prompt appears, or after one another, were meant for elsewhere."""
_OUTCOME_FOR_S = 3.0
"""How long the outcome of one that ended without this console stays."""
_WIDEST = 100
_FRAME = 4
"""Lines of the box that are not text: borders, countdown, keys."""
_TIGHTENING = ((2, 2, 3, True), (0, 2, 3, True), (0, 1, 3, True), (0, 1, 1, True), (0, 1, 1, False))
"""Blank lines, lines of the plan and of the claims, and whether the note has a line where it is empty."""
_LEAST = 4
"""Lines of the statement that are always in sight."""


class Prompt(Drawable, ModalScreen[None]):
    """Walks through what waits, oldest first, and closes when nothing is left to ask."""

    HELP_TITLE = "An approval"
    HELP_KEYS: ClassVar[Keys] = (
        ("a", "approve"),
        ("d", "deny, with a reason that the agent sees"),
        ("escape", "later; it stays in the approvals (2)"),
        ("l", "all later"),
        ("↑ ↓", "read a long statement"),
    )
    HELP_EVERYWHERE = EVERYWHERE
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "approve", show=False),
        Binding("d", "deny", show=False),
        Binding("escape", "later", show=False),
        Binding("l", "all_later", show=False),
        Binding("up", "scroll(-1)", show=False),
        Binding("down", "scroll(1)", show=False),
        Binding("pageup", "scroll(-8)", show=False),
        Binding("pagedown", "scroll(8)", show=False),
        Binding("question_mark", "app.help", show=False),
    ]
    AUTO_FOCUS = ""

    def __init__(self, approval: ApprovalView, *, armed_after_s: float = ARMED_AFTER_S) -> None:
        super().__init__()
        self.approval = approval
        self._armed_after_s = armed_after_s
        self._armed_at = float("inf")
        self._first = 0
        """First line of the statement in sight."""
        self._seen = 0
        """Lines of the statement that have been in sight."""
        self._total = 0
        self._room = 1
        self._told = False
        self._busy = False
        self._over_at: float | None = None
        self._said: list[Span] = []

    @property
    def console(self) -> ConsoleApp:
        """The application."""
        from gatekeeper.console.app import ConsoleApp

        assert isinstance(self.app, ConsoleApp)
        return self.app

    def compose(self) -> ComposeResult:
        """Who, what, effects, time, keys."""
        with Vertical(id="prompt"):
            yield Static(id="who")
            yield Static(id="sql")
            yield Static(id="effects")
            yield Line(id="note")
            yield Input(
                id="why", placeholder="Why? The agent sees it. Enter sends, escape goes back.", max_length=500
            )
            yield Countdown(id="time")
            yield KeyBar()

    def on_mount(self) -> None:
        """Show the first."""
        self.query_one("#why").display = False
        self._ask(self.approval)

    def on_resize(self) -> None:
        """Fit to the new size."""
        self.call_after_refresh(self.draw)

    # --- what is shown ----------------------------------------------------------------------------------

    def _ask(self, approval: ApprovalView) -> None:
        self.approval = approval
        self._first = self._seen = 0
        self._told = self._busy = False
        self._over_at = None
        self._armed_at = self.console.monotonic() + self._armed_after_s
        self._said = []
        self.query_one("#note", Line).show([])
        self._close_reason()
        self.call_after_refresh(self.draw)

    def refresh_approval(self) -> None:
        """A snapshot came: draw the approval as it is now, and go on from one that ended."""
        now = self.console.feed.approval(self.approval.id)
        if now is not None and now != self.approval:
            self.approval = now
            self.draw()
        elif self.console.feed.waiting:
            self._draw_title()
        if self.approval.state != "waiting" and self._over_at is None and not self._busy:
            self._over_at = self.console.monotonic() + _OUTCOME_FOR_S
            self._close_reason()

    def tick(self) -> None:
        """Time went by."""
        if self._over_at is not None and self.console.monotonic() >= self._over_at:
            self.next()
            return
        self._draw_time()

    @property
    def _wide(self) -> int:
        """Columns of the box."""
        return min(_WIDEST, self.app.size.width)

    def draw(self) -> None:
        """Draw all of it, in the room that there is."""
        if not self.drawable:
            return
        approval, now = self.approval, self.console.clock()
        box = self.query_one("#prompt")
        box.styles.width = self._wide
        width = self._wide - 4
        sql = brief.statement(approval.sql, width - 2)
        self._total = len(sql)
        # Where it is tight the blank lines go first, then the rest of the plan and of the claims.
        for gaps, plan_lines, claims_lines, note in _TIGHTENING:
            who = brief.who(approval, width, claims_lines=claims_lines)
            effects = [
                *brief.parameters(approval.params, width),
                *brief.effects(approval, now, width, plan_lines=plan_lines),
                *brief.decisions(approval, width),
            ]
            frame = _FRAME + gaps + (note or bool(self._said))
            room = self.app.size.height - frame - len(who) - len(effects)
            if room >= self._total:
                break
        least = min(self._total, _LEAST)
        if room < least:
            left = max(1, len(effects) + room - least - 1)
            more = f"… {len(effects) - left} lines more: the approvals (2) show them"
            effects = [*effects[:left], [(more, "held")]]
            room = least
        self._room = max(1, room)
        if self._total > self._room:
            self._room = max(1, self._room - 1)
        self._first = max(0, min(self._first, self._total - self._room))
        shown = sql[self._first : self._first + self._room]
        self._seen = max(self._seen, self._first + len(shown))
        lines: brief.Lines = [[("│ ", "faint"), *line] for line in shown]
        if self._total > self._room:
            below = self._total - self._first - len(shown)
            said = f"↓ {below} more lines" if below else f"↑ {self._first} lines above"
            lines.append([("│ ", "faint"), (said, "held" if self._seen < self._total else "dim")])
        self.query_one("#who", Static).update(content(joined(who)))
        self.query_one("#sql", Static).update(content(joined(lines)))
        self.query_one("#effects", Static).update(content(joined(effects)))
        box.set_class(gaps == 0, "-tight")
        self.query_one("#note").display = (note or bool(self._said)) and not self.query_one("#why").display
        self._draw_title()
        self._draw_time()
        self._draw_keys()

    def _draw_title(self) -> None:
        waiting = self.console.feed.waiting
        title: list[Span] = [("◆ Approval ", "held"), (safe(self.approval.id), "strong")]
        if self.approval.needed > 1:
            title += [("  ", ""), *brief.quorum(self.approval)]
        box = self.query_one("#prompt")
        box.border_title = content(title)
        place = next((i for i, a in enumerate(waiting, start=1) if a.id == self.approval.id), None)
        box.border_subtitle = content(
            [(f"{place} of {len(waiting)} waiting", "dim")] if place and len(waiting) > 1 else []
        )

    def _draw_time(self) -> None:
        time = self.query_one("#time", Countdown)
        if self.approval.state != "waiting":
            time.say(brief.decided(self.approval))
            return
        now = self.console.clock()
        whole = self.approval.deadline_at - self.approval.created_at
        time.left(self.approval.deadline_at - now, whole, self._wide - 4)

    def _draw_keys(self) -> None:
        bar = self.query_one(KeyBar)
        if self.approval.state != "waiting":
            bar.set_hints([Hint("escape", "close")])
        elif self.query_one("#why").display:
            bar.set_hints([Hint("enter", "deny"), Hint("escape", "back")])
        else:
            more = [Hint("↑↓", "read on", "down")] if self._total > self._room else []
            later = [Hint("l", "all later")] if len(self.console.feed.waiting) > 1 else []
            bar.set_hints([Hint("a", "approve"), Hint("d", "deny"), *more, *later, Hint("escape", "later")])

    def _note(self, spans: list[Span]) -> None:
        self._said = spans
        self.query_one("#note", Line).show([(" ", ""), *spans])
        self.draw()

    # --- keys -------------------------------------------------------------------------------------------

    def _armed(self) -> bool:
        """Whether a key was meant for this; one that was not puts the moment off."""
        now = self.console.monotonic()
        if now < self._armed_at:
            self._armed_at = now + self._armed_after_s
            return False
        return self.approval.state == "waiting" and not self._busy

    def action_approve(self) -> None:
        """Approve, once all of it has been in sight."""
        if not self._armed():
            return
        if self._seen < self._total and not self._told:
            self._told = True
            unseen = self._total - self._seen
            self._note(
                [(f"{unseen} lines not read yet: ↓ shows them, a again approves all the same", "held")]
            )
            return
        self._send(approve=True, reason=None)

    def action_deny(self) -> None:
        """Ask for the reason."""
        if not self._armed():
            return
        field = self.query_one("#why", Input)
        field.display = True
        field.focus()
        self.draw()

    def _close_reason(self) -> None:
        field = self.query_one("#why", Input)
        field.value = ""
        field.display = False
        self.set_focus(None)
        self.draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Send the denial."""
        event.stop()
        if self.approval.state != "waiting" or self._busy:
            return
        reason = event.value.strip()
        self._close_reason()
        self._send(approve=False, reason=reason or None)

    def action_later(self) -> None:
        """Leave the reason's field; else leave this one for later."""
        if self.query_one("#why").display:
            self._close_reason()
            return
        self.console.put_off(self.approval.id)
        self.next()

    def action_all_later(self) -> None:
        """Leave all that wait now."""
        for approval in self.console.feed.waiting:
            self.console.put_off(approval.id)
        self.next()

    def action_scroll(self, by: int) -> None:
        """Read on in a long statement."""
        self._first = max(0, min(self._first + by, self._total - self._room))
        self.draw()

    # --- deciding ---------------------------------------------------------------------------------------

    def _send(self, *, approve: bool, reason: str | None) -> None:
        self._busy = True
        self._note([("sending …", "dim")])
        self.run_worker(self._decide(self.approval.id, approve=approve, reason=reason), group="decide")

    async def _decide(self, ident: str, *, approve: bool, reason: str | None) -> None:
        try:
            became = await self.console.operator.decide(ident, approve=approve, reason=reason)
        except OperatorError as error:
            self._busy = False
            if ident == self.approval.id and self.is_attached:
                self._note([(safe(str(error)), "bad")])
            return
        self._busy = False
        self.console.put_off(ident)
        said = "approved" if approve else "denied"
        if became.state == "waiting":
            yes = sum(d.approved for d in became.decisions)
            said = f"approved: {yes} of {became.needed}; it waits for others"
        said = f"{safe(ident)} {said}"
        self.console.notify(said, markup=False, severity="information")
        if ident == self.approval.id and self.is_attached:
            self.next(said)

    def next(self, said: str | None = None) -> None:
        """Ask the next one that nobody put off, or close; `said` is what became of this one."""
        following = self.console.to_ask(but=self.approval.id)
        if following is None:
            if self.is_current:
                self.dismiss(None)
        else:
            self._ask(following)
            if said is not None:
                self._note([(said, "dim")])
