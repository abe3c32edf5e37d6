"""What would happen to a statement, and why, as a plain mapping. Nothing is run.

The running gateway and the command answer through this one function, from their own rules and catalog.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from gatekeeper.errors import OperatorError
from gatekeeper.masking.plan import MaskPlan, plan
from gatekeeper.masking.resolve import MaskSet, resolve
from gatekeeper.model import STRICTNESS, Action, Facts, Hold, StatementFacts, Undecided, Verdict
from gatekeeper.policy.decide import decide
from gatekeeper.rules.schema import GrantRules, Rules
from gatekeeper.sql.catalog import EMPTY, Catalog
from gatekeeper.sql.facts import extract

Estimate = Callable[[Facts, Sequence[int]], Awaitable[Mapping[int, float | None]]]
"""The planner's estimates for these statements; None for one that cannot be had."""

_NO_HASHES: Final = b"\0" * 32
"""No value is masked here, so that no key is needed."""


def names(rules: Rules, grant: str, database: str | None) -> tuple[GrantRules, str]:
    """The grant, and the database it is asked about: its first where none is named. Raises OperatorError."""
    found = rules.grant(grant)
    if found is None:
        known = ", ".join(g.name for g in rules.grants) or "none"
        raise OperatorError(f'no grant "{grant}"; the rules have: {known}')
    wanted = database or found.databases[0]
    if rules.database(wanted) is None:
        known = ", ".join(d.name for d in rules.databases) or "none"
        raise OperatorError(f'no database "{wanted}"; the rules have: {known}')
    if wanted not in found.databases:
        raise OperatorError(f'grant "{grant}" does not open database "{wanted}"')
    return found, wanted


def explain(
    sql: str,
    grant: str,
    database: str | None,
    rules: Rules,
    catalog: Catalog | None,
    now: float,
    *,
    catalog_problem: str | None = None,
    estimates: Mapping[int, float | None] | None = None,
    reason: str | None = None,
) -> Mapping[str, Any]:
    """The statement's facts, the verdict and the masks. OperatorError for names the rules do not know.

    Without a catalog every name counts as unknown, and `catalog_problem` says why there is none. An estimate
    that is needed and not given counts as one that cannot be had.
    """
    found, wanted = names(rules, grant, database)
    known = catalog or EMPTY
    facts, uncertain = _facts(sql, known)
    masks = resolve(rules, known, grant, wanted, hash_key=_NO_HASHES)
    planned = plan(facts, masks, known, uncertain=uncertain)
    needed = dict.fromkeys(range(len(facts.statements))) | dict(estimates or {})
    verdict = decide(facts, found, wanted, rules, known, now, needed, reason=reason)
    if isinstance(verdict, Undecided):
        raise OperatorError("the rules cannot decide without the planner's estimate")
    verdict = _stricter(verdict, planned)
    return {
        "sql": sql,
        "grant": grant,
        "database": wanted,
        "rules": rules.version,
        "catalog": catalog is not None,
        "catalog_problem": catalog_problem,
        **_verdict(verdict),
        "statements": [_statement(s, needed.get(n)) for n, s in enumerate(facts.statements)],
        "masks": _masks(facts, masks, known),
    }


async def explain_estimated(
    sql: str,
    grant: str,
    database: str | None,
    rules: Rules,
    catalog: Catalog,
    now: float,
    estimate: Estimate,
    *,
    reason: str | None = None,
) -> Mapping[str, Any]:
    """The same, with the planner's estimates where a guard depends on them."""
    found, wanted = names(rules, grant, database)
    facts, _ = _facts(sql, catalog)
    first = decide(facts, found, wanted, rules, catalog, now, reason=reason)
    estimates = await estimate(facts, first.statements) if isinstance(first, Undecided) else None
    return explain(sql, grant, wanted, rules, catalog, now, estimates=estimates, reason=reason)


def _facts(sql: str, catalog: Catalog) -> tuple[Facts, bool]:
    facts = extract(sql, catalog)
    if not any(statement.changes_catalog for statement in facts.statements[:-1]):
        return facts, False
    # What stands behind a DDL meets a catalog that nobody has read.
    return extract(sql, catalog, uncertain=True), True


def _stricter(verdict: Verdict, masks: MaskPlan) -> Verdict:
    """The verdict with what the masks demand, as the gateway's judge joins them."""
    if verdict.refusal is None and masks.refusal is not None:
        return Verdict(Action.REJECT, verdict.guards, masks.refusal, warnings=verdict.warnings)
    if masks.hold is not None and STRICTNESS[verdict.action] < STRICTNESS[Action.APPROVE]:
        return Verdict(Action.APPROVE, verdict.guards, hold=masks.hold, warnings=verdict.warnings)
    return verdict


def _verdict(verdict: Verdict) -> dict[str, Any]:
    refusal = verdict.refusal
    return {
        "verdict": verdict.action.value,
        "guards": list(verdict.guards),
        "sqlstate": refusal.sqlstate if refusal else None,
        "message": refusal.message if refusal else None,
        "detail": refusal.detail if refusal else None,
        "hint": refusal.hint if refusal else None,
        "hold": _hold(verdict.hold) if verdict.hold else None,
        "warnings": list(verdict.warnings),
    }


def _hold(hold: Hold) -> dict[str, Any]:
    return {"guard": hold.guard, "approvals": hold.approvals, "timeout_s": hold.timeout_s}


def _statement(statement: StatementFacts, estimated_rows: float | None) -> dict[str, Any]:
    return {
        "text": statement.text,
        "tag": statement.tag,
        "tags": list(statement.tags),
        "classes": sorted(c.value for c in statement.classes),
        "relations": [{"name": str(r), "written": r.written} for r in sorted(statement.relations, key=str)],
        "functions": sorted(str(f) for f in statement.functions),
        "opaque_functions": sorted(str(f) for f in statement.opaque_functions),
        "settings": [{"name": s.name, "value": s.value} for s in statement.settings],
        "dynamic_sql": statement.dynamic_sql,
        "where_missing": any(effect.where_missing for effect in statement.effects),
        "estimated_rows": estimated_rows,
    }


def _masks(facts: Facts, masks: MaskSet, catalog: Catalog) -> list[dict[str, Any]]:
    """The masked columns of the relations that the statement names, and what is masked by content."""
    touched = {
        relation.oid
        for statement in facts.statements
        for named in statement.relations
        for relation in catalog.named(named.schema, named.name)
    }
    columns = [
        {"mask": mask.rule, "column": mask.name, "method": mask.method, "predicates": mask.predicates}
        for key, mask in sorted(masks.columns.items())
        if key[0] in touched
    ]
    by_content = [
        {"mask": rule.name, "detect": list(rule.detect), "method": rule.method} for rule in masks.detect
    ]
    return columns + by_content
