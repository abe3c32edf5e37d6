"""The time left, as a bar that is redrawn only when a cell of it changes."""

from __future__ import annotations

from gatekeeper.console.text import Span, clock_span
from gatekeeper.console.widgets.bars import Line


def bar(share: float, width: int) -> tuple[str, str]:
    """The full and the empty part of a bar of `width` cells."""
    halves = round(max(0.0, min(1.0, share)) * width * 2)
    full, half = divmod(halves, 2)
    left = "━" * full + ("╸" if half else "")
    return left, "─" * (width - len(left))


class Countdown(Line):
    """A calm bar: it grows short, and warms only near the end."""

    def left(self, remaining_s: float, whole_s: float, cells: int) -> None:
        """Show how much is left of the whole, in so many cells."""
        text = f"  {clock_span(max(0.0, remaining_s))} left "
        width = max(4, cells - len(text) - 1)
        share = remaining_s / whole_s if whole_s > 0 else 0.0
        role = "accent" if share > 0.25 else "held"
        full, empty = bar(share, width)
        spans: list[Span] = [
            (" ", ""),
            (full, role),
            (empty, "faint"),
            (text, "dim" if share > 0.25 else "held"),
        ]
        self.show(spans)

    def say(self, spans: list[Span]) -> None:
        """Show how it ended, in place of the time."""
        self.show([(" ", ""), *spans])
