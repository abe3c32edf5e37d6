"""The first packets of a connection: SSLRequest, GSSENCRequest, CancelRequest, StartupMessage.

They have no type byte. What a client may say next depends only on what it said before, and that is a
table of states here; what comes out are values, and the answers are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from gatekeeper.errors import ProtocolError

SSL_REQUEST: Final = 80877103
GSSENC_REQUEST: Final = 80877104
CANCEL_REQUEST: Final = 80877102
LATEST_MINOR: Final = 2
MAX_STARTUP_BYTES: Final = 10_000
"""MAX_STARTUP_PACKET_LENGTH of PostgreSQL."""

_two: Final = Struct("!ii").unpack_from


@dataclass(frozen=True, slots=True)
class SslRequest:
    """The client asks for TLS."""


@dataclass(frozen=True, slots=True)
class GssencRequest:
    """The client asks for GSSAPI encryption."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Somebody asks to cancel what the session with this process ID and key runs."""

    pid: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Startup:
    """A StartupMessage. `_pq_.` options are in `protocol_options` alone."""

    minor: int
    parameters: dict[bytes, bytes]
    protocol_options: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class DirectTls:
    """The first byte is a TLS handshake's."""


FirstPacket = SslRequest | GssencRequest | CancelRequest | Startup | DirectTls


class StartupReader:
    """Reads the packets before the login. `next()` gives one at a time, None while it is not all there."""

    __slots__ = ("_buffer", "_seen_gss", "_seen_ssl")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._seen_ssl = False
        self._seen_gss = False

    def feed(self, data: bytes) -> None:
        """Append what was received."""
        self._buffer += data

    def take_rest(self) -> bytes:
        """Take what came behind the last packet."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def next(self) -> FirstPacket | None:
        """Take the next packet. Raises ProtocolError for what no PostgreSQL client sends."""
        buffer = self._buffer
        if buffer and buffer[0] == 0x16 and not self._seen_ssl and not self._seen_gss:
            return DirectTls()
        if len(buffer) < 8:
            if buffer and buffer[0] != 0:
                raise ProtocolError("invalid length of startup packet")
            return None
        length, code = _two(buffer, 0)
        if length < 8 or length > MAX_STARTUP_BYTES:
            raise ProtocolError("invalid length of startup packet")
        if len(buffer) < length:
            return None
        packet = bytes(buffer[8:length])
        del buffer[:length]
        return self._read(code, packet)

    def _read(self, code: int, packet: bytes) -> FirstPacket:
        if code == SSL_REQUEST:
            if self._seen_ssl or packet:
                raise ProtocolError("a second SSLRequest")
            self._seen_ssl = True
            if self._buffer:
                raise ProtocolError("received unencrypted data after SSL request")
            return SslRequest()
        if code == GSSENC_REQUEST:
            if self._seen_gss or packet:
                raise ProtocolError("a second GSSENCRequest")
            self._seen_gss = True
            if self._buffer:
                raise ProtocolError("received unencrypted data after GSSAPI encryption request")
            return GssencRequest()
        if code == CANCEL_REQUEST:
            if not 8 <= len(packet) <= 260:
                raise ProtocolError("invalid length of cancel request")
            return CancelRequest(int.from_bytes(packet[:4], "big", signed=True), packet[4:])
        major, minor = code >> 16, code & 0xFFFF
        if major != 3:
            raise ProtocolError(f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")
        return _read_parameters(minor, packet)


def _read_parameters(minor: int, packet: bytes) -> Startup:
    if not packet.endswith(b"\0"):
        raise ProtocolError("invalid startup packet layout: expected terminator as last byte")
    if packet == b"\0":
        return Startup(minor, {})
    parts = packet[:-1].split(b"\0")
    if parts[-1] != b"" or len(parts) % 2 == 0:
        raise ProtocolError("invalid startup packet layout: expected terminator as last byte")
    parameters: dict[bytes, bytes] = {}
    protocol_options: list[bytes] = []
    for name, value in zip(parts[:-1:2], parts[1::2], strict=True):
        if not name:
            raise ProtocolError("invalid startup packet layout: empty parameter name")
        if name.startswith(b"_pq_."):
            protocol_options.append(name)
        else:
            parameters[name] = value
    return Startup(minor, parameters, tuple(protocol_options))
