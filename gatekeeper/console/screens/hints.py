"""Lines to log in with, in full: copied by a key, and selectable by the mouse without a break in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from gatekeeper.console.text import content, safe
from gatekeeper.console.widgets.bars import Hint, KeyBar, Line

if TYPE_CHECKING:
    from textual import events

    from gatekeeper.console.base import GatekeeperApp


class HintLines(Screen[None]):
    """One line at a time is chosen; the first is copied at once."""

    HELP_TITLE = "Login lines"
    HELP_KEYS = (("y", "copy the chosen line"), ("↑ ↓", "choose"), ("escape", "back"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "copy", show=False),
        Binding("up", "choose(-1)", show=False),
        Binding("down", "choose(1)", show=False),
        Binding("escape", "app.pop_screen", show=False),
    ]

    def __init__(self, hints: Sequence[str]) -> None:
        super().__init__()
        self._hints = tuple(hints)
        self.chosen = 0

    def compose(self) -> ComposeResult:
        """Each line whole."""
        title = Line(id="tabs")
        title.show([(" Log in with ", "key")])
        yield title
        with VerticalScroll(can_focus=False):
            yield Static(
                content(
                    [
                        (
                            "Paste one of these in another terminal: y copies it, and the mouse selects it.",
                            "dim",
                        )
                    ]
                )
            )
            for hint in self._hints:
                # Not wrapped by us: what is selected has to be one line.
                yield Static(content([(safe(hint), "")]), classes="hint")
        yield KeyBar((Hint("y", "copy"), Hint("↑↓", "choose", "down"), Hint("escape", "back")))

    def on_mount(self) -> None:
        """Copy the first."""
        self.action_choose(0)
        self.action_copy()

    def action_choose(self, by: int) -> None:
        """Choose another line."""
        self.chosen = max(0, min(self.chosen + by, len(self._hints) - 1))
        for place, line in enumerate(self.query(".hint")):
            line.set_class(place == self.chosen, "-chosen")
            if place == self.chosen:
                line.scroll_visible(animate=False)

    def on_click(self, event: events.Click) -> None:
        """Choose by mouse."""
        for place, line in enumerate(self.query(".hint")):
            if line is event.widget:
                self.action_choose(place - self.chosen)

    def action_copy(self) -> None:
        """Copy the chosen line."""
        app: GatekeeperApp = self.app  # type: ignore[assignment]
        app.copy(self._hints[self.chosen], "The line is")
