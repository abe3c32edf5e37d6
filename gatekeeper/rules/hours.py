"""Hours of the week as people write them, always with their time zone: an hour without one is a guess."""

from __future__ import annotations

import re
from datetime import time
from typing import Final
from zoneinfo import ZoneInfo

from gatekeeper.rules.schema import Hours

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOURS: Final = re.compile(r"(\S+) +(\d\d:\d\d)-(\d\d:\d\d) +(\S+)", re.ASCII)
_EXAMPLE: Final = '"Mon-Fri 09:00-17:00 Europe/Berlin"'


def parse_hours(text: str) -> Hours:
    """Days (`Mon`, `Mon-Fri`, `Sat,Sun`), a span of the day and a time zone; ValueError says what is wrong.

    `24:00` is the end of the day. A span that ends before it starts crosses midnight.
    """
    match = _HOURS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"must be days, hours and a time zone, such as {_EXAMPLE}")
    days = frozenset(day for part in match[1].split(",") for day in _span_of_days(part))
    start, end = _time(match[2]), _time(match[3])
    if start == end:
        raise ValueError(f"{match[2]}-{match[3]} is no time at all; a whole day is 00:00-24:00")
    return Hours(days, start, end, _zone(match[4]), text)


def _span_of_days(part: str) -> tuple[int, ...]:
    first, _, last = part.partition("-")
    for name in (first, last) if "-" in part else (first,):
        if name not in _DAYS:
            raise ValueError(f'"{name}" is not a day; days are {", ".join(_DAYS)}, as in {_EXAMPLE}')
    start = _DAYS.index(first)
    end = _DAYS.index(last or first)
    return tuple((start + step) % 7 for step in range((end - start) % 7 + 1))


def _time(text: str) -> time:
    if text == "24:00":
        return time.max
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise ValueError(f'"{text}" is not a time of day between 00:00 and 24:00') from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # a folder of the database, such as "Europe", is an OSError
        raise ValueError(f'"{name}" is not a time zone; they are named as in Europe/Berlin or UTC') from None
