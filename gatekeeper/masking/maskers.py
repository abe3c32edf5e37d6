"""What a masked cell becomes: valid in its type and format, and no part of the value but what was promised.

A method that keeps a part of the value (`hash`, `last4`, `email`) holds for the column as it is. What was
computed from a masked column is redacted instead: `last4` of `substr(ssn, 1, 4)` would be its first four
characters, and a hash of one digit is that digit.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gatekeeper.rules.schema import MaskMethod

TEXTUAL: Final = frozenset({25, 1043, 1042, 19, 705})
"""text, varchar, bpchar, name, unknown: the same bytes in text and in binary format."""
JSON: Final = frozenset({114, 3802})
REDACTED: Final = b"[REDACTED]"

CellMask = Callable[[bytes], bytes | None]
"""A cell's bytes, never NULL, to what takes their place; None is NULL."""


@dataclass(frozen=True, slots=True)
class Always:
    """What takes the place of a cell even where it is NULL, since being NULL would tell something too."""

    value: bytes | None


ALWAYS_NULL: Final = Always(None)
ALWAYS_REDACTED: Final = Always(REDACTED)
Action = CellMask | bytes | Always | None
"""What becomes of a cell: a function of its bytes, or a constant (None is NULL)."""

_DOMAIN = re.compile(rb"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})\Z")


def is_textual(type_oid: int, type_names: Mapping[int, str]) -> bool:
    """True where any text is a valid value: the built-in types, and citext."""
    if type_oid in TEXTUAL:
        return True
    name = type_names.get(type_oid, "")
    return name == "citext" or name.endswith(".citext")


def cell_mask(
    method: MaskMethod, hash_key: bytes, *, textual: bool, derived: bool
) -> CellMask | bytes | None:
    """What to do with a cell that is not NULL: a constant (None is NULL), or a function of its bytes."""
    if method == "null" or not textual:
        return None
    if derived or method == "redact":
        return REDACTED
    if method == "hash":
        return keyed_hash(hash_key)
    return last4 if method == "last4" else email


def keyed_hash(key: bytes) -> CellMask:
    """16 hexadecimal digits of HMAC-SHA-256."""

    def mask(value: bytes) -> bytes:
        return hmac.digest(key, value, "sha256")[:8].hex().encode()

    return mask


def last4(value: bytes) -> bytes:
    """The last four characters; a value that has no more than four keeps none."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return REDACTED
    kept = text[-4:] if len(text) > 4 else ""
    return ("*" * (len(text) - len(kept)) + kept).encode()


def email(value: bytes) -> bytes:
    """`****@` and the domain, where what follows the last `@` is one; else `****`."""
    _, at, domain = value.rpartition(b"@")
    return b"****@" + domain if at and _DOMAIN.match(domain) else b"****"
