"""Recordings for other programs: a line, a row or a page at a time, so that a store of any size streams."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, assert_never

from gatekeeper.errors import RecordingError
from gatekeeper.recording.page import page
from gatekeeper.recording.reader import Records
from gatekeeper.recording.screen import asciicast
from gatekeeper.recording.views import RecordView

Format = Literal["jsonl", "csv", "html", "asciicast"]

FIELDS: Final = (
    *("seq", "kind", "at", "session", "grant", "subject", "issuer", "run", "database", "protocol", "sql"),
    *("params", "tags", "classes", "relations", "functions", "verdict", "guards", "approval", "outcome"),
    *("rows", "duration_ms", "masked_columns", "detail", "hash"),
)
"""Of a record in jsonl and csv, in this order."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


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
    """Pieces of text that make one file: of one session, or of all of them in jsonl and csv.

    RecordingError where html or asciicast, which replay one session, are asked for without one.
    """
    chosen = records.all_records() if session is None else records.records(session)
    match format:
        case "jsonl":
            return jsonl(chosen)
        case "csv":
            return rows(chosen)
        case "html" | "asciicast":
            if session is None:
                raise RecordingError(f"{format} shows one session: say which")
            return page(chosen) if format == "html" else asciicast(chosen)
        case _:
            assert_never(format)


def jsonl(records: Iterable[RecordView]) -> Iterator[str]:
    """One object a line."""
    for record in records:
        yield json.dumps(fields(record), ensure_ascii=False) + "\n"


def rows(records: Iterable[RecordView]) -> Iterator[str]:
    """RFC 4180 with a header. Lists of names are joined by "; ", parameters and approvals are JSON.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(FIELDS)
    for record in records:
        writer.writerow([_cell(name, value) for name, value in fields(record).items()])
        if buffer.tell() > 65_536:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(name: str, value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    if name in ("params", "approval"):
        return json.dumps(value, ensure_ascii=False)
    text = value if isinstance(value, str) else "; ".join(value)
    return "'" + text if text.startswith(_FORMULA) else text
