"""One session between a client and the database, without I/O: bytes and answers in, bytes and requests out.

The client's half is here, the server's in `relay`. Laws: nothing goes to the server that was not judged;
what is in `events` is committed before what is in `to_server` is sent; a refused statement is replaced by one
that PostgreSQL itself refuses, so that transactions, pipelines and the skipping to Sync are PostgreSQL's own.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from typing import Final, assert_never

from gatekeeper.errors import ProtocolError
from gatekeeper.events import Event, StatementBound, StatementDecided, StatementOpened, WireProtocol
from gatekeeper.masking.plan import MaskPlan
from gatekeeper.masking.statements import Pending as MaskPending
from gatekeeper.model import (
    Action,
    Approval,
    Hold,
    HoldRequest,
    Refusal,
    SessionInfo,
    SessionStatus,
    StatementFacts,
    Undecided,
    Verdict,
)
from gatekeeper.proxy import actions
from gatekeeper.proxy.encodings import codec_of
from gatekeeper.proxy.judge import Judge, Judgement
from gatekeeper.proxy.names import Names, UnsettledError
from gatekeeper.proxy.pending import (
    BIND,
    CLOSE,
    COPY_END,
    DESCRIBE,
    EXECUTE,
    FUNCTION,
    PARSE,
    QUERY,
    SYNC,
    Entry,
    Pending,
)
from gatekeeper.proxy.pieces import (
    MAX_COLLECTED_BYTES,
    RULES_CHANGED,
    TOO_LONG,
    TOO_LONG_TO_SHOW,
    Collected,
    Copied,
    Dropped,
    Pieces,
    Streamed,
    is_plain,
    length_of,
)
from gatekeeper.proxy.relay import Relay
from gatekeeper.proxy.statements import Portal, Prepared, Run
from gatekeeper.proxy.wire import frontend
from gatekeeper.proxy.wire.backend import notice_response
from gatekeeper.proxy.wire.bind_pieces import BindPieces
from gatekeeper.proxy.wire.framing import IN_PIECES, MORE, SESSION_TYPES, FrontendFrames
from gatekeeper.sql.redact import redact_sql
from gatekeeper.sql.values import as_text

RESERVED: Final = b"gatekeeper_refused"
"""Name of the prepared statement that never comes to be."""
_UNPARSABLE: Final = b"gatekeeper refused this statement"
"""PostgreSQL gives 42601 for it, in every state of a transaction."""
_REFUSED_QUERY: Final = frontend.query(_UNPARSABLE)
_REFUSED_PARSE: Final = frontend.parse(RESERVED, _UNPARSABLE)
_END_RUN: Final = b"SET gatekeeper.ending TO 'on'"
"""Stands in for CALL gatekeeper.end_run(): it succeeds wherever a CALL would, and changes nothing."""
_RECORDED_UNDECIDED: Final = Verdict(Action.ALLOW)
"""What the record of a Parse says whose statement is decided at Bind, by the planner's estimate."""
_LAST_PIECE: Final = 0x300
"""Stands for the type of a message that has come in pieces, all of them."""
_NAME_BYTES: Final = 63
"""NAMEDATALEN - 1: the server cuts names there."""


class _Blocked(Exception):  # noqa: N818 - not an error: the message waits
    """The message that is handled now cannot go on yet; it is handled again when the answer is there."""


