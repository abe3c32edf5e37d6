"""The operator interface over the control socket, for consoles and commands.

A call that fails leaves nothing behind: the next one connects anew.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec

from gatekeeper.control.messages import MAX_REPLY, MAX_REQUEST, Fault, Method, Reply, Request, socket_path
from gatekeeper.control.operator import ApprovalView, RunView, Snapshot
from gatekeeper.errors import OperatorError, RecordingError
from gatekeeper.recording.views import RecordedSession, RecordView

_TIMEOUT_S: Final = 30.0
_CHANGING: Final[frozenset[Method]] = frozenset({"decide", "kill_session", "end_run", "pruned"})

T = TypeVar("T")
_reply = msgspec.json.Decoder(Reply)


class RemoteOperator:
    """An operator at the control socket `path`; who it is, the gateway sees from the socket.

    Usable as an async context manager. Calls wait for each other. Raises OperatorError, also where no
    gateway answers, and RecordingError where the gateway cannot read its recordings.
    """

    def __init__(self, path: Path, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.path = Path(socket_path(path))
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._last_id = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connection go. A later call makes a new one."""
        self._drop()

    async def snapshot(self, after: int = 0) -> Snapshot:
        """Everything at this moment; statements only after that cursor."""
        return await self._ask(Snapshot, "snapshot", after=after)

    async def decide(self, approval: str, *, approve: bool, reason: str | None = None) -> ApprovalView:
        """Approve or deny. OperatorError says what became of one that no longer waits."""
        return await self._ask(ApprovalView, "decide", approval=approval, approve=approve, reason=reason)

    async def kill_session(self, session: str) -> None:
        """End a session with 57P01."""
        await self._ask(type(None), "kill_session", session=session)

    async def end_run(self, run: str) -> int:
        """End a run: all its sessions end with 57P01 and it cannot log in again. Returns how many ended."""
        return await self._ask(int, "end_run", run=run)

    async def runs(self) -> tuple[RunView, ...]:
        """Runs that hold a grant now."""
        found = await self._ask(tuple[dict[str, Any], ...], "runs")
        endless = ({**run, "ends_at": math.inf} if run.get("ends_at") is None else run for run in found)
        return msgspec.convert(tuple(endless), tuple[RunView, ...])  # JSON has no infinity

    async def pruned(self, older_than: str) -> None:
        """Recordings older than that were removed, by a command beside the gateway."""
        await self._ask(type(None), "pruned", older_than=older_than)

    async def explain(self, sql: str, grant: str, database: str | None = None) -> Mapping[str, Any]:
        """What would happen to a statement under the rules in force, as `gatekeeper explain --json`."""
        return await self._ask(dict[str, Any], "explain", sql=sql, grant=grant, database=database)

    async def sessions(self, search: str = "", limit: int = 200) -> tuple[RecordedSession, ...]:
        """Recorded sessions, newest first."""
        return await self._ask(tuple[RecordedSession, ...], "sessions", search=search, limit=limit)

    async def records(self, session: str) -> tuple[RecordView, ...]:
        """All records of a session in order."""
        return await self._ask(tuple[RecordView, ...], "records", session=session)

    async def _ask(self, kind: type[T], method: Method, **params: Any) -> T:
        async with self._turn:
            self._last_id += 1
            request = Request(self._last_id, method, params)
            line = msgspec.json.encode(request) + b"\n"
            if len(line) > MAX_REQUEST:
                raise OperatorError(f"the request is longer than {MAX_REQUEST} bytes")
            again = self._streams is not None and method not in _CHANGING
            try:
                reply = await self._exchange(line)
            except _BrokenOffError:
                if not again:
                    raise
                # The gateway was started anew since the last call, and to ask twice does no harm.
                reply = await self._exchange(line)
        return self._result(reply, kind)

    async def _exchange(self, line: bytes) -> Reply:
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = self._streams or await self._connect()
                writer.write(line)
                await writer.drain()
                answer = await reader.readline()
            reply = _reply.decode(answer) if answer.endswith(b"\n") else None
        except TimeoutError:
            self._drop()
            raise OperatorError(f"the gateway at {self.path} does not answer") from None
        except OSError:
            reply = None
        except (ValueError, msgspec.DecodeError):
            self._drop()
            raise OperatorError(f"what answers at {self.path} is not a gateway of this version") from None
        except BaseException:
            self._drop()  # cut short: an answer that comes later must not be taken for the next one's
            raise
        if reply is None:
            self._drop()
            raise _BrokenOffError(f"the gateway at {self.path} broke off: is it still running?")
        if reply.id not in (self._last_id, 0):
            self._drop()
            raise OperatorError(f"what answers at {self.path} is not a gateway of this version")
        return reply

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            self._streams = await asyncio.open_unix_connection(str(self.path), limit=MAX_REPLY)
        except PermissionError:
            raise OperatorError(f"{self.path} may only be used by the user who runs the gateway") from None
        except OSError:
            raise OperatorError(f"no gateway answers at {self.path}: is it running?") from None
        return self._streams

    def _result(self, reply: Reply, kind: type[T]) -> T:
        match reply.error:
            case None:
                pass
            case Fault(kind="recording", message=message):
                raise RecordingError(message)
            case Fault(message=message):
                raise OperatorError(message)
        try:
            return msgspec.json.decode(reply.result, type=kind)
        except msgspec.DecodeError:
            raise OperatorError(f"the gateway at {self.path} is of another version") from None

    def _drop(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class _BrokenOffError(OperatorError):
    """The connection broke before an answer came."""
