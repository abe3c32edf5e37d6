"""Durations as people write them: a whole number and one unit, never more."""

from __future__ import annotations

import re
from typing import Final

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_MOST_S: Final = 100 * 365 * 86400


def parse_duration(text: str) -> float:
    """Seconds of `"30s"`, `"5m"`, `"2h"`, `"90d"`; ValueError says what a duration looks like."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError('must be a duration such as "30s", "5m", "2h" or "90d"')
    seconds = int(match[1]) * _UNITS_S[match[2]]
    if seconds == 0:
        raise ValueError("must be longer than nothing")
    if seconds > _MOST_S:
        raise ValueError("must be a hundred years at most")
    return float(seconds)
