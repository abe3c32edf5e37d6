"""Guards made ready to be asked: every condition of one guard has to hold for one and the same statement.

Globs, patterns and hours are compiled once for each rules file. A condition on what cannot be known
(a relation that the catalog does not know, an estimate that cannot be had) counts as met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gatekeeper.model import Effect, RelationRef, StatementClass, StatementFacts
from gatekeeper.policy.hours import inside
from gatekeeper.rules.globs import matcher
from gatekeeper.rules.schema import GuardRules
from gatekeeper.rules.tags import COMMAND_TAGS
from gatekeeper.sql.catalog import Catalog, CatalogRelation
from gatekeeper.sql.functions import BUILTINS

Matches = Callable[[str], bool]

_SIZED: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE")
_PLANNED: Final = frozenset(
    {
        "COPY", "CREATE MATERIALIZED VIEW", "CREATE TABLE AS", "CREATE VIEW", "DECLARE CURSOR", "EXPLAIN",
        "PREPARE", "SELECT INTO", *_SIZED,
    }
)  # fmt: skip
"""Tags of statements that are queries, or hold one that EXPLAIN can be asked about."""


@dataclass(slots=True)
class Asked:
    """One statement as guards ask about it; what takes time is found out once, when first asked."""

    statement: StatementFacts
    catalog: Catalog
    _relations: tuple[tuple[str | None, str], ...] | None = field(default=None, init=False)
    _functions: tuple[tuple[str | None, str], ...] | None = field(default=None, init=False)
    _plannable: bool | None = field(default=None, init=False)

    @property
    def relations(self) -> tuple[tuple[str | None, str], ...]:
        """(full name, own name) of all that it may touch; the full name is None where nobody knows it."""
        if self._relations is None:
            self._relations = tuple(dict.fromkeys(_relation_names(self.statement.relations, self.catalog)))
        return self._relations

    @property
    def functions(self) -> tuple[tuple[str | None, str], ...]:
        """The same of all functions that it may call."""
        if self._functions is None:
            self._functions = tuple(dict.fromkeys(_function_names(self.statement, self.catalog)))
        return self._functions

    @property
    def sized(self) -> bool:
        """True where `min_rows` means something: a query, or COPY of one or of a table to somewhere."""
        statement = self.statement
        if statement.tag == "COPY" and _copies_in(statement):
            return False
        return statement.tag == "COPY" or any(effect.tag.startswith(_SIZED) for effect in statement.effects)

    @property
    def plannable(self) -> bool:
        """True where EXPLAIN gives its size and runs nothing of a user's."""
        if self._plannable is None:
            self._plannable = is_plannable(self.statement, self.catalog)
        return self._plannable


