"""The terminal is too small: one clear line, and no key that could do harm unseen."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Static


class TooSmall(ModalScreen[None]):
    """Covers everything until the terminal has room."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "app.quit", show=False)]

    def compose(self) -> ComposeResult:
        """One line."""
        yield Static(markup=False)

    def on_resize(self) -> None:
        """Say how large it is now."""
        width, height = self.app.size
        self.query_one(Static).update(f"Gatekeeper needs 60×16; this terminal is {width}×{height}.")
