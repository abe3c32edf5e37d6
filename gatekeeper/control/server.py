"""The control socket: the operator interface for consoles and commands elsewhere on the host.

Only the gateway's own user and root may enter, and what they do is done in the name of the user that the
kernel says they are. A client that breaks anything breaks its own connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import pwd
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from gatekeeper.control.local import LocalOperator
from gatekeeper.control.messages import (
    MAX_REQUEST,
    PEER,
    Fault,
    Request,
    encode_fault,
    encode_reply,
    socket_path,
)
from gatekeeper.errors import ConfigError, GatekeeperError, OperatorError, RecordingError

_log = logging.getLogger(__name__)

_MAX_CLIENTS: Final = 64
_SEND_TIMEOUT_S: Final = 30.0
_PROBE_TIMEOUT_S: Final = 2.0

_request = msgspec.json.Decoder(Request)


class ControlServer:
    """Serves `operator` on a Unix socket of mode 0600, each client in its own user's name."""

    def __init__(self, path: Path, operator: LocalOperator) -> None:
        self.path = Path(socket_path(path))
        self._operator = operator
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._inode: int | None = None

    async def start(self) -> None:
        """Listen. Replaces the socket of a gateway that died; ConfigError where one is alive."""
        listening = _bind(self.path)
        self._inode = self.path.stat().st_ino
        self._server = await asyncio.start_unix_server(self._accepted, sock=listening, limit=MAX_REQUEST)

    async def close(self) -> None:
        """Let go of all clients, and take the socket away if it is still ours."""
        if self._server is None:
            return
        self._server.close()
        for client in tuple(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        who = _peer(writer)
        if who is None or len(self._clients) >= _MAX_CLIENTS:
            writer.close()
            return
        client = asyncio.create_task(self._serve(reader, writer, who), name=f"control client {who}")
        self._clients.add(client)
        client.add_done_callback(self._ended)

    def _ended(self, client: asyncio.Task[None]) -> None:
        self._clients.discard(client)
        if not client.cancelled() and (error := client.exception()) is not None:
            # Its kind alone: the text of an unforeseen error may hold SQL.
            _log.error("%s: broken off by %s", client.get_name(), type(error).__name__)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: str) -> None:
        operator = self._operator.acting_as(who)
        try:
            while True:
                try:
                    line = await reader.readline()
                except ValueError:
                    fault = Fault("request", f"a request may have {MAX_REQUEST} bytes")
                    await _send(writer, encode_fault(0, fault))
                    return
                if not line.endswith(b"\n"):
                    return
                await _send(writer, await _answer(operator, line))
        except (OSError, TimeoutError):
            return  # gone, or too slow to be waited for
        finally:
            writer.close()


async def _answer(operator: LocalOperator, line: bytes) -> bytes:
    try:
        request = _request.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return encode_fault(0, Fault("request", "not a request of this gateway's version"))
    try:
        return await encode_reply(request.id, await _call(operator, request))
    except RecordingError as error:
        return encode_fault(request.id, Fault("recording", str(error)))
    except GatekeeperError as error:
        return encode_fault(request.id, Fault("operator", str(error)))


async def _call(operator: LocalOperator, request: Request) -> Any:
    given = _Arguments(request.params)
    match request.method:
        case "snapshot":
            return await operator.snapshot(given.take("after", int, 0))
        case "decide":
            return await operator.decide(
                given.take("approval", str),
                approve=given.take("approve", bool),
                reason=given.take("reason", str | None, None),
            )
        case "kill_session":
            return await operator.kill_session(given.take("session", str))
        case "end_run":
            return await operator.end_run(given.take("run", str))
        case "runs":
            return await operator.runs()
        case "pruned":
            return await operator.pruned(given.take("older_than", str))
        case "explain":
            return await operator.explain(
                given.take("sql", str), given.take("grant", str), given.take("database", str | None, None)
            )
        case "sessions":
            return await operator.sessions(given.take("search", str, ""), given.take("limit", int, 200))
        case "records":
            return await operator.records(given.take("session", str))


class _Arguments:
    """Arguments by name, each of its type."""

    def __init__(self, params: dict[str, Any]) -> None:
        self._params = params

    def take(self, name: str, kind: Any, *default: Any) -> Any:
        if name not in self._params and default:
            return default[0]
        try:
            return msgspec.convert(self._params[name], kind)
        except (KeyError, msgspec.ValidationError):
            raise OperatorError(f"the request's {name} is missing or not of its type") from None


async def _send(writer: asyncio.StreamWriter, reply: bytes) -> None:
    writer.write(reply)
    async with asyncio.timeout(_SEND_TIMEOUT_S):
        await writer.drain()


def _peer(writer: asyncio.StreamWriter) -> str | None:
    """Name of the user at the other end, by SO_PEERCRED; None for one who may not enter."""
    line = writer.get_extra_info("socket")
    try:
        _, uid, _ = PEER.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    except OSError:
        return None
    if uid not in (0, os.geteuid()):
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _bind(path: Path) -> socket.socket:
    where = str(path)
    try:
        with _alone(path.parent):
            _clear(path)
            line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            before = os.umask(0o177)
            try:
                line.bind(where)
            except OSError:
                line.close()
                raise
            finally:
                os.umask(before)
            line.listen(_MAX_CLIENTS)
            return line
    except OSError as error:
        raise ConfigError(f"[gateway] control: {where}: {error.strerror}") from None


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One gateway at a time looks whether another is alive: of two that start, one finds the other."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear(path: Path) -> None:
    """Remove the socket of a gateway that is dead. ConfigError for a live one and for anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"[gateway] control: {path}: exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except (TimeoutError, BlockingIOError):
            pass  # its backlog is full: alive
    raise ConfigError(f"[gateway] control: {path}: another gateway answers there")
