"""What every main screen has: the line of tabs, how the gateway answers, a body, the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.screen import Screen

from gatekeeper.console.feed import EVERYTHING, Changed
from gatekeeper.console.screens.drawable import Drawable
from gatekeeper.console.screens.help import EVERYWHERE, Keys
from gatekeeper.console.text import Span, duration, safe
from gatekeeper.console.widgets.bars import Hint, KeyBar, Line, ends, length

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

    from gatekeeper.console.app import ConsoleApp

TABS = (
    ("1", "Live", "live"),
    ("2", "Approvals", "approvals"),
    ("3", "Recordings", "recordings"),
    ("4", "Rules", "rules"),
)


class Desk(Drawable, Screen[None]):
    """A main screen. `changed` draws what a snapshot changed; `tick` what time alone changes."""

    TAB: ClassVar[str] = ""
    HINTS: ClassVar[tuple[Hint, ...]] = ()
    HELP_TITLE: ClassVar[str] = ""
    HELP_KEYS: ClassVar[Keys] = ()
    HELP_EVERYWHERE: ClassVar[Keys] = (
        ("1 2 3 4", "live, approvals, recordings, rules"),
        ("n", "notices: refused logins, reloads, trouble"),
        *EVERYWHERE,
    )

    def compose(self) -> ComposeResult:
        """Header, banner, body, keys."""
        yield Line(id="tabs")
        yield Line(id="banner")
        yield from self.body()
        yield KeyBar(self.HINTS)

    def body(self) -> Iterable[Widget]:
        """The part that differs."""
        return ()

    @property
    def console(self) -> ConsoleApp:
        """The application that feeds this screen."""
        from gatekeeper.console.app import ConsoleApp

        assert isinstance(self.app, ConsoleApp)
        return self.app

    @property
    def is_live(self) -> bool:
        """Whether a gateway feeds this screen; not where recordings alone are read."""
        return hasattr(self.app, "feed")

    def on_screen_resume(self) -> None:
        """Draw all that changed while another screen was shown."""
        if not self.is_live:
            self.query_one("#tabs", Line).show(
                [(" Gatekeeper  ", "accent"), ("recordings, read-only", "dim")]
            )
        self.call_after_refresh(self.draw, EVERYTHING)

    def on_resize(self) -> None:
        """Fit to the new size."""
        self.call_after_refresh(self.draw, EVERYTHING)

    def draw(self, changed: Changed) -> None:
        """Draw what changed, the common lines too."""
        if not self.drawable or not self.is_live:
            return
        if changed & (Changed.APPROVALS | Changed.LINK | Changed.METRICS):
            self._draw_tabs()
            self._draw_banner()
        self.changed(changed)

    def changed(self, changed: Changed) -> None:
        """Draw the body's part of it."""

    def tick(self) -> None:
        """A second went by."""
        self._draw_banner()

    def _draw_tabs(self) -> None:
        feed = self.console.feed
        waiting = len(feed.waiting)
        wide = self.size.width >= 100
        spans: list[Span] = [(" Gatekeeper  " if wide else " ", "accent")]
        targets: list[tuple[int, int, str]] = []
        for key, label, tab in TABS:
            start = length(spans)
            here = tab == self.TAB
            spans += [(f" {key} ", "key" if here else "faint"), (label, "strong" if here else "dim")]
            if tab == "approvals" and waiting:
                spans.append((f" ◆ {waiting}", "held"))
            targets.append((start, length(spans) + 1, key))
            spans.append(("   ", ""))
        link: list[Span] = [(safe(feed.listen), "dim"), (" ● ", "ok")]
        if feed.problem is not None or not feed.listen:
            link = (
                [("no answer", "warn"), (" ○ ", "warn")]
                if feed.problem
                else [("connecting", "dim"), (" ○ ", "faint")]
            )
        self.query_one("#tabs", Line).show(ends(spans, link, self.size.width), targets)

    def _draw_banner(self) -> None:
        feed = self.console.feed
        banner = self.query_one("#banner", Line)
        banner.display = feed.problem is not None
        if feed.problem is None:
            return
        lost = duration(self.console.clock() - (feed.lost_at or 0.0))
        spans: list[Span] = [
            (f" ○ No answer for {lost}, asking again; below is what was known. ", "held"),
            (safe(feed.problem), "dim"),
        ]
        banner.show(spans)
