"""What both applications share: themes, the clock, a place for the smallest terminal, and a silent crash.

The gateway may run in this very loop, so nothing here may change how the loop works for others, and
nothing that goes wrong here may show what the console held.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.filter import Monochrome, NoColor
from textual.screen import Screen
from textual.widgets import Input, TextArea

from gatekeeper.console.crash import place
from gatekeeper.console.screens.confirm import Confirm
from gatekeeper.console.screens.help import Help
from gatekeeper.console.screens.small import TooSmall
from gatekeeper.console.themes import THEMES

if TYPE_CHECKING:
    from textual import events

    from gatekeeper.recording.views import RecordingReader

SMALLEST: Final = (60, 16)
"""Columns and lines below which nothing but one line is shown."""

Clock = Callable[[], float]


class GatekeeperApp(App[int]):
    """An application over recordings; the console adds what is live."""

    TITLE = "Gatekeeper"
    CSS_PATH = Path(__file__).parent / "styles" / "console.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit", show=False),
        Binding("question_mark", "help", "Help", show=False),
    ]
    NOTIFICATION_TIMEOUT = 4.0

    def __init__(
        self,
        reader: RecordingReader,
        *,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        confirm_quit: str | None = None,
    ) -> None:
        """`clock` gives Unix time; `confirm_quit` is asked before leaving while sessions are live."""
        super().__init__()
        self.reader = reader
        self.clock = clock
        self.monotonic = monotonic
        self.crash: str | None = None
        """Where an exception ended the application; None while none did."""
        self._confirm_quit = confirm_quit
        self._task_factory = asyncio.get_running_loop().get_task_factory() if _in_a_loop() else None
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = THEMES[0].name
        if self.no_color:
            # Grey is a colour too: NO_COLOR asks for none at all.
            self._filters = [f for f in self._filters if not isinstance(f, Monochrome)] + [NoColor()]

    def on_load(self) -> None:
        """Give the loop its own way of starting tasks back: Textual changes it on newer Pythons."""
        asyncio.get_running_loop().set_task_factory(self._task_factory)

    @property
    def typing(self) -> bool:
        """Whether the next key belongs to a field."""
        return isinstance(self.focused, Input | TextArea)

    @property
    def live_sessions(self) -> int:
        """Sessions that would end with the gateway."""
        return 0

    # --- a crash ----------------------------------------------------------------------------------------

    def _handle_exception(self, error: Exception) -> None:
        """End without a word: Textual's own report prints locals, in which SQL and tokens are."""
        self._return_code = 1
        if self._exception is None:
            self.crash = place(error)
            self._exception = error
            self._exception_event.set()
        self._exit_renderables.clear()
        self._close_messages_no_wait()

    def _fatal_error(self) -> None:
        self._exit_renderables.clear()
        self._close_messages_no_wait()

    def _print_error_renderables(self) -> None:
        self._exit_renderables.clear()

    # --- size -------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Put one clear line over everything where there is no room for more."""
        small = event.size.width < SMALLEST[0] or event.size.height < SMALLEST[1]
        over = [s for s in self.screen_stack if isinstance(s, TooSmall)]
        if small and not over:
            self.push_screen(TooSmall())
        elif not small and over and self.screen is over[-1]:
            self.pop_screen()

    # --- keys -------------------------------------------------------------------------------------------

    def action_help(self) -> None:
        """Show the keys of this screen."""
        self.push_screen(Help(self.screen))

    async def action_quit(self) -> None:
        """Leave, after a question where the gateway would go too."""
        if self._confirm_quit and self.live_sessions:
            if not isinstance(self.screen, Confirm):
                self.push_screen(Confirm("Leave?", self._confirm_quit, "leave"), self._leave)
            return
        self.exit(0)

    def _leave(self, sure: bool | None) -> None:
        if sure:
            self.exit(0)

    def copy(self, text: str, what: str) -> None:
        """Hand a text to the terminal's clipboard (OSC 52)."""
        self.copy_to_clipboard(text)
        self.notify(f"{what} copied, where the terminal lets programs copy", markup=False)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette offers, over any screen."""
        del screen
        yield SystemCommand("Help", "The keys of this screen", self.action_help)
        for theme in THEMES:
            yield SystemCommand(
                f"Theme: {theme.name.removeprefix('gatekeeper-')}",
                "Other colours",
                lambda name=theme.name: self.set_theme(name),
            )
        yield SystemCommand("Quit", "Leave the console", self.action_quit)

    def set_theme(self, name: str) -> None:
        """Other colours, at once."""
        self.theme = name


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
