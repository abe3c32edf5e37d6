"""Events in, rows of the log out: what repeats is named instead of repeated, and every row is chained.

Holds no connection: `rows` and the other lists are what one transaction has to write. After a commit
`committed()`, after a failure `rolled_back()`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, assert_never

from gatekeeper.events import (
    Event,
    Login,
    LoginFailed,
    OperatorAction,
    RulesReloaded,
    SessionEnded,
    StatementBound,
    StatementClosed,
    StatementDecided,
    StatementOpened,
)
from gatekeeper.model import SessionInfo
from gatekeeper.recording import entries
from gatekeeper.recording.chain import Chain
from gatekeeper.recording.entries import BLOCK, HELD, REFUSED, VERDICT_NUMBER, Kind, canonical
from gatekeeper.sql.redact import redact_sql

_TEXTS: Final = 8192
_FACTS: Final = 4096
_LATE: Final = 4096
_LONG_TEXT: Final = 2048
"""Longer texts are remembered by their hash alone."""


class Known(OrderedDict[Any, int]):
    """The last so many things that were recorded, and in which row."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def seen(self, key: Any, seq: int) -> int:
        """The row where it was recorded before; else 0, and it counts as recorded in `seq` now."""
        at = self.get(key, 0)
        if at:
            self.move_to_end(key)
            return at
        self[key] = seq
        if len(self) > self._limit:
            self.popitem(last=False)
        return 0


@dataclass(slots=True)
class Open:
    """What the appender knows of a session."""

    sid: int
    block: int = -1
    """The last block that is known to be in its spans."""
    statements: int = 0
    refused: int = 0
    held: int = 0
    ended: bool = False


LogRow = tuple[int, int, int, "str | None", bytes, bytes]
"""As `entries.Row`, without the cost of making one."""


