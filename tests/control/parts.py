"""A gateway's operator side for tests: its real parts, but sessions that are only told of."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gatekeeper.control.live import Live
from gatekeeper.control.local import LocalOperator
from gatekeeper.errors import OperatorError, RecordingError
from gatekeeper.events import OperatorAction, StatementClosed, StatementOpened
from gatekeeper.identity.runs import Runs, StoredRun
from gatekeeper.model import Action, Approval, Hold, HoldRequest, Identity, SessionInfo, SessionStatus
from gatekeeper.policy.approvals import Approvals
from gatekeeper.recording.views import RecordedSession, RecordView
from gatekeeper.rules.keeper import RulesKeeper
from gatekeeper.rules.load import parse

NOW = 1_800_000_000.0

RULES = """
[[issuer]]
name = "ci"
issuer = "https://issuer.example"
audience = "gatekeeper"
jwks = "https://issuer.example/jwks"

[[database]]
name = "app"
dsn = "embedded"

[[grant]]
name = "deploy"
issuer = "ci"
claims = { repository_id = "1" }
databases = ["app"]
classes = ["READ", "WRITE"]
ttl = "30m"

[[guard]]
name = "no-drop"
statements = ["DROP *"]
action = "block"

[[guard]]
name = "big"
where = "missing"
action = "approve"

[[mask]]
name = "pii"
columns = ["public.customers.ssn"]
method = "redact"
"""


def session(ident: str = "s1", **changes: Any) -> SessionInfo:
    fields: dict[str, Any] = {
        "id": ident,
        "grant": "deploy",
        "subject": "repo:acme",
        "issuer": "ci",
        "run": "77.1",
        "database": "app",
        "client": "127.0.0.1:5",
        "application": "psql",
        "claims": {"repository_id": "1", "nested": {"a": [1, True, None]}},
    }
    return SessionInfo(**{**fields, **changes})


def opened(n: int = 1, sql: str = "select 1", at: float = NOW, **changes: Any) -> StatementOpened:
    fields: dict[str, Any] = {
        "at": at,
        "session": "s1",
        "n": n,
        "protocol": "simple",
        "sql": sql,
        "params": None,
        "tags": ("SELECT",),
        "classes": ("READ",),
        "relations": (),
        "functions": (),
        "verdict": Action.ALLOW,
        "guards": (),
    }
    return StatementOpened(**{**fields, **changes})


def closed(n: int = 1, ms: float = 1.0, at: float = NOW, **changes: Any) -> StatementClosed:
    fields: dict[str, Any] = {"at": at, "session": "s1", "n": n, "outcome": "SELECT 1", "rows": 1}
    return StatementClosed(**{**fields, "duration_ms": ms, **changes})


class Told:
    """Sessions as the gateway would tell of them, and what was asked of it."""

    def __init__(self) -> None:
        self.live: dict[str, SessionStatus] = {}
        self.killed: list[tuple[str, str]] = []

    def begin(self, info: SessionInfo) -> None:
        self.live[info.id] = SessionStatus(info, "idle", NOW, NOW, 3, 1, "select 1")

    def statuses(self) -> Iterable[SessionStatus]:
        return list(self.live.values())

    def kill(self, session_id: str, reason: str = "killed by an operator") -> bool:
        if self.live.pop(session_id, None) is None:
            return False
        self.killed.append((session_id, reason))
        return True


class Memory:
    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], StoredRun] = {}

    def load_runs(self) -> Iterable[StoredRun]:
        return list(self.kept.values())

    def save_run(self, run: StoredRun) -> None:
        self.kept[run.grant, run.run] = run


class Recordings:
    def __init__(self) -> None:
        self.broken = False

    async def sessions(self, search: str = "", limit: int = 200) -> tuple[RecordedSession, ...]:
        if self.broken:
            raise RecordingError("recordings.db: disk I/O error")
        one = RecordedSession("s1", "deploy", search, "ci", "77.1", "app", "", NOW, None, None, 1, 0, 0)
        return (one,) * min(limit, 1000)

    async def records(self, session: str) -> tuple[RecordView, ...]:
        return tuple(
            RecordView(n, "statement", NOW, session, "ab", sql="select 1", params=(None, "x"))
            for n in range(1, 1001)
        )


class Parts:
    def __init__(self, directory: Path) -> None:
        rules = parse(RULES, directory / "rules.toml")
        self.now = NOW
        self.live = Live(NOW)
        self.ids = iter(f"a{n}" for n in range(1, 1000))
        self.approvals = Approvals(lambda: next(self.ids))
        self.runs = Runs(Memory())
        self.keeper = RulesKeeper(rules.path, rules, clock=self.clock, report=lambda e: self.live.feed([e]))
        self.told = Told()
        self.recordings = Recordings()
        self.actions: list[OperatorAction] = []
        self.operator = LocalOperator(
            live=self.live,
            approvals=self.approvals,
            runs=self.runs,
            keeper=self.keeper,
            reader=self.recordings,
            sessions=self.told,
            explain=self.explain,
            record=self.actions.append,
            clock=self.clock,
            who="local",
            listen="127.0.0.1:6432",
            store="recordings.db",
            hints=lambda: ("psql …",),
        )

    def clock(self) -> float:
        return self.now

    async def explain(self, sql: str, grant: str, database: str | None) -> Mapping[str, Any]:
        if grant != "deploy":
            raise OperatorError(f'no grant "{grant}"')
        return {"sql": sql, "grant": grant, "database": database}

    def hold(
        self, sql: str = "delete from orders", seen: list[Approval] | None = None, people: int = 1
    ) -> Approval:
        request = HoldRequest(session(), 1, sql, ("x",), ("DELETE",), ("big",), Hold("big", people, 60.0))
        return self.approvals.hold(request, self.now, (seen if seen is not None else []).append)

    def admit(self, ident: str, run: str = "77.1") -> None:
        self.told.begin(session(ident, run=run))
        grant = self.keeper.current.grants[0]
        identity = Identity("ci", "repo:acme", {}, grant.name, run, NOW + 600)
        self.runs.admit(identity, grant, ident, self.now)


async def wait_for(condition: Any, seconds: float = 5.0) -> None:
    import asyncio

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
