"""What goes on, folded from the events: a bounded ring of statements, counts, the last minute, notices.

Law: feeding costs an append. Events are folded a few at a time, and what a console sees is only built when
it asks.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from gatekeeper.control.operator import Metrics, Notice, RuleView, StatementView
from gatekeeper.control.summaries import grant_summary, guard_summary, mask_summary
from gatekeeper.events import (
    Event,
    Login,
    LoginFailed,
    OperatorAction,
    RulesReloaded,
    SessionEnded,
    StatementBound,
    StatementClosed,
    StatementDecided,
    StatementOpened,
)
from gatekeeper.model import Action, SessionInfo
from gatekeeper.rules.globs import matcher
from gatekeeper.rules.schema import Rules

MAX_SQL: Final = 2000
_RING: Final = 2000
_SHOWN: Final = 500
_FOLD_AT: Final = 64
_RECENT: Final = 1000
_SECONDS: Final = 60
_NOTICES: Final = 100

Kind = Literal["guard", "grant", "mask"]
Level = Literal["info", "warning", "error"]


@dataclass(slots=True)
class _Statement:
    """The little of a statement that is shown; its parameters and rows are in the recording alone."""

    cursor: int
    session: SessionInfo
    n: int
    at: float
    sql: str
    tags: tuple[str, ...]
    verdict: Action
    guards: tuple[str, ...]
    outcome: str | None = None
    rows: int | None = None
    duration_ms: float | None = None
    masked_columns: tuple[str, ...] = ()

    def view(self) -> StatementView:
        return StatementView(
            cursor=self.cursor,
            session=self.session.id,
            n=self.n,
            at=self.at,
            grant=self.session.grant,
            subject=self.session.subject,
            database=self.session.database,
            sql=self.sql,
            tags=self.tags,
            verdict=self.verdict.value,
            guards=self.guards,
            outcome=self.outcome,
            rows=self.rows,
            duration_ms=self.duration_ms,
            masked_columns=self.masked_columns,
        )


class Live:
    """Fed and asked by the loop that serves sessions. `now` and `started_at` are Unix seconds."""

    def __init__(self, started_at: float, *, ring: int = _RING) -> None:
        self._started_at = started_at
        self._most = ring
        self._pending: deque[Event] = deque()
        self._sessions: dict[str, SessionInfo] = {}
        self._ring: OrderedDict[tuple[str, int], _Statement] = OrderedDict()
        self._cursor = 0
        self._notices: deque[Notice] = deque(maxlen=_NOTICES)
        self._notice_cursor = 0
        self._counts: Counter[str] = Counter()
        self._hits: Counter[tuple[Kind, str]] = Counter()
        self._last_hit: dict[tuple[Kind, str], float] = {}
        self._masked: Counter[tuple[str, ...]] = Counter()
        self._masked_at: dict[tuple[str, ...], float] = {}
        self._durations: deque[float] = deque(maxlen=_RECENT)
        self._per_second: Counter[int] = Counter()
        self._rules: Rules | None = None

    def feed(self, events: Sequence[Event]) -> None:
        """Take events in, in the order in which they happened."""
        self._pending.extend(events)
        if len(self._pending) >= _FOLD_AT:
            self.fold()

    def note(self, level: Level, text: str, at: float) -> None:
        """Tell operators what no event tells, such as a store that fails."""
        self.fold()  # what was fed before comes before
        self._note(level, text, at)

    def statements(self, after: int = 0) -> tuple[tuple[StatementView, ...], int]:
        """The newest statements above a cursor, oldest first, and the cursor for the next call."""
        self.fold()
        found: list[StatementView] = []
        for statement in reversed(self._ring.values()):
            if statement.cursor <= after or len(found) == _SHOWN:
                break
            found.append(statement.view())
        found.reverse()
        return tuple(found), self._cursor

    def notices(self) -> tuple[Notice, ...]:
        """The last notices, oldest first."""
        self.fold()
        return tuple(self._notices)

    def metrics(self, now: float) -> Metrics:
        """Counters, and the last minute second by second."""
        self.fold()
        second = int(now)
        for old in [s for s in self._per_second if s <= second - _SECONDS]:
            del self._per_second[old]
        recent = sorted(self._durations)
        return Metrics(
            started_at=self._started_at,
            statements=self._counts["statements"],
            refused=self._counts["refused"],
            held=self._counts["held"],
            logins=self._counts["logins"],
            logins_failed=self._counts["logins_failed"],
            p50_ms=_quantile(recent, 0.5),
            p99_ms=_quantile(recent, 0.99),
            per_second=tuple(self._per_second[s] for s in range(second - _SECONDS + 1, second + 1)),
        )

    def rules(self, rules: Rules) -> tuple[RuleView, ...]:
        """The rules in force, in the order of the file, with how often each was met."""
        self.fold()
        self._attribute_masks(rules)
        return (
            *(self._rule("guard", g.name, g.action.value, guard_summary(g)) for g in rules.guards),
            *(
                self._rule("grant", g.name, " ".join(c.value for c in sorted(g.classes)), grant_summary(g))
                for g in rules.grants
            ),
            *(self._rule("mask", m.name, m.method, mask_summary(m)) for m in rules.masks),
        )

    def fold(self) -> None:
        """Work off what was fed."""
        pending = self._pending
        while pending:
            self._take(pending.popleft())

    def _take(self, event: Event) -> None:
        match event:
            case StatementOpened():
                self._opened(event)
            case StatementClosed():
                self._closed(event)
            case StatementBound():
                pass
            case StatementDecided():
                if event.approval.decision != "approved":
                    self._counts["refused"] += 1
            case Login():
                self._counts["logins"] += 1
                self._sessions[event.session.id] = event.session
            case SessionEnded():
                self._sessions.pop(event.session, None)
            case LoginFailed():
                self._counts["logins_failed"] += 1
                self._login_failed(event)
            case RulesReloaded():
                self._reloaded(event)
            case OperatorAction():
                reason = f": {event.reason}" if event.reason else ""
                self._note("info", f"{event.who}: {event.action} {event.target}{reason}", event.at)
            case _:
                assert_never(event)

    def _opened(self, event: StatementOpened) -> None:
        session = self._sessions.get(event.session) or SessionInfo(event.session, "", "", "", "", "")
        self._cursor += 1
        self._ring[event.session, event.n] = _Statement(
            cursor=self._cursor,
            session=session,
            n=event.n,
            at=event.at,
            sql=event.sql[:MAX_SQL],
            tags=event.tags,
            verdict=event.verdict,
            guards=event.guards,
        )
        if len(self._ring) > self._most:
            self._ring.popitem(last=False)
        self._counts["statements"] += 1
        self._per_second[int(event.at)] += 1
        if event.verdict is Action.APPROVE:
            self._counts["held"] += 1
        elif event.verdict in (Action.BLOCK, Action.REJECT):
            self._counts["refused"] += 1
        self._hit("grant", session.grant, event.at)
        for guard in event.guards:
            self._hit("guard", guard, event.at)

    def _closed(self, event: StatementClosed) -> None:
        self._durations.append(event.duration_ms)
        if event.masked_columns:
            self._masked[event.masked_columns] += 1
            self._masked_at[event.masked_columns] = event.at
            if len(self._masked) >= _FOLD_AT and self._rules is not None:
                self._attribute_masks(self._rules)
        statement = self._ring.get((event.session, event.n))
        if statement is None:
            return
        self._cursor += 1
        statement.cursor = self._cursor
        statement.outcome, statement.rows = event.outcome, event.rows
        statement.duration_ms, statement.masked_columns = event.duration_ms, event.masked_columns
        self._ring.move_to_end((event.session, event.n))

    def _login_failed(self, event: LoginFailed) -> None:
        claimed = event.session
        whose = f" as {claimed.grant}" if claimed.grant else ""
        where = f" from {claimed.client}" if claimed.client else ""
        self._note("warning", f"login{whose}{where} refused: {event.reason}", event.at)

    def _reloaded(self, event: RulesReloaded) -> None:
        if not event.problems:
            self._note("info", f"rules {event.version} are in force", event.at)
            return
        more = f" (and {len(event.problems) - 1} more)" if len(event.problems) > 1 else ""
        self._note("error", f"the changed rules are not in force: {event.problems[0]}{more}", event.at)

    def _attribute_masks(self, rules: Rules) -> None:
        """Count what was masked towards the masks whose columns it was; what is derived, to a lone mask."""
        if self._rules is None or self._rules.masks is not rules.masks:
            self._rules = rules
        by_columns = [(mask.name, matcher(mask.columns)) for mask in rules.masks if mask.columns]
        for columns, times in self._masked.items():
            met = {name for name, fits in by_columns if any(fits(column) for column in columns)}
            if not met and len(rules.masks) == 1:
                met = {rules.masks[0].name}
            for name in met:
                self._hit("mask", name, self._masked_at[columns], times)
        self._masked.clear()
        self._masked_at.clear()

    def _note(self, level: Level, text: str, at: float) -> None:
        self._notice_cursor += 1
        self._notices.append(Notice(self._notice_cursor, at, level, text))

    def _hit(self, kind: Kind, name: str, at: float, times: int = 1) -> None:
        self._hits[kind, name] += times
        self._last_hit[kind, name] = at

    def _rule(self, kind: Kind, name: str, action: str, summary: str) -> RuleView:
        key: tuple[Kind, str] = (kind, name)
        return RuleView(kind, name, action, summary, self._hits[key], self._last_hit.get(key))


def counts(metrics: Metrics) -> Mapping[str, int]:
    """The counters by name, for an exporter."""
    return {
        name: getattr(metrics, name) for name in ("statements", "refused", "held", "logins", "logins_failed")
    }


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least that share does not exceed."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
