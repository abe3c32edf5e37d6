"""Sessions, statements and counters as lines of exactly the cells that there are. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatekeeper.console import sql as sqltext
from gatekeeper.console.brief import Lines
from gatekeeper.console.text import (
    VERDICTS,
    Span,
    claim_spans,
    count,
    duration,
    fit,
    fit_spans,
    headings,
    is_sqlstate,
    labelled,
    millis,
    safe,
    sparkline,
    time_of_day,
    wrap,
)
from gatekeeper.console.widgets.bars import ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatekeeper.control.operator import Metrics, SessionView, StatementView

STATES: Final = {
    "idle": ("○", "idle", "dim"),
    "active": ("●", "active", "ok"),
    "in transaction": ("◐", "open tx", "accent"),
    "failed transaction": ("◐", "failed tx", "bad"),
    "held": ("◆", "held", "held"),
}
"""Glyph, word and role of each state of a session."""
_TAIL: Final = 16 + 7 + 7
"""Cells for state, age and statements."""


def _session_columns(width: int) -> tuple[int, int, int]:
    """Widths of who, run and database."""
    run, database = (20, 14) if width >= 100 else (11, 9)
    # While the terminal is resized a list may be narrower for a moment than any that is shown.
    return max(1, width - 3 - run - database - _TAIL - 1), run, database


def session_heading(width: int) -> list[Span]:
    """The names of a session's columns."""
    who, run, database = _session_columns(width)
    named = f"   {'who':<{who}}{'run':<{run}}{'database':<{database}}{'state':<16}{'age':>7}{'sent':>7}"
    return headings(named)


def _state(seen: SessionView, now: float) -> tuple[str, str, str]:
    glyph, word, role = STATES[seen.state]
    return glyph, word if seen.state == "idle" else f"{word} {duration(now - seen.state_since)}", role


def session_line(seen: SessionView, width: int, now: float, *, chosen: bool) -> Lines:
    """A session in one line; `chosen` where the stream shows its statements alone."""
    glyph, state, role = _state(seen, now)
    who, run, database = _session_columns(width)
    narrowed: Span = ("▸", "accent") if chosen else (" ", "")
    named: list[Span] = [(safe(seen.grant), "strong"), ("  ", ""), (safe(seen.subject), "dim")]
    return [
        [
            narrowed,
            (f"{glyph} ", role),
            *fit_spans(named, who - 1),
            (" " + fit(safe(seen.run), run - 1) + " ", ""),
            (fit(safe(seen.database), database - 1) + " ", ""),
            (fit(state, 16), role),
            (f"{duration(now - seen.started_at):>7}", "dim"),
            (f"{count(seen.statements):>7} ", ""),
        ]
    ]


def session_card(seen: SessionView, width: int, now: float, *, chosen: bool) -> Lines:
    """A session in two lines, for a narrow column."""
    glyph, state, role = _state(seen, now)
    narrowed: Span = ("▸", "accent") if chosen else (" ", "")
    top = fit_spans([narrowed, (f"{glyph} ", role), (safe(seen.grant), "strong")], width - len(state) - 1)
    tail = f"{safe(seen.database)} {duration(now - seen.started_at):>8} "
    below = fit_spans([("   ", ""), (safe(seen.subject), "dim")], width - 22)
    return [[*top, (state, role), (" ", "")], [*below, *fit_spans([(tail, "dim")], 22, right=True)]]


def session_panel(seen: SessionView, width: int) -> Lines:
    """What else is known of a session."""
    lines = labelled("session", [(safe(seen.id), "strong"), ("  run ", "dim"), (safe(seen.run), "")], width)
    lines += labelled("client", [(safe(seen.client), ""), ("  ", ""), (safe(seen.application), "dim")], width)
    refused: Span = (f"{count(seen.refused)} refused", "bad" if seen.refused else "dim")
    lines += labelled("sent", [(count(seen.statements), ""), ("  ", ""), refused], width)
    claims = claim_spans(seen.claims)
    if claims:
        lines += labelled("claims", claims, width)[:5]
    if seen.current_sql:
        lines += wrap([(f"{'now':<10}", "dim"), *sqltext.one_line(seen.current_sql)], width, hang=10)[:4]
    return lines


def statement_line(seen: StatementView, width: int, *, who: bool, runs: bool) -> Lines:
    """A statement of the stream in one line; `runs` where its outcome is still to come."""
    glyph, _word, role = VERDICTS.get(seen.verdict, ("?", "", "warn"))
    if seen.verdict == "approve" and seen.outcome is not None:
        role = "warn"
    grant = 0 if not who else 14 if width >= 84 else 11
    if seen.outcome is None:
        rows: Span = (f"{'…':>7}", "accent") if runs else (f"{'–':>7}", "faint")
    elif is_sqlstate(seen.outcome):
        rows = (f"{seen.outcome:>7}", "bad")
    else:
        rows = (f"{count(seen.rows) if seen.rows is not None else '':>7}", "")
    ran = seen.duration_ms is not None and seen.verdict not in {"block", "reject"}
    took = f"{millis(seen.duration_ms) if ran else '':>8} "
    mask: Span = (" ▒", "mask") if seen.masked_columns else ("  ", "")
    sql = fit_spans(sqltext.one_line(seen.sql), width - 12 - (grant + 1 if grant else 0) - 18)
    spans: list[Span] = [(f" {time_of_day(seen.at)} ", "faint"), (f"{glyph} ", role)]
    if grant:
        spans.append((fit(safe(seen.grant), grant) + " ", "dim"))
    return [[*spans, *sql, mask, rows, (took, "dim")]]


def metrics_line(m: Metrics, width: int) -> list[Span]:
    """A minute of statements per second, and the counters since the start."""
    now = m.per_second[-1] if m.per_second else 0
    right: list[Span] = []
    for label, value, role, least in (
        ("statements", count(m.statements), "", 100),
        ("refused", count(m.refused), "bad" if m.refused else "", 0),
        ("held", count(m.held), "held" if m.held else "", 0),
        ("p50", millis(m.p50_ms), "", 0),
        ("p99", millis(m.p99_ms), "", 0),
    ):
        if width >= least:
            right += [(f"  {label} ", "dim"), (value, role)]
    right.append((" ", ""))
    bars = sparkline(m.per_second, 60 if width >= 140 else 30 if width >= 110 else 14)
    left: list[Span] = [(" ", ""), (bars, "accent"), (f" {count(now)}/s", "strong")]
    return ends(left, right, width)


def welcome(hints: Sequence[str], width: int) -> Lines:
    """What a newcomer reads: how to log in."""
    lines: Lines = [[("Nobody is logged in yet.", "strong")], []]
    said = "Every statement, every decision and every masked value shows up here. In another terminal:"
    lines += [*wrap([(said, "dim")], width), []]
    for hint in hints:
        lines += wrap([("  ", ""), (safe(hint), "accent")], width, hang=4)[:3]
    return [*lines, [], [("y", "key"), (" copies a line and shows it in full", "dim")]]
