r"""Cells and bind parameters as text, as PostgreSQL itself would print them with DateStyle ISO, in UTC.

Text format is given through. Binary format is decoded for the built-in types; what is not known, or does
not fit its type, is shown as `\x` and its bytes: a record shows something rather than fail.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import struct
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

from gatekeeper.sql.floats import float4, float8

Decode = Callable[[bytes], str]

_EPOCH: Final = dt.date(2000, 1, 1).toordinal()
_DAY_US: Final = 86_400_000_000
_MAX_DIMENSIONS: Final = 6


def as_text(type_oid: int, format: int, value: bytes | None) -> str | None:  # noqa: A002
    r"""A value as PostgreSQL prints it; `format` is 0 for text and 1 for binary, None is NULL.

    Never raises: bytes that are no UTF-8 are escaped, a binary value that cannot be decoded is `\x…`.
    """
    if value is None:
        return None
    if format == 0:
        return value.decode("utf-8", "backslashreplace")
    decode = _DECODERS.get(type_oid)
    try:
        if decode is not None:
            return decode(value)
        element = _ARRAYS.get(type_oid)
        if element is not None:
            return _array(value, element)
    except (struct.error, ValueError, IndexError, OverflowError):
        pass  # shown as bytes
    return "\\x" + value.hex()


# --- numbers --------------------------------------------------------------------------------------------


def _number(layout: str) -> Decode:
    unpack = struct.Struct(layout).unpack
    return lambda value: str(unpack(value)[0])


def _bool(value: bytes) -> str:
    return "f" if value == b"\0" else "t"


def _numeric(value: bytes) -> str:
    count, weight, sign, scale = struct.unpack_from(">HhHH", value)
    special = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}.get(sign)
    if special is not None:
        return special
    if sign not in (0, 0x4000) or len(value) != 8 + 2 * count:
        raise ValueError
    digits = struct.unpack_from(f">{count}H", value, 8)
    if any(d > 9999 for d in digits):
        raise ValueError
    whole = "".join(f"{digits[i] if i < count else 0:04d}" for i in range(weight + 1)).lstrip("0")
    behind = range(weight + 1, weight + 1 + -(-scale // 4))
    part = "".join(f"{digits[i] if 0 <= i < count else 0:04d}" for i in behind)[:scale]
    return ("-" if sign else "") + (whole or "0") + (f".{part}" if part else "")


def _money(value: bytes) -> str:
    (cents,) = struct.unpack(">q", value)
    return f"{'-' if cents < 0 else ''}${abs(cents) // 100:,}.{abs(cents) % 100:02d}"


# --- texts ----------------------------------------------------------------------------------------------


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _bytea(value: bytes) -> str:
    return "\\x" + value.hex()


def _char(value: bytes) -> str:
    if len(value) != 1:
        raise ValueError
    return "" if value == b"\0" else value.decode("ascii") if value < b"\x80" else f"\\{value[0]:03o}"


def _versioned(value: bytes) -> str:
    if value[:1] != b"\x01":
        raise ValueError
    return _text(value[1:])


def _uuid(value: bytes) -> str:
    return str(UUID(bytes=value))


def _bits(value: bytes) -> str:
    (count,) = struct.unpack_from(">i", value)
    if not 0 <= count <= 8 * (len(value) - 4):
        raise ValueError
    return "".join(f"{byte:08b}" for byte in value[4:])[:count]


# --- times ----------------------------------------------------------------------------------------------


def _infinite(number: int, bits: int) -> str | None:
    return {(1 << bits) - 1: "infinity", -(1 << bits): "-infinity"}.get(number)


def _day(days: int) -> str:
    """A date by its number since 2000-01-01, beyond the years that Python knows too."""
    year, month, day = _civil(days + _EPOCH)
    return f"{year if year > 0 else 1 - year:04d}-{month:02d}-{day:02d}"


def _civil(ordinal: int) -> tuple[int, int, int]:
    """Year (0 is 1 BC), month and day of a proleptic Gregorian ordinal, 1 being 0001-01-01."""
    cycles, rest = divmod(ordinal - 1, 146_097)
    date = dt.date.fromordinal(rest + 1)
    return date.year + 400 * cycles, date.month, date.day


def _era(days: int) -> str:
    return " BC" if _civil(days + _EPOCH)[0] <= 0 else ""


def _clock(us: int) -> str:
    seconds, us = divmod(us, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return text + (f".{us:06d}".rstrip("0") if us else "")


def _whole_date(value: bytes) -> str:
    (days,) = struct.unpack(">i", value)
    return _infinite(days, 31) or _day(days) + _era(days)


def _time(value: bytes) -> str:
    return _clock(struct.unpack(">q", value)[0])


def _timetz(value: bytes) -> str:
    us, west = struct.unpack(">qi", value)
    return _clock(us) + _offset(-west)


def _offset(seconds: int) -> str:
    sign, seconds = ("-", -seconds) if seconds < 0 else ("+", seconds)
    text = f"{sign}{seconds // 3600:02d}"
    if seconds % 3600:
        text += f":{seconds // 60 % 60:02d}"
    return text + (f":{seconds % 60:02d}" if seconds % 60 else "")


def _timestamp(value: bytes) -> str:
    return _moment(value, "")


def _timestamptz(value: bytes) -> str:
    return _moment(value, "+00")


def _moment(value: bytes, zone: str) -> str:
    (us,) = struct.unpack(">q", value)
    days, rest = divmod(us, _DAY_US)
    return _infinite(us, 63) or f"{_day(days)} {_clock(rest)}{zone}{_era(days)}"


def _interval(value: bytes) -> str:
    """IntervalStyle `postgres`."""
    us, days, months = struct.unpack(">qii", value)
    if (us, days, months) == ((1 << 63) - 1, (1 << 31) - 1, (1 << 31) - 1):
        return "infinity"
    if (us, days, months) == (-(1 << 63), -(1 << 31), -(1 << 31)):
        return "-infinity"
    sign = -1 if months < 0 else 1
    years, months = sign * (abs(months) // 12), sign * (abs(months) % 12)
    parts: list[str] = []
    negative = False
    for number, unit in ((years, "year"), (months, "mon"), (days, "day")):
        if number:
            plus = "+" if negative and number > 0 else ""
            parts.append(f"{plus}{number} {unit}{'' if number == 1 else 's'}")
            negative = number < 0
    if us or not parts:
        plus = "-" if us < 0 else "+" if negative else ""
        parts.append(plus + _clock(abs(us)))
    return " ".join(parts)


# --- addresses ------------------------------------------------------------------------------------------


def _network(value: bytes) -> str:
    family, bits, is_cidr, size = struct.unpack_from(">BBBB", value)
    if (family, size) not in ((2, 4), (3, 16)) or len(value) != 4 + size or bits > 8 * size:
        raise ValueError
    address = _ipv6(value[4:]) if size == 16 else str(ipaddress.IPv4Address(value[4:]))
    return address if bits == 8 * size and not is_cidr else f"{address}/{bits}"


def _ipv6(value: bytes) -> str:
    """As PostgreSQL prints it: what embeds an IPv4 address ends in one."""
    address = ipaddress.IPv6Address(value)
    head, tail = value[:12], str(ipaddress.IPv4Address(value[12:]))
    if head == bytes(10) + b"\xff\xff":
        return f"::ffff:{tail}"
    if head == bytes(12) and value[12:14] != b"\0\0":
        return f"::{tail}"
    return str(address)


def _macaddr(value: bytes) -> str:
    if len(value) not in (6, 8):
        raise ValueError
    return value.hex(":")


# --- arrays ---------------------------------------------------------------------------------------------


def _array(value: bytes, element: int) -> str:
    """Text form of an array, ARRAY types of PostgreSQL 18, 8.15.6; `element` is the type that is expected."""
    dimensions, _, oid = struct.unpack_from(">iiI", value)
    if not 0 <= dimensions <= _MAX_DIMENSIONS or oid != element:
        raise ValueError
    if dimensions == 0:
        return "{}"
    bounds = [struct.unpack_from(">ii", value, 12 + 8 * i) for i in range(dimensions)]
    at = 12 + 8 * dimensions
    count = math.prod(size for size, _ in bounds)
    if min(size for size, _ in bounds) < 1 or count > len(value):
        raise ValueError
    items: list[str] = []
    for _ in range(count):
        (size,) = struct.unpack_from(">i", value, at)
        at += 4
        if size < 0:
            items.append("NULL")
            continue
        if at + size > len(value):
            raise ValueError
        items.append(_item(_DECODERS[element](value[at : at + size])))
        at += size
    if at != len(value):
        raise ValueError
    for size, _ in reversed(bounds):
        items = ["{" + ",".join(items[i : i + size]) + "}" for i in range(0, len(items), size)]
    shown = "".join(f"[{low}:{low + size - 1}]" for size, low in bounds) + "="
    return (shown if any(low != 1 for _, low in bounds) else "") + items[0]


def _item(text: str) -> str:
    if text and text.upper() != "NULL" and not any(c in _QUOTED for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_QUOTED: Final = frozenset('{}",\\ \t\n\r\v\f')

_DECODERS: Final[Mapping[int, Decode]] = {
    16: _bool,
    17: _bytea,
    18: _char,
    19: _text,  # name
    20: _number(">q"),
    21: _number(">h"),
    23: _number(">i"),
    25: _text,
    26: _number(">I"),  # oid
    28: _number(">I"),  # xid
    29: _number(">I"),  # cid
    114: _text,  # json
    142: _text,  # xml
    194: _text,  # pg_node_tree
    650: _network,  # cidr
    700: float4,
    701: float8,
    705: _text,  # unknown
    774: _macaddr,  # macaddr8
    790: _money,
    829: _macaddr,
    869: _network,  # inet
    1042: _text,  # bpchar
    1043: _text,  # varchar
    1082: _whole_date,
    1083: _time,
    1114: _timestamp,
    1184: _timestamptz,
    1186: _interval,
    1266: _timetz,
    1560: _bits,
    1562: _bits,  # varbit
    1700: _numeric,
    1790: _text,  # refcursor
    2950: _uuid,
    3802: _versioned,  # jsonb
    4072: _versioned,  # jsonpath
    5069: _number(">Q"),  # xid8
}

_ARRAYS: Final[Mapping[int, int]] = {
    143: 142,
    199: 114,
    271: 5069,
    651: 650,
    775: 774,
    791: 790,
    1000: 16,
    1001: 17,
    1002: 18,
    1003: 19,
    1005: 21,
    1007: 23,
    1009: 25,
    1011: 28,
    1012: 29,
    1014: 1042,
    1015: 1043,
    1016: 20,
    1021: 700,
    1022: 701,
    1028: 26,
    1040: 829,
    1041: 869,
    1115: 1114,
    1182: 1082,
    1183: 1083,
    1185: 1184,
    1187: 1186,
    1231: 1700,
    1270: 1266,
    1561: 1560,
    1563: 1562,
    2201: 1790,
    2951: 2950,
    3807: 3802,
    4073: 4072,
}
