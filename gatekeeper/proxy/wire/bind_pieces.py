"""A long Bind, read as it comes: small values are kept, of large ones only the size.

Law: its end is given last, and apart. A server acts on no message before its last byte (pq_getmessage in
pqcomm.c), so what went to it before can be called back by closing the connection.
"""

from __future__ import annotations

from struct import Struct, error
from typing import Final

from gatekeeper.errors import ProtocolError
from gatekeeper.proxy.wire.framing import HEADER_BYTES
from gatekeeper.proxy.wire.frontend import Bind, expand_formats, read_formats, read_name

MAX_KEPT_VALUE_BYTES: Final = 65_536
MAX_KEPT_BYTES: Final = 1_048_576
"""Of all values together."""

_int32: Final = Struct("!i").unpack_from
_uint16: Final = Struct("!H").unpack_from
_MOST_END_BYTES: Final = 2 + 2 * 0xFFFF
_SHORT: Final = "insufficient data left in message"


class BindPieces:
    """Feed it the pieces, beginning with the first, which has the names and formats whole.

    Raises ProtocolError.
    """

    __slots__ = ("_count", "_formats", "_kept", "_left", "_rest", "_skip", "_to_come", "portal", "statement",
                 "values")  # fmt: skip

    def __init__(self, head: bytes) -> None:
        try:
            self.portal, position = read_name(head, HEADER_BYTES)
            self.statement, position = read_name(head, position)
            self._formats, position = read_formats(head, position)
            self._count: int = _uint16(head, position)[0]
        except error as problem:
            raise ProtocolError(_SHORT) from problem
        self._skip = position + 2
        """Bytes that are not looked at: names and formats, or a large value."""
        self._to_come = 1 + int(_int32(head, 1)[0])
        """Bytes of the message that were not fed yet."""
        self._rest = bytearray()
        """What was fed and is not part of a whole value yet; at last the end of the message."""
        self._kept = 0
        self.values: list[bytes | int | None] = []
        """As far as they are read: bytes, the size of a value that is not kept, or None for NULL."""

    def feed(self, piece: bytes) -> bytes:
        """Take a piece; give what may go on: everything but the end behind the last value."""
        self._to_come -= len(piece)
        passed = piece[: self._skip]
        self._skip -= len(passed)
        self._rest += piece[len(passed) :]
        read = 0
        while not self._skip and len(self.values) < self._count:
            step = self._value(read)
            if not step:
                break
            read += step
        out = passed + self._rest[:read]
        del self._rest[:read]
        whole = not self._skip and len(self.values) == self._count
        if whole and len(self._rest) + self._to_come > _MOST_END_BYTES:
            raise ProtocolError("invalid message format")
        return out

    def _value(self, at: int) -> int:
        """Read the value at that place of the rest; give its length there, 0 where it is not all there."""
        rest = self._rest
        if len(rest) < at + 4:
            return 0
        (length,) = _int32(rest, at)
        if length == -1:
            self.values.append(None)
            return 4
        have = len(rest) - at - 4
        if length < 0 or length > have + self._to_come:
            raise ProtocolError(_SHORT)
        if length <= MAX_KEPT_VALUE_BYTES and self._kept + length <= MAX_KEPT_BYTES:
            if have < length:
                return 0
            self.values.append(bytes(rest[at + 4 : at + 4 + length]))
            self._kept += length
            return 4 + int(length)
        self.values.append(length)
        here = min(length, have)
        self._skip = length - here
        return 4 + int(here)

    def end(self) -> tuple[Bind, bytes]:
        """The Bind once all is fed, and its last bytes. Values that were not kept are empty in it."""
        try:
            result_formats, position = read_formats(self._rest, 0)
        except error as problem:
            raise ProtocolError(_SHORT) from problem
        if self._to_come or self._skip or len(self.values) != self._count or position != len(self._rest):
            raise ProtocolError("invalid message format")
        values = tuple(b"" if isinstance(value, int) else value for value in self.values)
        formats = expand_formats(self._formats, self._count)
        return Bind(self.portal, self.statement, values, formats, result_formats), bytes(self._rest)
