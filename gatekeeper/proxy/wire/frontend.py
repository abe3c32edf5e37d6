"""What a client sends: readers and writers of frontend messages (PostgreSQL 18, 54.7).

Readers take a whole message with its header and raise ProtocolError where a field does not fit it.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, error, pack
from typing import Final, Literal

from gatekeeper.errors import ProtocolError

_int16: Final = Struct("!h").unpack_from
_uint16: Final = Struct("!H").unpack_from
_int32: Final = Struct("!i").unpack_from

SYNC: Final = b"S\x00\x00\x00\x04"
FLUSH: Final = b"H\x00\x00\x00\x04"
TERMINATE: Final = b"X\x00\x00\x00\x04"

MAX_NAME_BYTES: Final = 30_000


@dataclass(frozen=True, slots=True)
class Parse:
    """Parse ('P')."""

    name: bytes
    sql: bytes
    type_oids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bind:
    """Bind ('B'). Values are None for NULL; formats are expanded to one for each parameter."""

    portal: bytes
    statement: bytes
    values: tuple[bytes | None, ...]
    formats: tuple[int, ...]
    result_formats: tuple[int, ...]
    """As sent: none (all text), one (for all), or one for each column."""


@dataclass(frozen=True, slots=True)
class Target:
    """Describe ('D') or Close ('C') of a statement ('S') or portal ('P')."""

    kind: Literal["S", "P"]
    name: bytes


def read_name(message: bytes | bytearray, position: int) -> tuple[bytes, int]:
    """A string that ends with a zero byte, and the place behind it."""
    end = message.find(b"\0", position)
    if end < 0:
        raise ProtocolError("invalid string in message")
    return bytes(message[position:end]), end + 1


def _done(message: bytes, position: int) -> None:
    if position != len(message):
        raise ProtocolError("invalid message format")


def read_query(message: bytes) -> bytes:
    """The text of a Query."""
    sql, position = read_name(message, 5)
    _done(message, position)
    return sql


def read_parse(message: bytes) -> Parse:
    """A Parse."""
    try:
        name, position = read_name(message, 5)
        sql, position = read_name(message, position)
        (count,) = _uint16(message, position)
        position += 2
        oids = Struct(f"!{count}I").unpack_from(message, position)
        _done(message, position + 4 * count)
    except error as problem:
        raise ProtocolError("insufficient data left in message") from problem
    return Parse(name, sql, oids)


def expand_formats(codes: tuple[int, ...], count: int) -> tuple[int, ...]:
    """One format code for each of count columns, by the rule of Bind: none, one for all, or each."""
    if len(codes) == count:
        return codes
    if not codes:
        return (0,) * count
    if len(codes) == 1:
        return codes * count
    raise ProtocolError(f"message has {len(codes)} formats but {count} columns")


def read_formats(message: bytes | bytearray, position: int) -> tuple[tuple[int, ...], int]:
    """Format codes with their count before them, and the place behind them. Raises struct.error."""
    (count,) = _uint16(message, position)
    codes = Struct(f"!{count}h").unpack_from(message, position + 2)
    if any(code not in (0, 1) for code in codes):
        raise ProtocolError("unsupported format code")
    return codes, position + 2 + 2 * count


def read_bind(message: bytes) -> Bind:
    """A Bind."""
    try:
        portal, position = read_name(message, 5)
        statement, position = read_name(message, position)
        formats, position = read_formats(message, position)
        (count,) = _uint16(message, position)
        position += 2
        values: list[bytes | None] = []
        for _ in range(count):
            (length,) = _int32(message, position)
            position += 4
            if length == -1:
                values.append(None)
                continue
            end = position + length
            if length < 0 or end > len(message):
                raise ProtocolError("insufficient data left in message")
            values.append(message[position:end])
            position = end
        result_formats, position = read_formats(message, position)
        _done(message, position)
    except error as problem:
        raise ProtocolError("insufficient data left in message") from problem
    return Bind(portal, statement, tuple(values), expand_formats(formats, count), result_formats)


def read_target(message: bytes) -> Target:
    """A Describe or a Close."""
    kind = message[5:6]
    name, position = read_name(message, 6)
    _done(message, position)
    if kind == b"S":
        return Target("S", name)
    if kind == b"P":
        return Target("P", name)
    raise ProtocolError(f"invalid subtype {kind!r}")


def read_execute(message: bytes) -> tuple[bytes, int]:
    """Portal name and row limit of an Execute."""
    portal, position = read_name(message, 5)
    if len(message) != position + 4:
        raise ProtocolError("invalid message format")
    return portal, _int32(message, position)[0]


def read_function_call(message: bytes) -> int:
    """OID of the function that a FunctionCall calls."""
    if len(message) < 9:
        raise ProtocolError("insufficient data left in message")
    oid: int = Struct("!I").unpack_from(message, 5)[0]
    return oid


def read_password(message: bytes) -> bytes:
    """The text of a PasswordMessage."""
    password, position = read_name(message, 5)
    _done(message, position)
    return password


def message(kind: bytes, body: bytes = b"") -> bytes:
    """A message of that type."""
    return kind + pack("!i", len(body) + 4) + body


def query(sql: bytes) -> bytes:
    """A Query."""
    return message(b"Q", sql + b"\0")


def parse(name: bytes, sql: bytes, type_oids: tuple[int, ...] = ()) -> bytes:
    """A Parse."""
    return message(
        b"P", name + b"\0" + sql + b"\0" + pack(f"!H{len(type_oids)}I", len(type_oids), *type_oids)
    )


def describe(kind: Literal["S", "P"], name: bytes) -> bytes:
    """A Describe."""
    return message(b"D", kind.encode() + name + b"\0")


def startup(parameters: dict[bytes, bytes], protocol: int = 196608) -> bytes:
    """A StartupMessage, protocol 3.0 unless told."""
    body = pack("!i", protocol)
    body += b"".join(name + b"\0" + value + b"\0" for name, value in parameters.items()) + b"\0"
    return pack("!i", len(body) + 4) + body


def cancel_request(pid: int, key: bytes) -> bytes:
    """A CancelRequest."""
    return pack("!iii", 12 + len(key), 80877102, pid) + key
