"""The rows of a result as a table, as the agent saw them; a masked column is marked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len

from gatekeeper.console.text import Span, fit, is_sqlstate, plural, safe

if TYPE_CHECKING:
    from gatekeeper.recording.views import RecordView

_WIDEST: Final = 32
_NARROWEST: Final = 4


def masked_places(columns: tuple[str, ...], masked: tuple[str, ...]) -> frozenset[int]:
    """Which output columns were masked: by the last part of a full name, or `?name` where it is derived."""
    names = {m.removeprefix("?").rpartition(".")[2] for m in masked}
    return frozenset(place for place, name in enumerate(columns) if name in names)


def widths(record: RecordView, width: int) -> list[int]:
    """Cells for each column, as many columns as fit in `width`."""
    wanted = []
    masked = masked_places(record.sample_columns, record.masked_columns)
    for place, name in enumerate(record.sample_columns):
        cells = [cell_len(safe(name)) + 2 * (place in masked)]
        cells += [cell_len(_shown(row[place])) for row in record.sample_rows[:100] if place < len(row)]
        wanted.append(max(_NARROWEST, min(_WIDEST, max(cells))))
    while sum(wanted) + 3 * (len(wanted) - 1) > width and max(wanted, default=0) > 10:
        wanted[wanted.index(max(wanted))] -= 1
    fitting: list[int] = []
    for cells_wanted in wanted:
        if sum(fitting) + cells_wanted + 3 * len(fitting) > width and fitting:
            break
        fitting.append(cells_wanted)
    return fitting


def _shown(value: str | None) -> str:
    return "NULL" if value is None else safe(value)


def result_lines(record: RecordView, width: int) -> list[list[Span]]:
    """Heading, rows, and what is not shown."""
    if not record.sample_columns:
        if record.kind != "statement" or record.outcome is None:
            return []
        if is_sqlstate(record.outcome):
            return [[("no result: error ", "dim"), (safe(record.outcome), "bad")]]
        kept_none = record.rows and record.outcome.startswith("SELECT")
        return [[("no rows kept", "faint")]] if kept_none else []
    fitting = widths(record, width)
    masked = masked_places(record.sample_columns, record.masked_columns)
    head: list[Span] = []
    line: list[Span] = []
    for place, cells in enumerate(fitting):
        name = safe(record.sample_columns[place])
        mark = "▒ " if place in masked else ""
        head += [(fit(mark + name, cells), "mask" if place in masked else "strong"), ("   ", "")]
        line.append(("─" * cells + ("─┼─" if place + 1 < len(fitting) else ""), "faint"))
    lines = [_between(head), line]
    for row in record.sample_rows:
        spans: list[Span] = []
        for place, cells in enumerate(fitting):
            value = row[place] if place < len(row) else ""
            role = "mask" if place in masked else "faint" if value is None else ""
            spans += [(fit(_shown(value), cells), role), ("   ", "")]
        lines.append(_between(spans))
    rest: list[str] = []
    if record.rows is not None and record.rows > len(record.sample_rows):
        rest.append(f"{plural(record.rows - len(record.sample_rows), 'row')} more not kept")
    if len(fitting) < len(record.sample_columns):
        hidden = ", ".join(safe(c) for c in record.sample_columns[len(fitting) :])
        rest.append(f"no room for {hidden}")
    if rest:
        lines.append([("; ".join(rest), "faint")])
    return lines


def _between(spans: list[Span]) -> list[Span]:
    out = spans[:-1]
    return [(" │ ", "faint") if text == "   " and role == "" else (text, role) for text, role in out]
