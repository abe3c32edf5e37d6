"""What the console knows: the last snapshot, and a bounded ring of statements. Pure; fed by the app alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Flag, auto
from typing import Final

import msgspec

from gatekeeper.control.operator import (
    ApprovalView,
    Metrics,
    Notice,
    RulesView,
    SessionView,
    Snapshot,
    StatementView,
)

RING: Final = 2000
"""Statements that are kept to look at; older ones are in the recordings."""
_NOTICES: Final = 100


class Changed(Flag):
    """Which parts of the feed a snapshot changed, so that only they are drawn."""

    NOTHING = 0
    SESSIONS = auto()
    STATEMENTS = auto()
    APPROVALS = auto()
    RULES = auto()
    METRICS = auto()
    NOTICES = auto()
    HINTS = auto()
    LINK = auto()


EVERYTHING: Final = ~Changed.NOTHING

_NO_RULES: Final = RulesView(path="", version="", loaded_at=0.0, rules=())
_NO_METRICS: Final = Metrics(
    started_at=0.0, statements=0, refused=0, held=0, logins=0, logins_failed=0, p50_ms=None, p99_ms=None
)


class Feed:
    """The state that screens draw from."""

    def __init__(self, ring: int = RING) -> None:
        self._most = ring
        self._ring: dict[tuple[str, int], StatementView] = {}
        self._latest: dict[str, int] = {}
        self.cursor = 0
        self.statements: tuple[StatementView, ...] = ()
        """Oldest first; a statement keeps its place when its outcome comes."""
        self.sessions: tuple[SessionView, ...] = ()
        self.approvals: tuple[ApprovalView, ...] = ()
        self.rules: RulesView = _NO_RULES
        self.metrics: Metrics = _NO_METRICS
        self.notices: tuple[Notice, ...] = ()
        self.hints: tuple[str, ...] = ()
        self.listen = ""
        self.store = ""
        self.at = 0.0
        self.problem: str | None = None
        """Why the gateway cannot be asked; None while it answers."""
        self.lost_at: float | None = None
        self.seen: Mapping[str, ApprovalView] = {}

    @property
    def waiting(self) -> tuple[ApprovalView, ...]:
        """Approvals that wait, oldest first."""
        return tuple(a for a in self.approvals if a.state == "waiting")

    def runs(self, statement: StatementView) -> bool:
        """Whether a statement without an outcome is the last of a session that still lives.

        One that was prepared and never executed has no outcome, ever.
        """
        live = any(s.id == statement.session for s in self.sessions)
        return live and self._latest.get(statement.session, 0) <= statement.n

    def approval(self, ident: str) -> ApprovalView | None:
        """An approval by its ID, as it is now."""
        return self.seen.get(ident)

    def lost(self, problem: str, now: float) -> Changed:
        """The gateway did not answer."""
        changed = Changed.LINK if self.problem != problem else Changed.NOTHING
        if self.problem is None:
            self.lost_at = now
        self.problem = problem
        return changed

    def take(self, snapshot: Snapshot) -> Changed:
        """Take a snapshot in and say what it changed."""
        changed = Changed.NOTHING
        if self.problem is not None:
            self.problem, self.lost_at = None, None
            changed |= Changed.LINK
        if self._another(snapshot):
            # Its cursors started anew: what it has is asked for from the beginning, next time.
            self._ring.clear()
            self.statements, self.notices = (), ()
            snapshot = msgspec.structs.replace(snapshot, statements=(), cursor=0)
            changed |= Changed.STATEMENTS | Changed.NOTICES
        self.cursor, self.at = snapshot.cursor, snapshot.at
        if (snapshot.listen, snapshot.store) != (self.listen, self.store):
            self.listen, self.store = snapshot.listen, snapshot.store
            changed |= Changed.METRICS
        if snapshot.statements:
            self._keep(snapshot.statements)
            changed |= Changed.STATEMENTS
        if snapshot.sessions != self.sessions:
            self.sessions = snapshot.sessions
            self._latest = {s.id: self._latest.get(s.id, 0) for s in snapshot.sessions}
            changed |= Changed.SESSIONS
        if snapshot.approvals != self.approvals:
            self.approvals = snapshot.approvals
            self.seen = {a.id: a for a in snapshot.approvals}
            changed |= Changed.APPROVALS
        if snapshot.rules != self.rules:
            self.rules = snapshot.rules
            changed |= Changed.RULES
        if snapshot.metrics != self.metrics:
            self.metrics = snapshot.metrics
            changed |= Changed.METRICS
        if snapshot.hints != self.hints:
            self.hints = snapshot.hints
            changed |= Changed.HINTS
        return changed | self._note(snapshot.notices)

    def _another(self, snapshot: Snapshot) -> bool:
        """Whether another gateway answers than before, or the same one after a restart."""
        known = self.metrics is not _NO_METRICS
        return known and (
            snapshot.cursor < self.cursor or snapshot.metrics.started_at != self.metrics.started_at
        )

    def _keep(self, statements: Iterable[StatementView]) -> None:
        ring, latest = self._ring, self._latest
        for statement in statements:
            ring[statement.session, statement.n] = statement
            latest[statement.session] = max(statement.n, latest.get(statement.session, 0))
        while len(ring) > self._most:
            del ring[next(iter(ring))]
        self.statements = tuple(ring.values())

    def _note(self, notices: tuple[Notice, ...]) -> Changed:
        last = self.notices[-1].cursor if self.notices else 0
        new = tuple(n for n in notices if n.cursor > last)
        if not new:
            return Changed.NOTHING
        self.notices = (*self.notices, *new)[-_NOTICES:]
        return Changed.NOTICES
