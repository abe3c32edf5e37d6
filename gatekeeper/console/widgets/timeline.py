"""The timeline of a replay: where it is, where the notable records and the cut silences are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

from gatekeeper.console.player import Player, notable
from gatekeeper.console.text import VERDICTS, Span, clock_span, duration
from gatekeeper.console.widgets.bars import Line

if TYPE_CHECKING:
    from textual import events


class Timeline(Line):
    """A line that can be clicked."""

    class Sought(Message):
        """The person clicked at a place, 0 to 1."""

        def __init__(self, share: float) -> None:
            super().__init__()
            self.share = share

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._from = 0
        self._cells = 1

    def show_player(self, player: Player) -> None:
        """Draw the state of a player."""
        total = len(player.moments)
        head = f" {'▶' if player.playing else '‖'} {player.speed:g}×  {clock_span(player.position_s)} "
        skipped = sum(m.skipped_s for m in player.moments)
        tail = f" {clock_span(player.length_s)}   {min(player.index + 1, total)}/{total}"
        if skipped >= 1:
            tail += f"   ⋯ {duration(skipped)} idle cut" if self.size.width >= 100 else "   ⋯ idle cut"
        tail += " "
        self._from, self._cells = len(head), max(4, self.size.width - len(head) - len(tail))
        self.show([(head, "accent" if player.playing else "strong"), *self._track(player), (tail, "dim")])

    def _track(self, player: Player) -> list[Span]:
        cells, whole = self._cells, player.length_s or 1.0
        here = min(cells - 1, int(player.position_s / whole * cells))
        track: list[Span] = [("━", "accent") if i <= here else ("─", "faint") for i in range(cells)]
        for moment in player.moments:
            place = min(cells - 1, int(moment.start_s / whole * cells))
            if notable(moment.record):
                glyph, _word, role = VERDICTS[moment.record.verdict or "block"]
                track[place] = (glyph, role)
            elif moment.skipped_s >= 1 and track[place][0] in "━─":
                track[place] = ("⋯", "warn")
        track[here] = ("●", "key")
        return track

    def on_click(self, event: events.Click) -> None:
        """Seek."""
        share = (event.x - self._from) / self._cells
        if 0 <= share <= 1:
            self.post_message(self.Sought(share))
