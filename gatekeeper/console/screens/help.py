"""The keys of a screen, and those that work everywhere."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from gatekeeper.console.text import Span, content, joined, wrap
from gatekeeper.console.widgets.bars import Hint, KeyBar

Keys = tuple[tuple[str, str], ...]

LISTS: Final[Keys] = (
    ("↑ ↓ pgup pgdn", "move; home and end go to the edges"),
    ("enter", "open"),
    ("tab", "next list"),
)
EVERYWHERE: Final[Keys] = (
    ("?", "this help"),
    ("ctrl+p", "command palette; themes are there"),
    ("q", "quit"),
)


_WIDE: Final = 76


class Help(ModalScreen[None]):
    """Closes with any of the keys that one would try."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Close", show=False),
        Binding("up", "scroll(-1)", show=False),
        Binding("down", "scroll(1)", show=False),
    ]

    def __init__(self, over: Screen[object]) -> None:
        super().__init__()
        self._title: str = getattr(over, "HELP_TITLE", "Keys")
        self._keys: Keys = getattr(over, "HELP_KEYS", ())
        live = getattr(over, "is_live", True)
        self._everywhere: Keys = getattr(over, "HELP_EVERYWHERE", EVERYWHERE) if live else EVERYWHERE

    def compose(self) -> ComposeResult:
        """Two groups of keys."""
        lines: list[list[Span]] = []
        for title, keys in ((self._title, self._keys), ("Lists", LISTS), ("Everywhere", self._everywhere)):
            lines += [*([[]] if lines else []), [(title, "strong")]]
            for key, what in keys:
                lines += wrap([(f"  {key:<18}", "key"), (what, "")], _WIDE - 5, hang=20)
        with Vertical(classes="box") as box:
            box.border_title = "Help"
            with VerticalScroll(can_focus=False):
                yield Static(content(joined(lines)))
            yield KeyBar((Hint("escape", "close"),))

    def action_scroll(self, by: int) -> None:
        """Scroll, where the terminal is low."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def on_resize(self) -> None:
        """Leave room for the frame and the keys."""
        self.query_one(VerticalScroll).styles.max_height = max(4, self.app.size.height - 3)

    async def action_dismiss(self, result: None = None) -> None:
        """Close."""
        self.dismiss(result)
