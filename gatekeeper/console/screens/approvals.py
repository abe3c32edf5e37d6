"""What waits for people, and what became of what waited."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Input, Static

from gatekeeper.console import brief
from gatekeeper.console import sql as sqltext
from gatekeeper.console.feed import Changed
from gatekeeper.console.screens.desk import Desk
from gatekeeper.console.text import (
    STATES,
    Span,
    clock_span,
    content,
    fit,
    fit_spans,
    joined,
    safe,
    time_of_day,
)
from gatekeeper.console.widgets.bars import Hint, Line
from gatekeeper.console.widgets.rows import Rows
from gatekeeper.control.operator import ApprovalView

_BESIDE: Final = 120
_QUEUE_WIDE: Final = 56


class Approvals(Desk):
    """The queue, oldest first, then what was decided, newest first."""

    TAB = "approvals"
    HINTS = (
        Hint("enter", "decide"),
        Hint("/", "search", "slash"),
        Hint("tab", "read below"),
        Hint("y", "copy SQL"),
        Hint("?", "help", "question_mark"),
    )
    HELP_TITLE = "Approvals"
    HELP_KEYS = (
        ("enter", "open the prompt of one that waits: a approve, d deny"),
        ("/", "search; escape clears"),
        ("tab", "to the text below, to scroll it"),
        ("y", "copy the SQL"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", show=False),
        Binding("y", "copy", show=False),
        Binding("escape", "clear", show=False),
    ]
    AUTO_FOCUS = "#queue"

    def __init__(self) -> None:
        super().__init__()
        self.words: tuple[str, ...] = ()

    def body(self) -> Iterable[Widget]:
        """The queue and the chosen one."""
        with Container(id="main"):
            with Vertical(id="queue-box"):
                yield Line(id="queue-title")
                yield Rows[ApprovalView](
                    key=lambda a: a.id,
                    draw=self._row,
                    empty=[("  nothing waits, nothing was decided yet", "faint")],
                    id="queue",
                )
            with Vertical(id="chosen-box"):
                yield Line(id="chosen-title")
                with VerticalScroll(id="chosen-scroll"):
                    yield Static(id="chosen")
        yield Input(id="filter", placeholder="words in SQL, subject, grant, database, guard, state")

    def on_mount(self) -> None:
        """No search yet."""
        self.query_one("#filter").display = False

    @property
    def _queue(self) -> Rows[ApprovalView]:
        return self.query_one("#queue", Rows)

    @property
    def _beside(self) -> bool:
        """Whether there is room for both side by side."""
        return self.size.width >= _BESIDE

    def changed(self, changed: Changed) -> None:
        """Draw what a snapshot changed."""
        if changed & Changed.APPROVALS:
            beside = self._beside
            self.query_one("#main").set_class(beside, "-beside")
            self._show()

    def tick(self) -> None:
        """Time runs out."""
        super().tick()
        if self.console.feed.waiting:
            self._queue.refresh()

    def _show(self) -> None:
        shown = self.console.feed.approvals
        if self.words:
            shown = tuple(
                a
                for a in shown
                if brief.matches(
                    self.words,
                    (a.sql, a.subject, a.grant, a.database, a.id, a.state, a.reason or "", *a.guards),
                )
            )
        beside = self._beside
        self._queue.show(shown, height=2 if beside else 1)
        box = self.query_one("#queue-box")
        box.styles.height = (
            "1fr" if beside else min(max(2, len(shown)), max(3, (self.size.height - 4) // 3)) + 1
        )
        waiting = len(self.console.feed.waiting)
        said: list[Span] = [(f"{waiting} waiting", "held" if waiting else "dim")]
        ended = len(self.console.feed.approvals) - waiting
        title: list[Span] = [(" Approvals ", "key"), *said, (f"   {ended} decided", "dim")]
        if self.words:
            title += [("   / ", "key"), (safe(" ".join(self.words)), "accent")]
        self.query_one("#queue-title", Line).show(title)
        self._show_chosen()

    def _show_chosen(self) -> None:
        chosen = self._queue.current
        title: list[Span] = []
        lines: brief.Lines = []
        if chosen is not None:
            width = self.size.width - (_QUEUE_WIDE if self._beside else 0) - 4
            title = [
                (f" {safe(chosen.id)} ", "key"),
                *brief.decided(chosen),
                ("  ", ""),
                *brief.quorum(chosen),
            ]
            title += [("   enter decides", "dim")] if chosen.state == "waiting" else []
            until = self.console.clock() if chosen.state == "waiting" else chosen.deadline_at
            if chosen.state != "waiting" and chosen.decisions:
                until = chosen.decisions[-1].at
            sql: brief.Lines = [[("│ ", "faint"), *line] for line in brief.statement(chosen.sql, width - 2)]
            lines = [
                *brief.who(chosen, width),
                [],
                *sql,
                [],
                *brief.parameters(chosen.params, width),
                *brief.effects(chosen, until, width),
                *brief.decisions(chosen, width),
            ]
        self.query_one("#chosen-title", Line).show(title)
        self.query_one("#chosen", Static).update(content(joined(lines)))

    def _row(self, seen: ApprovalView, width: int) -> list[list[Span]]:
        glyph, word, role = STATES[seen.state]
        if seen.state == "waiting":
            when: list[Span] = [(f"{clock_span(seen.deadline_at - self.console.clock())} left", "held")]
        else:
            when = [(time_of_day(seen.decisions[-1].at if seen.decisions else seen.deadline_at), "dim")]
        sql = sqltext.one_line(seen.sql)
        by = ", ".join(safe(d.who) for d in seen.decisions if seen.state != "denied" or not d.approved)
        state = (
            word
            if seen.needed <= 1 or seen.state != "waiting"
            else f"{sum(d.approved for d in seen.decisions)} of {seen.needed}"
        )
        if width < 60 or self._queue.row_height == 2:
            top = fit_spans(
                [(f" {glyph} ", role), (f"{state} ", role), (by and f"by {by}", "dim")], width - 12
            )
            below = fit_spans([("   ", ""), (fit(safe(seen.grant), 15) + " ", "dim"), *sql], width - 1)
            return [[*top, *fit_spans(when, 11, right=True), (" ", "")], below]
        grant = fit(safe(seen.grant), 14)
        room = width - 3 - 11 - 15 - 1 - 10 - 11 - 1
        who = fit_spans([(by, "dim")], 10)
        return [
            [
                (f" {glyph} ", role),
                (fit(state, 10) + " ", role),
                (grant + " ", "dim"),
                *fit_spans(sql, room),
                (" ", ""),
                *who,
                *fit_spans(when, 11, right=True),
                (" ", ""),
            ]
        ]

    # --- keys -------------------------------------------------------------------------------------------

    def on_rows_moved(self) -> None:
        """Show the chosen one."""
        self._show_chosen()

    def on_rows_chosen(self) -> None:
        """Open the prompt of one that waits."""
        chosen = self._queue.current
        if chosen is not None and chosen.state == "waiting":
            self.console.ask(chosen)

    def action_search(self) -> None:
        """Search as one types."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow the list."""
        self.words = tuple(event.value.casefold().split())
        self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the search and go back to the list."""
        event.input.display = bool(event.value)
        self._queue.focus()

    def action_clear(self) -> None:
        """Show everything again."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self._queue.focus()

    def action_copy(self) -> None:
        """Copy the SQL as it was sent."""
        if self._queue.current is not None:
            self.console.copy(self._queue.current.sql, "The SQL is")