class Session:
    """Feed it with `client_data` and `server_data`; take what it has to say from the lists of its outbox.

    Times are Unix seconds and come as arguments.
    """

    def __init__(
        self, info: SessionInfo, judge: Judge, *, now: float, record_rows: int, reason: str | None = None
    ) -> None:
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
        self.relay = Relay(self, record_rows)
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
        self._handlers: Mapping[int, Callable[[bytes, float], None]] = {
            ord("Q"): self._query,
            ord("P"): self._parse,
            ord("B"): self._bind,
            ord("D"): self._describe,
            ord("E"): self._execute,
            ord("C"): self._close,
            ord("S"): self._sync,
            ord("H"): self._flush,
            ord("F"): self._function_call,
            ord("d"): self._copy_data,
            ord("c"): self._copy_end,
            ord("f"): self._copy_end,
            ord("X"): self._terminate,
            ord("Q") | IN_PIECES: self._too_long,
            ord("P") | IN_PIECES: self._too_long,
            ord("F") | IN_PIECES: self._too_long,
            ord("B") | IN_PIECES: self._long_bind,
            ord("d") | IN_PIECES: self._long_copy_data,
            MORE: self._more,
            _LAST_PIECE: self._long_bind_ends,
        }

    # --- what comes in ----------------------------------------------------------------------------------

    def client_data(self, data: bytes, now: float) -> None:
        """Bytes from the client. Raises ProtocolError; then the caller ends the session with 08P01."""
        self.last_active_at = now
        self._frames.feed(data)
        self._pump(now)

    def server_data(self, data: bytes, now: float) -> None:
        """Bytes from the server. Raises ProtocolError."""
        self.relay.receive(data, now)
        if self._blocked == "settle":
            self._resume(now)

    def decided(self, approval: Approval, now: float) -> None:
        """The hold that this session asked for has ended, one way or another."""
        self._approval = approval
        run = self._run
        if run is not None and self._blocked == "held":
            self.events.append(StatementDecided(now, self.info.id, run.n, approval.record))
            self._resume(now)

    def estimated(self, estimates: Mapping[int, float | None], now: float) -> None:
        """The planner's answer to an Estimate."""
        self._estimates = estimates
        if self._blocked == "estimate":
            self._resume(now)

    def refreshed(self, now: float) -> None:
        """The snapshot of the catalog is as new as it can be."""
        if self._blocked == "refresh":
            self._checked = True
            self._resume(now)

    def rules_changed(self, now: float) -> None:
        """The rules were reloaded: a statement that waits and is now forbidden waits no longer."""
        if self._blocked == "held" and self._run is not None and self._approval is None:
            verdict = self.judge.judge(
                self._run.sql, now, uncertain=self.uncertain, reason=self.reason, estimates=self._estimates,
                pending=self.mask_pending,
            ).verdict  # fmt: skip
            if isinstance(verdict, Verdict) and verdict.refusal is not None:
                self.requests.append(actions.Withdraw())

    def cancel_begins(self) -> bool:
        """A CancelRequest came; True where it has to go to the server.

        Then nothing new goes there until `cancel_ends`, so that a late signal cannot hit the next statement.
        """
        if self._blocked == "held":
            self._cancelled = True
            self.requests.append(actions.Withdraw())
            return False
        if self.closed:
            return False
        if self.pending.head is None:
            if self._blocked in ("estimate", "refresh"):
                self._failure = Refusal("57014", "canceling statement due to user request")
            return False
        self._cancelling += 1
        return True

    def cancel_ends(self, now: float) -> None:
        """The server has taken the cancel request."""
        self._cancelling -= 1
        self._pump(now)

    def end(self, refusal: Refusal, reason: str) -> None:
        """End the session with a FATAL error; `reason` is for the recording."""
        if self.closed:
            return
        if self._blocked == "held":
            self.requests.append(actions.Withdraw())
        self.relay.fatal(refusal)
        self._finish(reason, refusal)

    def server_gone(self) -> None:
        """The server has closed its connection."""
        if self.leaving:
            self.gone("client left")
        else:
            self.end(Refusal("57P01", "the database closed the connection"), "database gone")

    def gone(self, reason: str) -> None:
        """One of the two sides has closed its connection."""
        if self.closed:
            return
        if self._blocked == "held":
            self.requests.append(actions.Withdraw())
        self._finish(reason, None)

    def recording_failed(self, messages: list[bytes], gated: list[tuple[int, Entry]]) -> list[bytes]:
        """The records of these messages could not be committed: give what may go in their place."""
        refusal = Refusal("58030", "the recording cannot be written; the statement was not sent")
        if self._blocked == "held":
            self._failure = refusal
            self.requests.append(actions.Withdraw())
        for place, entry in gated:
            if entry.in_pieces:
                # The server has its beginning, and will have no end of it.
                messages[place] = b""
                self.end(refusal, "recording failed")
                continue
            entry.refusal = refusal
            messages[place] = _REFUSED_QUERY if entry.kind in (QUERY, FUNCTION) else _REFUSED_PARSE
        return messages

    # --- what an operator sees --------------------------------------------------------------------------

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

    # --- the pump ---------------------------------------------------------------------------------------

    def _pump(self, now: float) -> None:
        frames, handlers = self._frames, self._handlers
        while self._blocked is None and not (self._cancelling or self.closed or self.leaving):
            message = self._message or frames.next()
            if message is None:
                return
            self._message = message
            try:
                handlers[message[0]](message[1], now)
            except _Blocked:
                return
            except UnsettledError:
                self._blocked = "settle"
                return
            self._message = None
            self._checked = False
            self._clear_answers()

    def _resume(self, now: float) -> None:
        self._blocked = None
        self._pump(now)

    def _wait(self, why: str, *requests: actions.Request) -> _Blocked:
        self._blocked = why
        self.requests.extend(requests)
        return _Blocked()

    def _clear_answers(self) -> None:
        if self._run is not None or self._estimates is not None or self._failure is not None:
            self._estimates = None
            self._run = None
            self._approval = None
            self._cancelled = False
            self._warned = False
            self._failure = None

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

    # --- judgement --------------------------------------------------------------------------------------

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
        decided = found if isinstance(found, Verdict) else _RECORDED_UNDECIDED
        self.events.append(
            StatementOpened(
                now, self.info.id, run.n, protocol, redact_sql(sql), params, judgement.tags,
                judgement.classes, judgement.relations, judgement.functions, decided.action, decided.guards,
            )
        )  # fmt: skip
        self._run = run
        return run

    def _settled_verdict(
        self, run: Run, judgement: Judgement, params: tuple[str | None, ...] | None, now: float
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

    # --- simple protocol --------------------------------------------------------------------------------

    def _query(self, message: bytes, now: float) -> None:
        sql = self._text(frontend.read_query(message))
        if isinstance(sql, Refusal):
            self._refuse_unread(sql, _REFUSED_QUERY, Entry(QUERY))
            return
        judgement = self._judge(sql, now)
        self._segment += 1
        if self._run is None:
            # What has to wait for a name waits before its record is opened: record and message go together.
            for statement in () if judgement.plain else judgement.facts.statements:
                self._plan_by_name(statement, now)
        run = self._run or self._open(sql, judgement, now, "simple")
        run.judgement = judgement
        entry = Entry(QUERY, run=run)
        refusal = self._settled_verdict(run, judgement, None, now)
        if refusal is None and not judgement.plain:
            refusal = self._names_in(judgement, entry, now)
        if refusal is not None:
            self._refuse(run, refusal, _REFUSED_QUERY, entry)
        else:
            if _ends_run(judgement):
                run.ends_run = True
                message = frontend.query(_END_RUN)
            self._starts(run, judgement, now)
            self._send(message, entry, gate=True)
        self._segment += 1

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

    def _names_in(self, judgement: Judgement, entry: Entry, now: float) -> Refusal | None:
        """Follow PREPARE, EXECUTE, DECLARE and FETCH in SQL; gives a refusal where one cannot be followed."""
        try:
            refusal = self._follow_names(judgement, entry, now)
        except (_Blocked, UnsettledError):
            _take_back(entry)
            raise
        if refusal is not None:
            _take_back(entry)
        return refusal

    def _follow_names(self, judgement: Judgement, entry: Entry, now: float) -> Refusal | None:
        run = entry.run
        assert run is not None
        for index, statement in enumerate(judgement.facts.statements):
            plan = self._plan_by_name(statement, now)
            if isinstance(plan, Refusal):
                return plan
            if plan is not None:
                run.plans[index] = plan
            if statement.prepares is not None:
                made = Prepared(statement.text, judgement, self.uncertain, by_sql=True, index=index)
                slot = self.prepared.set(self._name(statement.prepares), made, self._segment)
                entry.slots.append((index, slot))
            if statement.declares is not None:
                cursor = Portal(statement.text, judgement, None, index=index)
                entry.slots.append(
                    (index, self.portals.set(self._name(statement.declares), cursor, self._segment))
                )
        return None

    def _plan_by_name(self, statement: StatementFacts, now: float) -> tuple[MaskPlan, int] | Refusal | None:
        """The plan of what EXECUTE or FETCH names; None where the statement names nothing."""
        if statement.executes is not None:
            target = self.prepared.get(self._name(statement.executes), self._segment)
            if target is None:
                return Refusal("26000", f'prepared statement "{statement.executes}" does not exist')
            if target.judgement.epoch != self.judge.epoch:
                target.judgement, target.index = self._judge(target.sql, now), 0
                verdict = target.judgement.verdict
                if isinstance(verdict, Verdict) and verdict.action not in (Action.ALLOW, Action.WARN):
                    return verdict.refusal or Refusal(
                        "42501",
                        f'prepared statement "{statement.executes}" was prepared under older rules',
                        hint="Prepare it again.",
                    )
            if statement.tag != "EXECUTE" and target.judgement.plan.touches:
                return Refusal("42501", "masked columns cannot be read through EXECUTE here")
            plan = self.judge.unknown() if target.doubtful else target.judgement.plan
            return plan, target.index
        if statement.fetches is not None:
            portal = self.portals.get(self._name(statement.fetches), self._segment)
            if portal is None or portal.doubtful or portal.judgement.epoch != self.judge.epoch:
                return self.judge.unknown(), 0
            return portal.judgement.plan, portal.index
        return None

    def _name(self, name: str) -> bytes:
        raw = name.encode(self._codec, "replace")
        if len(raw) > _NAME_BYTES - 4 and not raw.isascii():
            raise ProtocolError("the name of a statement or cursor is too long")  # the parser may have cut it
        return self._key(raw)

    def _key(self, raw: bytes) -> bytes:
        """What the server keeps of a name.

        It converts a name to its own encoding and cuts it there. Where two names of the client could come to
        be one of the server's, or the reverse, nobody could say which statement is meant.
        """
        if raw.isascii():
            return raw[:_NAME_BYTES]
        if not self._utf8 or len(raw) > _NAME_BYTES:
            raise ProtocolError("the name of a statement or portal must be ASCII, or short and in UTF8")
        return raw

    # --- extended protocol ------------------------------------------------------------------------------

    def _parse(self, message: bytes, now: float) -> None:
        parse = frontend.read_parse(message)
        name = self._key(parse.name)
        sql = self._text(parse.sql)
        if isinstance(sql, Refusal):
            self._refuse_unread(sql, _REFUSED_PARSE, self._forgets(name, Entry(PARSE)))
            return
        judgement = self._judge(sql, now, undecided=True)
        verdict = judgement.verdict
        run = self._open(sql, judgement, now, "extended")
        if isinstance(verdict, Verdict) and verdict.refusal is not None:
            # Under the client's own name: a Parse that fails takes the old unnamed statement away.
            refused = frontend.parse(parse.name, _UNPARSABLE)
            self._refuse(run, verdict.refusal, refused, self._forgets(name, Entry(PARSE)))
            return
        ends_run = _ends_run(judgement)
        prepared = Prepared(
            sql, judgement, self.uncertain, run=run,
            opened_verdict=_RECORDED_UNDECIDED if isinstance(verdict, Undecided) else verdict,
            parameter_types=parse.type_oids, ends_run=ends_run,
        )  # fmt: skip
        entry = Entry(PARSE, run=run, prepared=prepared)
        entry.slots.append((0, self.prepared.set(name, prepared, self._segment)))
        if ends_run:
            message = frontend.parse(parse.name, _END_RUN)
        self.state_since = now
        self._send(message, entry, gate=True)

    def _forgets(self, name: bytes, entry: Entry) -> Entry:
        """A Parse that fails drops the unnamed statement all the same."""
        if not name:
            self.prepared.set(name, None, self._segment).confirm()
        return entry

    def _bind(self, message: bytes, now: float) -> None:
        bind = frontend.read_bind(message)
        prepared = self._bound_statement(bind.statement)
        if prepared is not None:
            params = _params(prepared, bind.formats, bind.values)
            self._bind_to(prepared, bind, params, message, Entry(BIND), now)

    def _bound_statement(self, name: bytes) -> Prepared | None:
        """The statement that a Bind names; None where the Bind was refused for there is none."""
        prepared = self.prepared.get(self._key(name), self._segment)
        if prepared is None:
            what = f'prepared statement "{name.decode(self._codec, "replace")}"'
            what = what if name else "unnamed prepared statement"
            self._refuse_unread(Refusal("26000", f"{what} does not exist"), _REFUSED_PARSE, Entry(BIND))
        return prepared

    def _bind_to(
        self, prepared: Prepared, bind: frontend.Bind, params: tuple[str | None, ...], message: bytes,
        entry: Entry, now: float,
    ) -> None:  # fmt: skip
        judgement = self._judgement_at_bind(prepared, params, now)
        if entry.in_pieces and not is_plain(judgement):
            self.end(RULES_CHANGED, "rules changed")
            return
        run = self._run or self._bound(prepared, judgement, params, now)
        run.judgement = judgement
        refusal = self._settled_verdict(run, judgement, params, now)
        if refusal is not None:
            self._refuse(run, refusal, _REFUSED_PARSE, entry)
            return
        portal = Portal(
            prepared.sql,
            judgement,
            prepared,
            run,
            bind.result_formats,
            ends_run=prepared.ends_run,
            index=prepared.index,
            doubtful=prepared.doubtful,
        )
        entry.run, entry.portal = run, portal
        self._starts(run, judgement, now)  # what it may do to other portals, it does not do to its own
        entry.slots.append((0, self.portals.set(self._key(bind.portal), portal, self._segment)))
        self._send(message, entry, gate=True)

    def _judgement_at_bind(self, prepared: Prepared, params: tuple[str | None, ...], now: float) -> Judgement:
        """What was judged at Parse, judged anew where the rules, the catalog or the time have changed."""
        judgement = prepared.judgement
        if (
            judgement.epoch == self.judge.epoch
            and not self.judge.stale
            and not self.uncertain
            and not prepared.uncertain
            and now < judgement.valid_until
            and isinstance(judgement.verdict, Verdict)
        ):
            return judgement
        fresh = self._judge(prepared.sql, now, params)
        if self._estimates is None:
            prepared.judgement, prepared.index, prepared.uncertain = fresh, 0, self.uncertain
        return fresh

    def _bound(
        self, prepared: Prepared, judgement: Judgement, params: tuple[str | None, ...], now: float
    ) -> Run:
        """The record of this execution: the one that Parse opened, if it still says what is true."""
        run, prepared.run = prepared.run, None
        if run is not None and judgement.verdict == prepared.opened_verdict:
            self.events.append(StatementBound(now, self.info.id, run.n, params))
            self._run = run
            return run
        if run is not None:
            self.relay.close_run(run, "replaced", now)  # by the record of what was judged with its values
        return self._open(prepared.sql, judgement, now, "extended", params=params)

    def _describe(self, message: bytes, now: float) -> None:
        target = frontend.read_target(message)
        entry = Entry(DESCRIBE)
        name = self._key(target.name)
        if target.kind == "S":
            entry.prepared = self.prepared.get(name, self._segment)
            if entry.prepared is not None:
                entry.prepared.described_epoch = self.judge.epoch
        else:
            entry.portal = self.portals.get(name, self._segment)
            if entry.portal is not None:
                entry.portal.described = True
        self._send(message, entry)

    def _execute(self, message: bytes, now: float) -> None:
        raw, _ = frontend.read_execute(message)
        portal = self.portals.get(self._key(raw), self._segment)
        if portal is None:
            name = raw.decode(self._codec, "replace")
            self._refuse_unread(
                Refusal("34000", f'portal "{name}" does not exist'), _REFUSED_PARSE, Entry(EXECUTE)
            )
            return
        judgement = portal.judgement
        if judgement.epoch != self.judge.epoch:
            refusal = self._judged_again(portal, now)
            if refusal is not None:
                run = self._open(portal.sql, portal.judgement, now, "extended")
                self._refuse(run, refusal, _REFUSED_PARSE, Entry(EXECUTE))
                return
            judgement = portal.judgement
        run = portal.run or self._run or self._open(portal.sql, judgement, now, "extended")
        entry = Entry(EXECUTE, run=run, portal=portal)
        if portal.doubtful:
            run.plans[0] = self.judge.unknown(), 0
        elif not judgement.plain and portal.prepared is not None and not portal.prepared.by_sql:
            refusal = self._names_in(judgement, entry, now)
            if refusal is not None:
                self._refuse(run, refusal, _REFUSED_PARSE, entry)
                return
        if run.closed:
            # The portal is executed again: it gives what is left of it, under the same record.
            run.closed = False
        run.ends_run = portal.ends_run
        if not self._is_described(portal):
            portal.described = True
            self._send(frontend.describe("P", raw), Entry(DESCRIBE, portal=portal, injected=True))
        self._send(message, entry, gate=portal.run is None)

    def _judged_again(self, portal: Portal, now: float) -> Refusal | None:
        """A portal that was bound under older rules is judged before it runs."""
        fresh = self._judge(portal.sql, now, undecided=True)
        before, portal.judgement = portal.judgement.verdict, fresh
        if portal.run is not None:
            portal.run.judgement = fresh
        verdict = fresh.verdict
        if isinstance(verdict, Undecided):
            return None  # it was decided with its estimates when it was bound
        if verdict.refusal is not None:
            return verdict.refusal
        if verdict.hold is not None and (not isinstance(before, Verdict) or before.hold != verdict.hold):
            return Refusal("42501", "the rules changed after this was bound", hint="Bind it again.")
        return None

    def _is_described(self, portal: Portal) -> bool:
        """Whether the server has told, or was asked to tell, what rows the portal gives."""
        if portal.described:
            return True
        # What was told of the statement may be of other tables, where search_path or an uncommitted DDL has
        # changed what its names mean: masks need to know what is true of this portal.
        if portal.doubtful or portal.judgement.plan.touches or not portal.judgement.plain:
            return False
        prepared = portal.prepared
        return prepared is not None and prepared.described_epoch == self.judge.epoch

    def _close(self, message: bytes, now: float) -> None:
        target = frontend.read_target(message)
        entry = Entry(CLOSE)
        name = self._key(target.name)
        if target.kind == "S":
            entry.slots.append((0, self.prepared.set(name, None, self._segment)))
        else:
            entry.slots.append((0, self.portals.set(name, None, self._segment)))
        self._send(message, entry)

    def _sync(self, message: bytes, now: float) -> None:
        self._send(message, Entry(SYNC))
        self._segment += 1

    def _flush(self, message: bytes, now: float) -> None:
        self.to_server.append(message)

    # --- messages in pieces -----------------------------------------------------------------------------

    def _too_long(self, head: bytes, now: float) -> None:
        """A Query, Parse or FunctionCall that nobody could judge."""
        self._pieces = Dropped()
        if head[0] != ord("P"):
            entry = Entry(QUERY if head[0] == ord("Q") else FUNCTION)
            self._refuse_unread(TOO_LONG, _REFUSED_QUERY, entry)
            return
        name, _ = frontend.read_name(head, 5)
        self._refuse_unread(TOO_LONG, _REFUSED_PARSE, self._forgets(self._key(name), Entry(PARSE)))

    def _long_copy_data(self, head: bytes, now: float) -> None:
        self._pieces = Copied()
        self._copy_data(head, now)

    def _long_bind(self, head: bytes, now: float) -> None:
        bind = BindPieces(head)
        self._pieces = Dropped()
        prepared = self._bound_statement(bind.statement)
        if prepared is None:
            return
        if self.pending.copy_in:
            raise ProtocolError("unexpected message during COPY from stdin")
        judgement = self._judge(prepared.sql, now, undecided=True)
        if is_plain(judgement):
            self._pieces = Streamed(prepared, bind)
            self.to_server.append(bind.feed(head))
            return
        verdict = judgement.verdict
        refusal = verdict.refusal if isinstance(verdict, Verdict) else None
        if refusal is None and length_of(head) <= MAX_COLLECTED_BYTES:
            self._pieces = Collected(bytearray(head))
            return
        run = self._run or self._open(prepared.sql, judgement, now, "extended")
        self._refuse(run, refusal or TOO_LONG_TO_SHOW, _REFUSED_PARSE, Entry(BIND))

    def _more(self, piece: bytes, now: float) -> None:
        pieces, last = self._pieces, not self._frames.left
        match pieces:
            case Dropped():
                pass
            case Copied():
                self.to_server.append(piece)
            case Collected():
                pieces.data += piece
                if last:
                    message, self._pieces = bytes(pieces.data), Dropped()
                    self._message = ord("B"), message
                    self._bind(message, now)
            case Streamed():
                if passed := pieces.bind.feed(piece):
                    self.to_server.append(passed)
                if last:
                    self._message = _LAST_PIECE, b""
                    self._long_bind_ends(b"", now)
            case _:
                assert_never(pieces)

    def _long_bind_ends(self, _: bytes, now: float) -> None:
        pieces = self._pieces
        assert isinstance(pieces, Streamed)
        bind, end = pieces.bind.end()
        sizes = {i: v for i, v in enumerate(pieces.bind.values) if isinstance(v, int)}
        texts = _params(pieces.prepared, bind.formats, bind.values)
        params = tuple(
            f"({sizes[i]} bytes, not kept)" if i in sizes else text for i, text in enumerate(texts)
        )
        entry = Entry(BIND)
        entry.in_pieces = True
        self._bind_to(pieces.prepared, bind, params, end, entry, now)

    # --- the rest ---------------------------------------------------------------------------------------

    def _function_call(self, message: bytes, now: float) -> None:
        """FunctionCall is judged as the SELECT that it amounts to; its result cannot be masked."""
        oid = frontend.read_function_call(message)
        name = self.judge.function(oid)
        if name is None:
            self._refuse_unread(
                Refusal("42883", f"function with OID {oid} does not exist"), _REFUSED_QUERY, Entry(FUNCTION)
            )
            return
        sql = f"SELECT {name}()"
        judgement = self._judge(sql, now)
        run = self._run or self._open(sql, judgement, now, "function")
        self._segment += 1
        refusal = self._settled_verdict(run, judgement, None, now)
        if refusal is None and judgement.plan.touches:
            refusal = Refusal("42501", f"the result of {name} may be masked and cannot be: use SELECT")
        entry = Entry(FUNCTION, run=run)
        if refusal is not None:
            self._refuse(run, refusal, _REFUSED_QUERY, entry)
        else:
            self._starts(run, judgement, now)
            self._send(message, entry, gate=True)
        self._segment += 1

    def _copy_data(self, message: bytes, now: float) -> None:
        self.to_server.append(message)
        self.pending.copy_data_sent()

    def _copy_end(self, message: bytes, now: float) -> None:
        self._send(message, Entry(COPY_END))

    def _terminate(self, message: bytes, now: float) -> None:
        """The server answers first what it was sent before, and then it closes."""
        self.to_server.append(message)
        if self.pending.head is None:
            self._finish("client left", None)
        else:
            self.leaving = True


def _params(
    prepared: Prepared, formats: tuple[int, ...], values: tuple[bytes | None, ...]
) -> tuple[str | None, ...]:
    """Parameters as people read them."""
    types = prepared.parameter_types
    return tuple(
        as_text(types[i] if i < len(types) else 0, formats[i], value) for i, value in enumerate(values)
    )


def _take_back(entry: Entry) -> None:
    """The entry will not be sent: names keep their old meaning."""
    for _, slot in reversed(entry.slots):
        slot.revert()
    entry.slots.clear()


def _ends_run(judgement: Judgement) -> bool:
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
