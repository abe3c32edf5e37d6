"""How an event lies in the log: a row of numbers, a text and a compact entry, and the bytes that are hashed.

An entry is a MessagePack array. What repeats is stored once: a statement whose text or facts were already
recorded names the row that holds them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgspec

from gatekeeper.events import StatementBound, StatementClosed, StatementDecided, StatementOpened
from gatekeeper.model import Action, ApprovalRecord, SessionInfo


class Kind(IntEnum):
    """What a row of the log is. END is the one row after the last event; it moves with every commit."""

    END = 0
    LOGIN = 1
    LOGIN_FAILED = 2
    OPENED = 3
    BOUND = 4
    DECIDED = 5
    CLOSED = 6
    SESSION_END = 7
    RELOAD = 8
    OPERATOR = 9
    STARTED = 10
    """A gateway opened the store."""
    STOPPED = 11
    """A gateway closed the store properly."""
    SESSION = 12
    """Events follow of a session whose login is not here."""


class Row(NamedTuple):
    """One row of the log."""

    seq: int
    sid: int
    """`seq` of the row that began the session; 0 for what belongs to none."""
    kind: int
    sql: str | None
    entry: bytes
    hash: bytes


BLOCK: Final = 1024
"""Rows in a block; `spans` names the blocks in which a session has rows."""

VERDICTS: Final = tuple(Action)
VERDICT_NUMBER: Final[Mapping[str, int]] = {action.value: n for n, action in enumerate(VERDICTS)}
REFUSED: Final = frozenset({VERDICT_NUMBER["block"], VERDICT_NUMBER["reject"]})
HELD: Final = VERDICT_NUMBER["approve"]

_header = struct.Struct(">QQBQ").pack
_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
decode: Final = msgspec.msgpack.Decoder().decode


def canonical(seq: int, sid: int, kind: int, sql: str | None, entry: bytes) -> bytes:
    """The bytes of a row that its hash covers, besides the hash before it."""
    if sql is None:
        return _header(seq, sid, kind, 0) + entry
    text = sql.encode()
    return _header(seq, sid, kind, len(text) + 1) + text + entry


def encode(values: tuple[Any, ...]) -> bytes:
    """An entry. Texts that are no valid Unicode are escaped, so that nothing fails to be recorded."""
    try:
        return _encode(values)
    except (UnicodeEncodeError, ValueError, OverflowError, TypeError):
        return _encode(plain(values))


def plain(value: Any) -> Any:
    """The nearest value that can be stored: lone surrogates escaped, numbers out of range as text."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case bool() | float() | bytes() | None:
            return value
        case int():
            return value if -(2**63) <= value < 2**63 else str(value)
        case Mapping():
            return {plain(str(key)): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _:
            return plain(str(value))


# --- events to entries ----------------------------------------------------------------------------------


def session(at: float, info: SessionInfo, *more: str) -> bytes:
    """Entry of LOGIN, and with SQLSTATE and reason of LOGIN_FAILED."""
    head = (at, info.id, info.grant, info.subject, info.issuer, info.run, info.database)
    return encode((*head, info.client, info.application, dict(info.claims), *more))


def facts(event: StatementOpened) -> tuple[Any, ...]:
    """What a statement shares with others of its kind."""
    return (event.protocol, event.tags, event.classes, event.relations, event.functions, event.guards)


def opened(event: StatementOpened, sql_at: int, facts_or_at: tuple[Any, ...] | int) -> bytes:
    """Entry of OPENED; `sql_at` is 0 where the row itself holds the text."""
    return encode(
        (event.at, event.n, VERDICT_NUMBER[event.verdict], sql_at, facts_or_at, event.params)
        if event.params is not None
        else (event.at, event.n, VERDICT_NUMBER[event.verdict], sql_at, facts_or_at)
    )


def bound(event: StatementBound) -> bytes:
    """Entry of BOUND."""
    return encode((event.at, event.n, event.params))


def decided(event: StatementDecided) -> bytes:
    """Entry of DECIDED."""
    approval: ApprovalRecord = event.approval
    decisions = tuple((d.who, d.at, d.approved, d.reason) for d in approval.decisions)
    return encode((event.at, event.n, approval.id, approval.guard, approval.decision, decisions))


def closed(event: StatementClosed) -> bytes:
    """Entry of CLOSED; masked columns and the sample only where there are any."""
    head = (event.at, event.n, event.outcome, event.rows, event.duration_ms)
    if event.sample is not None:
        return encode((*head, event.masked_columns, event.sample.columns, event.sample.rows))
    return encode((*head, event.masked_columns) if event.masked_columns else head)
