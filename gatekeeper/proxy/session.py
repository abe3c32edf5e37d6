"""One session between a client and the database, without I/O: bytes and answers in, bytes and requests out.

The client's half is here, the server's in `relay`. Laws: nothing goes to the server that was not judged;
what is in `events` is committed before what is in `to_server` is sent; a refused statement is replaced by one
that PostgreSQL itself refuses, so that transactions, pipelines and the skipping to Sync are PostgreSQL's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gatekeeper.events import StatementDecided
from gatekeeper.model import Approval, Refusal, SessionInfo, Verdict
from gatekeeper.proxy import actions
from gatekeeper.proxy.judge import Judge
from gatekeeper.proxy.judging import END_RUN, REFUSED_PARSE, REFUSED_QUERY, ends_run
from gatekeeper.proxy.long_messages import LAST_PIECE, LongMessages
from gatekeeper.proxy.names import UnsettledError
from gatekeeper.proxy.pending import COPY_END, FUNCTION, QUERY, Entry
from gatekeeper.proxy.state import Blocked
from gatekeeper.proxy.wire import frontend
from gatekeeper.proxy.wire.framing import IN_PIECES, MORE


class Session(LongMessages):
    """Feed it with `client_data` and `server_data`; take what it has to say from the lists of its outbox.

    Times are Unix seconds and come as arguments.
    """

    def __init__(
        self, info: SessionInfo, judge: Judge, *, now: float, record_rows: int, reason: str | None = None
    ) -> None:
        super().__init__(info, judge, now=now, record_rows=record_rows, reason=reason)
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
            LAST_PIECE: self._long_bind_ends,
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
            messages[place] = REFUSED_QUERY if entry.kind in (QUERY, FUNCTION) else REFUSED_PARSE
        return messages

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
            except Blocked:
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

    # --- simple protocol, and the rest ------------------------------------------------------------------

    def _query(self, message: bytes, now: float) -> None:
        sql = self._text(frontend.read_query(message))
        if isinstance(sql, Refusal):
            self._refuse_unread(sql, REFUSED_QUERY, Entry(QUERY))
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
        refusal = self._settled_verdict(run, judgement, None)
        if refusal is None and not judgement.plain:
            refusal = self._names_in(judgement, entry, now)
        if refusal is not None:
            self._refuse(run, refusal, REFUSED_QUERY, entry)
        else:
            if ends_run(judgement):
                run.ends_run = True
                message = frontend.query(END_RUN)
            self._starts(run, judgement, now)
            self._send(message, entry, gate=True)
        self._segment += 1

    def _function_call(self, message: bytes, now: float) -> None:
        """FunctionCall is judged as the SELECT that it amounts to; its result cannot be masked."""
        oid = frontend.read_function_call(message)
        name = self.judge.function(oid)
        if name is None:
            self._refuse_unread(
                Refusal("42883", f"function with OID {oid} does not exist"), REFUSED_QUERY, Entry(FUNCTION)
            )
            return
        sql = f"SELECT {name}()"
        judgement = self._judge(sql, now)
        run = self._run or self._open(sql, judgement, now, "function")
        self._segment += 1
        refusal = self._settled_verdict(run, judgement, None)
        if refusal is None and judgement.plan.touches:
            refusal = Refusal("42501", f"the result of {name} may be masked and cannot be: use SELECT")
        entry = Entry(FUNCTION, run=run)
        if refusal is not None:
            self._refuse(run, refusal, REFUSED_QUERY, entry)
        else:
            self._starts(run, judgement, now)
            self._send(message, entry, gate=True)
        self._segment += 1

    def _copy_end(self, message: bytes, now: float) -> None:
        self._send(message, Entry(COPY_END))

    def _terminate(self, message: bytes, now: float) -> None:
        """The server answers first what it was sent before, and then it closes."""
        self.to_server.append(message)
        if self.pending.head is None:
            self._finish("client left", None)
        else:
            self.leaving = True
