"""Hours of the week on the wall clock of their own zone: inside or outside, and when that changes next.

A window belongs to the day on which it opens. Where the clock skips or repeats an hour, the wall clock
decides: a time that does not exist opens and closes nothing, and one that comes twice counts twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Final

from gatekeeper.rules.schema import Hours

_HORIZON_DAYS: Final = 8
"""A week repeats; the day more is for a window that crosses midnight."""


def inside(hours: Hours, now: float) -> bool:
    """True where the Unix time `now` lies in the window; its start belongs to it, its end does not."""
    local = datetime.fromtimestamp(now, hours.zone)
    clock, day = local.time(), local.weekday()
    if hours.start < hours.end:
        # `24:00` is read as the last microsecond of the day, which belongs to it.
        return day in hours.days and hours.start <= clock and (clock < hours.end or hours.end == time.max)
    return (day in hours.days and clock >= hours.start) or ((day - 1) % 7 in hours.days and clock < hours.end)


def next_change(windows: Iterable[Hours], now: float) -> float:
    """The next Unix time at which one of the windows opens or closes; infinite where there is none.

    Where nothing changes within eight days, the end of those: never later than the truth.
    """
    changes = [_next_change(window, now) for window in windows]
    return min(changes, default=math.inf)


def _next_change(hours: Hours, now: float) -> float:
    state = inside(hours, now)
    for moment in sorted(m for m in _candidates(hours, now) if m > now):
        if inside(hours, moment) != state:
            return moment
    return now + (_HORIZON_DAYS - 1) * 86400.0


def _candidates(hours: Hours, now: float) -> Iterator[float]:
    """Every moment at which the window could open or close."""
    today = datetime.fromtimestamp(now, hours.zone).date()
    for offset in range(-1, _HORIZON_DAYS + 1):
        day = today + timedelta(days=offset)
        for clock in {time.min, hours.start, hours.end} - {time.max}:
            for fold in (0, 1):
                yield datetime.combine(day, clock, hours.zone).replace(fold=fold).timestamp()
        yield from _clock_change(hours, datetime.combine(day, time.min, UTC).timestamp())


def _clock_change(hours: Hours, start: float) -> Iterator[float]:
    """The moment within a day of `start` at which the zone's offset from UTC changes, to the second."""

    def offset(moment: float) -> timedelta | None:
        return datetime.fromtimestamp(moment, hours.zone).utcoffset()

    low, high = int(start), int(start) + 86400
    if offset(low) == offset(high):
        return
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
    yield float(high)
