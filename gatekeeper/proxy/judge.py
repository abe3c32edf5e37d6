"""From a statement's text to what becomes of it: facts, verdict and masks.

They are kept while nothing that they rest on changes.

One judge serves all sessions of one grant on one database. Rules and catalog are looked at on every call, so
that a reload or a DDL holds from the next statement on; `epoch` tells a session that something changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from postgast import PgQueryError, normalize

from gatekeeper.masking.plan import MaskPlan, plan, unknown
from gatekeeper.masking.resolve import MaskSet, resolve
from gatekeeper.masking.statements import Pending
from gatekeeper.model import STRICTNESS, Action, Facts, Refusal, StatementClass, Undecided, Verdict
from gatekeeper.policy.decide import decide, valid_until
from gatekeeper.policy.settings import check_setting
from gatekeeper.rules.schema import GrantRules, MaskRules, Rules, TextPattern
from gatekeeper.sql.catalog import Catalog
from gatekeeper.sql.facts import extract

_MOST_CACHED: Final = 4096
_LONGEST_CACHED: Final = 65_536
"""Characters; a longer text is judged anew each time."""
_LONGEST_SHAPE: Final = 8_192
_PLAIN_TAGS: Final = frozenset(("SELECT", "INSERT", "UPDATE", "DELETE"))
_PLAIN_FUNCTIONS: Final = frozenset(
    ("avg", "coalesce", "count", "greatest", "least", "length", "lower", "max", "min", "now", "sum", "upper")
)
_SYSTEM_SCHEMAS: Final = ("pg_catalog", "information_schema", "pg_toast")
_SPEAKING: Final = re.compile(r"\bby\b|\[|\breg[a-z]+\b|::", re.IGNORECASE)
"""Where a literal may be more than a value: ORDER BY 1, x[1], 'orders'::regclass."""

T = TypeVar("T")
_NOTHING_PENDING: Final = Pending()
_WITHDRAWN: Final = Verdict(
    Action.REJECT, refusal=Refusal("42501", "the grant was withdrawn", hint="Log in again.")
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a query string contains and what becomes of it."""

    facts: Facts
    """Its texts may be those of another statement of the same shape: only the literals differ."""
    verdict: Verdict | Undecided
    plan: MaskPlan
    epoch: int
    valid_until: float
    """Unix time until which it may be used again; an `hours` window opens or closes then."""
    uncertain: bool = False
    """It was made while uncommitted DDL could have changed what names mean."""
    unknown: frozenset[str] = frozenset()
    """Names of relations that the snapshot does not know, and that the query does not make itself."""
    rules_version: str = ""
    """Of the rules that it was made by."""
    tags: tuple[str, ...] = field(init=False)
    classes: tuple[str, ...] = field(init=False)
    relations: tuple[str, ...] = field(init=False)
    functions: tuple[str, ...] = field(init=False)
    changes_catalog: bool = field(init=False)
    makes: frozenset[str] = field(init=False)
    """Names of the relations that it may make or rename."""
    plain: bool = field(init=False)
    """No statement in it names a prepared statement or a cursor."""
    reason: str | None = field(init=False)
    """What it sets as `gatekeeper.reason`; empty where that is computed, None where it sets none."""
    dynamic: bool = field(init=False)
    """It runs SQL that nobody could read."""
    hides_names: bool = field(init=False)
    """What it runs may open cursors, or prepare statements, under names that nobody saw."""

    def __post_init__(self) -> None:
        facts = self.facts
        put = object.__setattr__
        put(self, "tags", facts.tags)
        put(self, "classes", tuple(sorted(facts.classes)))
        put(self, "relations", facts.relations)
        put(self, "functions", facts.functions)
        put(self, "changes_catalog", any(s.changes_catalog for s in facts.statements))
        put(self, "makes", _makes(facts))
        named = any(s.prepares or s.executes or s.declares or s.fetches for s in facts.statements)
        put(self, "plain", not named)
        put(self, "reason", None)
        for change in (c for s in facts.statements for c in s.settings):
            if change.name in ("gatekeeper.reason", "*"):
                put(self, "reason", change.value or "")
        dynamic = any(s.dynamic_sql or s.opaque_functions for s in facts.statements)
        put(self, "dynamic", dynamic)
        put(self, "hides_names", dynamic or StatementClass.FUNCTION in facts.classes)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is known of all statements that differ in their literals alone."""

    begin: int
    """Characters before the statement's own text: white space and comments."""
    behind: int
    """Characters behind it, with the semicolon."""
    judgements: dict[tuple[bool, ...], Judgement] = field(default_factory=dict)
    """By which of the guards' patterns match."""