def is_plannable(statement: StatementFacts, catalog: Catalog) -> bool:
    """True where the planner can be asked about a statement without running a user's code.

    Planning computes immutable functions, so that none may be called but PostgreSQL's own. Functions of
    triggers are left out of account: no query can call them.
    """
    if statement.tag not in _PLANNED and not statement.tag.startswith("SELECT"):
        return False
    if statement.dynamic_sql or statement.opaque_functions:
        return False
    for function in statement.functions:
        routines = catalog.routines_named(function.schema, function.name)
        if any(not routine.returns_trigger for routine in routines):
            return False
        if not routines and function.name not in (catalog.builtins or BUILTINS):
            return False
    return True


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard, compiled. `rule` is what it says."""

    rule: GuardRules
    tags: frozenset[str] | None
    _tag_matches: Matches | None
    _relations: NameGlobs | None
    _functions: NameGlobs | None
    _databases: Matches | None
    _grants: Matches | None
    _except_grants: Matches

    @property
    def _asks_effects(self) -> bool:
        return self.tags is not None or self.rule.where_missing

    def applies(self, grant: str, database: str) -> bool:
        """True where the guard looks at statements of this grant on this database at all."""
        return (
            (self._databases is None or self._databases(database))
            and (self._grants is None or self._grants(grant))
            and not self._except_grants(grant)
        )

    def open_at(self, now: float) -> bool:
        """True where its hours, if it has any, include this moment."""
        return self.rule.hours is None or inside(self.rule.hours, now)

    def matches(self, asked: Asked) -> bool:
        """True where all conditions on the statement hold; `min_rows` and `hours` are left out."""
        rule, statement = self.rule, asked.statement
        return (
            (not self._asks_effects or any(map(self._effect_matches, statement.effects)))
            and (rule.classes is None or not rule.classes.isdisjoint(statement.classes))
            and (not rule.dynamic or statement.dynamic_sql)
            and (self._relations is None or self._relations.any(asked.relations))
            and (self._functions is None or self._functions.any(asked.functions))
            and (rule.pattern is None or bool(rule.pattern.search(statement.text)))
        )

    def _effect_matches(self, effect: Effect) -> bool:
        """Tag and WHERE are looked at together: both have to be those of one effect."""
        if self.rule.where_missing and not effect.where_missing:
            return False
        if self.tags is None or effect.tag in self.tags:
            return True
        # A tag of a version to come is in no table.
        return (
            effect.tag not in COMMAND_TAGS and self._tag_matches is not None and self._tag_matches(effect.tag)
        )


class NameGlobs:
    """Globs on `schema.name`, which also tell whether they could match a name in a schema nobody knows."""

    __slots__ = ("_full", "_tail", "_tails")

    def __init__(self, globs: Iterable[str], *, bare: bool = False) -> None:
        """`bare` globs match the name without its schema as well."""
        globs = tuple(globs)
        self._full = matcher(globs)
        # Some schema makes `glob` fit where an end of it fits ".name" and anything may stand before.
        self._tails = matcher(
            tail
            for glob in globs
            for start in range(len(glob))
            if (start > 0 or glob[0] == "*") and (tail := glob[start:])
        )
        self._tail = self._full if bare else None

    def any(self, names: Iterable[tuple[str | None, str]]) -> bool:
        """True where one of the (full name or None, own name) is meant."""
        for full, name in names:
            if self._tail is not None and self._tail(name):
                return True
            if self._full(full) if full is not None else self._tails(f".{name}"):
                return True
        return False


def compile_guard(rule: GuardRules) -> Guard:
    """A guard of the rules, ready to be asked."""
    tag_matches = matcher(rule.statements) if rule.statements is not None else None
    return Guard(
        rule=rule,
        tags=frozenset(filter(tag_matches, COMMAND_TAGS)) if tag_matches else None,
        _tag_matches=tag_matches,
        _relations=None if rule.relations is None else NameGlobs(rule.relations),
        _functions=None if rule.functions is None else NameGlobs(rule.functions, bare=True),
        _databases=None if rule.databases is None else matcher(rule.databases),
        _grants=None if rule.grants is None else matcher(rule.grants),
        _except_grants=matcher(rule.except_grants),
    )


def size_matches(
    rule: GuardRules, asked: Asked, index: int, estimates: Mapping[int, float | None] | None
) -> bool | None:
    """Whether `min_rows` is met by the index-th statement; None where its estimate has to be asked for."""
    if rule.min_rows is None:
        return True
    if not asked.sized:
        return False
    if estimates is None or index not in estimates:
        return None if asked.plannable else True
    estimate = estimates[index]
    # Written so that NaN matches.
    return estimate is None or not estimate < rule.min_rows


def _copies_in(statement: StatementFacts) -> bool:
    """COPY FROM, by STDIN, file or program. COPY (DELETE … RETURNING) TO writes as well and is not meant."""
    if statement.copy is not None:
        return statement.copy == "in"
    return StatementClass.WRITE in statement.classes and not any(
        effect.tag.startswith(_SIZED) for effect in statement.effects
    )


def _relation_names(refs: Iterable[RelationRef], catalog: Catalog) -> Iterable[tuple[str | None, str]]:
    for ref in refs:
        relations = catalog.named(ref.schema, ref.name)
        if not relations:
            yield (str(ref) if ref.schema else None), ref.name
        for relation in relations:
            yield relation.full_name, relation.name
            # Rows of a partition are rows of its parent, and what is done to the parent is done to them.
            yield from ((kin.full_name, kin.name) for kin in _kin(relation, catalog))


def _kin(relation: CatalogRelation, catalog: Catalog) -> Iterable[CatalogRelation]:
    """Parents of all degrees, and partitions and children of all degrees."""
    children = _children(catalog)
    if not relation.parents and relation.oid not in children:
        return
    seen = {relation.oid}
    for step in (lambda r: r.parents, lambda r: children.get(r.oid, ())):
        waiting = [relation]
        while waiting:
            for oid in step(waiting.pop()):
                if oid not in seen and (kin := catalog.relations.get(oid)) is not None:
                    seen.add(oid)
                    waiting.append(kin)
                    yield kin


def _children(catalog: Catalog) -> Mapping[int, list[int]]:
    """OIDs of the direct children of every relation that has some, found once per snapshot."""
    children: dict[int, list[int]] | None = catalog.memo.get("policy.children")  # type: ignore[assignment]
    if children is None:
        children = {}
        for relation in catalog.relations.values():
            for parent in relation.parents:
                children.setdefault(parent, []).append(relation.oid)
        catalog.memo["policy.children"] = children
    return children


def _function_names(statement: StatementFacts, catalog: Catalog) -> Iterable[tuple[str | None, str]]:
    for ref in statement.functions:
        if ref.schema is not None:
            yield str(ref), ref.name
            continue
        routines = catalog.routines_named(None, ref.name)
        yield from ((f"{routine.schema}.{routine.name}", ref.name) for routine in routines)
        if ref.name in (catalog.builtins or BUILTINS):
            yield f"pg_catalog.{ref.name}", ref.name
        elif not routines:
            yield None, ref.name
