"""Frames in, messages out. A short read waits; a lie raises.

A message is one type byte, an Int32 length that counts itself, and a body (PostgreSQL 18, 54.7).
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

_int32: Final = Struct("!i").unpack_from

_LARGE: Final = frozenset(b"QPBFdp")
_FRONTEND: Final = frozenset(b"QPBEDCSHFXdcfp")
SESSION_TYPES: Final = _FRONTEND - {ord("p")}
"""What a client may send once it has logged in."""


class FrontendFrames:
    """Splits what a client sends after its startup packet into whole messages."""

    __slots__ = ("_buffer", "_position", "_types", "max_bytes")

    def __init__(self, *, max_bytes: int = MAX_MESSAGE_BYTES, types: frozenset[int] = _FRONTEND) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._types = types
        self.max_bytes = max_bytes

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

        Raises ProtocolError for an unknown type or a length that cannot be.
        """
        buffer, start = self._buffer, self._position
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
        if len(buffer) < end:
            return None
        self._position = end
        return kind, bytes(buffer[start:end])

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
