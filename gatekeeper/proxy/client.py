"""A client's connection, from its first byte to its session: encryption, startup packet, token, login."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from gatekeeper.errors import GatekeeperError, LoginRefusedError, ProtocolError
from gatekeeper.model import Refusal
from gatekeeper.proxy.link import Link
from gatekeeper.proxy.tls import ALPN, TlsLayer
from gatekeeper.proxy.wire import backend, frontend
from gatekeeper.proxy.wire.framing import MAX_BEFORE_LOGIN_BYTES, FrontendFrames
from gatekeeper.proxy.wire.options import read_options
from gatekeeper.proxy.wire.startup import (
    LATEST_MINOR,
    CancelRequest,
    DirectTls,
    GssencRequest,
    SslRequest,
    Startup,
    StartupReader,
)

_log: Final = logging.getLogger(__name__)
_PASSWORD_TYPES: Final = frozenset({ord("p")})


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """What a client asked for, and the token it gave."""

    user: str
    database: str
    token: str
    settings: dict[str, str]
    """Settings from the startup packet and its `options`, lower case, without user and database."""
    minor: int
    address: str


class Door(Protocol):
    """The gateway, as a connection sees it."""

    tls: ssl.SSLContext | None
    login_timeout_s: float

    def knock(self, client: ClientConnection) -> bool:
        """A connection was made; False where too many have not said yet what they want."""
        ...

    def enter(self, client: ClientConnection) -> Refusal | None:
        """A connection asks to log in; a refusal where there is no room."""
        ...

    def leave(self, client: ClientConnection) -> None:
        """A connection is over."""
        ...

    async def log_in(self, client: ClientConnection, request: LoginRequest) -> Link:
        """Log in, and give the session's link; raises GatekeeperError."""
        ...

    async def cancel(self, pid: int, key: bytes) -> None:
        """Carry out a cancel request, or ignore one with a wrong key."""
        ...

    def refused(self, address: str, user: str, database: str, sqlstate: str, reason: str) -> None:
        """Record a login that was refused before or at the check of its token."""
        ...


