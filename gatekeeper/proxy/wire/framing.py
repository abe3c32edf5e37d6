"""Frames in, messages out. A short read waits; a lie raises.

A message is one type byte, an Int32 length that counts itself, and a body (PostgreSQL 18, 54.7). A long one
comes in pieces, cut by its length and never by how it arrived.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from gatekeeper.errors import ProtocolError

HEADER_BYTES: Final = 5
MAX_MESSAGE_BYTES: Final = 0x3FFFFFFF
"""PostgreSQL's own limit, 1 GB - 1 (MaxAllocSize)."""
MAX_BEFORE_LOGIN_BYTES: Final = 65_536
MAX_SMALL_MESSAGE_BYTES: Final = 10_000
"""PQ_SMALL_MESSAGE_LIMIT of PostgreSQL: Sync, Flush, Close, Describe, Execute, CopyFail and their like."""

HEAD_BYTES: Final = 262_144
"""The first piece of a message that comes in pieces."""
MAX_WHOLE_BYTES: Final = 8_388_608
"""A Query, Parse or FunctionCall that is longer comes in pieces."""
MAX_WHOLE_BIND_BYTES: Final = 1_048_576
IN_PIECES: Final = 0x100
"""Added to the type of a message of which this is the first piece."""
MORE: Final = 0x200
"""Stands for the type of the next piece."""

_int32: Final = Struct("!i").unpack_from

_LARGE: Final = frozenset(b"QPBFdp")
_FRONTEND: Final = frozenset(b"QPBEDCSHFXdcfp")
_LONGER: Final = {ord("d"): HEAD_BYTES, ord("B"): MAX_WHOLE_BIND_BYTES}
SESSION_TYPES: Final = _FRONTEND - {ord("p")}
"""What a client may send once it has logged in."""


class FrontendFrames:
    """Splits what a client sends after its startup packet into whole messages."""

    __slots__ = ("_buffer", "_position", "_types", "left", "max_bytes")

    def __init__(self, *, max_bytes: int = MAX_MESSAGE_BYTES, types: frozenset[int] = _FRONTEND) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._types = types
        self.max_bytes = max_bytes
        self.left = 0
        """Bytes to come of the message that comes in pieces."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were received and not yet taken."""
        return len(self._buffer) - self._position

    def feed(self, data: bytes) -> None:
        """Append what was received."""
        if self._position:
            del self._buffer[: self._position]
            self._position = 0
        self._buffer += data

    def next(self) -> tuple[int, bytes] | None:
        """Take the next message as (type, whole message with its header), or None if it is not all there.

        Of a message in pieces, the first piece has the type with IN_PIECES, the others have MORE.

        Raises ProtocolError for an unknown type or a length that cannot be.
        """
        buffer, start = self._buffer, self._position
        if self.left:
            return self._more()
        if len(buffer) - start < HEADER_BYTES:
            if len(buffer) > start and buffer[start] not in self._types:
                raise ProtocolError(f"invalid frontend message type {buffer[start]}")
            return None
        kind = buffer[start]
        if kind not in self._types:
            raise ProtocolError(f"invalid frontend message type {kind}")
        (length,) = _int32(buffer, start + 1)
        limit = self.max_bytes if kind in _LARGE else min(MAX_SMALL_MESSAGE_BYTES, self.max_bytes)
        if length < 4 or length > limit:
            raise ProtocolError("invalid message length")
        end = start + 1 + length
        if length > HEAD_BYTES and length > _LONGER.get(kind, MAX_WHOLE_BYTES):
            self.left = end - start - HEAD_BYTES
            kind, end = kind | IN_PIECES, start + HEAD_BYTES
        if len(buffer) < end:
            self.left = 0
            return None
        self._position = end
        with memoryview(buffer) as view:
            return kind, bytes(view[start:end])

    def _more(self) -> tuple[int, bytes] | None:
        piece = bytes(self._buffer[self._position : self._position + self.left])
        self._position += len(piece)
        self.left -= len(piece)
        return (MORE, piece) if piece else None

    def take_rest(self) -> bytes:
        """Take everything that is left, framed or not."""
        rest = bytes(self._buffer[self._position :])
        self._buffer.clear()
        self._position = 0
        return rest


class BackendFrames:
    """Splits what a server sends during login into whole messages."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Append what was received."""
        self._buffer += data

    def next(self) -> tuple[int, bytes] | None:
        """Take the next message as (type, body), or None if it is not all there. Raises ProtocolError."""
        buffer = self._buffer
        if len(buffer) < HEADER_BYTES:
            return None
        (length,) = _int32(buffer, 1)
        if length < 4 or length > MAX_BEFORE_LOGIN_BYTES:
            raise ProtocolError("invalid message length from the server")
        if len(buffer) < 1 + length:
            return None
        kind, body = buffer[0], bytes(buffer[HEADER_BYTES : 1 + length])
        del buffer[: 1 + length]
        return kind, body

    def take_rest(self) -> bytes:
        """Take what came behind the last message."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