class Sources(Protocol):
    """Where a judge looks for what is in force now."""

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        ...

    @property
    def catalog(self) -> Catalog:
        """The newest snapshot of the database."""
        ...

    @property
    def stale(self) -> bool:
        """True while the snapshot is known to be behind the database."""
        ...

    @property
    def sticky(self) -> dict[tuple[int, int], MaskRules]:
        """Columns that were masked once, by table OID and attribute number, and by which rule."""
        ...


class Judge:
    """Judges for one grant on one database."""

    def __init__(self, sources: Sources, grant: str, database: str, hash_key: bytes) -> None:
        self._sources = sources
        self._grant_name = grant
        self._database = database
        self._hash_key = hash_key
        self._rules: Rules | None = None
        self._catalog: Catalog | None = None
        self._grant: GrantRules | None = None
        self._masks: MaskSet
        self._cache: dict[str, Judgement] = {}
        self._shapes: dict[str, _Shape] = {}
        """By text with its literals taken out, for statements of which no fact depends on a literal."""
        self._patterns: tuple[TextPattern, ...] = ()
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """Changes whenever the rules or the catalog did."""
        sources = self._sources
        if sources.rules is not self._rules or sources.catalog is not self._catalog:
            self._renew()
        return self._epoch

    @property
    def stale(self) -> bool:
        """The snapshot is behind the database: judge nothing by it that rests on names."""
        return self._sources.stale

    def _renew(self) -> None:
        self._rules, self._catalog = self._sources.rules, self._sources.catalog
        self._grant = self._rules.grant(self._grant_name)
        self._masks = self._resolve(self._rules, self._catalog)
        self._cache.clear()
        self._shapes.clear()
        self._patterns = tuple(guard.pattern for guard in self._rules.guards if guard.pattern is not None)
        self._epoch += 1

    def _resolve(self, rules: Rules, catalog: Catalog) -> MaskSet:
        """The masks; a masked column stays so after a rename, for as long as its rule is the same."""
        by_name = {rule.name: rule for rule in rules.masks}
        known = self._sources.sticky
        sticky = {
            key: rule.name
            for key, rule in known.items()
            if rule.name in by_name and by_name[rule.name].columns == rule.columns
        }
        masks = resolve(
            rules, catalog, self._grant_name, self._database, sticky=sticky, hash_key=self._hash_key
        )
        known.update((key, by_name[name]) for key, name in masks.sticky.items())
        return masks

    def judge(
        self,
        sql: str,
        now: float,
        *,
        uncertain: bool = False,
        reason: str | None = None,
        estimates: Mapping[int, float | None] | None = None,
        pending: Pending = _NOTHING_PENDING,
    ) -> Judgement:
        """Judge a query string. The verdict is Undecided where estimates are needed and not given.

        `uncertain` and `pending` tell what the session's transaction did to the catalog so far.
        """
        epoch = self.epoch
        plain = not uncertain and estimates is None
        if plain and (found := self._cache.get(sql)) is not None and now < found.valid_until:
            return found
        shape = _shape(sql) if plain else None
        if shape is not None and (known := self._shapes.get(shape)) is not None:
            found = known.judgements.get(self._matches(sql[known.begin : len(sql) - known.behind]))
            if found is not None and now < found.valid_until:
                return found
        assert self._rules is not None
        assert self._catalog is not None
        facts = extract(sql, self._catalog, uncertain=uncertain, aliases=pending.aliases)
        if not uncertain and any(s.changes_catalog for s in facts.statements[:-1]):
            # What stands behind a DDL in the same query string meets a catalog that nobody has read.
            uncertain, facts = True, extract(sql, self._catalog, uncertain=True, aliases=pending.aliases)
        masks = plan(facts, self._masks, self._catalog, uncertain=uncertain, pending=pending)
        if self._grant is None:
            return Judgement(facts, _WITHDRAWN, masks, epoch, now)
        verdict = decide(
            facts,
            self._grant,
            self._database,
            self._rules,
            self._catalog,
            now,
            estimates=estimates,
            reason=reason,
        )
        if isinstance(verdict, Verdict):
            verdict = _stricter(verdict, masks)
        until = valid_until(self._rules, now)
        judgement = Judgement(
            facts,
            verdict,
            masks,
            epoch,
            until,
            uncertain,
            _unknown(facts, self._catalog),
            self._rules.version,
        )
        if plain and not self._grant.require_reason and len(sql) <= _LONGEST_CACHED:
            if shape is not None and _is_plain(judgement):
                text = facts.statements[0].text
                begin = sql.index(text)
                known = _Shape(begin, len(sql) - begin - len(text))
                known = _keep(self._shapes, shape, self._shapes.get(shape, known))
                known.judgements[self._matches(text)] = judgement
            else:
                _keep(self._cache, sql, judgement)
        return judgement

    def _matches(self, text: str) -> tuple[bool, ...]:
        """Which of the guards' patterns a text matches: all that is left to ask of its literals."""
        return tuple(bool(pattern.search(text)) for pattern in self._patterns)

    def unknown(self) -> MaskPlan:
        """The plan for results of which nobody knows the statement."""
        _ = self.epoch
        assert self._catalog is not None
        return unknown(self._masks, self._catalog)

    def setting(self, name: str, value: str | None) -> Refusal | None:
        """Why a setting may not be given at login; None where it may."""
        _ = self.epoch
        if self._grant is None:
            return _WITHDRAWN.refusal
        return check_setting(name, value, self._grant)

    def function(self, oid: int) -> str | None:
        """Qualified, quoted name of the function with that OID; None where it is not known."""
        catalog = self._sources.catalog
        routine = catalog.routines.get(oid)
        if routine is not None:
            return f"{_quoted(routine.schema)}.{_quoted(routine.name)}"
        builtin = catalog.builtin_oids.get(oid)
        return f"pg_catalog.{_quoted(builtin)}" if builtin is not None else None


