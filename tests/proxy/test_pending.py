"""What was sent and not answered: errors drop up to the Sync, COPY swallows Syncs."""

from __future__ import annotations

import pytest

from gatekeeper.errors import ProtocolError
from gatekeeper.proxy.pending import BIND, COPY_END, EXECUTE, PARSE, QUERY, SYNC, Entry, Pending


class Queue:
    def __init__(self, *kinds: int) -> None:
        self.dropped: list[Entry] = []
        self.pending = Pending(self.dropped.append)
        self.pushed = [self.push(kind) for kind in kinds]

    def push(self, kind: int) -> Entry:
        entry = Entry(kind)
        self.pending.push(entry)
        return entry

    @property
    def kinds(self) -> list[int]:
        return [entry.kind for entry in self.pending.entries()]


def test_answers_come_in_order() -> None:
    queue = Queue(PARSE, BIND, SYNC)
    for entry in queue.pushed:
        assert queue.pending.head is entry
        queue.pending.pop()
    assert queue.pending.head is None


def test_an_error_drops_what_comes_before_the_sync_newest_first() -> None:
    queue = Queue(PARSE, BIND, EXECUTE, SYNC, PARSE)
    queue.pending.fail()
    assert queue.kinds == [SYNC, PARSE]
    assert queue.dropped == queue.pushed[2::-1]
    assert not queue.pending.skipping


def test_after_an_error_what_is_sent_before_a_sync_is_dropped_as_it_comes() -> None:
    queue = Queue(PARSE)
    queue.pending.fail()
    assert queue.pending.skipping
    later = queue.push(BIND)
    assert queue.dropped[-1] is later
    assert queue.pending.head is None
    queue.push(SYNC)
    queue.push(PARSE)
    assert queue.kinds == [SYNC, PARSE]


def test_a_sync_before_the_first_copy_data_is_not_answered() -> None:
    queue = Queue(EXECUTE, SYNC)
    queue.pending.copy_begins()
    assert queue.kinds == [EXECUTE]
    queue.push(SYNC)
    assert queue.kinds == [EXECUTE]
    queue.pending.copy_data_sent()
    queue.push(COPY_END)
    queue.push(SYNC)
    queue.pending.copy_ended()
    assert queue.kinds == [EXECUTE, SYNC]


def test_a_sync_among_the_data_is_refused() -> None:
    queue = Queue(EXECUTE)
    queue.pending.copy_begins()
    queue.pending.copy_data_sent()
    with pytest.raises(ProtocolError):
        queue.push(SYNC)
    early = Queue(EXECUTE)
    early.pending.copy_data_sent()
    early.push(SYNC)
    with pytest.raises(ProtocolError):
        early.pending.copy_begins()


@pytest.mark.parametrize("kind", [QUERY, PARSE, EXECUTE])
def test_nothing_but_data_may_come_during_copy(kind: int) -> None:
    queue = Queue(QUERY)
    queue.pending.copy_begins()
    with pytest.raises(ProtocolError):
        queue.push(kind)
    early = Queue(QUERY, kind)
    with pytest.raises(ProtocolError):
        early.pending.copy_begins()


def test_data_and_its_end_may_come_before_the_server_asks_for_them() -> None:
    queue = Queue(QUERY)
    queue.pending.copy_data_sent()
    queue.push(COPY_END)
    queue.push(QUERY)
    queue.pending.copy_begins()
    assert not queue.pending.copy_in
    queue.pending.copy_ended()
    assert queue.kinds == [QUERY, QUERY]


def test_an_end_of_data_that_nobody_waits_for_is_no_answers_head() -> None:
    queue = Queue(COPY_END)
    assert queue.pending.head is None


def test_at_the_end_all_that_was_never_answered_is_given() -> None:
    queue = Queue(PARSE, SYNC)
    assert queue.pending.abandon() == queue.pushed
    assert len(queue.pending) == 0