class Appender:
    """Turns events into rows; `find` looks up in the file a session that is not known here."""

    def __init__(self, chain: Chain, seq: int, last: bytes, find: Callable[[str], Open | None]) -> None:
        self._chain = chain
        self._find = find
        self.seq = self._kept_seq = seq
        """Of the last event."""
        self.last = self._kept_last = last
        """Its hash."""
        self._texts = Known(_TEXTS)
        self._facts = Known(_FACTS)
        self._sessions: dict[str, Open] = {}
        self._late: OrderedDict[str, Open] = OrderedDict()
        self.rows: list[LogRow] = []
        self.logins: list[tuple[Any, ...]] = []
        self.spans: list[tuple[int, int]] = []
        self.counts: list[tuple[int, int, int, int, int]] = []
        """(statements, refused, held, upto, sid): counts of the rows before `upto`."""
        self.ends: list[tuple[float, str, int]] = []
        """(ended_at, end_reason, sid)."""

    def add(self, event: Event) -> None:
        """Append one event."""
        match event:
            case StatementOpened():
                self._opened(event)
            case StatementClosed():
                self._row(self._session(event.session, event.at), Kind.CLOSED, entries.closed(event))
            case StatementBound():
                self._row(self._session(event.session, event.at), Kind.BOUND, entries.bound(event))
            case StatementDecided():
                session = self._session(event.session, event.at)
                self._row(session, Kind.DECIDED, entries.decided(event))
                session.refused += event.approval.decision != "approved"
            case Login():
                self._begin(event.at, event.session, Kind.LOGIN)
            case LoginFailed():
                entry = entries.session(event.at, event.session, event.sqlstate, event.reason)
                self._row(None, Kind.LOGIN_FAILED, entry)
            case SessionEnded():
                self._end(event)
            case RulesReloaded():
                entry = entries.encode((event.at, event.version, event.problems))
                self._row(None, Kind.RELOAD, entry)
            case OperatorAction():
                entry = entries.encode((event.at, event.who, event.action, event.target, event.reason))
                self._row(None, Kind.OPERATOR, entry)
            case _:
                assert_never(event)

    def mark(self, kind: Kind, at: float, *what: Any) -> None:
        """Append a row of the store's own, STARTED or STOPPED."""
        self._row(None, kind, entries.encode((at, *what)))

    def end_row(self) -> LogRow:
        """The row after the last event: it moves with every commit, and only the key can make it."""
        return end_row(self._chain, self.seq, self.last)

    def committed(self) -> None:
        """What was added is in the file."""
        self._kept_seq, self._kept_last = self.seq, self.last
        self._clear()

    def rolled_back(self) -> None:
        """What was added since the last commit is not in the file; all that is known may rest on it."""
        self.seq, self.last = self._kept_seq, self._kept_last
        self._texts.clear()
        self._facts.clear()
        self._sessions.clear()
        self._late.clear()
        self._clear()

    def forget(self, floor: int) -> None:
        """Name no row up to `floor` any more: a prune is about to remove them."""
        for known in (self._texts, self._facts):
            for key in [key for key, seq in known.items() if seq <= floor]:
                del known[key]

    def _clear(self) -> None:
        self.rows = []
        if self.spans or self.ends:
            self.logins, self.spans, self.counts, self.ends = [], [], [], []

    def _row(self, session: Open | None, kind: int, entry: bytes, sql: str | None = None) -> None:
        self.seq = seq = self.seq + 1
        sid = 0
        if session is not None:
            sid = session.sid
            if session.block != seq // BLOCK:
                session.block = seq // BLOCK
                self.spans.append((sid, session.block))
                if not session.ended:
                    self.counts.append((session.statements, session.refused, session.held, seq, sid))
        self.last = last = self._chain.link(self.last, canonical(seq, sid, kind, sql, entry))
        self.rows.append((seq, sid, kind, sql, entry, last))

    def _opened(self, event: StatementOpened) -> None:
        session = self._session(event.session, event.at)
        seq = self.seq + 1
        sql = event.sql
        key: Any = sql if len(sql) <= _LONG_TEXT else sha256(sql.encode("utf-8", "surrogatepass")).digest()
        sql_at = self._texts.seen(key, seq)
        text = None
        if not sql_at:
            text = redact_sql(sql)
            if not text.isascii():
                text = entries.plain(text)
        facts = entries.facts(event)
        facts_at = self._facts.seen(facts, seq)
        self._row(session, Kind.OPENED, entries.opened(event, sql_at, facts_at or facts), text)
        verdict = VERDICT_NUMBER[event.verdict]
        session.statements += 1
        session.refused += verdict in REFUSED
        session.held += verdict == HELD

    def _session(self, id_: str, at: float) -> Open:
        known = self._sessions.get(id_) or self._late.get(id_)
        if known is not None:
            return known
        found = self._find(id_)
        if found is None:
            nobody = SessionInfo(id=id_, grant="", subject="", issuer="", run="", database="")
            return self._begin(at, nobody, Kind.SESSION)
        if found.ended:
            self._ended(id_, found)
        else:
            self._sessions[id_] = found
        return found

    def _begin(self, at: float, info: SessionInfo, kind: Kind) -> Open:
        session = Open(self.seq + 1)
        names = (info.id, info.grant, info.subject, info.issuer, info.run, info.database, info.client)
        self.logins.append((session.sid, *entries.plain(names), at, None, None, 0, 0, 0, session.sid))
        self._sessions[info.id] = session
        self._row(session, kind, entries.session(at, info))
        return session

    def _end(self, event: SessionEnded) -> None:
        session = self._session(event.session, event.at)
        self._row(session, Kind.SESSION_END, entries.encode((event.at, event.reason)))
        upto = self.seq + 1
        if not session.ended:
            self.counts.append((session.statements, session.refused, session.held, upto, session.sid))
            self.ends.append((event.at, entries.plain(event.reason), session.sid))
            session.ended = True
        self._sessions.pop(event.session, None)
        self._ended(event.session, session)

    def _ended(self, id_: str, session: Open) -> None:
        """Outcomes may still come for a session that has ended."""
        self._late[id_] = session
        if len(self._late) > _LATE:
            self._late.popitem(last=False)


def end_row(chain: Chain, seq: int, last: bytes) -> LogRow:
    """The row that follows the event `seq`, whose hash is `last`, at the log's end."""
    content = canonical(seq + 1, 0, Kind.END, None, b"")
    return (seq + 1, 0, Kind.END, None, b"", chain.link(last, content))
