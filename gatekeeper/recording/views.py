"""What a recording shows to who reads it. Frozen values that survive JSON; times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec


class RecordedSession(msgspec.Struct, frozen=True):
    """A session in the recordings."""

    id: str
    grant: str
    subject: str
    issuer: str
    run: str
    database: str
    client: str
    started_at: float
    ended_at: float | None
    end_reason: str | None
    statements: int
    refused: int
    held: int


class RecordView(msgspec.Struct, frozen=True):
    """One record: what `audit export --format jsonl` prints, and the kept rows."""

    seq: int
    kind: str
    at: float
    session: str
    hash: str
    grant: str = ""
    subject: str = ""
    issuer: str = ""
    run: str = ""
    database: str = ""
    protocol: str | None = None
    sql: str | None = None
    params: tuple[str | None, ...] | None = None
    tags: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    verdict: str | None = None
    guards: tuple[str, ...] = ()
    approval: Mapping[str, Any] | None = None
    """`id`, `guard`, `decision`, `decisions: [{who, at, approved, reason}]`."""
    outcome: str | None = None
    rows: int | None = None
    duration_ms: float | None = None
    masked_columns: tuple[str, ...] = ()
    detail: str | None = None
    """For the other kinds: reason of a failed login or an end, problems of a reload, what an operator did."""
    sample_columns: tuple[str, ...] = ()
    sample_rows: tuple[tuple[str | None, ...], ...] = ()


class RecordingReader(Protocol):
    """Reads recordings; never writes. Raises RecordingError where the store cannot be read."""

    async def sessions(self, search: str = "", limit: int = 200) -> tuple[RecordedSession, ...]:
        """Sessions, newest first; `search` looks in SQL, subject, grant, run and database."""
        ...

    async def records(self, session: str) -> tuple[RecordView, ...]:
        """All records of a session in order; its ID may be cut short where that is unambiguous."""
        ...
