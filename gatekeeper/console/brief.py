"""What a person needs to know, as lines: of a held statement, of one that ran, of a recorded one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from gatekeeper.console import sql as sqltext
from gatekeeper.console.text import (
    NBSP,
    STATES,
    VERDICTS,
    Span,
    claim_spans,
    count,
    duration,
    fit_spans,
    is_sqlstate,
    labelled,
    millis,
    plural,
    safe,
    size,
    time_of_day,
    verdict_spans,
    wrap,
)

if TYPE_CHECKING:
    from gatekeeper.control.operator import ApprovalView, StatementView
    from gatekeeper.model import Impact
    from gatekeeper.recording.views import RecordView

Lines = list[list[Span]]

_DOT: Final[Span] = (" · ", "faint")
_COSTS: Final = re.compile(r" ?\(cost=[^)]*\)")
_MOST_PARAMETERS: Final = 8
_MOST_TABLES: Final = 4


def statement(sql: str, width: int) -> Lines:
    """A statement, laid out, coloured and wrapped."""
    return wrap(sqltext.coloured(sqltext.formatted(sql)), width, hang=2)


def who(approval: ApprovalView, width: int, *, claims_lines: int = 3) -> Lines:
    """Who asks: grant, subject, run and database, claims, reason."""
    names = wrap(
        [
            (safe(approval.grant), "strong"),
            _DOT,
            (safe(approval.subject), ""),
            _DOT,
            ("on ", "dim"),
            (safe(approval.database), ""),
            _DOT,
            (f"run{NBSP}", "dim"),
            (safe(approval.run), ""),
        ],
        width,
        hang=2,
    )
    lines = _at_most(3, names, width)
    claims = claim_spans(approval.claims)
    if claims:
        lines += _at_most(claims_lines, labelled("claims", claims, width), width)
    if approval.reason:
        lines += _at_most(3, labelled("reason", [(safe(approval.reason), "accent")], width), width)
    else:
        lines += labelled("reason", [("none given", "faint")], width)
    return lines


def _at_most(most: int, lines: Lines, width: int) -> Lines:
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], [*fit_spans(lines[most - 1], width - 2), (" …", "faint")]]


def parameters(params: Sequence[str | None] | None, width: int) -> Lines:
    """Bind parameters, one line's worth; details show all."""
    if not params:
        return []
    spans: list[Span] = []
    for place, value in enumerate(params[:_MOST_PARAMETERS], start=1):
        spans += [("  " if spans else "", ""), (f"${place} ", "dim"), _value(value, 40)]
    if len(params) > _MOST_PARAMETERS:
        spans.append((f"  and {len(params) - _MOST_PARAMETERS} more", "faint"))
    return labelled("with", spans, width)


def _value(value: str | None, most: int | None = None) -> Span:
    if value is None:
        return ("NULL", "faint")
    shown = safe(value)
    if most is not None and len(shown) > most:
        shown = shown[: most - 1] + "…"
    return (shown, "sql.string")


def effects(approval: ApprovalView, now: float, width: int, *, plan_lines: int = 2) -> Lines:
    """What it would touch, which guards want a person, and the state of its transaction."""
    guards: list[Span] = []
    for name in approval.guards or (approval.guard,):
        guards += [_DOT if guards else ("", ""), (safe(name), "held" if name == approval.guard else "warn")]
    lines = labelled("guards", guards, width)
    if approval.impact is None and approval.state != "waiting":
        lines += labelled("touches", [("not known: it ended before that was found out", "faint")], width)
    else:
        lines += impact(approval.impact, width, plan_lines)
    if approval.transaction_started_at is not None:
        open_for = duration(now - approval.transaction_started_at)
        earlier = plural(approval.earlier_statements, "statement")
        lines += labelled(
            "open", [(f"a transaction for {open_for}, {earlier} in it before this", "warn")], width
        )
    else:
        lines += labelled("open", [("no transaction", "dim")], width)
    return lines