def _keep(cache: dict[str, T], text: str, value: T) -> T:
    """Keep a value, and let go of the oldest quarter where there are too many."""
    if len(cache) >= _MOST_CACHED and text not in cache:
        for old in list(cache)[: _MOST_CACHED // 4]:
            del cache[old]
    cache[text] = value
    return value


def _shape(sql: str) -> str | None:
    """The text without its literals; None where a literal may be more than a value."""
    if len(sql) > _LONGEST_SHAPE or _SPEAKING.search(sql) is not None:
        return None
    try:
        return normalize(sql)
    except (PgQueryError, UnicodeEncodeError, ValueError):
        return None  # it is judged as a whole, and there the error is told


def _is_plain(judgement: Judgement) -> bool:
    """Whether the same judgement holds for every statement of the same shape, whatever its literals."""
    verdict, statements = judgement.verdict, judgement.facts.statements
    return (
        len(statements) == 1
        and isinstance(verdict, Verdict)
        and verdict.refusal is None
        and verdict.hold is None
        and judgement.plain
        and not judgement.changes_catalog
        and not judgement.dynamic
        and judgement.reason is None
        and not statements[0].settings
        and _PLAIN_TAGS.issuperset(judgement.tags)
        and all(f.name in _PLAIN_FUNCTIONS for f in statements[0].functions)
    )


def _makes(facts: Facts) -> frozenset[str]:
    changing = [s for s in facts.statements if s.changes_catalog]
    made = {r.name for s in changing for r in s.relations if r.written}
    return frozenset(made.union(name for s in changing for name, _ in s.aliases))


def _unknown(facts: Facts, catalog: Catalog) -> frozenset[str]:
    if not catalog.relations:
        return frozenset()
    found = {
        r.name
        for s in facts.statements
        for r in s.relations
        if r.schema not in _SYSTEM_SCHEMAS and not catalog.named(r.schema, r.name)
    }
    return frozenset(found - _makes(facts)) if found else frozenset()


def _stricter(verdict: Verdict, masks: MaskPlan) -> Verdict:
    """The verdict with what the masks demand of the statement."""
    if verdict.refusal is None and masks.refusal is not None:
        return Verdict(Action.REJECT, verdict.guards, masks.refusal, warnings=verdict.warnings)
    if masks.hold is not None and STRICTNESS[verdict.action] < STRICTNESS[Action.APPROVE]:
        return Verdict(Action.APPROVE, verdict.guards, hold=masks.hold, warnings=verdict.warnings)
    return verdict


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
