"""The console's applications, and how they are started: over a running gateway, or over recordings alone.

Ten times a second one snapshot is asked for, and what it changed is drawn; nothing is drawn per statement.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from gatekeeper.console.base import Clock, GatekeeperApp
from gatekeeper.console.crash import ConsoleError
from gatekeeper.console.feed import Changed, Feed
from gatekeeper.console.screens.approvals import Approvals
from gatekeeper.console.screens.desk import TABS, Desk
from gatekeeper.console.screens.live import Live
from gatekeeper.console.screens.notices import Notices
from gatekeeper.console.screens.prompt import ARMED_AFTER_S, Prompt
from gatekeeper.console.screens.recordings import Recordings
from gatekeeper.console.screens.replay import Replay
from gatekeeper.console.screens.rules import RulesScreen
from gatekeeper.console.screens.small import TooSmall
from gatekeeper.console.text import safe
from gatekeeper.errors import OperatorError

if TYPE_CHECKING:
    from gatekeeper.control.operator import ApprovalView, Operator
    from gatekeeper.recording.views import RecordingReader

POLL_S: Final = 0.1
_LOST_POLL_S: Final = 1.0
"""How often a gateway that does not answer is asked."""


class ConsoleApp(GatekeeperApp):
    """The console of a running gateway."""

    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "live": Live,
        "approvals": Approvals,
        "recordings": Recordings,
        "rules": RulesScreen,
    }
    DEFAULT_MODE = "live"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"go('{tab}')", show=False) for key, _label, tab in TABS),
        Binding("n", "notices", show=False),
    ]

    def __init__(
        self,
        operator: Operator,
        *,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        poll_s: float | None = POLL_S,
        armed_after_s: float = ARMED_AFTER_S,
        confirm_quit: str | None = None,
    ) -> None:
        """`poll_s` None: only `poll()` asks for a snapshot, which is for tests."""
        super().__init__(operator, clock=clock, monotonic=monotonic, confirm_quit=confirm_quit)
        self.operator = operator
        self.feed = Feed()
        self._poll_s = poll_s
        self._armed_after_s = armed_after_s
        self._put_off: set[str] = set()
        self._announced: set[str] = set()
        self._ticked = 0

    def on_mount(self) -> None:
        """Begin to ask."""
        if self._poll_s is not None:
            self.run_worker(self._poll_for_ever(self._poll_s), name="poll")

    @property
    def live_sessions(self) -> int:
        """Sessions that would end with the gateway."""
        return len(self.feed.sessions)

    # --- the feed ---------------------------------------------------------------------------------------

    async def _poll_for_ever(self, every_s: float) -> None:
        while True:
            await self.poll()
            await asyncio.sleep(every_s if self.feed.problem is None else _LOST_POLL_S)

    async def poll(self) -> None:
        """Ask for a snapshot and draw what it changed."""
        try:
            snapshot = await self.operator.snapshot(after=self.feed.cursor)
        except OperatorError as error:
            changed = self.feed.lost(str(error), self.clock())
        else:
            changed = self.feed.take(snapshot)
        self.draw(changed)

    def draw(self, changed: Changed) -> None:
        """Draw on whatever is in sight."""
        second = int(self.monotonic())
        ticked, self._ticked = second != self._ticked, second
        for screen in self.screen_stack:
            match screen:
                case Desk():
                    if changed:
                        screen.draw(changed)
                    if ticked and screen.drawable:
                        screen.tick()
                case Prompt() if screen.drawable:
                    if changed & Changed.APPROVALS:
                        screen.refresh_approval()
                    screen.tick()
                case Notices() if screen.drawable and changed & Changed.NOTICES:
                    screen.refresh_notices()
                case _:
                    pass
        self._consider()

    # --- approvals --------------------------------------------------------------------------------------

    def put_off(self, ident: str) -> None:
        """Not to be asked again unless the person asks for it."""
        self._put_off.add(ident)

    def to_ask(self, but: str | None = None) -> ApprovalView | None:
        """The oldest that waits and was not put off."""
        return next((a for a in self.feed.waiting if a.id not in self._put_off and a.id != but), None)

    def ask(self, approval: ApprovalView) -> None:
        """Open the prompt for this one."""
        self.push_screen(Prompt(approval, armed_after_s=self._armed_after_s))

    def _consider(self) -> None:
        """Pop up what waits, unless the next key is meant for a field or another question."""
        if not self.feed.approvals:
            return
        self._put_off &= self.feed.seen.keys()
        approval = self.to_ask()
        if approval is None or any(isinstance(s, Prompt) for s in self.screen_stack):
            return
        if not (self.typing or self.screen.is_modal):
            self.ask(approval)
        elif approval.id not in self._announced and not isinstance(self.screen, TooSmall):
            self._announced.add(approval.id)
            self.notify(
                f"◆ {safe(approval.grant)} waits for you. It opens when you are done here.",
                severity="warning",
                markup=False,
            )

    def ask_for(self, doing: Coroutine[Any, Any, object], done: str) -> None:
        """Do something at the gateway and say how it went."""
        self.run_worker(self._do(doing, done), group="operator")

    async def _do(self, doing: Coroutine[Any, Any, object], done: str) -> None:
        try:
            await doing
        except OperatorError as error:
            self.notify(safe(str(error)), severity="error", markup=False)
        else:
            self.notify(done, markup=False)

    # --- keys -------------------------------------------------------------------------------------------

    async def action_go(self, tab: str) -> None:
        """Show one of the main screens."""
        while not isinstance(self.screen, Desk) and len(self.screen_stack) > 1:
            await self.pop_screen()
        await self.switch_mode(tab)

    def action_notices(self) -> None:
        """Show what the gateway has to say."""
        self.push_screen(Notices())

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette offers."""
        for key, label, tab in TABS:
            yield SystemCommand(
                label, f"Show it ({key})", lambda tab=tab: self.call_later(self.action_go, tab)
            )
        yield SystemCommand("Notices", "Refused logins, reloads, trouble (n)", self.action_notices)
        if isinstance(screen, Live):
            yield SystemCommand("Pause the stream", "Or go on (p)", screen.action_pause)
            yield SystemCommand("Follow the stream", "Or stay where it is (f)", screen.action_follow)
            yield SystemCommand("Login lines", "Copy them (y)", screen.action_hints)
        waiting = self.to_ask() or next(iter(self.feed.waiting), None)
        if waiting is not None:
            yield SystemCommand("Decide", "The oldest statement that waits", lambda: self.ask(waiting))
        yield from super().get_system_commands(screen)