def impact(found: Impact | None, width: int, plan_lines: int = 2) -> Lines:
    """Tables with sizes, locks and cascades, and the planner's estimate."""
    if found is None:
        return labelled("touches", [("finding out …", "faint")], width)
    lines: Lines = []
    for place, table in enumerate(found.tables[:_MOST_TABLES]):
        spans: list[Span] = [(safe(table.name), "strong")]
        spans += [_DOT, (f"{count(table.rows)} rows", ""), _DOT, (size(table.bytes), "")]
        spans += [_DOT, (safe(table.lock), "dim")] if table.lock else []
        lines += labelled("touches" if place == 0 else "", spans, width)
        if table.cascades:
            lines += labelled(
                "", [("carries on to ", "dim"), (safe(", ".join(table.cascades)), "warn")], width
            )[:2]
        if table.conflicts:
            lines += labelled(
                "", [("locks clash ", "dim"), (safe(", ".join(table.conflicts)), "held")], width
            )[:2]
    more = len(found.tables) - _MOST_TABLES
    if more > 0:
        lines += labelled("", [(f"and {more} more tables", "warn")], width)
    if not found.tables and found.problem is None:
        lines += labelled("touches", [("no table", "dim")], width)
    if found.estimated_rows is not None or found.plan:
        spans = []
        if found.estimated_rows is not None:
            spans.append(
                (
                    f"about {plural(found.estimated_rows, 'row')}",
                    "held" if found.estimated_rows >= 10_000 else "strong",
                )
            )
        if found.plan:
            steps = " ← ".join(filter(None, map(_step, found.plan)))
            spans += [("   " if spans else "", ""), (safe(steps), "dim")]
        lines += _at_most(plan_lines, labelled("plan", spans, width), width)
    if found.problem:
        lines += labelled("unknown", [(safe(found.problem), "warn")], width)[:2]
    return lines


def _said(label: str, names: Sequence[str], role: str) -> list[Span]:
    return [(f"{label} ", "dim"), (safe(", ".join(names)), role)]


def _step(line: str) -> str:
    """A line of the plan without its arrow and its costs, which say little to a person."""
    return _COSTS.sub("", " ".join(line.split())).removeprefix("->").strip()


def quorum(approval: ApprovalView) -> list[Span]:
    """`1 of 2 approved`, where more than one person is asked."""
    if approval.needed <= 1:
        return []
    yes = sum(d.approved for d in approval.decisions)
    names = ", ".join(safe(d.who) for d in approval.decisions if d.approved)
    return [
        (f"{yes} of {approval.needed}", "held"),
        (f" approved by {names}" if names else " approved", "dim"),
    ]


def decided(approval: ApprovalView) -> list[Span]:
    """How it ended: `✓ approved by mia 14:03:07`."""
    glyph, word, role = STATES[approval.state]
    spans: list[Span] = [(f"{glyph} {word}", role)]
    if approval.state in {"approved", "denied"} and approval.decisions:
        names = ", ".join(
            safe(d.who) for d in approval.decisions if d.approved == (approval.state == "approved")
        )
        spans += [(" by ", "dim"), (names, "")]
    return spans


def decisions(approval: ApprovalView, width: int) -> Lines:
    """Each person's decision in full; an agreement without a reason is in the quorum already."""
    lines: Lines = []
    told = [d for d in approval.decisions if d.reason or approval.needed <= 1 or not d.approved]
    for place, decision in enumerate(told):
        spans: list[Span] = [
            (safe(decision.who), "strong"),
            (" approved" if decision.approved else " denied", "ok" if decision.approved else "bad"),
            (f" at {time_of_day(decision.at)}", "dim"),
        ]
        if decision.reason:
            spans += [_DOT, (safe(decision.reason), "accent")]
        lines += labelled("decided" if place == 0 else "", spans, width)
    return lines


