"""What was sent to the server and has not been answered, in order. The server's answers move the head.

After an error in the extended protocol the server skips to the next Sync, so everything up to it is dropped
here too; what is sent later and before that Sync is dropped as it comes (PostgreSQL 18, 54.2.3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from gatekeeper.errors import ProtocolError
from gatekeeper.model import Refusal

if TYPE_CHECKING:
    from gatekeeper.proxy.names import Slot
    from gatekeeper.proxy.statements import Portal, Prepared, Run

QUERY: Final = 0
PARSE: Final = 1
BIND: Final = 2
DESCRIBE: Final = 3
EXECUTE: Final = 4
CLOSE: Final = 5
SYNC: Final = 6
FUNCTION: Final = 7
COPY_END: Final = 8


class Entry:
    """One message that the server will answer."""

    __slots__ = (
        "after_copy_data",
        "in_pieces",
        "index",
        "injected",
        "kind",
        "portal",
        "prepared",
        "refusal",
        "run",
        "slots",
    )

    def __init__(
        self,
        kind: int,
        *,
        run: Run | None = None,
        refusal: Refusal | None = None,
        prepared: Prepared | None = None,
        portal: Portal | None = None,
        injected: bool = False,
        after_copy_data: bool = False,
    ) -> None:
        self.kind = kind
        self.run = run
        """The statement that this message runs, where it runs one."""
        self.refusal = refusal
        """Set where the server was sent a statement that it refuses, in place of the client's."""
        self.prepared = prepared
        self.portal = portal
        self.injected = injected
        """True for a Describe of ours, whose answer is not the client's."""
        self.after_copy_data = after_copy_data
        self.in_pieces = False
        """The beginning of the message has gone to the server already."""
        self.index = 0
        """Which statement of a Query is answered now."""
        self.slots: list[tuple[int, Slot[Prepared] | Slot[Portal]]] = []
        """Names that change when the statement of that index is done."""


class Pending:
    """The queue. `dropped` is called for each entry that the server will never answer, newest first."""

    __slots__ = ("_dropped", "_entries", "copy_in", "copy_sent", "skipping")

    def __init__(self, dropped: Callable[[Entry], None]) -> None:
        self._entries: deque[Entry] = deque()
        self._dropped = dropped
        self.skipping = False
        """The server skips to a Sync that was not yet sent."""
        self.copy_in = False
        """The server reads CopyData and has not been told of its end."""
        self.copy_sent = False
        """CopyData went to the server after the newest entry."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def head(self) -> Entry | None:
        """The entry that the server answers now."""
        entries = self._entries
        while entries and entries[0].kind == COPY_END:
            entries.popleft()
        return entries[0] if entries else None

    def push(self, entry: Entry) -> None:
        """The entry's message goes to the server now."""
        kind = entry.kind
        if self.copy_in and kind != COPY_END:
            if kind != SYNC or self.copy_sent:
                raise ProtocolError("unexpected message during COPY from stdin")
            return  # the server ignores a Sync while it waits for CopyData
        entry.after_copy_data, self.copy_sent = self.copy_sent, False
        if kind == COPY_END:
            self.copy_in = False
        elif kind == SYNC:
            self.skipping = False
        elif self.skipping:
            self._dropped(entry)
            return
        self._entries.append(entry)

    def entries(self) -> Iterable[Entry]:
        """All that is not answered, oldest first."""
        return self._entries

    def pop(self) -> None:
        """The head is answered."""
        self._entries.popleft()

    def fail(self) -> None:
        """The server reported an error for the head, in the extended protocol: drop up to the next Sync."""
        entries = self._entries
        doomed = []
        while entries and entries[0].kind != SYNC:
            doomed.append(entries.popleft())
        if not entries:
            self.skipping = True
            self.copy_in = False
        for entry in reversed(doomed):
            self._dropped(entry)

    def copy_begins(self) -> None:
        """CopyInResponse: Syncs that were sent before the end of the data are not answered.

        Raises ProtocolError for a Sync among the data, of which nobody can say whether the server saw it.
        """
        kept: deque[Entry] = deque()
        self.copy_in = True
        for place, entry in enumerate(self._entries):
            if entry.kind == COPY_END:
                self.copy_in = False
            elif place and self.copy_in:
                if entry.kind != SYNC or entry.after_copy_data:
                    raise ProtocolError("unexpected message during COPY from stdin")
                continue
            kept.append(entry)
        self._entries = kept

    def copy_ended(self) -> None:
        """CommandComplete of a COPY FROM STDIN: the mark of its end has served."""
        end = next((e for e in self._entries if e.kind == COPY_END), None)
        if end is not None:
            self._entries.remove(end)

    def copy_data_sent(self) -> None:
        """CopyData went to the server."""
        self.copy_sent = True

    def abandon(self) -> list[Entry]:
        """The connection is over: give what was never answered."""
        rest = list(self._entries)
        self._entries.clear()
        return rest
