"""Recordings for other programs: a line, a row or a page at a time, so that a store of any size streams."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from gatekeeper.errors import ConfigError
from gatekeeper.recording.reader import Records
from gatekeeper.recording.views import RecordView

Format = Literal["jsonl", "csv", "html", "asciicast"]

FIELDS: Final = (
    *("seq", "kind", "at", "session", "grant", "subject", "issuer", "run", "database", "protocol", "sql"),
    *("params", "tags", "classes", "relations", "functions", "verdict", "guards", "approval", "outcome"),
    *("rows", "duration_ms", "masked_columns", "detail", "hash"),
)
"""Of a record in jsonl and csv, in this order."""


def when(at: float) -> str:
    """A moment as RFC 3339 in UTC with microseconds."""
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def fields(record: RecordView) -> Mapping[str, Any]:
    """A record as `audit export --format jsonl` prints it; `at` as text, in the approval too."""
    shown = {name: getattr(record, name) for name in FIELDS}
    shown["at"] = when(record.at)
    if record.approval is not None:
        decisions = [{**d, "at": when(d["at"])} for d in record.approval["decisions"]]
        shown["approval"] = {**record.approval, "decisions": decisions}
    return shown


def export(records: Records, format: Format, session: str | None = None) -> Iterator[str]:  # noqa: A002
    """Pieces of text that make one file: of one session, or of all where the format can hold that."""
    chosen = records.all_records() if session is None else records.records(session)
    match format:
        case "jsonl":
            return jsonl(chosen)
        case _:
            raise ConfigError(f"cannot export as {format} yet")


def jsonl(records: Iterator[RecordView]) -> Iterator[str]:
    """One object a line."""
    for record in records:
        yield json.dumps(fields(record), ensure_ascii=False) + "\n"
