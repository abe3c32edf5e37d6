"""A question before what cannot be undone."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from gatekeeper.console.text import content
from gatekeeper.console.widgets.bars import Hint, KeyBar


class Confirm(ModalScreen[bool]):
    """True for `y` alone; enter does nothing, so that no key meant for elsewhere says yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", show=False),
        Binding("n", "answer(False)", "No", show=False),
        Binding("escape", "answer(False)", "No", show=False),
    ]

    def __init__(self, title: str, body: str, yes: str) -> None:
        """`body` is safe text; `yes` says what `y` does."""
        super().__init__()
        self._title, self._body, self._yes = title, body, yes

    def compose(self) -> ComposeResult:
        """Title, text, keys."""
        with Vertical(classes="box") as box:
            box.border_title = self._title
            yield Static(content([(self._body, "")]), classes="body")
            yield KeyBar((Hint("y", self._yes), Hint("n", "no")))

    def action_answer(self, sure: bool) -> None:
        """Answer and close."""
        self.dismiss(sure)