class ReplayApp(GatekeeperApp):
    """Recordings alone, read-only."""

    def __init__(
        self,
        reader: RecordingReader,
        session: str | None = None,
        *,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """`session` is replayed at once; None: the list."""
        super().__init__(reader, clock=clock, monotonic=monotonic)
        self._session = session

    def on_mount(self) -> None:
        """Show the list, and over it the session."""
        self.push_screen(Recordings())
        if self._session is not None:
            self.push_screen(Replay(self._session))


async def show(operator: Operator, *, confirm_quit: str | None = None, headless: bool = False) -> None:
    """Show the console in this loop until the person leaves. ConsoleError: it crashed; the loop goes on."""
    await _shown(ConsoleApp(operator, confirm_quit=confirm_quit), headless=headless)


async def show_replay(reader: RecordingReader, session: str | None = None) -> None:
    """Show recordings until the person leaves. ConsoleError as with `show`."""
    await _shown(ReplayApp(reader, session))


async def _shown(app: GatekeeperApp, *, headless: bool = False) -> None:
    await app.run_async(headless=headless)
    if app.crash is not None:
        raise ConsoleError(f"the console stopped: {app.crash}")


def run_console(operator: Operator) -> int:
    """Show the console in a loop of its own. ConsoleError: it crashed."""
    return asyncio.run(_until_signalled(show(operator)))


def run_replay(reader: RecordingReader, session: str | None = None) -> int:
    """Show recordings in a loop of their own. ConsoleError: it crashed."""
    return asyncio.run(_until_signalled(show_replay(reader, session)))


async def _until_signalled(showing: Coroutine[Any, Any, None]) -> int:
    """Show it until the person leaves; a signal leaves the terminal as it was, too."""
    task = asyncio.create_task(showing, name="console")
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
    return 0
