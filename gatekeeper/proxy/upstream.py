"""A connection to the database: sockets, TLS and the gateway's own login. What comes after goes to a link."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import Final, Protocol

from gatekeeper.errors import GatekeeperError, ProtocolError, UpstreamUnreachableError
from gatekeeper.proxy.dsn import Target
from gatekeeper.proxy.tls import TlsLayer
from gatekeeper.proxy.wire import frontend
from gatekeeper.proxy.wire.framing import BackendFrames
from gatekeeper.proxy.wire.login import UpstreamLogin

_SSL_REQUEST: Final = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
_CANCEL_TIMEOUT_S: Final = 5.0


class SettingRefusedError(GatekeeperError):
    """The server refused a setting of the startup packet; the message is the server's."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.sqlstate = fields.get("C", "22023")
        super().__init__(fields.get("M", "a setting of the login was refused"))


class Receiver(Protocol):
    """Who takes what the server sends once the login is done."""

    def server_data(self, data: bytes) -> None:
        """Bytes came."""
        ...

    def server_lost(self) -> None:
        """The connection is over."""
        ...

    def server_writable(self, writable: bool) -> None:
        """The socket to the server has room, or has none."""
        ...


class Upstream(asyncio.Protocol):
    """One connection to the server."""

    def __init__(self, target: Target, context: ssl.SSLContext | None, host: str) -> None:
        self._target = target
        self._context = context
        self._host = host
        self._transport: asyncio.Transport | None = None
        self._tls: TlsLayer | None = None
        self._login: UpstreamLogin | None = None
        self._frames = BackendFrames()
        self._parameters: Mapping[bytes, bytes] = {}
        self._done: asyncio.Future[UpstreamLogin] = asyncio.get_running_loop().create_future()
        self._asked_ssl = False
        self._receiver: Receiver | None = None
        self._writable = True
        self._early = b""
        self.address: tuple[str, int] = ("", 0)

    # --- login ------------------------------------------------------------------------------------------

    async def log_in(self, parameters: Mapping[bytes, bytes]) -> UpstreamLogin:
        """Log in with these startup parameters. Raises UpstreamUnreachableError."""
        self._parameters = parameters
        if self._context is not None and not self._host.startswith("/"):
            self._asked_ssl = True
            self.write(_SSL_REQUEST)
        else:
            self._start_up()
        return await self._done

    def _start_up(self) -> None:
        certificate = self._tls.peer_certificate if self._tls is not None else None
        self._login = UpstreamLogin(self._target.user, self._target.password, certificate)
        self.write(frontend.startup(dict(self._parameters)))

    def take_over(self, receiver: Receiver) -> None:
        """From now on the receiver gets what the server sends."""
        self._receiver = receiver
        if not self._writable:
            receiver.server_writable(False)
        early, self._early = self._early, b""
        if early:
            receiver.server_data(early)

    # --- asyncio.Protocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._receiver is not None and self._tls is None:
            self._receiver.server_data(data)
            return
        try:
            self._received(data)
        except (ProtocolError, UpstreamUnreachableError, ssl.SSLError) as problem:
            self._fail(problem)

    def _received(self, data: bytes) -> None:
        if self._asked_ssl:
            data = self._ssl_answer(data)
        if self._tls is not None:
            was = self._tls.established
            data, out = self._tls.receive(data)
            self._write_raw(out)
            if self._tls.established and not was:
                self._start_up()
        if not data:
            return
        if self._receiver is not None:
            self._receiver.server_data(data)
        elif self._login is None or self._login.done:
            self._early += data
        else:
            self._log_in_further(data)

    def _ssl_answer(self, data: bytes) -> bytes:
        self._asked_ssl = False
        answer, rest = data[:1], data[1:]
        if rest:
            raise ProtocolError("received unencrypted data after SSL response")
        if answer == b"S" and self._context is not None:
            self._tls = TlsLayer(self._context, server_side=False, hostname=self._host)
            self._write_raw(self._tls.start())
        elif answer == b"N" and self._target.sslmode == "prefer":
            self._start_up()
        elif answer == b"N":
            raise UpstreamUnreachableError("the server does not support TLS, and sslmode asks for it")
        else:
            raise ProtocolError("an answer to SSLRequest that is none")
        return b""

    def _log_in_further(self, data: bytes) -> None:
        assert self._login is not None
        self._frames.feed(data)
        while not self._login.done and (message := self._frames.next()) is not None:
            answer = self._login.receive(*message)
            if answer:
                self.write(answer)
        if self._login.done:
            self._early = self._frames.take_rest()
            if not self._done.done():
                self._done.set_result(self._login)

    def _fail(self, problem: Exception) -> None:
        if not self._done.done():
            if not isinstance(problem, UpstreamUnreachableError):
                problem = UpstreamUnreachableError(f"the server's answer makes no sense: {problem}")
            self._done.set_exception(problem)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        if not self._done.done():
            reason = exc.__class__.__name__ if exc else "the server closed the connection during login"
            self._done.set_exception(UpstreamUnreachableError(reason))
            # Nobody may be waiting any more, where the login itself was given up.
            self._done.exception()
        if self._receiver is not None:
            self._receiver.server_lost()

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._writable = False
        if self._receiver is not None:
            self._receiver.server_writable(False)

    def resume_writing(self) -> None:
        """The socket's buffer has room."""
        self._writable = True
        if self._receiver is not None:
            self._receiver.server_writable(True)

    # --- for the link -----------------------------------------------------------------------------------

    @property
    def refused_setting(self) -> dict[str, str] | None:
        """The server's error fields, where it refused a setting that the client asked for."""
        return self._login.refused if self._login is not None else None

    @property
    def encrypted(self) -> bool:
        """The connection is under TLS."""
        return self._tls is not None

    def write(self, data: bytes) -> None:
        """Send."""
        self._write_raw(self._tls.send(data) if self._tls is not None else data)

    def _write_raw(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def pause(self) -> None:
        """Read nothing for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Send what is left, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


async def connect(target: Target, parameters: Mapping[bytes, bytes]) -> tuple[Upstream, UpstreamLogin]:
    """Connect to the first host that takes us. Raises UpstreamUnreachableError with all the reasons."""
    context = target.context()
    problems = []
    for host, port in target.hosts:
        upstream: Upstream | None = None
        try:
            async with asyncio.timeout(target.connect_timeout_s):
                upstream = await _open(target, context, host, port)
                login = await upstream.log_in(parameters)
        except UpstreamUnreachableError as problem:
            if upstream is not None and upstream.refused_setting is not None:
                upstream.abort()
                raise SettingRefusedError(upstream.refused_setting) from None
            problems.append(f"{host}:{port}: {problem.reason}")
        except TimeoutError:
            problems.append(f"{host}:{port}: no answer in {target.connect_timeout_s:g} s")
        except OSError as problem:
            problems.append(f"{host}:{port}: {problem.strerror or problem.__class__.__name__}")
        else:
            return upstream, login
        if upstream is not None:
            upstream.abort()
    raise UpstreamUnreachableError("; ".join(problems))


async def _open(target: Target, context: ssl.SSLContext | None, host: str, port: int) -> Upstream:
    loop = asyncio.get_running_loop()

    def factory() -> Upstream:
        return Upstream(target, context, host)

    if host.startswith("/"):
        _, upstream = await loop.create_unix_connection(factory, f"{host}/.s.PGSQL.{port}")
    else:
        _, upstream = await loop.create_connection(factory, host, port)
    upstream.address = (host, port)
    return upstream


class _CancelConnection(asyncio.Protocol):
    """Sends a cancel request, over TLS where the session has it, and waits for the server to close."""

    def __init__(self, context: ssl.SSLContext | None, host: str, request: bytes) -> None:
        self._context = context
        self._host = host
        self._request = request
        self._tls: TlsLayer | None = None
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        assert self._transport is not None
        self._transport.write(_SSL_REQUEST if self._context is not None else self._request)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._tls is None:
            if data != b"S" or self._context is None:
                self._transport.abort()
                return
            self._tls = TlsLayer(self._context, server_side=False, hostname=self._host)
            self._transport.write(self._tls.start())
            return
        was = self._tls.established
        try:
            _, out = self._tls.receive(data)
        except ssl.SSLError:
            self._transport.abort()
            return
        if self._tls.established and not was:
            out += self._tls.send(self._request)
        if out:
            self._transport.write(out)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.closed.done():
            self.closed.set_result(None)


async def cancel(target: Target, upstream: Upstream, pid: int, key: bytes) -> None:
    """Ask the server to cancel what the backend runs; return when it has taken the request, or 5 s later."""
    host, port = upstream.address
    context = target.context() if upstream.encrypted else None
    request = frontend.cancel_request(pid, key)
    loop = asyncio.get_running_loop()

    def factory() -> _CancelConnection:
        return _CancelConnection(context, host, request)

    transport: asyncio.BaseTransport | None = None
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_CANCEL_TIMEOUT_S):
            if host.startswith("/"):
                transport, protocol = await loop.create_unix_connection(factory, f"{host}/.s.PGSQL.{port}")
            else:
                transport, protocol = await loop.create_connection(factory, host, port)
            await protocol.closed
    if transport is not None:
        transport.close()
