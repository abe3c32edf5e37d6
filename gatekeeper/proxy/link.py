"""One session's two sockets and what lies between: a thin shell that carries out what the session says.

Law: the commit of a record comes before the first byte of its statement, and what was said later waits behind
it. The one broad `except` of the gateway is here, and it ends the session.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from gatekeeper.errors import ProtocolError, RecordingError, UpstreamUnreachableError
from gatekeeper.events import Event, Recorder, SessionEnded
from gatekeeper.model import Approval, Refusal
from gatekeeper.proxy import actions
from gatekeeper.proxy.databases import Database, View
from gatekeeper.proxy.dsn import Target
from gatekeeper.proxy.session import Session
from gatekeeper.proxy.upstream import Upstream, cancel
from gatekeeper.proxy.wire import frontend

if TYPE_CHECKING:
    from gatekeeper.policy.approvals import Approvals
    from gatekeeper.proxy.pending import Entry

_log: Final = logging.getLogger(__name__)
_MOST_BUFFERED_BYTES: Final = 1_048_576
"""What a client may send while its session waits, before its socket is read no more."""
_MOST_IN_FLIGHT: Final = 4096
"""Messages without an answer, before the client's socket is read no more.

A server keeps up to 8 kB of answers back until it is told to flush, which are 1,638 of the shortest: it must
not be fewer.
"""
_CLOSE_GRACE_S: Final = 5.0
_leaving: Final[set[asyncio.Task[None]]] = set()
"""Connections to servers that are being closed; kept here, since their sessions are gone."""


class Client(Protocol):
    """The client's socket, under whatever encryption."""

    def write(self, data: bytes) -> None:
        """Send."""
        ...

    def pause(self) -> None:
        """Read nothing for now."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def close(self) -> None:
        """Send what is left, then close."""
        ...


class _Batch:
    """Bytes for the server, and whether their records are committed."""

    __slots__ = ("committed", "gated", "messages")

    def __init__(self, messages: list[bytes], gated: list[tuple[int, Entry]], *, committed: bool) -> None:
        self.messages = messages
        self.gated = gated
        self.committed = committed


class Link:
    """Joins a session with its client, its server connection, the recorder and the people who decide."""

    def __init__(
        self,
        session: Session,
        client: Client,
        upstream: Upstream,
        *,
        target: Target,
        pid: int,
        key: bytes,
        role: str | None,
        database: Database,
        recorder: Recorder,
        approvals: Approvals,
        clock: Callable[[], float],
        on_end_run: Callable[[Link], None],
        on_closed: Callable[[Link], None],
    ) -> None:
        self.session = session
        self._client = client
        self._upstream = upstream
        self._target = target
        self._pid = pid
        self._key = key
        self._role = role
        self._database = database
        self._recorder = recorder
        self._approvals = approvals
        self._clock = clock
        self._on_end_run = on_end_run
        self._on_closed = on_closed
        self._batches: deque[_Batch] = deque()
        self._approval_id: str | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._client_paused = False
        self._server_writable = True
        self._ended = False
        self._flushing = False
        database.enters()

    # --- what comes in ----------------------------------------------------------------------------------

    def client_data(self, data: bytes) -> None:
        """Bytes from the client, decrypted."""
        self._do(lambda now: self.session.client_data(data, now))

    def server_data(self, data: bytes) -> None:
        """Bytes from the server, decrypted."""
        self._do(lambda now: self.session.server_data(data, now))

    def client_lost(self) -> None:
        """The client's connection is over."""
        if self.session.leaving:
            self._upstream.resume()  # what it left behind runs to its end, as it would without us
        else:
            self._do(lambda _: self.session.gone("client gone"))

    def server_lost(self) -> None:
        """The server's connection is over."""
        if not self.session.closed:
            self._do(lambda _: self.session.server_gone())

    def client_writable(self, writable: bool) -> None:
        """A client that does not read must not fill our memory: the server waits with it."""
        if writable:
            self._upstream.resume()
        else:
            self._upstream.pause()

    def server_writable(self, writable: bool) -> None:
        """The same the other way round."""
        self._server_writable = writable
        self._throttle()

    def end(self, refusal: Refusal, reason: str) -> None:
        """End the session with a FATAL error."""
        self._do(lambda _: self.session.end(refusal, reason))

    def rules_changed(self) -> None:
        """The rules were reloaded."""
        self._do(self.session.rules_changed)

    async def cancel(self) -> None:
        """Carry out a cancel request for this session, and return when the server has taken it."""
        sent = False

        def begin(_: float) -> None:
            nonlocal sent
            sent = self.session.cancel_begins()

        self._do(begin)
        if sent:
            try:
                await cancel(self._target, self._upstream, self._pid, self._key)
            finally:
                self._do(self.session.cancel_ends)

    # --- carrying out -----------------------------------------------------------------------------------

    def _do(self, step: Callable[[float], object]) -> None:
        """Let the session take one step, and do what it says."""
        try:
            try:
                step(self._clock())
            except ProtocolError as problem:
                self.session.end(Refusal("08P01", str(problem)), "protocol violation")
            self._flush()
        except Exception as problem:  # noqa: BLE001 - the session's boundary: it ends, the gateway goes on
            self._log_crash(problem)
            self._crash()

    def _flush(self) -> None:
        session = self.session
        if session.to_client:
            parts, session.to_client = session.to_client, []
            self._client.write(parts[0] if len(parts) == 1 else b"".join(parts))
        if session.events or session.gated:
            events, session.events = session.events, []
            self._record(events)
        if session.to_server:
            messages, session.to_server = session.to_server, []
            self._send(messages)
        if session.requests:
            requests, session.requests = session.requests, []
            for request in requests:
                self._carry_out(request)
        if self._client_paused or session.blocked or len(session.pending) > _MOST_IN_FLIGHT:
            self._throttle()

    def _record(self, events: list[Event]) -> None:
        session = self.session
        if not session.gated and not session.held:
            self._recorder.submit(events)
            return
        gated, session.gated = session.gated, []
        messages, session.to_server = session.to_server, []
        batch = _Batch(messages, gated, committed=False)
        self._batches.append(batch)
        self._recorder.submit(events, lambda problem: self._committed(batch, problem))

    def _committed(self, batch: _Batch, problem: RecordingError | None) -> None:
        batch.committed = True
        if problem is not None:
            self._do(lambda _: self._substitute(batch))
        batches = self._batches
        out: list[bytes] = []
        while batches and batches[0].committed:
            out += batches.popleft().messages
        if out:
            self._upstream.write(out[0] if len(out) == 1 else b"".join(out))
        if self._ended and not batches:
            self._upstream.close()

    def _substitute(self, batch: _Batch) -> None:
        batch.messages = self.session.recording_failed(batch.messages, batch.gated)

    def _send(self, messages: list[bytes]) -> None:
        if self._batches:
            self._batches.append(_Batch(messages, [], committed=True))
        else:
            self._upstream.write(messages[0] if len(messages) == 1 else b"".join(messages))

    def _throttle(self) -> None:
        session = self.session
        stop = (
            not self._server_writable
            or (session.blocked and session.buffered_bytes > _MOST_BUFFERED_BYTES)
            or len(session.pending) > _MOST_IN_FLIGHT
        )
        if stop and not self._client_paused:
            self._client_paused = True
            self._client.pause()
        elif not stop and self._client_paused:
            self._client_paused = False
            self._client.resume()

    def _carry_out(self, request: actions.Request) -> None:
        match request:
            case actions.Hold():
                self._hold(request)
            case actions.Withdraw():
                if self._approval_id is not None:
                    self._approvals.withdraw(self._approval_id, self._clock())
            case actions.Estimate():
                self._start(self._estimate(request))
            case actions.RefreshCatalog():
                self._start(self._refresh(self._database.refresh))
            case actions.CheckCatalog():
                self._start(self._refresh(self._database.check))
            case actions.CatalogChanged():
                self._database.changed()
            case actions.EndRun():
                self._on_end_run(self)
            case actions.Close():
                self._close(request)
            case _:
                assert_never(request)

    # --- people, planner, catalog -----------------------------------------------------------------------

    def _hold(self, request: actions.Hold) -> None:
        loop = asyncio.get_running_loop()
        approval = self._approvals.hold(request.request, self._clock(), self._decided)
        self._approval_id = approval.id
        self._deadline = loop.call_later(request.request.hold.timeout_s, self._expire)
        self.session.announce(approval)
        self._start(self._find_impact(request, approval.id))
        self._flush()

    def _expire(self) -> None:
        self._approvals.expire(self._clock() + 0.001)  # the timer may be early by its resolution
        if self._approval_id is not None:
            self._deadline = asyncio.get_running_loop().call_later(0.05, self._expire)

    def _decided(self, approval: Approval) -> None:
        self._approval_id = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._do(lambda now: self.session.decided(approval, now))

    def _view(self) -> View:
        return View(self._pid, self._role, self.session.relay.search_path)

    async def _find_impact(self, request: actions.Hold, approval_id: str) -> None:
        held = request.request
        self._approvals.set_impact(
            approval_id, await self._database.impact(request.facts, held.sql, held.params, self._view())
        )

    async def _estimate(self, request: actions.Estimate) -> None:
        estimates = await self._database.estimate(
            request.facts, request.statements, request.params, self._view()
        )
        self._do(lambda now: self.session.estimated(estimates, now))

    async def _refresh(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await read()
        except UpstreamUnreachableError as problem:
            _log.warning("session %s: %s", self.session.info.id, problem.reason)
            self.end(Refusal("08006", "the database's catalog cannot be read"), "catalog unreadable")
            return
        self._do(self.session.refreshed)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name=f"session {self.session.info.id}")
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            self._log_crash(problem)
            self._crash()

    # --- the end ----------------------------------------------------------------------------------------

    def _close(self, request: actions.Close) -> None:
        """Close both sides. A query that runs for a client that is gone is cancelled."""
        if self._ended:
            return
        self._ended = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._recorder.submit([SessionEnded(self._clock(), self.session.info.id, request.reason)])
        if self.session.uncertain:
            self._database.changed()
        self._client.close()
        if request.reason == "client left":
            if not self._batches:
                self._upstream.close()
            self._closed()
            return
        self._batches.clear()
        leaving = asyncio.create_task(self._leave_server(running=request.running), name="leave the server")
        _leaving.add(leaving)
        leaving.add_done_callback(_leaving.discard)
        self._closed()

    def _closed(self) -> None:
        self._database.leaves()
        self._on_closed(self)

    async def _leave_server(self, *, running: bool) -> None:
        """Cancel what runs, say goodbye, and close."""
        if running:
            await cancel(self._target, self._upstream, self._pid, self._key)
        self._upstream.write(frontend.TERMINATE)
        self._upstream.close()
        await asyncio.sleep(_CLOSE_GRACE_S)
        self._upstream.abort()

    def _log_crash(self, problem: BaseException) -> None:
        """Neither the exception's text nor a traceback: SQL and values may be in them."""
        kind, place = type(problem).__name__, _last_frame(problem)
        _log.error("session %s ends: %s at %s", self.session.info.id, kind, place)

    def _crash(self) -> None:
        """The session did what nobody foresaw: nothing more of it goes anywhere."""
        self._batches.clear()
        self.session.to_server.clear()
        self.session.to_client.clear()
        self.session.gated.clear()
        self.session.closed = True
        if not self._ended:
            self._ended = True
            if self._approval_id is not None:
                self._approvals.withdraw(self._approval_id, self._clock())
            self._recorder.submit([SessionEnded(self._clock(), self.session.info.id, "internal error")])
            self._client.close()
            self._upstream.abort()
            self._closed()


def _last_frame(problem: BaseException) -> str:
    """Where it was raised: file and line, nothing of the values."""
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "?"
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
