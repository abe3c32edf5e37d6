"""Hours: the wall clock of the guard's zone, across midnight and where the clock changes."""

from __future__ import annotations

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.model import Action
from gatekeeper.policy.decide import valid_until
from gatekeeper.policy.hours import inside, next_change
from gatekeeper.rules.hours import parse_hours
from tests.policy.cases import action, guard, rules


def at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("hours", "moment", "expected"),
    [
        ("Mon-Fri 09:00-17:00 Europe/Berlin", "2025-11-26T09:00", True),
        ("Mon-Fri 09:00-17:00 Europe/Berlin", "2025-11-26T08:59:59", False),
        ("Mon-Fri 09:00-17:00 Europe/Berlin", "2025-11-26T16:59:59", True),
        ("Mon-Fri 09:00-17:00 Europe/Berlin", "2025-11-26T17:00", False),
        ("Mon-Fri 09:00-17:00 Europe/Berlin", "2025-11-29T12:00", False),
        # a window that crosses midnight belongs to the day on which it opens
        ("Fri 22:00-06:00 Europe/Berlin", "2025-11-28T23:00", True),
        ("Fri 22:00-06:00 Europe/Berlin", "2025-11-29T05:59", True),
        ("Fri 22:00-06:00 Europe/Berlin", "2025-11-29T06:00", False),
        ("Fri 22:00-06:00 Europe/Berlin", "2025-11-28T05:00", False),
        ("Fri 22:00-06:00 Europe/Berlin", "2025-11-29T22:30", False),
        ("Sun 22:00-06:00 Europe/Berlin", "2025-12-01T01:00", True),
        ("Sat,Sun 00:00-24:00 Europe/Berlin", "2025-11-30T23:59:59.999999", True),
        ("Sat,Sun 00:00-24:00 Europe/Berlin", "2025-12-01T00:00", False),
        ("Fri-Mon 12:00-24:00 Europe/Berlin", "2025-11-30T23:59:59", True),
    ],
)
def test_a_window_is_read_on_its_own_wall_clock(hours: str, moment: str, expected: bool) -> None:
    assert inside(parse_hours(hours), at(moment)) is expected


def test_the_zone_is_the_rules_not_the_gateways() -> None:
    hours = parse_hours("Mon-Fri 09:00-17:00 America/New_York")
    assert not inside(hours, at("2025-11-26T14:59", "Europe/Berlin"))
    assert inside(hours, at("2025-11-26T15:00", "Europe/Berlin"))


def test_a_window_keeps_its_wall_clock_when_the_clock_changes() -> None:
    """Berlin, 30 March 2025: 02:00 becomes 03:00. 26 October 2025: 03:00 becomes 02:00 again."""
    morning = parse_hours("Mon-Sun 09:00-10:00 Europe/Berlin")
    assert inside(morning, at("2025-03-29T09:30"))
    assert inside(morning, at("2025-03-30T09:30"))
    assert at("2025-03-30T09:30") - at("2025-03-29T09:30") == 23 * 3600
    twice = parse_hours("Sun 02:00-02:30 Europe/Berlin")
    assert inside(twice, at("2025-10-26T02:15", fold=0))
    assert not inside(twice, at("2025-10-26T02:45", fold=0))
    assert inside(twice, at("2025-10-26T02:15", fold=1))
    assert next_change([twice], at("2025-10-26T02:45", fold=0)) == at("2025-10-26T02:00", fold=1)


@pytest.mark.parametrize(
    ("hours", "now", "then"),
    [
        ("Mon-Fri 09:00-17:00 Europe/Berlin", "2025-11-26T08:00", "2025-11-26T09:00"),
        ("Mon-Fri 09:00-17:00 Europe/Berlin", "2025-11-26T09:00", "2025-11-26T17:00"),
        ("Mon-Fri 09:00-17:00 Europe/Berlin", "2025-11-28T17:00", "2025-12-01T09:00"),
        ("Fri 22:00-06:00 Europe/Berlin", "2025-11-28T23:00", "2025-11-29T06:00"),
        ("Sat,Sun 00:00-24:00 Europe/Berlin", "2025-11-29T10:00", "2025-12-01T00:00"),
    ],
)
def test_the_next_change_is_told(hours: str, now: str, then: str) -> None:
    assert next_change([parse_hours(hours)], at(now)) == at(then)
    assert valid_until(rules(guard(hours=hours)), at(now)) == at(then)


def test_without_hours_nothing_ever_changes() -> None:
    assert valid_until(rules(guard()), 1e9) == math.inf
    assert next_change([], 1e9) == math.inf


def test_the_nearest_change_of_all_guards_counts_also_when_time_goes_back() -> None:
    found = rules(
        guard(name="a", hours="Mon-Fri 09:00-17:00 Europe/Berlin")
        + guard(name="b", hours="Mon-Fri 10:00-12:00 Europe/Berlin")
    )
    for now, then in (("11:00", "12:00"), ("12:00", "17:00"), ("09:30", "10:00"), ("08:00", "09:00")):
        assert valid_until(found, at(f"2025-11-26T{now}")) == at(f"2025-11-26T{then}")


def test_a_guard_matches_within_its_hours_alone() -> None:
    text = guard(hours="Mon-Fri 09:00-17:00 Europe/Berlin")
    assert action("select 1", text, now=at("2025-11-26T12:00")) is Action.BLOCK
    assert action("select 1", text, now=at("2025-11-26T18:00")) is Action.ALLOW


@settings(deadline=None, max_examples=60)
@given(
    st.sets(st.sampled_from(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]), min_size=1),
    st.integers(0, 95), st.integers(1, 96),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
    st.integers(0, 365 * 96),
)  # fmt: skip
def test_between_two_changes_a_window_stays_as_it_is(
    days: set[str], start: int, end: int, zone: str, step: int
) -> None:
    """Quarter by quarter through a week of any season; Lord Howe's clocks change by half an hour."""
    if start == end:
        return
    hours = parse_hours(f"{','.join(days)} {_clock(start)}-{_clock(end)} {zone}")
    now = at("2025-01-01T00:00", "UTC") + step * 900
    until = next_change([hours], now)
    moment, state = now, inside(hours, now)
    while moment < min(until, now + 7 * 86400):
        assert inside(hours, moment) is state
        moment += 900
    if until < now + 7 * 86400:
        assert inside(hours, until) is not state
        assert inside(hours, until - 1) is state


def _clock(quarters: int) -> str:
    return f"{quarters // 4:02}:{quarters % 4 * 15:02}"
