"""Rules in a line of plain words each, for people who look at them."""

from __future__ import annotations

from gatekeeper.rules.schema import GrantRules, GuardRules, MaskRules


def guard_summary(guard: GuardRules) -> str:
    """What a guard looks for."""
    parts = [
        _names("", guard.statements),
        _names("class ", tuple(sorted(guard.classes)) if guard.classes else None),
        _names("on ", guard.relations),
        _names("calling ", guard.functions),
        "without WHERE" if guard.where_missing else "",
        f"{guard.min_rows} rows or more" if guard.min_rows is not None else "",
        "with SQL built at run time" if guard.dynamic else "",
        f"matching /{guard.pattern.pattern}/" if guard.pattern else "",
        _names("in ", guard.databases),
        _names("for ", guard.grants),
        _names("except ", guard.except_grants or None),
        guard.hours.text if guard.hours else "",
        f"{guard.approvals} people" if guard.approvals > 1 else "",
    ]
    return _joined(parts) or "every statement"


def grant_summary(grant: GrantRules) -> str:
    """Whom a grant lets in, and for how long."""
    claims = ", ".join(f"{name} = {' or '.join(globs)}" for name, globs in grant.claims.items())
    parts = [
        f"issuer {grant.issuer}",
        claims,
        _names("in ", grant.databases),
        f"as {grant.role}" if grant.role else "",
        f"for {span(grant.ttl_s)}" if grant.ttl_s is not None else "",
        f"{grant.max_sessions} sessions" if grant.max_sessions is not None else "",
        "a reason is required" if grant.require_reason else "",
    ]
    return _joined(parts)


def mask_summary(mask: MaskRules) -> str:
    """What a mask hides, and from whom."""
    parts = [
        _names("", mask.columns or None),
        _names("found by content: ", mask.detect or None),
        _names("for ", mask.grants),
        _names("except ", mask.except_grants or None),
        _names("in ", mask.databases),
        f"predicates: {mask.predicates}" if mask.columns else "",
    ]
    return _joined(parts)


def span(seconds: float) -> str:
    """A duration as the rules write it."""
    for unit, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:.0f}{letter}"
    return f"{seconds:g}s"


def _names(prefix: str, names: tuple[str, ...] | None) -> str:
    return "" if names is None else prefix + ", ".join(names)


def _joined(parts: list[str]) -> str:
    return "; ".join(part for part in parts if part)
