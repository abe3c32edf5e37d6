"""Replays a recorded session with its original timing. Pure: time goes in by `advance`.

A silence longer than `GAP_S` is cut to that and marked, so that a session of a day can be watched; nothing
else about the timing changes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gatekeeper.recording.views import RecordView

GAP_S: Final = 5.0
"""The longest silence that is replayed as it was."""
SPEEDS: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_INSTANT_S: Final = 0.001
"""Between two of the same time, so that each can be stood on."""
TAIL_S: Final = 1.0
"""How long the last record stays before the end."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A record and when it comes in the replay."""

    record: RecordView
    start_s: float
    """Seconds from the start of the replay."""
    end_s: float
    """When its outcome comes."""
    skipped_s: float
    """Silence before it that the replay leaves out."""


def moments(records: Sequence[RecordView], gap_s: float = GAP_S) -> tuple[Moment, ...]:
    """Records in order, with the times of the replay."""
    out: list[Moment] = []
    at = 0.0
    for place, record in enumerate(records):
        skipped = 0.0
        if place:
            gap = max(0.0, record.at - records[place - 1].at)
            skipped = max(0.0, gap - gap_s)
            at += max(_INSTANT_S, min(gap, gap_s))
        lasts = min(gap_s, (record.duration_ms or 0.0) / 1000)
        out.append(Moment(record, at, at + lasts, skipped))
    return tuple(
        Moment(
            m.record,
            m.start_s,
            min(m.end_s, out[i + 1].start_s) if i + 1 < len(out) else m.end_s,
            m.skipped_s,
        )
        for i, m in enumerate(out)
    )


class Player:
    """Where a replay is, and how it goes on."""

    def __init__(self, records: Sequence[RecordView], gap_s: float = GAP_S) -> None:
        self.moments = moments(records, gap_s)
        self._starts = [m.start_s for m in self.moments]
        self.position_s = 0.0
        self.playing = False
        self._speed = SPEEDS.index(1.0)

    @property
    def length_s(self) -> float:
        """The whole replay."""
        return (max(self.moments[-1].end_s, self.moments[-1].start_s + TAIL_S)) if self.moments else 0.0

    @property
    def speed(self) -> float:
        """How many seconds of the replay pass in one."""
        return SPEEDS[self._speed]

    @property
    def index(self) -> int:
        """The newest record that has come; 0 at the start."""
        return max(0, bisect_right(self._starts, self.position_s + _INSTANT_S / 10) - 1)

    @property
    def current(self) -> Moment | None:
        """The newest moment that has come."""
        return self.moments[self.index] if self.moments else None

    @property
    def ended(self) -> bool:
        """Whether the end is reached."""
        return self.position_s >= self.length_s

    def running(self, moment: Moment) -> bool:
        """Whether its outcome has yet to come."""
        return self.playing and self.position_s < moment.end_s

    def advance(self, seconds: float) -> None:
        """Time went by."""
        if not self.playing:
            return
        self.position_s = min(self.length_s, self.position_s + seconds * self.speed)
        if self.ended:
            self.playing = False

    def toggle(self) -> None:
        """Play or pause; at the end, from the start."""
        if not self.playing and self.ended:
            self.position_s = 0.0
        self.playing = not self.playing and bool(self.moments)

    def faster(self, by: int) -> None:
        """Another speed."""
        self._speed = max(0, min(self._speed + by, len(SPEEDS) - 1))

    def go(self, index: int) -> None:
        """To a record; its outcome is there at once."""
        if self.moments:
            index = max(0, min(index, len(self.moments) - 1))
            self.position_s = self._starts[index]

    def step(self, by: int) -> None:
        """To the next or the one before, and stand still there."""
        self.playing = False
        self.go(self.index + by)

    def seek(self, share: float) -> None:
        """To a place on the timeline, 0 to 1."""
        self.position_s = max(0.0, min(1.0, share)) * self.length_s

    def next_notable(self, by: int) -> bool:
        """To the next (or last) statement that was refused, held or failed; False where there is none."""
        index = self.index + by
        while 0 <= index < len(self.moments):
            if notable(self.moments[index].record):
                self.playing = False
                self.go(index)
                return True
            index += by
        return False


def notable(record: RecordView) -> bool:
    """Whether a person would look for it."""
    return record.verdict in {"approve", "block", "reject"}
