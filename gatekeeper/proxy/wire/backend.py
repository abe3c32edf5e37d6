"""What a server sends: readers and writers of backend messages (PostgreSQL 18, 54.7 and 54.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct, error, pack
from typing import Final, Literal

from gatekeeper.errors import ProtocolError
from gatekeeper.masking.rows import Field
from gatekeeper.model import Refusal

AUTHENTICATION_OK: Final = b"R\x00\x00\x00\x08\x00\x00\x00\x00"
AUTHENTICATION_CLEARTEXT: Final = b"R\x00\x00\x00\x08\x00\x00\x00\x03"

Severity = Literal["ERROR", "FATAL", "WARNING", "NOTICE"]

_field: Final = Struct("!IhIhih")
_int16: Final = Struct("!h").unpack_from


def message(kind: bytes, body: bytes = b"") -> bytes:
    """A message of that type."""
    return kind + pack("!i", len(body) + 4) + body


def fields_message(kind: Literal[b"E", b"N"], fields: Mapping[str, str], encoding: str = "utf-8") -> bytes:
    """An ErrorResponse or NoticeResponse of these fields (54.8); what the encoding lacks becomes `?`."""
    body = b"".join(
        code.encode() + text.replace("\0", "").encode(encoding, "replace") + b"\0"
        for code, text in fields.items()
    )
    return message(kind, body + b"\0")


def error_fields(refusal: Refusal, severity: Severity = "ERROR") -> dict[str, str]:
    """The fields of a refusal."""
    fields = {"S": severity, "V": severity, "C": refusal.sqlstate, "M": refusal.message}
    if refusal.detail:
        fields["D"] = refusal.detail
    if refusal.hint:
        fields["H"] = refusal.hint
    return fields


def error_response(refusal: Refusal, severity: Severity = "ERROR", encoding: str = "utf-8") -> bytes:
    """An ErrorResponse."""
    return fields_message(b"E", error_fields(refusal, severity), encoding)


def notice_response(
    text: str, *, severity: Severity = "NOTICE", sqlstate: str = "00000", encoding: str = "utf-8"
) -> bytes:
    """A NoticeResponse."""
    return fields_message(b"N", {"S": severity, "V": severity, "C": sqlstate, "M": text}, encoding)


def parameter_status(name: str, value: str) -> bytes:
    """A ParameterStatus."""
    return message(b"S", name.encode() + b"\0" + value.encode() + b"\0")


def backend_key_data(pid: int, key: bytes) -> bytes:
    """A BackendKeyData."""
    return message(b"K", pack("!i", pid) + key)


def negotiate_protocol_version(minor: int, options: Sequence[bytes]) -> bytes:
    """A NegotiateProtocolVersion: the newest minor version we speak, and the options we do not know.

    PostgreSQL sends the whole version number, 3 << 16 | minor.
    """
    body = pack("!ii", 3 << 16 | minor, len(options))
    return message(b"v", body + b"".join(option + b"\0" for option in options))


def read_fields(body: bytes, encoding: str = "utf-8") -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse, from its body."""
    fields: dict[str, str] = {}
    for part in body.split(b"\0"):
        if part:
            fields[chr(part[0])] = part[1:].decode(encoding, "replace")
    return fields


@lru_cache(maxsize=512)
def read_row_description(body: bytes, encoding: str = "utf-8") -> tuple[Field, ...]:
    """The fields of a RowDescription, from its body."""
    try:
        (count,) = _int16(body, 0)
        position = 2
        fields = []
        for _ in range(count):
            end = body.index(b"\0", position)
            name = body[position:end].decode(encoding, "replace")
            table, attnum, type_oid, _size, _typmod, format_code = _field.unpack_from(body, end + 1)
            fields.append(Field(name, table, attnum, type_oid, format_code))
            position = end + 1 + _field.size
    except (error, ValueError) as problem:
        raise ProtocolError("malformed RowDescription") from problem
    if count < 0 or position != len(body):
        raise ProtocolError("malformed RowDescription")
    return tuple(fields)


def read_parameter_status(body: bytes) -> tuple[str, str]:
    """Name and value of a ParameterStatus, from its body."""
    name, _, value = body.rstrip(b"\0").partition(b"\0")
    return name.decode("utf-8", "replace"), value.decode("utf-8", "replace")


def read_cells(body: bytes | memoryview) -> list[bytes | None]:
    """The cells of a DataRow, from its body; None for NULL. Raises ProtocolError."""
    if len(body) < 2:
        raise ProtocolError("malformed DataRow")
    (count,) = _int16(body, 0)
    position = 2
    cells: list[bytes | None] = []
    for _ in range(count):
        length = int.from_bytes(body[position : position + 4], "big", signed=True)
        position += 4
        if length == -1:
            cells.append(None)
        elif length < 0:
            raise ProtocolError("malformed DataRow")
        else:
            cells.append(bytes(body[position : position + length]))
            position += length
    if count < 0 or position != len(body):
        raise ProtocolError("malformed DataRow")
    return cells


@lru_cache(maxsize=512)
def rows_of_tag(tag: str) -> int | None:
    """Rows that a command tag counts: `SELECT 3`, `INSERT 0 3`; None for tags without a count."""
    count = tag.rpartition(" ")[2]
    return int(count) if count.isdecimal() else None
