"""How a session judges: text to verdict, its record, the wait for people, and the refusal."""

from __future__ import annotations

import codecs
from typing import Final

from gatekeeper.errors import ProtocolError
from gatekeeper.events import StatementOpened, WireProtocol
from gatekeeper.masking.statements import Pending as MaskPending
from gatekeeper.model import Action, Approval, Hold, HoldRequest, Refusal, SessionInfo, Undecided, Verdict
from gatekeeper.proxy import actions
from gatekeeper.proxy.encodings import codec_of
from gatekeeper.proxy.judge import Judge, Judgement
from gatekeeper.proxy.pending import Entry
from gatekeeper.proxy.relay import Relay
from gatekeeper.proxy.state import SessionState
from gatekeeper.proxy.statements import Run
from gatekeeper.proxy.wire import frontend
from gatekeeper.proxy.wire.backend import notice_response
from gatekeeper.sql.redact import redact_sql

RESERVED: Final = b"gatekeeper_refused"
"""Name of the prepared statement that never comes to be."""
UNPARSABLE: Final = b"gatekeeper refused this statement"
"""PostgreSQL gives 42601 for it, in every state of a transaction."""
REFUSED_QUERY: Final = frontend.query(UNPARSABLE)
REFUSED_PARSE: Final = frontend.parse(RESERVED, UNPARSABLE)
END_RUN: Final = b"SET gatekeeper.ending TO 'on'"
"""Stands in for CALL gatekeeper.end_run(): it succeeds wherever a CALL would, and changes nothing."""
RECORDED_UNDECIDED: Final = Verdict(Action.ALLOW)
"""What the record of a Parse says whose statement is decided at Bind, by the planner's estimate."""


