"""The operator interface: what an operator can see and do, whoever asks and from wherever.

Everything here is a frozen value that survives JSON, so that the interface is the same in the process and
over the control socket. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

from gatekeeper.model import ApprovalState, Impact, SessionState
from gatekeeper.recording.views import RecordingReader


class SessionView(msgspec.Struct, frozen=True):
    """A live session."""

    id: str
    grant: str
    subject: str
    issuer: str
    run: str
    database: str
    client: str
    application: str
    state: SessionState
    started_at: float
    state_since: float
    statements: int
    refused: int
    current_sql: str | None = None
    transaction_started_at: float | None = None
    claims: Mapping[str, Any] = {}


class StatementView(msgspec.Struct, frozen=True):
    """A statement of the live stream: there when judged, and again, under a new `cursor`, when closed."""

    cursor: int
    session: str
    n: int
    at: float
    grant: str
    subject: str
    database: str
    sql: str
    """At most 2000 characters."""
    tags: tuple[str, ...]
    verdict: str
    guards: tuple[str, ...]
    outcome: str | None = None
    rows: int | None = None
    duration_ms: float | None = None
    masked_columns: tuple[str, ...] = ()


class DecisionView(msgspec.Struct, frozen=True):
    """One person's decision."""

    who: str
    at: float
    approved: bool
    reason: str | None = None


class ApprovalView(msgspec.Struct, frozen=True):
    """A statement that waits for people, or waited."""

    id: str
    session: str
    grant: str
    subject: str
    issuer: str
    run: str
    claims: Mapping[str, Any]
    database: str
    sql: str
    params: tuple[str | None, ...] | None
    tags: tuple[str, ...]
    guard: str
    guards: tuple[str, ...]
    reason: str | None
    """What the requester set as `gatekeeper.reason`."""
    needed: int
    decisions: tuple[DecisionView, ...]
    created_at: float
    deadline_at: float
    state: ApprovalState
    transaction_started_at: float | None = None
    earlier_statements: int = 0
    """Statements of the open transaction before this one."""
    impact: Impact | None = None
    """None while it is being found out."""


class RunView(msgspec.Struct, frozen=True):
    """A run that holds a grant now."""

    run: str
    grant: str
    subject: str
    issuer: str
    started_at: float
    ends_at: float
    sessions: int


class RuleView(msgspec.Struct, frozen=True):
    """A guard, grant or mask of the rules in force, with how often it was met since the start."""

    kind: Literal["guard", "grant", "mask"]
    name: str
    action: str
    """The guard's action, the grant's classes joined by spaces, or the mask's method."""
    summary: str
    hits: int
    last_hit_at: float | None = None


class RulesView(msgspec.Struct, frozen=True):
    """The rules file and what became of its last change."""

    path: str
    version: str
    loaded_at: float
    rules: tuple[RuleView, ...]
    problems: tuple[str, ...] = ()
    """Why the file as it is now is not in force; empty where it is."""
    problems_at: float | None = None
    restart_needed: tuple[str, ...] = ()
    """Keys of [gateway] that were changed and need a restart."""


class Metrics(msgspec.Struct, frozen=True):
    """Counters since the start and a second-by-second history of the last minute."""

    started_at: float
    statements: int
    refused: int
    held: int
    logins: int
    logins_failed: int
    p50_ms: float | None
    p99_ms: float | None
    per_second: tuple[int, ...] = ()
    """Statements in each of the last 60 seconds, oldest first."""


class Notice(msgspec.Struct, frozen=True):
    """What an operator should know and no statement shows: a refused login, a reload, a failing store."""

    cursor: int
    at: float
    level: Literal["info", "warning", "error"]
    text: str


class Snapshot(msgspec.Struct, frozen=True):
    """All that a console draws from, at one moment."""

    at: float
    listen: str
    store: str
    sessions: tuple[SessionView, ...]
    statements: tuple[StatementView, ...]
    """Those with a cursor above the one asked for, oldest first, at most 500."""
    cursor: int
    """Hand this to the next call."""
    approvals: tuple[ApprovalView, ...]
    """Those that wait, oldest first, then up to 50 ended ones, newest first."""
    rules: RulesView
    metrics: Metrics
    notices: tuple[Notice, ...] = ()
    hints: tuple[str, ...] = ()
    """Lines to show to a newcomer: the demo's psql commands."""


class Operator(RecordingReader, Protocol):
    """What an operator can do with a running gateway. Raises OperatorError with a clear line."""

    async def snapshot(self, after: int = 0) -> Snapshot:
        """Everything at this moment; statements only after that cursor."""
        ...

    async def decide(self, approval: str, *, approve: bool, reason: str | None = None) -> ApprovalView:
        """Approve or deny. OperatorError says what became of one that no longer waits."""
        ...

    async def kill_session(self, session: str) -> None:
        """End a session with 57P01."""
        ...

    async def end_run(self, run: str) -> int:
        """End a run: all its sessions end with 57P01 and it cannot log in again. Returns how many ended."""
        ...

    async def runs(self) -> tuple[RunView, ...]:
        """Runs that hold a grant now."""
        ...

    async def explain(self, sql: str, grant: str, database: str | None = None) -> Mapping[str, Any]:
        """What would happen to a statement under the rules in force, as `gatekeeper explain --json`."""
        ...
