"""The lines at the edges of a screen: where one is, how the gateway does, and which keys there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from gatekeeper.console.text import Span
from gatekeeper.console.widgets.paint import strip

if TYPE_CHECKING:
    from textual import events

_KEY_NAMES: Final = {"escape": "esc", "question_mark": "?", "slash": "/", "plus": "+", "minus": "-"}


class Hint(NamedTuple):
    """A key that the key bar shows."""

    key: str
    label: str
    press: str | None = None
    """The key that a click presses, where `key` is not itself one."""


class Line(Widget):
    """One line of spans; pieces of it can be clicked, and then press a key."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "Line { height: 1; width: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._spans: list[Span] = []
        self._targets: list[tuple[int, int, str]] = []

    def show(self, spans: Sequence[Span], targets: Sequence[tuple[int, int, str]] = ()) -> None:
        """Show these spans, if they are others than now."""
        new, where = list(spans), list(targets)
        if (new, where) != (self._spans, self._targets):
            self._spans, self._targets = new, where
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw it."""
        return strip(self.app, self._spans if y == 0 else (), self.size.width, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        """Press the key that is under the mouse."""
        for start, end, key in self._targets:
            if start <= event.x < end:
                self.app.simulate_key(key)
                return


def length(spans: Sequence[Span]) -> int:
    """Cells that spans fill."""
    return sum(cell_len(text) for text, _ in spans)


def ends(left: Sequence[Span], right: Sequence[Span], width: int) -> list[Span]:
    """Spans at both ends of a line; the right one gives way where there is no room."""
    gap = width - length(left) - length(right)
    return [*left, (" " * gap, ""), *right] if gap >= 1 else list(left)


class KeyBar(Line):
    """The keys of a screen. Those that do not fit are left out from the end; help lists all."""

    DEFAULT_CSS = "KeyBar { dock: bottom; }"

    def __init__(self, hints: Sequence[Hint] = (), *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._hints: tuple[Hint, ...] = tuple(hints)

    def set_hints(self, hints: Sequence[Hint]) -> None:
        """Other keys than before."""
        self._hints = tuple(hints)
        self._lay_out()

    def on_mount(self) -> None:
        """Lay out when the size is known."""
        self._lay_out()

    def on_resize(self) -> None:
        """Lay out anew."""
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.size.width
        spans: list[Span] = [(" ", "")]
        targets: list[tuple[int, int, str]] = []
        used = 1
        fixed = self._hints[-1:]
        room = width - sum(_width(h) for h in fixed)
        for hint in [*(h for h in self._hints[:-1]), *fixed]:
            wide = _width(hint)
            if hint not in fixed and used + wide > room:
                continue
            shown = _KEY_NAMES.get(hint.key, hint.key)
            spans += [(shown, "key"), (f" {hint.label}   ", "dim")]
            targets.append((used, used + wide - 2, hint.press or hint.key))
            used += wide
        self.show(spans, targets)


def _width(hint: Hint) -> int:
    return cell_len(_KEY_NAMES.get(hint.key, hint.key)) + 1 + cell_len(hint.label) + 3
