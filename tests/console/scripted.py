"""An operator that lives in memory: real state, no gateway. Time is what the test says it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gatekeeper.control.operator import (
    ApprovalView,
    DecisionView,
    Metrics,
    Notice,
    RulesView,
    RunView,
    SessionView,
    Snapshot,
    StatementView,
)
from gatekeeper.errors import OperatorError
from gatekeeper.recording.views import RecordedSession, RecordView

NOW = 1_790_000_000.0
"""21 September 2026, 13:33:20 UTC."""

CLAIMS = {
    "repository": "acme/shop",
    "ref": "refs/heads/main",
    "environment": "prod",
    "workflow": "migrate",
    "actor": "lena",
    "iss": "https://token.actions.githubusercontent.com",
    "exp": 1,
}
SUBJECT = "repo:acme/shop:environment:prod"
UPDATE = (
    "UPDATE public.orders SET status = 'void', updated_at = now() "
    "WHERE customer_id IN (SELECT id FROM customers WHERE closed_at < now() - interval '90 days') "
    "AND status = 'open'"
)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class ScriptedOperator:
    """Implements the operator interface over what the test puts in."""

    def __init__(self, clock: Clock, who: str = "mia") -> None:
        self.clock, self.who = clock, who
        self.sessions_now: dict[str, SessionView] = {}
        self.statements: list[StatementView] = []
        self.approvals: dict[str, ApprovalView] = {}
        self.rules = RulesView(
            path="/etc/gatekeeper/rules.toml", version="9c41d07", loaded_at=NOW - 7_260, rules=()
        )
        self.metrics = Metrics(
            started_at=NOW - 7_260,
            statements=0,
            refused=0,
            held=0,
            logins=0,
            logins_failed=0,
            p50_ms=None,
            p99_ms=None,
        )
        self.notices: list[Notice] = []
        self.hints: tuple[str, ...] = ()
        self.recordings: dict[str, RecordedSession] = {}
        self.record_rows: dict[str, list[RecordView]] = {}
        self.cursor = 0
        self.down: str | None = None
        self.broken = False
        self.asked = 0

    # --- what the test does -----------------------------------------------------------------------------

    def login(self, ident: str, **fields: Any) -> SessionView:
        defaults: dict[str, Any] = {
            "grant": "ci-migrations",
            "subject": SUBJECT,
            "issuer": "github",
            "run": "8812.1",
            "database": "app",
            "client": "10.0.0.7:51012",
            "application": "psql",
            "state": "idle",
            "started_at": self.clock() - 60,
            "state_since": self.clock() - 3,
            "statements": 0,
            "refused": 0,
            "claims": CLAIMS,
        }
        session = SessionView(id=ident, **(defaults | fields))
        self.sessions_now[ident] = session
        return session

    def judged(self, session: str, sql: str, verdict: str = "allow", **fields: Any) -> StatementView:
        seen = self.sessions_now[session]
        self.cursor += 1
        n = sum(s.session == session for s in self.statements) + 1
        defaults: dict[str, Any] = {
            "at": self.clock(),
            "grant": seen.grant,
            "subject": seen.subject,
            "database": seen.database,
            "n": n,
            "tags": (sql.split()[0].upper(),) if sql.split() else (),
            "guards": (),
        }
        view = StatementView(
            cursor=self.cursor, session=session, sql=sql, verdict=verdict, **(defaults | fields)
        )
        self.statements.append(view)
        self.sessions_now[session] = msgspec.structs.replace(seen, statements=n)
        return view

    def closed(
        self, view: StatementView, outcome: str, rows: int | None = None, ms: float = 0.4, **fields: Any
    ) -> None:
        self.cursor += 1
        done = msgspec.structs.replace(
            view, cursor=self.cursor, outcome=outcome, rows=rows, duration_ms=ms, **fields
        )
        self.statements = [done if (s.session, s.n) == (view.session, view.n) else s for s in self.statements]
        self.statements.sort(key=lambda s: s.cursor)

    def hold(self, ident: str, session: str, sql: str = UPDATE, **fields: Any) -> ApprovalView:
        seen = self.sessions_now[session]
        defaults: dict[str, Any] = {
            "grant": seen.grant,
            "subject": seen.subject,
            "issuer": seen.issuer,
            "run": seen.run,
            "claims": seen.claims,
            "database": seen.database,
            "params": None,
            "tags": ("UPDATE",),
            "guard": "big-write",
            "guards": ("big-write",),
            "reason": None,
            "needed": 1,
            "decisions": (),
            "created_at": self.clock() - 10,
            "deadline_at": self.clock() + 110,
            "state": "waiting",
        }
        approval = ApprovalView(id=ident, session=session, sql=sql, **(defaults | fields))
        self.approvals[ident] = approval
        self.sessions_now[session] = msgspec.structs.replace(
            seen, state="held", state_since=self.clock() - 10
        )
        return approval

    def becomes(self, ident: str, **fields: Any) -> ApprovalView:
        self.approvals[ident] = msgspec.structs.replace(self.approvals[ident], **fields)
        return self.approvals[ident]

    def says(self, text: str, level: Any = "warning") -> None:
        last = self.notices[-1].cursor if self.notices else 0
        self.notices.append(Notice(cursor=last + 1, at=self.clock(), level=level, text=text))

    # --- the operator interface -------------------------------------------------------------------------

    def _up(self) -> None:
        if self.down is not None:
            raise OperatorError(self.down)

    async def snapshot(self, after: int = 0) -> Snapshot:
        self.asked += 1
        if self.broken:
            raise KeyError("secret-token-in-a-message")
        self._up()
        waiting = sorted(
            (a for a in self.approvals.values() if a.state == "waiting"), key=lambda a: a.created_at
        )
        ended = [a for a in reversed(self.approvals.values()) if a.state != "waiting"]
        return Snapshot(
            at=self.clock(),
            listen="127.0.0.1:6432",
            store="/var/lib/gatekeeper/recordings.db",
            sessions=tuple(self.sessions_now.values()),
            statements=tuple(s for s in self.statements if s.cursor > after)[-500:],
            cursor=self.cursor,
            approvals=(*waiting, *ended),
            rules=self.rules,
            metrics=self.metrics,
            notices=tuple(self.notices),
            hints=self.hints,
        )

    async def decide(self, approval: str, *, approve: bool, reason: str | None = None) -> ApprovalView:
        self._up()
        found = self.approvals.get(approval)
        if found is None:
            raise OperatorError(f"no approval {approval}")
        if found.state != "waiting":
            raise OperatorError(f"approval {approval} no longer waits: {found.state}")
        if any(d.who == self.who for d in found.decisions):
            raise OperatorError(f"{self.who} has decided on {approval} already")
        decisions = (*found.decisions, DecisionView(self.who, self.clock(), approve, reason))
        enough = sum(d.approved for d in decisions) >= found.needed
        state = "denied" if not approve else "approved" if enough else "waiting"
        return self.becomes(approval, decisions=decisions, state=state)

    async def kill_session(self, session: str) -> None:
        self._up()
        if self.sessions_now.pop(session, None) is None:
            raise OperatorError(f"no session {session}")

    async def end_run(self, run: str) -> int:
        self._up()
        ended = [s.id for s in self.sessions_now.values() if s.run == run]
        if not ended:
            raise OperatorError(f"no run {run}")
        for ident in ended:
            del self.sessions_now[ident]
        return len(ended)

    async def runs(self) -> tuple[RunView, ...]:
        return ()

    async def explain(self, sql: str, grant: str, database: str | None = None) -> Mapping[str, Any]:
        return {"sql": sql, "grant": grant, "database": database, "verdict": "allow"}

    async def sessions(self, search: str = "", limit: int = 200) -> tuple[RecordedSession, ...]:
        self._up()
        words = search.casefold().split()
        found = [
            s
            for s in self.recordings.values()
            if all(
                w in f"{s.grant} {s.subject} {s.run} {s.database} {self._sql(s.id)}".casefold() for w in words
            )
        ]
        return tuple(sorted(found, key=lambda s: -s.started_at)[:limit])

    def _sql(self, session: str) -> str:
        return " ".join(r.sql or "" for r in self.record_rows.get(session, ()))

    async def records(self, session: str) -> tuple[RecordView, ...]:
        self._up()
        found = [s for s in self.record_rows if s.startswith(session)]
        if len(found) != 1:
            raise OperatorError(f"no session {session}" if not found else f"{session} is ambiguous")
        return tuple(self.record_rows[found[0]])
