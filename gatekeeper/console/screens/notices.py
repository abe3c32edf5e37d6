"""What the gateway has to say and no statement shows: refused logins, reloads, a failing store."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from gatekeeper.console.screens.drawable import Drawable
from gatekeeper.console.text import Span, date_time, safe, time_of_day, wrap
from gatekeeper.console.widgets.bars import Hint, KeyBar, Line
from gatekeeper.console.widgets.rows import Rows
from gatekeeper.control.operator import Notice

if TYPE_CHECKING:
    from gatekeeper.console.app import ConsoleApp

LEVELS = {"info": ("i", "dim"), "warning": ("!", "warn"), "error": ("✗", "bad")}


class Notices(Drawable, Screen[None]):
    """The last of them, newest at the end."""

    HELP_TITLE = "Notices"
    HELP_KEYS = (("escape", "back"),)
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,n", "app.pop_screen", show=False)]

    def compose(self) -> ComposeResult:
        """A list, two lines each."""
        title = Line(id="tabs")
        title.show([(" Notices ", "key")])
        yield title
        yield Rows[Notice](
            key=lambda n: n.cursor, draw=_row, height=2, empty=[("  nothing to say", "faint")], id="notices"
        )
        yield KeyBar((Hint("?", "help", "question_mark"), Hint("escape", "back")))

    def on_mount(self) -> None:
        """Show what there is."""
        self.refresh_notices()
        self.query_one("#notices", Rows).action_edge(1)

    def refresh_notices(self) -> None:
        """A snapshot came."""
        console: ConsoleApp = self.app  # type: ignore[assignment]
        self.query_one("#notices", Rows).show(console.feed.notices)


def _row(notice: Notice, width: int) -> list[list[Span]]:
    glyph, role = LEVELS[notice.level]
    day = date_time(notice.at).rsplit(" ", 1)[0]
    spans: list[Span] = [
        (f" {glyph} ", role),
        (f"{day} {time_of_day(notice.at)}  ", "faint"),
        (safe(notice.text), role),
    ]
    return wrap(spans, width - 1, hang=3)
