"""The recorded sessions, to be searched and replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from gatekeeper.console.screens.desk import Desk
from gatekeeper.console.screens.replay import Replay
from gatekeeper.console.text import Span, count, date_time, duration, fit, fit_spans, headings, plural, safe
from gatekeeper.console.widgets.bars import Hint, Line, ends
from gatekeeper.console.widgets.rows import Rows
from gatekeeper.errors import GatekeeperError
from gatekeeper.recording.views import RecordedSession

if TYPE_CHECKING:
    from textual.worker import Worker

    from gatekeeper.console.base import GatekeeperApp

_LIMIT = 200
_PAUSE_S = 0.15
"""How long the person has to stop typing before the store is searched."""


class Recordings(Desk):
    """Sessions, newest first."""

    TAB = "recordings"
    HINTS = (
        Hint("enter", "replay"),
        Hint("/", "search", "slash"),
        Hint("r", "read again"),
        Hint("?", "help", "question_mark"),
    )
    HELP_TITLE = "Recordings"
    HELP_KEYS = (
        ("enter", "replay the session"),
        ("/", "search SQL, subject, grant, run, database; escape clears"),
        ("r", "read the list again"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", show=False),
        Binding("r", "read", show=False),
        Binding("escape", "clear", show=False),
    ]
    AUTO_FOCUS = "#list"

    def __init__(self) -> None:
        super().__init__()
        self.search = ""
        self.problem: str | None = None
        self._reading = True

    def body(self) -> Iterable[Widget]:
        """The list."""
        yield Line(id="list-title")
        yield Rows[RecordedSession](
            key=lambda s: s.id,
            draw=self._row,
            heading=self._heading,
            empty=[("  no sessions", "faint")],
            id="list",
        )
        yield Input(id="filter", placeholder="words in SQL, subject, grant, run, database")

    def on_mount(self) -> None:
        """No search yet."""
        self.query_one("#filter").display = False

    @property
    def _list(self) -> Rows[RecordedSession]:
        return self.query_one("#list", Rows)

    @property
    def gatekeeper(self) -> GatekeeperApp:
        """The application, over recordings alone or live."""
        return self.app  # type: ignore[return-value]

    def on_screen_resume(self) -> None:
        """Read what came while another screen was shown."""
        super().on_screen_resume()
        self.action_read()

    def on_resize(self) -> None:
        """Where the recordings are fits the new width."""
        super().on_resize()
        self._draw_title()

    def action_read(self) -> None:
        """Read the list from the store."""
        self._read(0.0)

    def _read(self, after_s: float) -> None:
        # A function, not a coroutine: one that is replaced before it starts would never be awaited.
        fetch = partial(self._fetch, self.search, after_s)
        self._reader: Worker[None] = self.run_worker(fetch, group="list", exclusive=True)

    async def _fetch(self, search: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        try:
            found = await self.gatekeeper.reader.sessions(search, _LIMIT)
        except GatekeeperError as error:
            self.problem = str(error)
        else:
            self.problem, self._reading = None, False
            self._list.show(found)
        self._draw_title()

    def _draw_title(self) -> None:
        found = len(self._list.items)
        left: list[Span] = [(" Recordings ", "key")]
        if self.problem:
            left.append((safe(self.problem), "bad"))
        elif self._reading:
            left.append(("reading …", "faint"))
        else:
            left.append((plural(found, "session") + (", the newest" if found == _LIMIT else ""), "dim"))
        if self.search:
            left += [("   / ", "key"), (safe(self.search), "accent")]
        self.query_one("#list-title", Line).show(
            ends(left, [(safe(self.store_name), "faint"), (" ", "")], self.size.width)
        )

    @property
    def store_name(self) -> str:
        """Where the recordings are."""
        return self.console.feed.store if self.is_live else ""

    def _heading(self, width: int) -> list[Span]:
        who, run, database, reason = _columns(width)
        named = f"  {'started':<14}{'who':<{who}}" + (f"{'run':<{run}}" if run else "")
        named += f"{'database':<{database}}{'length':>8}{'sent':>7}{'refused':>9}{'held':>6}"
        return headings(named + ("   ended" if reason else ""))

    def _row(self, seen: RecordedSession, width: int) -> list[list[Span]]:
        who, run, database, reason = _columns(width)
        named: list[Span] = [(safe(seen.grant), "strong"), ("  ", ""), (safe(seen.subject), "dim")]
        live = seen.ended_at is None
        length: Span = ("live", "ok") if live else (duration((seen.ended_at or 0) - seen.started_at), "")
        spans: list[Span] = [
            ("● " if live else "  ", "ok"),
            (fit(date_time(seen.started_at), 14), "dim"),
            *fit_spans(named, who - 1),
            (" ", ""),
            (fit(safe(seen.run), run - 1) + " " if run else "", "dim"),
            (fit(safe(seen.database), database - 1) + " ", ""),
            (f"{length[0]:>8}", length[1]),
            (f"{count(seen.statements):>7}", ""),
            (f"{count(seen.refused) if seen.refused else '·':>9}", "bad" if seen.refused else "faint"),
            (f"{count(seen.held) if seen.held else '·':>6}", "held" if seen.held else "faint"),
        ]
        if reason:
            spans += [("   ", ""), (safe(seen.end_reason or ""), "dim")]
        return [spans]

    # --- keys -------------------------------------------------------------------------------------------

    def on_rows_chosen(self) -> None:
        """Replay."""
        chosen = self._list.current
        if chosen is not None:
            self.app.push_screen(Replay(chosen.id))

    def action_search(self) -> None:
        """Search as one types."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search the store, when the typing pauses."""
        self.search = event.value.strip()
        self._read(_PAUSE_S)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the search and go back to the list."""
        event.input.display = bool(event.value)
        self._list.focus()

    def action_clear(self) -> None:
        """Show everything again."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self._list.focus()


def _columns(width: int) -> tuple[int, int, int, int]:
    """Widths of who, run, database and the reason of the end."""
    run, database, reason = (18, 11, 22) if width >= 120 else (0, 10, 0)
    return max(1, width - 16 - run - database - 30 - reason - 1), run, database, reason
