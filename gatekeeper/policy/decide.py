"""What becomes of a query: the classes of the grant first, then its settings, then every guard.

Pure and in one order, so that the same query under the same rules meets the same answer. Doubt denies: what
the grant does not plainly allow is refused, and the strictest guard that matches decides.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gatekeeper.model import (
    STRICTNESS,
    Action,
    Facts,
    Hold,
    Refusal,
    StatementClass,
    StatementFacts,
    Undecided,
    Verdict,
)
from gatekeeper.policy.guards import Asked, Guard, compile_guard, size_matches
from gatekeeper.policy.hours import next_change
from gatekeeper.policy.settings import check_change
from gatekeeper.rules.schema import GrantRules, GuardRules, Mode, PolicyRules, Rules
from gatekeeper.sql.catalog import Catalog

_ALLOWED: Final = Verdict(Action.ALLOW)
_COMPILED_RULES: Final = 8
"""Rules files kept compiled: those in force, and the older ones that operators still ask about."""

DYNAMIC_SQL: Final = "policy.dynamic_sql"
OPAQUE_FUNCTION: Final = "policy.opaque_function"


def decide(
    facts: Facts,
    grant: GrantRules,
    database: str,
    rules: Rules,
    catalog: Catalog,
    now: float,
    estimates: Mapping[int, float | None] | None = None,
    *,
    reason: str | None = None,
) -> Verdict | Undecided:
    """The verdict on a query, all its statements taken together; `reason` is the session's gatekeeper.reason.

    Undecided where a guard with `min_rows` depends on estimates that were not given: call again with one for
    each of those statements, None where it cannot be had. A verdict that took no estimates holds for the
    same facts until the rules, the catalog, the reason's presence or `valid_until` change.
    """
    if facts.syntax_error is not None:
        return Verdict(Action.REJECT, refusal=facts.syntax_error)
    matched, unknown = _look_at_guards(facts, grant, database, rules, catalog, now, estimates)
    refusal = _refusal(facts, grant, reason)
    if refusal is not None:
        return Verdict(Action.REJECT, tuple(match.name for match in matched), refusal)
    if unknown:
        return Undecided(tuple(sorted(unknown)))
    return _verdict(matched) if matched else _ALLOWED


def valid_until(rules: Rules, now: float) -> float:
    """The next Unix time at which the hours of a guard begin or end; infinite where no guard has hours."""
    compiled = _compile(rules)
    if not compiled.unchanged[0] <= now < compiled.unchanged[1]:
        hours = [guard.hours for guard in rules.guards if guard.hours is not None]
        compiled.unchanged = (now, next_change(hours, now))
    return compiled.unchanged[1]


# --- refused whatever the guards say ---------------------------------------------------------------------


def _refusal(facts: Facts, grant: GrantRules, reason: str | None) -> Refusal | None:
    for statement in facts.statements:
        if not statement.classes <= grant.classes:
            return _class_refusal(statement, grant)
    for statement in facts.statements:
        for change in statement.settings:
            if (refusal := check_change(change, grant)) is not None:
                return refusal
    if grant.require_reason and not (reason and reason.strip()) and facts.classes:
        return Refusal("42501", "set gatekeeper.reason first", hint="SET gatekeeper.reason = 'why';")
    return None


def _class_refusal(statement: StatementFacts, grant: GrantRules) -> Refusal:
    """Names the class with the tag that brings it in, where that is plain, else with the statement's own."""
    missing = statement.classes - grant.classes
    for tag in statement.tags:
        if (found := _class_of_tag(tag)) in missing:
            return _not_allowed(grant, found, tag)
    return _not_allowed(grant, next(c for c in StatementClass if c in missing), statement.tag)


def _not_allowed(grant: GrantRules, missing: StatementClass | None, tag: str) -> Refusal:
    return Refusal("42501", f'grant "{grant.name}" does not allow {missing} ({tag})')


def _class_of_tag(tag: str) -> StatementClass | None:
    """The class that a command tag plainly stands for, as pgaudit has it."""
    if tag.startswith("SELECT"):
        return StatementClass.READ
    if tag in {"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE TABLE"}:
        return StatementClass.WRITE
    if tag in {"DO", "CALL"}:
        return StatementClass.FUNCTION
    if tag.startswith(("GRANT", "REVOKE")) or tag.endswith((" ROLE", " DEFAULT PRIVILEGES")):
        return StatementClass.ROLE
    if tag.startswith(("CREATE ", "ALTER ", "DROP ")):
        return StatementClass.DDL
    return None


