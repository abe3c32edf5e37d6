"""What a name stands for while the server has not answered."""

from __future__ import annotations

import pytest

from gatekeeper.proxy.names import Names, UnsettledError


def names() -> Names[str]:
    return Names()


def test_within_one_segment_the_newest_meaning_holds() -> None:
    table = names()
    table.set(b"s", "old", 0)
    assert table.get(b"s", 0) == "old"
    table.set(b"s", "new", 0)
    assert table.get(b"s", 0) == "new"
    table.set(b"s", None, 0)
    assert table.get(b"s", 0) is None
    assert table.get(b"other", 0) is None


def test_across_segments_only_an_answer_tells() -> None:
    table = names()
    slot = table.set(b"s", "new", 0)
    with pytest.raises(UnsettledError):
        table.get(b"s", 1)
    slot.confirm()
    assert table.get(b"s", 1) == "new"


def test_a_change_that_failed_gives_the_old_meaning_back() -> None:
    table = names()
    table.set(b"s", "old", 0).confirm()
    slot = table.set(b"s", "new", 1)
    assert table.get(b"s", 1) == "new"
    slot.revert()
    assert table.get(b"s", 2) == "old"


def test_several_changes_are_taken_back_newest_first() -> None:
    table = names()
    first, second, third = (table.set(b"s", value, 0) for value in ("a", None, "b"))
    first.confirm()
    third.revert()
    assert table.get(b"s", 0) is None
    second.revert()
    assert table.get(b"s", 0) == "a"


def test_a_name_that_is_gone_takes_no_room() -> None:
    table = names()
    table.set(b"s", "a", 0).confirm()
    table.set(b"s", None, 0).confirm()
    assert len(table) == 0
    table.set(b"s", None, 0).revert()
    assert len(table) == 0


def test_a_confirmed_change_cannot_be_taken_back() -> None:
    table = names()
    slot = table.set(b"s", "a", 0)
    slot.confirm()
    slot.revert()
    assert table.get(b"s", 5) == "a"


def test_forgetting_leaves_what_is_under_way() -> None:
    table = names()
    table.set(b"gone", "a", 0).confirm()
    table.set(b"kept", "b", 0).confirm()
    table.set(b"under way", "c", 0)
    table.keep(frozenset([b"kept"]))
    assert table.get(b"kept", 0) == "b"
    assert table.get(b"gone", 0) is None
    assert table.get(b"under way", 0) == "c"
