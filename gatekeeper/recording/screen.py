r"""A session as a terminal would have shown it, for asciinema, with its timing.

Whatever was recorded is shown as text: a control character in it is printed as `\x1b`, never sent on.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from gatekeeper.recording.views import RecordView

_WIDTH: Final = 120
_HEIGHT: Final = 36
_MOST_LINES: Final = 30
_MOST_CELLS: Final = 40
_IDLE_LIMIT_S: Final = 3.0

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_DIM, _BOLD, _RED, _YELLOW, _GREEN, _END = (f"\x1b[{code}m" for code in (2, 1, 31, 33, 32, 0))


def asciicast(records: Iterable[RecordView]) -> Iterator[str]:
    """A file of asciicast version 2: a header, then one event a line."""
    start: float | None = None
    ends = 0.0
    for record in records:
        if start is None:
            start = record.at
            yield _line(_header(record))
        at = max(record.at - start, ends)
        yield _line([round(at, 6), "o", _asked(record)])
        answer = _answered(record)
        ends = at + (record.duration_ms or 0.0) / 1000
        if answer:
            yield _line([round(ends, 6), "o", answer])


def _header(record: RecordView) -> dict[str, Any]:
    return {
        "version": 2,
        "width": _WIDTH,
        "height": _HEIGHT,
        "timestamp": int(record.at),
        "title": f"{record.subject} as {record.grant} on {record.database}, session {record.session}",
        "idle_time_limit": _IDLE_LIMIT_S,
        "env": {"TERM": "xterm-256color"},
    }


def _line(value: Any) -> str:
    return json.dumps(value) + "\n"


def _asked(record: RecordView) -> str:
    match record.kind:
        case "login":
            text = f"-- {record.subject} logs in as {record.grant} {record.detail or ''}"
            return f"{_DIM}{clean(text)}{_END}\r\n"
        case "session_end":
            return f"{_DIM}-- session ends: {clean(record.detail or '')}{_END}\r\n"
        case _:
            prompt = f"{_BOLD}{clean(record.database)}=>{_END} "
            text = clean(record.sql or "", "\r\n" + " " * (len(record.database) + 3))
            if record.params:
                values = ", ".join("NULL" if p is None else p for p in record.params)
                text += f"\r\n{_DIM}-- with {clean(values)}{_END}"
            return f"{prompt}{text}\r\n"


def _answered(record: RecordView) -> str:
    if record.kind != "statement":
        return ""
    lines = [*_judged(record)]
    if record.sample_columns:
        lines += table(record.sample_columns, record.sample_rows)
        shown = len(record.sample_rows)
        if record.rows is not None and record.rows > shown:
            lines.append(f"{_DIM}({record.rows} rows, {shown} of them recorded){_END}")
    if record.outcome is None:
        lines.append(f"{_DIM}-- outcome not known{_END}")
    elif re.fullmatch("[0-9A-Z]{5}", record.outcome) and any(c.isdigit() for c in record.outcome):
        lines.append(f"{_RED}ERROR: {clean(record.outcome)}{_END}")
    else:
        lines.append(clean(record.outcome))
    return "".join(line + "\r\n" for line in lines)


def _judged(record: RecordView) -> Iterator[str]:
    guards = f" by {', '.join(record.guards)}" if record.guards else ""
    if record.approval is not None:
        people = ", ".join(str(d["who"]) for d in record.approval["decisions"])
        what = f"{record.approval['decision']}{' by ' + people if people else ''}"
        colour = _GREEN if record.approval["decision"] == "approved" else _RED
        yield f"{_YELLOW}-- held{clean(guards)}: {_END}{colour}{clean(what)}{_END}"
    elif record.verdict in ("block", "reject"):
        yield f"{_RED}-- {record.verdict}{clean(guards)}{_END}"
    elif record.verdict == "warn":
        yield f"{_YELLOW}-- warning{clean(guards)}{_END}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> list[str]:
    """Rows as psql aligns them, cut to the screen."""
    head = [_cut(name) for name in columns]
    body = [[_cut("" if cell is None else cell) for cell in row] for row in rows[:_MOST_LINES]]
    widths = [max([width(cell) for cell in column], default=0) for column in zip(head, *body, strict=False)]
    lines = [_row(head, widths), "-+-".join("-" * size for size in widths)]
    lines += [_row(row, widths) for row in body]
    if len(rows) > _MOST_LINES:
        lines.append(f"{_DIM}… {len(rows) - _MOST_LINES} more rows{_END}")
    return [" " + line for line in lines]


def clean(text: str, newline: str = " ") -> str:
    """Text without control characters, those that turn the direction of writing among them."""
    return _CONTROL.sub(_visible, text.replace("\r\n", "\n")).replace("\t", "    ").replace("\n", newline)


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in ("W", "F") for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _cut(text: str) -> str:
    shown = clean(text, "↵")
    return shown if len(shown) <= _MOST_CELLS else shown[: _MOST_CELLS - 1] + "…"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    sized = zip(cells, widths, strict=False)
    return " | ".join(cell + " " * (size - width(cell)) for cell, size in sized)
