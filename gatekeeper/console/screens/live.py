"""What happens now: who is logged in, and each statement with what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widget import Widget
from textual.widgets import Input, Static

from gatekeeper.console import brief
from gatekeeper.console import sql as sqltext
from gatekeeper.console.feed import Changed
from gatekeeper.console.screens.confirm import Confirm
from gatekeeper.console.screens.desk import Desk
from gatekeeper.console.screens.details import Details
from gatekeeper.console.screens.hints import HintLines
from gatekeeper.console.text import (
    VERDICTS,
    Span,
    content,
    count,
    duration,
    fit,
    fit_spans,
    is_sqlstate,
    joined,
    millis,
    plural,
    safe,
    sparkline,
    time_of_day,
    wrap,
)
from gatekeeper.console.widgets.bars import Hint, Line, ends
from gatekeeper.console.widgets.rows import Rows
from gatekeeper.control.operator import SessionView, StatementView

_BESIDE: Final = 120
"""Columns from which the stream is beside the sessions and not below."""
_STATES: Final = {
    "idle": ("○", "idle", "dim"),
    "active": ("●", "active", "ok"),
    "in transaction": ("◐", "open tx", "accent"),
    "failed transaction": ("◐", "failed tx", "bad"),
    "held": ("◆", "held", "held"),
}


class Live(Desk):
    """Sessions and the stream of their statements."""

    TAB = "live"
    HINTS = (
        Hint("enter", "details"),
        Hint("/", "filter", "slash"),
        Hint("p", "pause"),
        Hint("f", "follow"),
        Hint("k", "end session"),
        Hint("y", "login lines"),
        Hint("?", "help", "question_mark"),
    )
    HELP_TITLE = "Live"
    HELP_KEYS = (
        ("enter", "details of a statement; on a session: its statements alone"),
        ("/", "filter as you type; -word leaves out; escape clears"),
        ("p", "pause the stream, and go on"),
        ("f", "follow the newest statement"),
        ("k", "end the session"),
        ("K", "end the run with all its sessions"),
        ("y", "lines to log in with, copied"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", show=False),
        Binding("p", "pause", show=False),
        Binding("f", "follow", show=False),
        Binding("k", "end_session", show=False),
        Binding("K", "end_run", show=False),
        Binding("y", "hints", show=False),
        Binding("escape", "clear", show=False),
    ]
    AUTO_FOCUS = "#stream"

    def __init__(self) -> None:
        super().__init__()
        self.only: str | None = None
        """The session whose statements alone are shown."""
        self.words: tuple[str, ...] = ()
        self.paused: tuple[StatementView, ...] | None = None
        """The statements as they were when the stream was paused."""
        self._paused_cursor = 0
        self._texts: dict[int, str] = {}

    def body(self) -> Iterable[Widget]:
        """Metrics, then sessions and stream, or a welcome."""
        yield Line(id="metrics")
        with Container(id="main"):
            with Vertical(id="sessions-box"):
                yield Line(id="sessions-title")
                yield Rows[SessionView](
                    key=lambda s: s.id,
                    draw=self._session,
                    heading=self._session_heading,
                    empty=[("  nobody is logged in", "faint")],
                    id="sessions",
                )
            with Vertical(id="stream-box"):
                yield Line(id="stream-title")
                yield Rows[StatementView](
                    key=lambda s: (s.session, s.n),
                    draw=self._statement,
                    empty=[("  no statements", "faint")],
                    id="stream",
                )
        yield Static(id="welcome")
        yield Line(id="notice")
        yield Input(
            id="filter",
            placeholder="words in SQL, subject, grant, database, verdict, guard; -word leaves out",
        )

    def on_mount(self) -> None:
        """Start at the newest."""
        self.query_one("#filter").display = False
        self._stream.following = True

    @property
    def _sessions(self) -> Rows[SessionView]:
        return self.query_one("#sessions", Rows)

    @property
    def _stream(self) -> Rows[StatementView]:
        return self.query_one("#stream", Rows)

    # --- drawing ----------------------------------------------------------------------------------------

    def changed(self, changed: Changed) -> None:
        """Draw what a snapshot changed."""
        feed = self.console.feed
        if changed & (Changed.SESSIONS | Changed.HINTS | Changed.STATEMENTS):
            self._lay_out()
        if changed & Changed.SESSIONS:
            if self.only and all(s.id != self.only for s in feed.sessions):
                self.only = None
                changed |= Changed.STATEMENTS
            self._sessions.show(feed.sessions, height=2 if self._beside else 1)
        if changed & Changed.STATEMENTS:
            self._show_statements()
        if changed & (Changed.METRICS | Changed.SESSIONS):
            self._draw_metrics()
        if changed & Changed.NOTICES:
            self._draw_notice()
        self._draw_titles()

    def tick(self) -> None:
        """Ages grow."""
        super().tick()
        if self.console.feed.sessions:
            self._sessions.refresh()

    @property
    def _beside(self) -> bool:
        return self.size.width >= _BESIDE

    def _lay_out(self) -> None:
        feed = self.console.feed
        newcomer = bool(feed.hints) and not feed.sessions and not feed.statements
        self.query_one("#main").display = not newcomer
        welcome = self.query_one("#welcome", Static)
        welcome.display = newcomer
        if newcomer:
            welcome.update(content(_welcome(feed.hints, self.size.width - 8)))
        self.query_one("#main").set_class(self._beside, "-beside")
        box = self.query_one("#sessions-box")
        if self._beside:
            box.styles.height = "1fr"
            self._sessions.set_heading(None)
        else:
            most = max(3, (self.size.height - 6) // 3)
            box.styles.height = min(max(1, len(feed.sessions)), most - 2) + 2
            self._sessions.set_heading(self._session_heading)

    def _show_statements(self) -> None:
        feed = self.console.feed
        shown: Sequence[StatementView] = feed.statements if self.paused is None else self.paused
        if self.only:
            shown = [s for s in shown if s.session == self.only]
        if self.words:
            shown = [s for s in shown if brief.matches(self.words, (self._text(s),))]
        self._stream.show(shown)

    def _text(self, seen: StatementView) -> str:
        text = self._texts.get(seen.cursor)
        if text is None:
            if len(self._texts) > 8_000:
                self._texts.clear()
            parts = (seen.sql, seen.subject, seen.grant, seen.database, seen.verdict, seen.outcome or "")
            text = self._texts[seen.cursor] = "\n".join((*parts, *seen.guards, *seen.tags)).casefold()
        return text

    def _draw_metrics(self) -> None:
        feed, width = self.console.feed, self.size.width
        m = feed.metrics
        now = m.per_second[-1] if m.per_second else 0
        bars = sparkline(m.per_second, min(60, max(12, width - 68)))
        left: list[Span] = [(" ", ""), (bars, "accent"), (f" {count(now)}/s", "strong")]
        right: list[Span] = []
        for label, value, role in (
            ("statements", count(m.statements), ""),
            ("refused", count(m.refused), "bad" if m.refused else ""),
            ("held", count(m.held), "held" if m.held else ""),
            ("p50", millis(m.p50_ms), ""),
            ("p99", millis(m.p99_ms), ""),
        ):
            right += [(f"  {label} ", "dim"), (value, role)]
        self.query_one("#metrics", Line).show(ends(left, [*right, (" ", "")], width))

    def _draw_notice(self) -> None:
        notices = self.console.feed.notices
        line = self.query_one("#notice", Line)
        line.display = bool(notices)
        if notices:
            last = notices[-1]
            role = {"info": "dim", "warning": "warn", "error": "bad"}[last.level]
            glyph = {"info": "i", "warning": "!", "error": "✗"}[last.level]
            line.show([(f" {glyph} ", role), (f"{time_of_day(last.at)} ", "faint"), (safe(last.text), role)])

    def _draw_titles(self) -> None:
        feed = self.console.feed
        sessions: list[Span] = [
            (" Sessions ", "key" if self._sessions.has_focus else "dim"),
            (str(len(feed.sessions)), "strong"),
        ]
        self.query_one("#sessions-title", Line).show(sessions)
        stream = self._stream
        spans: list[Span] = [(" Statements ", "key" if stream.has_focus else "dim")]
        if self.paused is not None:
            new = sum(s.cursor > self._paused_cursor for s in feed.statements)
            spans.append((f"paused, {count(new)} new", "held"))
        elif stream.following:
            spans.append(("following", "dim"))
        else:
            spans.append(("f follows the newest", "faint"))
        if self.only:
            spans += [("   of session ", "dim"), (safe(self.only), "accent")]
        if self.words:
            spans += [
                ("   / ", "key"),
                (safe(" ".join(self.words)), "accent"),
                (f"  {plural(len(stream.items), 'match', 'matches')}", "dim"),
            ]
        self.query_one("#stream-title", Line).show(spans)

    def _session_heading(self, width: int) -> list[Span]:
        run, database = _session_columns(width)
        who = width - 16 - run - database - 19
        return [
            (
                f"   {'who':<{who}}{'run':<{run}}{'database':<{database}}{'state':<16}{'age':>7}{'sent':>7}",
                "faint",
            )
        ]

    def _session(self, seen: SessionView, width: int) -> list[list[Span]]:
        now = self.console.clock()
        glyph, word, role = _STATES[seen.state]
        state = word if seen.state == "idle" else f"{word} {duration(now - seen.state_since)}"
        age = duration(now - seen.started_at)
        narrowed: Span = ("▸", "accent") if seen.id == self.only else (" ", "")
        if self._beside:
            right: list[Span] = [(state, role), (" ", "")]
            top = fit_spans(
                [narrowed, (f"{glyph} ", role), (safe(seen.grant), "strong")], width - len(state) - 2
            )
            below = fit_spans([("   ", ""), (safe(seen.subject), "dim")], width - 24)
            tail = f"{safe(seen.database)} {age:>8} "
            return [[*top, (" ", ""), *right], [*below, *fit_spans([(tail, "dim")], 24, right=True)]]
        run, database = _session_columns(width)
        who = fit_spans(
            [(safe(seen.grant), "strong"), ("  ", ""), (safe(seen.subject), "dim")],
            width - 17 - run - database - 19,
        )
        return [
            [
                narrowed,
                (f"{glyph} ", role),
                *who,
                (" ", ""),
                (fit(safe(seen.run), run - 1) + " ", ""),
                (fit(safe(seen.database), database - 1) + " ", ""),
                (fit(state, 16), role),
                (f"{age:>7}", "dim"),
                (f"{count(seen.statements):>7}", ""),
            ]
        ]

    def _statement(self, seen: StatementView, width: int) -> list[list[Span]]:
        glyph, _word, role = VERDICTS.get(seen.verdict, ("?", "", "warn"))
        if seen.verdict == "approve" and seen.outcome is not None:
            role = "warn"
        who = 0 if self.only else 16 if width >= 100 else 11
        if seen.outcome is None:
            rows: Span = (f"{'…':>7}", "accent")
        elif is_sqlstate(seen.outcome):
            rows = (f"{seen.outcome:>7}", "bad")
        else:
            rows = (f"{count(seen.rows) if seen.rows is not None else '':>7}", "")
        took = f"{millis(seen.duration_ms) if seen.duration_ms is not None else '':>9}"
        mask: Span = ("▒", "mask") if seen.masked_columns else (" ", "")
        room = width - 12 - (who + 1 if who else 0) - 19
        sql = fit_spans(sqltext.one_line(seen.sql), room)
        spans: list[Span] = [(f" {time_of_day(seen.at)} ", "faint"), (f"{glyph} ", role)]
        if who:
            spans.append((fit(safe(seen.grant), who) + " ", "dim"))
        return [[*spans, *sql, (" ", ""), mask, rows, (took, "dim"), (" ", "")]]

    # --- keys -------------------------------------------------------------------------------------------

    def on_descendant_focus(self) -> None:
        """Show where the keys go."""
        self._draw_titles()

    def on_rows_chosen(self, event: Rows.Chosen[object]) -> None:
        """Details of a statement; a session narrows the stream to itself."""
        chosen = event.rows.current
        if isinstance(chosen, StatementView):
            self.app.push_screen(Details(chosen))
        elif isinstance(chosen, SessionView):
            self.only = None if self.only == chosen.id else chosen.id
            self._show_statements()
            self._sessions.refresh()
            self._draw_titles()

    def on_rows_moved(self) -> None:
        """The cursor left the newest, or went along with it."""
        self._draw_titles()

    def action_filter(self) -> None:
        """Filter as one types."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow the stream."""
        self.words = tuple(event.value.casefold().split())
        self._show_statements()
        self._draw_titles()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter and go back to the stream."""
        event.input.display = bool(event.value)
        self._stream.focus()

    def action_clear(self) -> None:
        """Show everything again."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.only = None
        self._show_statements()
        self._sessions.refresh()
        if not self._sessions.has_focus:
            self._stream.focus()
        self._draw_titles()

    def action_pause(self) -> None:
        """Hold the stream still; it is kept on meanwhile."""
        if self.paused is None:
            self.paused, self._paused_cursor = self.console.feed.statements, self.console.feed.cursor
        else:
            self.paused = None
            self._show_statements()
        self._draw_titles()

    def action_follow(self) -> None:
        """Go to the newest and stay there, or stay here."""
        self._stream.following = not self._stream.following
        if self._stream.following:
            self.paused = None
            self._show_statements()
        self._draw_titles()

    def action_hints(self) -> None:
        """Show the lines to log in with."""
        if self.console.feed.hints:
            self.app.push_screen(HintLines(self.console.feed.hints))
        else:
            self.app.notify("The gateway offers no lines to log in with", markup=False)

    def _meant(self) -> SessionView | None:
        """The session under the cursor, or the one of the statement under it."""
        if self._sessions.has_focus:
            return self._sessions.current
        seen = self._stream.current
        return next((s for s in self.console.feed.sessions if seen and s.id == seen.session), None)

    def action_end_session(self) -> None:
        """End the session, after a question."""
        meant = self._meant()
        if meant is None:
            self.app.notify(
                "That session is over" if self._stream.current else "No session is chosen", markup=False
            )
            return
        body = f"{safe(meant.grant)} · {safe(meant.subject)}\non {safe(meant.database)}, session {safe(meant.id)}\n\nIts client gets 57P01; what it has open is rolled back."
        self.app.push_screen(
            Confirm("End this session?", body, "end it"),
            lambda sure: (
                self.console.ask_for(self.console.operator.kill_session(meant.id), "session ended")
                if sure
                else None
            ),
        )

    def action_end_run(self) -> None:
        """End the run with all its sessions, after a question."""
        meant = self._meant()
        if meant is None:
            self.app.notify("No session is chosen", markup=False)
            return
        sessions = sum(s.run == meant.run and s.grant == meant.grant for s in self.console.feed.sessions)
        body = f"{safe(meant.grant)} · {safe(meant.subject)}\nrun {safe(meant.run)}, {plural(sessions, 'session')}\n\nAll of them get 57P01, and it cannot log in again."
        self.app.push_screen(
            Confirm("End this run?", body, "end it"),
            lambda sure: (
                self.console.ask_for(self.console.operator.end_run(meant.run), "run ended") if sure else None
            ),
        )


def _session_columns(width: int) -> tuple[int, int]:
    """Widths of run and database."""
    return (20, 14) if width >= 100 else (11, 10)


def _welcome(hints: Sequence[str], width: int) -> list[Span]:
    spans: list[Span] = [
        ("Nobody is logged in yet.\n\n", "strong"),
        ("Every statement, decision and masked value will show up here. In another terminal:\n\n", "dim"),
    ]
    for hint in hints:
        spans += [*joined(wrap([("  ", ""), (safe(hint), "accent")], width, hang=4)[:3]), ("\n", "")]
    spans += [("\n", ""), ("y", "key"), (" copies a line and shows it in full", "dim")]
    return spans
