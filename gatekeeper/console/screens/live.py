"""What happens now: who is logged in, and each statement with what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widget import Widget
from textual.widgets import Input, Static

from gatekeeper.console import brief, columns
from gatekeeper.console.feed import Changed
from gatekeeper.console.screens.confirm import Confirm
from gatekeeper.console.screens.desk import Desk
from gatekeeper.console.screens.details import Details
from gatekeeper.console.screens.hints import HintLines
from gatekeeper.console.text import Span, content, count, joined, plural, safe, time_of_day
from gatekeeper.console.widgets.bars import Hint, KeyBar, Line
from gatekeeper.console.widgets.rows import Rows
from gatekeeper.control.operator import SessionView, StatementView

_NEWCOMER: Final = (
    Hint("y", "copy a login line"),
    Hint("ctrl+p", "palette"),
    Hint("?", "help", "question_mark"),
)
_SESSIONS_WIDE: Final = 46
_FLOOD: Final = 100
"""Statements between two looks that are more than anyone reads."""
_SKIPPED: Final = 2
_BESIDE: Final = 132
"""Columns from which the stream is beside the sessions and not below."""


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
        ("enter", "details; on a session: its statements alone"),
        ("/", "filter as you type; -word leaves out"),
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
        self._laid_out: tuple[object, ...] = ()
        self._in_panel: SessionView | None = None
        self._behind = 0
        """Snapshots whose statements are not drawn yet."""
        self._flooded = False
        self._drawn_cursor = 0
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
                    heading=columns.session_heading,
                    empty=[("  nobody is logged in", "faint")],
                    id="sessions",
                )
                yield Static(id="session")
            with Vertical(id="stream-box"):
                yield Line(id="stream-title")
                yield Rows[StatementView](
                    key=lambda s: (s.session, s.n),
                    depends=lambda s: (self.only is None, s.outcome is None and self.console.feed.runs(s)),
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
            self._draw_session()
        if self._due(changed):
            self._show_statements()
        if changed & (Changed.METRICS | Changed.SESSIONS):
            self._draw_metrics()
        if changed & Changed.NOTICES:
            self._draw_notice()
        self._draw_titles()

    def _due(self, changed: Changed) -> bool:
        """Whether to draw the stream: in a flood that no one can read, only every third time."""
        if not changed & Changed.STATEMENTS and not self._behind:
            return False
        flood = self.console.feed.cursor - self._drawn_cursor > _FLOOD and self._drawn_cursor > 0
        if flood and self._behind < _SKIPPED and self._flooded:
            self._behind += 1
            return False
        self._flooded, self._behind = flood, 0
        self._drawn_cursor = self.console.feed.cursor
        return True

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
        new = (self.size, len(feed.sessions), bool(feed.statements), feed.hints)
        if new == self._laid_out:
            return
        self._laid_out = new
        newcomer = bool(feed.hints) and not feed.sessions and not feed.statements
        self.query_one("#main").display = not newcomer
        welcome = self.query_one("#welcome", Static)
        welcome.display = newcomer
        self.query_one(KeyBar).set_hints(_NEWCOMER if newcomer else self.HINTS)
        if newcomer:
            welcome.update(content(joined(columns.welcome(feed.hints, self.size.width - 8))))
        self.query_one("#main").set_class(self._beside, "-beside")
        box = self.query_one("#sessions-box")
        if self._beside:
            box.styles.height = "1fr"
            self._sessions.set_heading(None)
        else:
            most = max(3, (self.size.height - 6) // 3)
            box.styles.height = min(max(1, len(feed.sessions)), most - 2) + 2
            self._sessions.set_heading(columns.session_heading)

    def _draw_session(self) -> None:
        panel = self.query_one("#session", Static)
        chosen = self._sessions.current
        panel.display = self._beside and chosen is not None
        if panel.display and chosen is not None and chosen is not self._in_panel:
            self._in_panel = chosen
            panel.update(content(joined(columns.session_panel(chosen, _SESSIONS_WIDE - 3))))

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
        metrics = columns.metrics_line(self.console.feed.metrics, self.size.width)
        self.query_one("#metrics", Line).show(metrics)

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

    def _session(self, seen: SessionView, width: int) -> brief.Lines:
        draw = columns.session_card if self._beside else columns.session_line
        return draw(seen, width, self.console.clock(), chosen=seen.id == self.only)

    def _statement(self, seen: StatementView, width: int) -> brief.Lines:
        runs = seen.outcome is None and self.console.feed.runs(seen)
        return columns.statement_line(seen, width, who=self.only is None, runs=runs)

    # --- keys -------------------------------------------------------------------------------------------

    def on_descendant_focus(self) -> None:
        """Show where the keys go."""
        self._draw_titles()

    def on_rows_chosen(self, event: Rows.Chosen) -> None:
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
        self._draw_session()
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
        body = (
            f"{safe(meant.grant)} · {safe(meant.subject)}\n"
            f"on {safe(meant.database)}, session {safe(meant.id)}\n"
            "\nIts client gets 57P01; what it has open is rolled back."
        )
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
        body = (
            f"{safe(meant.grant)} · {safe(meant.subject)}\n"
            f"run {safe(meant.run)}, {plural(sessions, 'session')}\n"
            "\nAll of them get 57P01, and it cannot log in again."
        )
        self.app.push_screen(
            Confirm("End this run?", body, "end it"),
            lambda sure: (
                self.console.ask_for(self.console.operator.end_run(meant.run), "run ended") if sure else None
            ),
        )
