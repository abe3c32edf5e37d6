"""A recorded session, replayed: its timeline, its statements, and their rows as the agent saw them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from gatekeeper.console import brief
from gatekeeper.console import sql as sqltext
from gatekeeper.console.player import Moment, Player
from gatekeeper.console.screens.details import Details
from gatekeeper.console.screens.drawable import Drawable
from gatekeeper.console.table import result_lines
from gatekeeper.console.text import (
    VERDICTS,
    Span,
    content,
    count,
    date_time,
    duration,
    fit_spans,
    is_sqlstate,
    joined,
    millis,
    safe,
    time_of_day,
    verdict_spans,
)
from gatekeeper.console.widgets.bars import Hint, KeyBar, Line, ends
from gatekeeper.console.widgets.rows import Rows
from gatekeeper.console.widgets.timeline import Timeline
from gatekeeper.errors import GatekeeperError

if TYPE_CHECKING:
    from gatekeeper.console.base import GatekeeperApp
    from gatekeeper.recording.views import RecordView

_FRAME_S = 0.1
_BESIDE = 120
_RECORDS_WIDE = 54

KINDS = {
    "login": ("→", "login", "ok"),
    "login_failed": ("✗", "login failed", "bad"),
    "session_end": ("■", "session ended", "dim"),
    "reload": ("↻", "rules reloaded", "accent"),
    "operator": ("◇", "operator", "accent"),
}
"""Glyph, words and role of records that are no statements."""


class Replay(Drawable, Screen[None]):
    """Plays, steps and seeks."""

    HELP_TITLE = "Replay"
    HELP_KEYS = (
        ("space", "play, pause"),
        ("← →", "one record back, one on"),
        ("+ -", "faster, slower"),
        ("n N", "next, last refused or held statement"),
        ("enter", "details of the statement"),
        ("tab", "to the rows, to scroll them"),
        ("escape", "back"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "play", show=False, priority=True),
        Binding("left", "step(-1)", show=False, priority=True),
        Binding("right", "step(1)", show=False, priority=True),
        Binding("plus,equals_sign", "faster(1)", show=False),
        Binding("minus", "faster(-1)", show=False),
        Binding("n", "notable(1)", show=False),
        Binding("N", "notable(-1)", show=False),
        Binding("escape", "back", show=False),
    ]
    AUTO_FOCUS = "#records"

    def __init__(self, session: str) -> None:
        super().__init__()
        self.session = session
        self.player = Player(())
        self.problem: str | None = None
        self._drawn: tuple[object, ...] = ()
        self._last: float | None = None
        self._follow = True

    def compose(self) -> ComposeResult:
        """Title, timeline, records, the statement and its rows."""
        yield Line(id="tabs")
        yield Timeline(id="timeline")
        with Container(id="main"):
            with Vertical(id="records-box"):
                yield Rows[Moment](
                    key=lambda m: m.record.seq, draw=self._row, empty=[("  reading …", "faint")], id="records"
                )
            with Vertical(id="shown-box"):
                yield Line(id="shown-title")
                with VerticalScroll(id="shown"):
                    yield Static(id="sql")
                    yield Static(id="result")
                    yield Static(id="facts")
        yield KeyBar(
            (
                Hint("space", "play"),
                Hint("← →", "step", "right"),
                Hint("+ -", "speed", "plus"),
                Hint("n", "next refused or held"),
                Hint("enter", "details"),
                Hint("?", "help", "question_mark"),
                Hint("escape", "back"),
            )
        )

    @property
    def gatekeeper(self) -> GatekeeperApp:
        """The application."""
        return self.app  # type: ignore[return-value]

    @property
    def _records(self) -> Rows[Moment]:
        return self.query_one("#records", Rows)

    def on_mount(self) -> None:
        """Read the session, and let time pass."""
        self.run_worker(self._read(), group="read")
        self.set_interval(_FRAME_S, self.frame)

    async def _read(self) -> None:
        try:
            records = await self.gatekeeper.reader.records(self.session)
        except GatekeeperError as error:
            self.problem = str(error)
        else:
            self.player = Player(records)
            self._records.show(self.player.moments)
            if records:
                self.session = records[0].session
        self.draw()

    def frame(self) -> None:
        """A tenth of a second went by."""
        now = self.gatekeeper.monotonic()
        passed = 0.0 if self._last is None else now - self._last
        self._last = now
        if self.player.playing:
            self.player.advance(passed)
            self.draw()

    def on_resize(self) -> None:
        """Fit to the size."""
        self._drawn = ()
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Draw what is not yet drawn so."""
        if not self.drawable:
            return
        player = self.player
        self.query_one("#main").set_class(self.size.width >= _BESIDE, "-beside")
        self._draw_title()
        self.query_one(Timeline).show_player(player)
        moment = player.current
        if moment is None:
            if self.problem:
                self.query_one("#facts", Static).update(content([(safe(self.problem), "bad")]))
            return
        running = player.running(moment)
        now = (player.index, running, self.size)
        if now == self._drawn:
            return
        self._drawn = now
        if self._records.cursor != player.index:
            self._records.move_to(player.index)
        self._records.refresh()
        self._draw_shown(moment.record, running=running)

    def _draw_title(self) -> None:
        player = self.player
        first = player.moments[0].record if player.moments else None
        left: list[Span] = [(" Replay ", "key"), (safe(self.session), "dim")]
        if first is not None:
            left += [("   ", ""), (safe(first.grant), "strong"), (" · ", "faint"), (safe(first.subject), "")]
            left += [(" · ", "faint"), (safe(first.database), "")]
        right: list[Span] = [(date_time(first.at) if first else "", "dim"), (" ", "")]
        self.query_one("#tabs", Line).show(ends(left, right, self.size.width))

    def _draw_shown(self, record: RecordView, *, running: bool) -> None:
        beside = self.size.width >= _BESIDE
        width = self.size.width - (_RECORDS_WIDE if beside else 0) - 4
        title: list[Span] = []
        if record.kind == "statement":
            title = [(" ", ""), *verdict_spans(record.verdict or "?", record.outcome), ("   ", "")]
            title += brief.outcome(None if running else record.outcome, record.rows, record.duration_ms)
        else:
            glyph, words, role = KINDS.get(record.kind, ("?", safe(record.kind), "dim"))
            title = [(f" {glyph} {words}", role)]
        sql = brief.statement(record.sql, width) if record.sql is not None else []
        facts = [] if running else brief.of_record(record, width, title=False)
        result = [] if running else result_lines(record, width)
        self.query_one("#shown-title", Line).show(title)
        for name, lines in (("#sql", sql), ("#result", result), ("#facts", facts)):
            part = self.query_one(name, Static)
            part.display = bool(lines)
            part.update(content(joined(lines)))
        self.query_one("#shown").scroll_home(animate=False)

    def _row(self, moment: Moment, width: int) -> list[list[Span]]:
        record, player = moment.record, self.player
        come = moment.start_s <= player.position_s + 1e-6
        if record.kind == "statement":
            glyph, _word, role = VERDICTS.get(record.verdict or "", ("?", "", "warn"))
            sql = list(sqltext.one_line(record.sql or ""))
        else:
            glyph, words, role = KINDS.get(record.kind, ("?", record.kind, "dim"))
            sql = [(words, role), (f"  {safe(record.detail)}" if record.detail else "", "dim")]
        gap = f"⋯ {duration(moment.skipped_s)} skipped " if moment.skipped_s >= 1 else ""
        outcome: list[Span] = []
        if record.outcome and come and not player.running(moment):
            failed = is_sqlstate(record.outcome)
            outcome = [
                (
                    record.outcome if failed else count(record.rows) if record.rows is not None else "",
                    "bad" if failed else "",
                )
            ]
            outcome += [(f"{millis(record.duration_ms):>9}" if record.duration_ms is not None else "", "dim")]
        right = fit_spans(outcome, 16, right=True)
        middle = fit_spans([(gap, "warn"), *sql], width - 30)
        spans: list[Span] = [
            (f" {time_of_day(record.at)} ", ""),
            (f"{glyph} ", role),
            *middle,
            (" ", ""),
            *right,
            (" ", ""),
        ]
        return [spans if come else [(text, "faint") for text, _ in spans]]

    # --- keys -------------------------------------------------------------------------------------------

    def on_rows_moved(self) -> None:
        """The person went to another record."""
        if self._records.cursor != self.player.index:
            self.player.playing = False
            self.player.go(self._records.cursor)
        self.draw()

    def on_rows_chosen(self) -> None:
        """Details."""
        moment = self.player.current
        if moment is not None and moment.record.kind == "statement":
            self.player.playing = False
            self.app.push_screen(Details(moment.record))

    def on_timeline_sought(self, event: Timeline.Sought) -> None:
        """A click on the timeline."""
        self.player.seek(event.share)
        self.draw()

    def action_play(self) -> None:
        """Play or pause."""
        self._last = None
        self.player.toggle()
        self.draw()

    def action_step(self, by: int) -> None:
        """One record on, or back."""
        self.player.step(by)
        self.draw()

    def action_faster(self, by: int) -> None:
        """Faster or slower."""
        self.player.faster(by)
        self.draw()

    def action_notable(self, by: int) -> None:
        """To the next refused or held statement."""
        if not self.player.next_notable(by):
            self.app.notify("No other one that way", markup=False)
        self.draw()

    def action_back(self) -> None:
        """To the list; out of the program where there is none below."""
        self.app.pop_screen()
