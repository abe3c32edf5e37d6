"""The operator interface inside the gateway's own process. All others end up here."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from msgspec import structs

from gatekeeper.control.live import MAX_SQL, Live
from gatekeeper.control.operator import (
    ApprovalView,
    DecisionView,
    RulesView,
    RunView,
    SessionView,
    Snapshot,
)
from gatekeeper.errors import OperatorError
from gatekeeper.events import OperatorAction
from gatekeeper.identity.runs import Runs
from gatekeeper.model import Approval, SessionStatus
from gatekeeper.policy.approvals import Approvals
from gatekeeper.recording.views import RecordedSession, RecordingReader, RecordView
from gatekeeper.rules.keeper import RulesKeeper

_MAX_PARAM: Final = 200

Explain = Callable[[str, str, str | None], Awaitable[Mapping[str, Any]]]
"""`(sql, grant, database)`; raises OperatorError for names that the rules do not know."""


class Sessions(Protocol):
    """The live sessions, as the gateway knows them."""

    def statuses(self) -> Iterable[SessionStatus]:
        """Every live session."""
        ...

    def kill(self, session_id: str, reason: str = "killed by an operator") -> bool:
        """End a session with 57P01 and that reason; False where there is none of that ID."""
        ...


class LocalOperator:
    """An operator named `who`, in the process. `record` hears of everything that is done."""

    def __init__(
        self,
        *,
        live: Live,
        approvals: Approvals,
        runs: Runs,
        keeper: RulesKeeper,
        reader: RecordingReader,
        sessions: Sessions,
        explain: Explain,
        record: Callable[[OperatorAction], None],
        clock: Callable[[], float],
        who: str,
        listen: str,
        store: str,
        hints: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self.who = who
        self._live = live
        self._approvals = approvals
        self._runs = runs
        self._keeper = keeper
        self._reader = reader
        self._sessions = sessions
        self._explain = explain
        self._record = record
        self._clock = clock
        self._listen = listen
        self._store = store
        self._hints = hints

    def acting_as(self, who: str) -> LocalOperator:
        """The same operator interface in another person's name."""
        other = copy.copy(self)
        other.who = who
        return other

    def listening_at(self, listen: str) -> None:
        """Where the gateway listens, once that is known."""
        self._listen = listen

    async def snapshot(self, after: int = 0) -> Snapshot:
        """Everything at this moment; statements only after that cursor."""
        now = self._clock()
        statements, cursor = self._live.statements(after)
        keeper = self._keeper
        return Snapshot(
            at=now,
            listen=self._listen,
            store=self._store,
            sessions=tuple(_session_view(status) for status in self._sessions.statuses()),
            statements=statements,
            cursor=cursor,
            approvals=(
                *(approval_view(approval) for approval in self._approvals.waiting()),
                *(_cut(approval_view(approval)) for approval in self._approvals.ended()),
            ),
            rules=RulesView(
                path=str(keeper.path),
                version=keeper.current.version,
                loaded_at=keeper.loaded_at,
                rules=self._live.rules(keeper.current),
                problems=keeper.problems,
                problems_at=keeper.problems_at,
                restart_needed=keeper.restart_needed,
            ),
            metrics=self._live.metrics(now),
            notices=self._live.notices(),
            hints=self._hints(),
        )

    async def decide(self, approval: str, *, approve: bool, reason: str | None = None) -> ApprovalView:
        """Approve or deny. OperatorError says what became of one that no longer waits."""
        now = self._clock()
        decided = self._approvals.decide(approval, self.who, approve=approve, reason=reason, now=now)
        self._did("approve" if approve else "deny", decided.id, reason)
        return approval_view(decided)

    async def kill_session(self, session: str) -> None:
        """End a session with 57P01."""
        if not self._sessions.kill(session):
            raise OperatorError(f"no live session {session}")
        self._did("kill", session)

    async def end_run(self, run: str) -> int:
        """End a run: all its sessions end with 57P01 and it cannot log in again. Returns how many ended."""
        sessions = self._runs.end(run, self._clock())
        self._did("end_run", run)
        return sum(self._sessions.kill(session, "the run has ended") for session in sessions)

    async def runs(self) -> tuple[RunView, ...]:
        """Runs that hold a grant now."""
        return tuple(
            RunView(
                run=run.run,
                grant=run.grant,
                subject=run.subject,
                issuer=run.issuer,
                started_at=run.started_at,
                ends_at=run.ends_at,
                sessions=run.sessions,
            )
            for run in self._runs.statuses(self._clock())
        )

    async def pruned(self, older_than: str) -> None:
        """Recordings older than that were removed, by a command beside the gateway."""
        self._did("prune", f"older than {older_than}")

    async def explain(self, sql: str, grant: str, database: str | None = None) -> Mapping[str, Any]:
        """What would happen to a statement under the rules in force, as `gatekeeper explain --json`."""
        return await self._explain(sql, grant, database)

    async def sessions(self, search: str = "", limit: int = 200) -> tuple[RecordedSession, ...]:
        """Recorded sessions, newest first."""
        return await self._reader.sessions(search, limit)

    async def records(self, session: str) -> tuple[RecordView, ...]:
        """All records of a session in order."""
        return await self._reader.records(session)

    def _did(self, action: str, target: str, reason: str | None = None) -> None:
        self._record(OperatorAction(self._clock(), self.who, action, target, reason))


def approval_view(approval: Approval) -> ApprovalView:
    """An approval as operators see it."""
    request = approval.request
    session = request.session
    return ApprovalView(
        id=approval.id,
        session=session.id,
        grant=session.grant,
        subject=session.subject,
        issuer=session.issuer,
        run=session.run,
        claims=session.claims,
        database=session.database,
        sql=request.sql,
        params=request.params,
        tags=request.tags,
        guard=request.hold.guard,
        guards=request.guards,
        reason=request.reason,
        needed=request.hold.approvals,
        decisions=tuple(DecisionView(d.who, d.at, d.approved, d.reason) for d in approval.decisions),
        created_at=approval.created_at,
        deadline_at=approval.deadline_at,
        state=approval.state,
        transaction_started_at=request.transaction_started_at,
        earlier_statements=request.earlier_statements,
        impact=approval.impact,
    )


def _cut(view: ApprovalView) -> ApprovalView:
    """An ended approval, whose statement nobody has to read whole any more."""
    long = view.params is not None and any(len(param or "") > _MAX_PARAM for param in view.params)
    if len(view.sql) <= MAX_SQL and not long:
        return view
    params = view.params and tuple(param and param[:_MAX_PARAM] for param in view.params)
    return structs.replace(view, sql=view.sql[:MAX_SQL], params=params)


def _session_view(status: SessionStatus) -> SessionView:
    info = status.info
    return SessionView(
        id=info.id,
        grant=info.grant,
        subject=info.subject,
        issuer=info.issuer,
        run=info.run,
        database=info.database,
        client=info.client,
        application=info.application,
        state=status.state,
        started_at=status.started_at,
        state_since=status.state_since,
        statements=status.statements,
        refused=status.refused,
        current_sql=None if status.current_sql is None else status.current_sql[:MAX_SQL],
        transaction_started_at=status.transaction_started_at,
        claims=info.claims,
    )