# --- guards ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Match:
    """A guard that matched, or a key of [policy] that stands for one."""

    name: str
    action: Action
    message: str | None
    approvals: int
    timeout_s: float


@dataclass(slots=True)
class _Compiled:
    """The guards of one rules file. It keeps the rules alive, so that their identity can be the key."""

    rules: Rules
    guards: tuple[Guard, ...]
    applying: dict[tuple[str, str], tuple[Guard, ...]] = field(default_factory=dict)
    """By grant and database."""
    unchanged: tuple[float, float] = (0.0, 0.0)
    """From when until when no hours begin or end."""

    def for_session(self, grant: str, database: str) -> tuple[Guard, ...]:
        """The guards that look at this grant on this database, in the order of the file."""
        key = (grant, database)
        if (found := self.applying.get(key)) is None:
            found = self.applying[key] = tuple(g for g in self.guards if g.applies(grant, database))
        return found


_compiled: OrderedDict[int, _Compiled] = OrderedDict()


def _compile(rules: Rules) -> _Compiled:
    found = _compiled.get(id(rules))
    if found is None:
        found = _compiled[id(rules)] = _Compiled(rules, tuple(map(compile_guard, rules.guards)))
        if len(_compiled) > _COMPILED_RULES:
            _compiled.popitem(last=False)
    return found


def _look_at_guards(
    facts: Facts,
    grant: GrantRules,
    database: str,
    rules: Rules,
    catalog: Catalog,
    now: float,
    estimates: Mapping[int, float | None] | None,
) -> tuple[list[_Match], set[int]]:
    """All that matched, [policy] first and then in the order of the file, and whose estimates are missing."""
    matched = list(_policy_matches(facts, rules.policy))
    unknown: set[int] = set()
    asked = [Asked(statement, catalog) for statement in facts.statements]
    for guard in _compile(rules).for_session(grant.name, database):
        if not guard.open_at(now):
            continue
        undecided: set[int] = set()
        for index, one in enumerate(asked):
            if not guard.matches(one):
                continue
            met = size_matches(guard.rule, one, index, estimates)
            if met:
                matched.append(_guard_match(guard.rule, rules.policy))
                break
            if met is None:
                undecided.add(index)
        else:
            unknown |= undecided
    return matched, unknown


def _policy_matches(facts: Facts, policy: PolicyRules) -> Iterator[_Match]:
    if any(statement.dynamic_sql for statement in facts.statements):
        yield from _policy_match(
            DYNAMIC_SQL, policy.dynamic_sql, "The text of SQL is computed at run time.", policy
        )
    opaque = sorted({str(f) for statement in facts.statements for f in statement.opaque_functions})
    if opaque:
        yield from _policy_match(
            OPAQUE_FUNCTION,
            policy.opaque_function,
            f"The body of {', '.join(opaque[:5])}{' and others' if len(opaque) > 5 else ''} cannot be read.",
            policy,
        )


def _policy_match(name: str, mode: Mode, message: str, policy: PolicyRules) -> Iterator[_Match]:
    action = Action(mode)
    if action is not Action.ALLOW:
        yield _Match(name, action, message, 1, policy.approval_timeout_s)


def _guard_match(rule: GuardRules, policy: PolicyRules) -> _Match:
    timeout_s = policy.approval_timeout_s if rule.timeout_s is None else rule.timeout_s
    return _Match(rule.name, rule.action, rule.message, rule.approvals, timeout_s)


def _verdict(matched: list[_Match]) -> Verdict:
    names = tuple(match.name for match in matched)
    warnings = tuple(_warning(match) for match in matched if match.action is Action.WARN)
    action = max((match.action for match in matched), key=STRICTNESS.__getitem__)
    deciding = [match for match in matched if match.action is action]
    if action is Action.BLOCK:
        first = deciding[0]
        refusal = Refusal("42501", f'blocked by guard "{first.name}"', first.message)
        return Verdict(action, names, refusal, warnings=warnings)
    if action is Action.APPROVE:
        # What satisfies the strictest of several guards satisfies them all.
        strictest = max(deciding, key=lambda match: match.approvals)
        timeout_s = min(match.timeout_s for match in deciding)
        hold = Hold(strictest.name, strictest.approvals, timeout_s)
        return Verdict(action, names, hold=hold, warnings=warnings)
    return Verdict(action, names, warnings=warnings)


def _warning(match: _Match) -> str:
    return f'guard "{match.name}": {match.message}' if match.message else f'guard "{match.name}" matched'
