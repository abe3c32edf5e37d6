"""One statement with all that is known of it; its text can be selected and copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from gatekeeper.console import brief
from gatekeeper.console.screens.drawable import Drawable
from gatekeeper.console.screens.help import Keys
from gatekeeper.console.table import result_lines
from gatekeeper.console.text import content, joined, safe
from gatekeeper.console.widgets.bars import Hint, KeyBar, Line
from gatekeeper.control.operator import StatementView
from gatekeeper.errors import GatekeeperError
from gatekeeper.recording.views import RecordView

if TYPE_CHECKING:
    from gatekeeper.console.base import GatekeeperApp

_MOST_READ: Final = 2_000
"""A session longer than this is not read whole for the details of one statement."""


class Details(Drawable, Screen[None]):
    """A statement of the stream, completed from the recording, or a recorded one."""

    HELP_TITLE = "Details"
    HELP_KEYS: ClassVar[Keys] = (("y", "copy the SQL"), ("↑ ↓", "scroll"), ("escape", "back"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter", "app.pop_screen", show=False),
        Binding("y", "copy", show=False),
    ]

    def __init__(self, shown: StatementView | RecordView) -> None:
        super().__init__()
        self._live = shown if isinstance(shown, StatementView) else None
        self._record = shown if isinstance(shown, RecordView) else None

    def compose(self) -> ComposeResult:
        """A title, then everything in one scroll."""
        yield Line(id="tabs")
        with VerticalScroll(id="details"):
            yield Static(id="sql")
            yield Static(id="facts")
            yield Static(id="result")
        yield KeyBar(
            (
                Hint("y", "copy SQL"),
                Hint("↑↓", "scroll", "down"),
                Hint("?", "help", "question_mark"),
                Hint("escape", "back"),
            )
        )

    def on_mount(self) -> None:
        """Draw, and look into the recording."""
        self.query_one("#details").focus()
        if self._live is not None and self._live.n <= _MOST_READ:
            self.run_worker(self._complete(self._live), group="details")

    def on_resize(self) -> None:
        """Fit to the size."""
        self.call_after_refresh(self.draw)

    @property
    def _sql(self) -> str:
        if self._record is not None and self._record.sql is not None:
            return self._record.sql
        return self._live.sql if self._live is not None else ""

    def draw(self) -> None:
        """Draw all of it."""
        if not self.drawable:
            return
        width = self.size.width - 5
        live, record = self._live, self._record
        session = live.session if live else record.session if record else ""
        number = f"statement {live.n}" if live else f"record {record.seq}" if record else ""
        self.query_one("#tabs", Line).show([(f" {number} ", "key"), (f" of session {safe(session)}", "dim")])
        self.query_one("#sql", Static).update(content(joined(brief.statement(self._sql, width))))
        facts: brief.Lines = brief.of_statement(live, width) if live else []
        if record is not None:
            told = {line[0][0] for line in facts if line}
            facts += [line for line in brief.of_record(record, width) if not line or line[0][0] not in told]
        self.query_one("#facts", Static).update(content(joined(facts)))
        self.query_one("#result", Static).update(
            content(joined(result_lines(record, width) if record else []))
        )

    async def _complete(self, live: StatementView) -> None:
        app: GatekeeperApp = self.app  # type: ignore[assignment]
        try:
            records = await app.reader.records(live.session)
        except GatekeeperError:
            return
        statements = [r for r in records if r.kind == "statement"]
        same = [r for r in statements if r.at == live.at and (r.sql or "").startswith(live.sql)]
        if not same and len(statements) >= live.n and (statements[live.n - 1].sql or "").startswith(live.sql):
            same = [statements[live.n - 1]]
        if same and self.is_attached:
            self._record = same[0]
            self.draw()

    def action_copy(self) -> None:
        """Copy the SQL as it was sent."""
        app: GatekeeperApp = self.app  # type: ignore[assignment]
        app.copy(self._sql, "The SQL is")