class Judging(SessionState):
    """Judges statements, and carries the verdicts out."""

    def __init__(
        self, info: SessionInfo, judge: Judge, *, now: float, record_rows: int, reason: str | None = None
    ) -> None:
        super().__init__(info, judge, now=now, reason=reason)
        self.relay = Relay(self, record_rows)

    def _text(self, raw: bytes) -> str | Refusal:
        try:
            return raw.decode(self._codec)
        except UnicodeDecodeError as problem:
            byte = f"0x{raw[problem.start]:02x}"
            return Refusal("22021", f'invalid byte sequence for encoding "{self._codec.upper()}": {byte}')

    def set_client_encoding(self, name: str) -> str:
        """The server reported the client's encoding; gives Python's codec for it.

        Raises ProtocolError for one that cannot be judged.
        """
        codec = codec_of(name)
        if codec is None:
            raise ProtocolError(f"client encoding {name} cannot be judged")
        self._codec = codecs.lookup(codec).name
        self._utf8 = name.upper() == "UTF8"
        return self._codec

    def transaction_ended(self) -> None:
        """The server is idle outside of a transaction: cursors are gone, and DDL has taken effect."""
        self.portals.keep()
        if self.uncertain:
            self.uncertain = any(
                e.run is not None and e.run.judgement.changes_catalog for e in self.pending.entries()
            )
            if not self.uncertain:
                self.mask_pending = MaskPending()
            self.requests.append(actions.CatalogChanged())

    def _judge(
        self, sql: str, now: float, params: tuple[str | None, ...] | None = (), *, undecided: bool = False
    ) -> Judgement:
        """Judge, or wait for what the judgement needs. `undecided`: estimates may come later, at Bind."""
        if self.judge.stale:
            raise self._wait("refresh", actions.RefreshCatalog())
        judgement = self.judge.judge(
            sql, now, uncertain=self.uncertain, reason=self.reason, estimates=self._estimates,
            pending=self.mask_pending,
        )  # fmt: skip
        if judgement.unknown and not (self._checked or judgement.unknown <= self._made):
            raise self._wait("refresh", actions.CheckCatalog())
        if isinstance(judgement.verdict, Undecided) and self.uncertain:
            # The planner sees the tables as they were before this transaction's DDL.
            nothing = dict.fromkeys(judgement.verdict.statements)
            judgement = self.judge.judge(
                sql, now, uncertain=True, reason=self.reason, estimates=nothing, pending=self.mask_pending
            )
        if isinstance(judgement.verdict, Undecided) and not undecided:
            raise self._wait(
                "estimate", actions.Estimate(judgement.facts, judgement.verdict.statements, params)
            )
        return judgement

    def _open(
        self, sql: str, judgement: Judgement, now: float, protocol: WireProtocol, *,
        params: tuple[str | None, ...] | None = None,
    ) -> Run:  # fmt: skip
        """Open a record."""
        self.statements += 1
        run = Run(self.statements, now, judgement, started_at=now, sql=sql)
        found = judgement.verdict
        decided = found if isinstance(found, Verdict) else RECORDED_UNDECIDED
        self.events.append(
            StatementOpened(
                now, self.info.id, run.n, protocol, redact_sql(sql), params, judgement.tags,
                judgement.classes, judgement.relations, judgement.functions, decided.action, decided.guards,
            )
        )  # fmt: skip
        self._run = run
        return run

    def _settled_verdict(
        self, run: Run, judgement: Judgement, params: tuple[str | None, ...] | None
    ) -> Refusal | None:
        """Carry out the verdict: wait for people where it says so. Gives the refusal, if it comes to one."""
        verdict = judgement.verdict
        assert isinstance(verdict, Verdict)
        if verdict.refusal is not None:
            return verdict.refusal
        if self._failure is not None:
            return self._failure
        approval = self._approval
        if not self._warned:
            self._warned = True
            for warning in verdict.warnings:
                self.relay.notice(notice_response(warning, severity="WARNING", sqlstate="01000"))
        if verdict.hold is None:
            return None
        # Where the rules changed while it waited and now another guard asks, people are asked again.
        if approval is not None and (approval.state != "approved" or approval.request.hold == verdict.hold):
            return _refusal_of(approval, cancelled=self._cancelled)
        self._approval = None
        request = HoldRequest(
            self.info, run.n, run.sql, params, judgement.tags, verdict.guards, verdict.hold, self.reason,
            self.relay.transaction_started_at, self.relay.transaction_statements,
        )  # fmt: skip
        self.to_server.append(frontend.FLUSH)
        raise self._wait("held", actions.Hold(request, judgement.facts))

    def announce(self, approval: Approval) -> None:
        """Tell the client that its statement waits."""
        hold: Hold = approval.request.hold
        self.relay.notice(
            notice_response(
                f'waiting for approval {approval.id} (guard "{hold.guard}"), up to {hold.timeout_s:.0f} s'
            )
        )

    def _refuse(self, run: Run, refusal: Refusal, message: bytes, entry: Entry) -> None:
        """Send what the server refuses, in place of the client's statement."""
        self.refused += 1
        entry.run, entry.refusal = run, refusal
        self._send(message, entry, gate=True)

    def _refuse_unread(self, refusal: Refusal, message: bytes, entry: Entry) -> None:
        """Refuse what has no text that could be judged or recorded."""
        entry.refusal = refusal
        self.refused += 1
        self._send(message, entry)

    def _starts(self, run: Run, judgement: Judgement, now: float) -> None:
        run.started_at = now
        self.state_since = now
        if judgement.changes_catalog:
            self.uncertain = True
            self._made |= judgement.makes
        if self.uncertain:
            self.mask_pending = judgement.plan.pending
        if judgement.reason is not None:
            self.reason = judgement.reason
        if judgement.hides_names:
            for portal in self.portals.values():
                portal.doubtful = True
            if judgement.dynamic:
                for prepared in self.prepared.values():
                    prepared.doubtful = True


def ends_run(judgement: Judgement) -> bool:
    """Whether it is `CALL gatekeeper.end_run()` and nothing else."""
    statements = judgement.facts.statements
    return len(statements) == 1 and statements[0].calls_end_run


def _refusal_of(approval: Approval, *, cancelled: bool) -> Refusal | None:
    """The error that the end of a hold comes to; None where it was approved."""
    match approval.state:
        case "approved":
            return None
        case "denied":
            denial = next(d for d in reversed(approval.decisions) if not d.approved)
            return Refusal("42501", f"denied by {denial.who}", detail=denial.reason)
        case "timed_out":
            return Refusal("57014", f"approval {approval.id} timed out")
        case "withdrawn" | "ended" | "waiting":
            if cancelled:
                return Refusal("57014", "canceling statement due to user request")
            return Refusal("57014", f"approval {approval.id} was withdrawn")
