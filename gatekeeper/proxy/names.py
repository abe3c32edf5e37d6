"""What a name stands for on the server, while the server has not yet said whether it took it.

A Parse, Bind, PREPARE, DECLARE or Close that is under way may fail, and then the name keeps its old meaning.
So every change is a slot on top of the one before, confirmed or taken back when the answer comes. Within one
pipeline segment (up to a Sync) the newest slot is the meaning: if it fails, the server skips what follows
anyway. Across segments an unconfirmed name is not known, and who asks has to wait.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class UnsettledError(Exception):
    """The name's meaning depends on an answer that has not come."""


class Slot(Generic[T]):
    """One meaning of a name; `value` is None where the name is gone."""

    __slots__ = ("_table", "name", "previous", "segment", "settled", "value")

    def __init__(
        self,
        table: dict[bytes, Slot[T]],
        name: bytes,
        value: T | None,
        segment: int,
        previous: Slot[T] | None,
    ) -> None:
        self._table = table
        self.previous = previous
        self.name = name
        self.value = value
        self.segment = segment
        self.settled = False

    def confirm(self) -> None:
        """The server took it."""
        self.settled = True
        self.previous = None
        if self.value is None and self._table.get(self.name) is self:
            del self._table[self.name]

    def revert(self) -> None:
        """The server refused or skipped it. Later slots of the name have to be taken back first."""
        if self.settled or self._table.get(self.name) is not self:
            return
        if self.previous is None:
            del self._table[self.name]
        else:
            self._table[self.name] = self.previous


class Names(Generic[T]):
    """The names of one kind: prepared statements, or portals and cursors."""

    def __init__(self) -> None:
        self._slots: dict[bytes, Slot[T]] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def set(self, name: bytes, value: T | None, segment: int) -> Slot[T]:
        """A change is under way; None: the name goes."""
        slot = Slot(self._slots, name, value, segment, self._slots.get(name))
        self._slots[name] = slot
        return slot

    def get(self, name: bytes, segment: int) -> T | None:
        """What the name stands for, None for nothing.

        Raises UnsettledError where only the server's answer will tell.
        """
        slot = self._slots.get(name)
        if slot is None:
            return None
        if not slot.settled and slot.segment != segment:
            raise UnsettledError
        return slot.value

    def keep(self, keep: frozenset[bytes] = frozenset()) -> None:
        """Forget settled names, but for these."""
        for name in [n for n, slot in self._slots.items() if slot.settled and n not in keep]:
            del self._slots[name]

    def values(self) -> list[T]:
        """All that any name stands for, or may come to stand for again."""
        found = []
        for newest in self._slots.values():
            slot: Slot[T] | None = newest
            while slot is not None:
                if slot.value is not None:
                    found.append(slot.value)
                slot = slot.previous
        return found