def outcome(text: str | None, rows: int | None, duration_ms: float | None) -> list[Span]:
    """`SELECT 3 · 3 rows · 0.42 ms`, or the SQLSTATE, or that it still runs."""
    if text is None:
        return [("running", "accent")]
    spans: list[Span] = [(safe(text), "bad" if is_sqlstate(text) else "ok")]
    if rows is not None and not is_sqlstate(text):
        spans += [_DOT, (plural(rows, "row"), "")]
    if duration_ms is not None:
        spans += [_DOT, (millis(duration_ms), "")]
    return spans


def of_statement(seen: StatementView, width: int) -> Lines:
    """A statement of the stream: verdict, guards, outcome, masks."""
    lines = labelled(
        "who",
        [(safe(seen.grant), "strong"), _DOT, (safe(seen.subject), ""), _DOT, (safe(seen.database), "")],
        width,
    )
    lines += labelled(
        "at",
        [(time_of_day(seen.at), ""), (f"   statement {seen.n} of session {safe(seen.session)}", "dim")],
        width,
    )
    lines += _judged(seen.verdict, seen.outcome, seen.guards, seen.tags, width)
    lines += labelled("outcome", outcome(seen.outcome, seen.rows, seen.duration_ms), width)
    return lines + _masks(seen.masked_columns, width)


def of_record(record: RecordView, width: int, *, title: bool = True) -> Lines:
    """A recorded statement: all of its facts; without `title` those that a title says are left out."""
    lines: Lines = []
    if record.params:
        spans: list[Span] = []
        for place, value in enumerate(record.params, start=1):
            spans += [("  " if spans else "", ""), (f"${place} ", "dim"), _value(value)]
        lines += labelled("with", spans, width)
    lines += approval_of(record.approval, width)
    if record.verdict is not None and title:
        lines += _judged(record.verdict, record.outcome, record.guards, record.tags, width)
        lines += labelled("outcome", outcome(record.outcome, record.rows, record.duration_ms), width)
    elif record.guards:
        lines += labelled("guards", [(safe(", ".join(record.guards)), "warn")], width)
    for label, values in (
        ("classes", record.classes),
        ("relations", record.relations),
        ("functions", record.functions),
    ):
        if values:
            lines += labelled(label, [(safe(", ".join(values)), "")], width)
    lines += _masks(record.masked_columns, width)
    if record.detail:
        lines += labelled("detail", [(safe(record.detail), "")], width)
    return lines


def approval_of(approval: Mapping[str, Any] | None, width: int) -> Lines:
    """The approval in a record."""
    if not approval:
        return []
    glyph, word, role = STATES.get(
        str(approval.get("decision")), ("?", safe(str(approval.get("decision"))), "warn")
    )
    lines = labelled(
        "approval",
        [(f"{glyph} {word}", role), (f"   guard {safe(str(approval.get('guard', '')))}", "dim")],
        width,
    )
    for one in approval.get("decisions") or ():
        said: list[Span] = [
            (safe(str(one.get("who", "?"))), "strong"),
            (" approved" if one.get("approved") else " denied", "ok" if one.get("approved") else "bad"),
        ]
        if one.get("reason"):
            said += [_DOT, (safe(str(one["reason"])), "accent")]
        lines += labelled("", said, width)
    return lines


def _judged(verdict: str, ended: str | None, guards: Iterable[str], tags: Iterable[str], width: int) -> Lines:
    spans = verdict_spans(verdict, ended)
    names = tuple(guards)
    if names:
        role = VERDICTS.get(verdict, ("", "", "warn"))[2]
        spans += [("   guards ", "dim"), (safe(", ".join(names)), role)]
    lines = labelled("verdict", spans, width)
    if tags:
        lines += labelled("contains", [(safe(", ".join(tags)), "")], width)
    return lines


def _masks(columns: Sequence[str], width: int) -> Lines:
    return labelled("masked", [(safe(", ".join(columns)), "mask")], width) if columns else []


def matches(words: Sequence[str], texts: Iterable[str]) -> bool:
    """Whether each word is in one of the texts, whatever its case; `-word` must be in none."""
    whole = "\n".join(texts).casefold()
    return all(word[1:] not in whole if len(word) > 1 and word[0] == "-" else word in whole for word in words)