class ClientConnection(asyncio.Protocol):
    """One socket from a client."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._transport: asyncio.Transport | None = None
        self._tls: TlsLayer | None = None
        self._direct = False
        self._startup: StartupReader | None = StartupReader()
        self._packet: Startup | None = None
        self._frames: FrontendFrames | None = None
        self._early = bytearray()
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writable = True
        self.address = ""
        self._loopback = False

    # --- asyncio.Protocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername") or ("", 0)
        self.address = f"{peer[0]}:{peer[1]}"
        self._loopback = _is_loopback(str(peer[0]))
        if not self._door.knock(self):
            self._abort()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._door.login_timeout_s, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._tls is not None:
            data = self._decrypt(data)
            if not data:
                return
        if self._link is not None:
            self._link.client_data(data)
            return
        try:
            self._before_session(data)
        except ProtocolError as problem:
            _log.info("client %s: %s", self.address, problem)
            self._abort()

    def eof_received(self) -> bool:
        """The client sends no more: for PostgreSQL that is the end."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._packet is not None:
            self._task.cancel()  # a login; a cancel request holds even where its sender has hung up
        if self._link is not None:
            self._link.client_lost()
        self._door.leave(self)

    def pause_writing(self) -> None:
        """The client does not read as fast as the server sends."""
        self._writable = False
        if self._link is not None:
            self._link.client_writable(False)

    def resume_writing(self) -> None:
        """The client has read."""
        self._writable = True
        if self._link is not None:
            self._link.client_writable(True)

    # --- for the link and the gateway -------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(self._tls.send(data) if self._tls is not None else data)

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

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def end(self, refusal: Refusal, reason: str) -> None:
        """End the session, or the login, with a FATAL error."""
        if self._link is not None:
            self._link.end(refusal, reason)
        else:
            self._fatal(refusal)

    @property
    def link(self) -> Link | None:
        """The session, once there is one."""
        return self._link

    # --- encryption -------------------------------------------------------------------------------------

    def _decrypt(self, data: bytes) -> bytes:
        tls = self._tls
        assert tls is not None
        was = tls.established
        try:
            plain, out = tls.receive(data)
        except ssl.SSLError as problem:
            _log.info("client %s: TLS failed: %s", self.address, problem.reason)
            self._abort()
            return b""
        if out and self._transport is not None:
            self._transport.write(out)
        if tls.established and not was and self._direct and tls.alpn != ALPN:
            _log.info("client %s: direct TLS without ALPN %s", self.address, ALPN)
            self._abort()
            return b""
        if tls.closed:
            self.close()
        return plain

    def _start_tls(self, rest: bytes, *, direct: bool) -> None:
        assert self._door.tls is not None
        self._direct = direct
        self._tls = TlsLayer(self._door.tls, server_side=True)
        if rest:
            plain = self._decrypt(rest)
            if plain:
                self._before_session(plain)

    # --- before the session -----------------------------------------------------------------------------

    def _before_session(self, data: bytes) -> None:
        if self._frames is not None:
            self._password(data)
        elif self._startup is not None:
            self._startup.feed(data)
            self._first_packets()
        else:
            # The login is under way, and a client may send on before it has its answer.
            self._early += data
            if len(self._early) > MAX_BEFORE_LOGIN_BYTES:
                raise ProtocolError("too much data before the login is done")

    def _first_packets(self) -> None:
        while self._startup is not None and (packet := self._startup.next()) is not None:
            match packet:
                case SslRequest():
                    if self._tls is not None:
                        raise ProtocolError("SSLRequest inside TLS")
                    if self._door.tls is None:
                        self.write(b"N")
                    else:
                        self.write(b"S")
                        self._start_tls(b"", direct=False)
                        return
                case GssencRequest():
                    self.write(b"N")
                case DirectTls():
                    if self._tls is not None or self._door.tls is None:
                        raise ProtocolError("a TLS handshake where none can be")
                    rest, self._startup = self._startup.take_rest(), StartupReader()
                    self._start_tls(rest, direct=True)
                    return
                case CancelRequest():
                    self._startup = None
                    self._spawn(self._cancel(packet))
                case Startup():
                    self._started(packet, self._startup.take_rest())
                case _:
                    assert_never(packet)

    async def _cancel(self, packet: CancelRequest) -> None:
        await self._door.cancel(packet.pid, packet.key)
        self.close()

    def _started(self, packet: Startup, rest: bytes) -> None:
        self._startup = None
        self._packet = packet
        if packet.minor > LATEST_MINOR or packet.protocol_options:
            minor = min(packet.minor, LATEST_MINOR)
            self.write(backend.negotiate_protocol_version(minor, packet.protocol_options))
        refusal = self._not_welcome(packet)
        if refusal is not None:
            self._refused(packet, refusal, refusal.message)
            return
        self._frames = FrontendFrames(max_bytes=MAX_BEFORE_LOGIN_BYTES, types=_PASSWORD_TYPES)
        self.write(backend.AUTHENTICATION_CLEARTEXT)
        if rest:
            self._password(rest)

    def _refused(self, packet: Startup, refusal: Refusal, reason: str) -> None:
        """Refuse a login before its token was looked at, and record it."""
        user = packet.parameters.get(b"user", b"").decode("utf-8", "replace")
        database = packet.parameters.get(b"database", b"").decode("utf-8", "replace")
        self._door.refused(self.address, user, database, refusal.sqlstate, reason)
        self._fatal(refusal)

    def _not_welcome(self, packet: Startup) -> Refusal | None:
        if self._tls is None and not self._loopback:
            return Refusal("28000", "connections from other hosts need TLS")
        if not packet.parameters.get(b"user"):
            return Refusal("28000", "no PostgreSQL user name specified in startup packet")
        replication = packet.parameters.get(b"replication", b"false").lower()
        if replication not in (b"false", b"off", b"no", b"0", b"f", b"n"):
            return Refusal("28000", "replication connections are not served")
        return self._door.enter(self)

    def _password(self, data: bytes) -> None:
        assert self._frames is not None
        self._frames.feed(data)
        message = self._frames.next()
        if message is None:
            return
        self._early += self._frames.take_rest()
        self._frames = None
        self._spawn(self._log_in(frontend.read_password(message[1])))

    async def _log_in(self, password: bytes) -> None:
        packet = self._packet
        assert packet is not None
        try:
            request = _request(packet, password, self.address)
        except GatekeeperError as problem:
            reason = getattr(problem, "reason", None) or str(problem)
            self._refused(packet, Refusal(problem.sqlstate, str(problem)), reason)
            return
        try:
            link = await self._door.log_in(self, request)
        except LoginRefusedError as problem:
            _log.info("login from %s refused: %s", self.address, problem.reason)
            self._fatal(Refusal(problem.sqlstate, str(problem)))
            return
        except GatekeeperError as problem:
            self._fatal(Refusal(problem.sqlstate, str(problem)))
            return
        if self._timer is not None:
            self._timer.cancel()
        self._task = None
        self._link = link
        if not self._writable:
            link.client_writable(False)
        early, self._early = bytes(self._early), bytearray()
        if early:
            link.client_data(early)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self._task = asyncio.create_task(work, name=f"login from {self.address}")
        self._task.add_done_callback(self._spawned_done)

    def _spawned_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (problem := task.exception()) is not None:
            _log.error("client %s: %s during login", self.address, type(problem).__name__)
            self._fatal(Refusal("XX000", "internal error"))

    def _too_slow(self) -> None:
        self._timer = None
        if self._link is None:
            _log.info("client %s: no login in %g s", self.address, self._door.login_timeout_s)
            self._abort()

    def _fatal(self, refusal: Refusal) -> None:
        self.write(backend.error_response(refusal, "FATAL"))
        self.close()


def _request(packet: Startup, password: bytes, address: str) -> LoginRequest:
    """Raises LoginRefusedError for text that is none, ProtocolError for options that are none."""
    try:
        parameters = {name.decode(): value.decode() for name, value in packet.parameters.items()}
        token = password.decode()
    except UnicodeDecodeError:
        raise LoginRefusedError("the startup packet or the token is not UTF-8") from None
    user = parameters.pop("user")
    database = parameters.pop("database", "") or user
    parameters.pop("replication", None)
    settings = read_options(parameters.pop("options", ""))
    settings |= {name.lower(): value for name, value in parameters.items()}
    return LoginRequest(user, database, token, settings, packet.minor, address)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
