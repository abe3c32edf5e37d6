"""What a session knows and what it has to say: the ground that its other parts stand on.

A session is one object in layers, each a module: state, judgement, names, the extended protocol, long
messages, and on top the session itself. A layer uses those below it and nothing above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gatekeeper.events import Event
from gatekeeper.masking.statements import Pending as MaskPending
from gatekeeper.model import Approval, Refusal, SessionInfo, SessionStatus
from gatekeeper.proxy import actions
from gatekeeper.proxy.judge import Judge
from gatekeeper.proxy.names import Names
from gatekeeper.proxy.pending import DESCRIBE, Entry, Pending
from gatekeeper.proxy.pieces import Dropped, Pieces
from gatekeeper.proxy.statements import Portal, Prepared, Run
from gatekeeper.proxy.wire.framing import SESSION_TYPES, FrontendFrames

if TYPE_CHECKING:
    from gatekeeper.proxy.relay import Relay


class Blocked(Exception):  # noqa: N818 - not an error: the message waits
    """The message that is handled now cannot go on yet; it is handled again when the answer is there."""


class SessionState:
    """The state of a session, and its outbox."""

    relay: Relay
    """The server's half."""

    def __init__(self, info: SessionInfo, judge: Judge, *, now: float, reason: str | None = None) -> None:
        self.info = info
        self.judge = judge
        self.to_client: list[bytes] = []
        self.to_server: list[bytes] = []
        self.gated: list[tuple[int, Entry]] = []
        """Entries whose records are in `events`, with their places in `to_server`."""
        self.events: list[Event] = []
        self.requests: list[actions.Request] = []
        self.closed = False
        self.leaving = False
        """The client has said goodbye, and the server still works on what it sent before."""

        self.started_at = now
        self.state_since = now
        self.last_active_at = now
        self.statements = 0
        self.refused = 0
        self.reason = reason
        """What the client set as `gatekeeper.reason`."""
        self.uncertain = False
        """This transaction has done DDL that the snapshot does not show."""

        self.mask_pending = MaskPending()
        """What this transaction has done to names that masks rest on."""
        self.prepared: Names[Prepared] = Names()
        self.portals: Names[Portal] = Names()
        self.pending = Pending(self._dropped)
        self._frames = FrontendFrames(types=SESSION_TYPES)
        self._codec = "utf-8"
        self._utf8 = True
        self._segment = 0
        self._blocked: str | None = None
        self._message: tuple[int, bytes] | None = None
        """The message that waits for an answer."""
        self._pieces: Pieces = Dropped()
        """What becomes of the message that comes in pieces now."""
        self._estimates: Mapping[int, float | None] | None = None
        self._run: Run | None = None
        """The record that the waiting message opened."""
        self._approval: Approval | None = None
        self._cancelled = False
        self._cancelling = 0
        """Cancel requests that the server has not taken yet."""
        self._warned = False
        self._checked = False
        """The snapshot was looked at again for the waiting message."""
        self._made: set[str] = set()
        """Names of relations that this session made or may have made: temporary ones are in no snapshot."""
        self._failure: Refusal | None = None
        """Set where the record of a held statement could not be committed."""

    def status(self) -> SessionStatus:
        """A look at the session."""
        head = self.pending.head
        waiting = self._blocked == "held"
        run = self._run if waiting else head.run if head is not None else None
        if waiting:
            state = "held"
        elif head is not None:
            state = "active"
        else:
            state = {"T": "in transaction", "E": "failed transaction"}.get(self.relay.status, "idle")
        return SessionStatus(
            self.info,
            state,  # type: ignore[arg-type]
            self.started_at,
            self.state_since,
            self.statements,
            self.refused,
            run.sql[:2000] if run is not None else None,
            self.relay.transaction_started_at,
        )

    @property
    def held(self) -> bool:
        """A statement waits for people."""
        return self._blocked == "held"

    @property
    def busy(self) -> bool:
        """The server works for this session, or people decide."""
        return self.pending.head is not None or self._blocked is not None or self._frames.left > 0

    @property
    def idle_since(self) -> float:
        """When the client or the server last did anything."""
        return max(self.last_active_at, self.state_since)

    @property
    def buffered_bytes(self) -> int:
        """What the client sent and nobody has looked at yet."""
        return self._frames.buffered_bytes

    @property
    def blocked(self) -> bool:
        """Nothing more is taken from the client now."""
        return self._blocked is not None or self._cancelling > 0

    def _wait(self, why: str, *requests: actions.Request) -> Blocked:
        self._blocked = why
        self.requests.extend(requests)
        return Blocked()

    def _clear_answers(self) -> None:
        if self._run is not None or self._estimates is not None or self._failure is not None:
            self._estimates = None
            self._run = None
            self._approval = None
            self._cancelled = False
            self._warned = False
            self._failure = None

    def end(self, refusal: Refusal, reason: str) -> None:
        """End the session with a FATAL error; `reason` is for the recording."""
        if self.closed:
            return
        if self._blocked == "held":
            self.requests.append(actions.Withdraw())
        self.relay.fatal(refusal)
        self._finish(reason, refusal)

    def _finish(self, reason: str, refusal: Refusal | None) -> None:
        self.closed = True
        running = self.pending.head is not None
        self.relay.abandon()
        self.requests.append(actions.Close(reason, refusal, running))

    def _dropped(self, entry: Entry) -> None:
        """The server will never answer this: what it would have changed stays as it was."""
        for _, slot in reversed(entry.slots):
            slot.revert()
        if entry.kind == DESCRIBE:
            if entry.portal is not None:
                entry.portal.described = False
            elif entry.prepared is not None:
                entry.prepared.described_epoch = -1
        if entry.run is not None:
            self.relay.close_run(entry.run, "skipped")

    def _send(self, message: bytes, entry: Entry, *, gate: bool = False) -> None:
        if gate:
            self.gated.append((len(self.to_server), entry))
        self.to_server.append(message)
        self.pending.push(entry)
