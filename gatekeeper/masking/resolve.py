"""Which columns are masked for whom: the rules' globs against the catalog, and all that follows from them.

A mask holds for the column it names and for what PostgreSQL keeps of it elsewhere: generated columns,
children and partitions, parents that show its rows, views and materialized views, and the statistics. It
sticks to OID and attribute number: pass `MaskSet.sticky` of one call to the next, and no rename lifts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from gatekeeper.rules.globs import is_glob, matcher
from gatekeeper.rules.schema import MaskMethod, MaskRules, Predicates, Rules
from gatekeeper.sql.catalog import Catalog, CatalogRelation, Column, Routine
from gatekeeper.sql.lineage import Key, Source, Taint, Tracer, trace_expression, trace_view
from gatekeeper.sql.scopes import Scope
from gatekeeper.sql.sources import SYSTEM_KEYS, SYSTEM_SCHEMAS, UNSEEN, union, words_of
from gatekeeper.sql.tree import UnreadableError, parse

_STRICTER: Final[Mapping[Predicates, int]] = {"allow": 0, "approve": 1, "block": 2}


@dataclass(frozen=True, slots=True)
class ColumnMask:
    """The mask of one column."""

    key: Key
    name: str
    """`schema.table.column`"""
    rule: str
    method: MaskMethod
    predicates: Predicates
    derived: bool = False
    """True where the column's value is computed from a masked one: then no part of it is kept."""
    via: str | None = None
    """The column whose mask this one follows from."""


@dataclass(frozen=True)
class MaskSet:
    """All masks that hold for one grant in one database."""

    columns: Mapping[Key, ColumnMask] = field(default_factory=dict)
    detect: tuple[MaskRules, ...] = ()
    rules: tuple[MaskRules, ...] = ()
    """Those that name columns, and hold for the grant."""
    hash_key: bytes = field(default=b"", repr=False)
    dynamic_is_gated: bool = False
    """True where the rules hold or block SQL whose text is computed, so that masking need not refuse it."""
    opaque_is_gated: bool = False
    approval_timeout_s: float = 300.0
    _source: list[Source] = field(default_factory=list, repr=False, compare=False)

    @property
    def empty(self) -> bool:
        """True where no mask applies: then nothing costs anything."""
        return not self.columns and not self.detect and not self.rules

    @cached_property
    def sticky(self) -> Mapping[Key, str]:
        """Column to rule, for those that a rule names by itself; for the next call of `resolve`."""
        return {key: mask.rule for key, mask in self.columns.items() if mask.via is None and key[0] > 0}

    @cached_property
    def matches(self) -> Callable[[str], bool]:
        """Whether a full column name is named by a rule, for relations that the catalog does not know yet."""
        return matcher(pattern for rule in self.rules for pattern in rule.columns)

    @cached_property
    def absorbing(self) -> Taint:
        """Columns of which nothing is ever shown, so that masked values may be written into them."""
        return frozenset(
            key for key, m in self.columns.items() if m.method in ("redact", "null") and key[0] > 0
        )

    @cached_property
    def by_relation(self) -> frozenset[int]:
        """OIDs of the relations that have masked columns."""
        return frozenset(oid for oid, _ in self.columns)

    def source(self, catalog: Catalog) -> Source:
        """The catalog seen through these masks; one for as long as the catalog is the same."""
        if self._source and self._source[0].catalog is catalog:
            return self._source[0]
        globs = {pattern.rpartition(".")[2] for rule in self.rules for pattern in rule.columns}
        source = Source(
            catalog,
            frozenset(self.columns) | ({UNSEEN} if self.rules else frozenset()),
            self.matches,
            tuple(glob.replace("*", "x").replace("?", "x") for glob in globs),
            routine_taint,
        )
        self._source[:] = [source]
        return source


NO_MASKS: Final = MaskSet()


def resolve(
    rules: Rules,
    catalog: Catalog,
    grant: str,
    database: str,
    sticky: Mapping[Key, str] | None = None,
    *,
    hash_key: bytes,
) -> MaskSet:
    """The masks for a grant in a database. `hash_key` keys the method `hash`: secret, and always the same."""
    applying = tuple(rule for rule in rules.masks if _applies(rule, grant, database))
    named = tuple(rule for rule in applying if rule.columns)
    detect = tuple(rule for rule in applying if rule.detect)
    if not applying:
        return NO_MASKS
    found = _named(named, catalog)
    by_name = {rule.name: rule for rule in named}
    for key, rule_name in (sticky or {}).items():
        place = _column(catalog, key)
        if key not in found and rule_name in by_name and place is not None:
            found[key] = _mask(by_name[rule_name], key, *place)
    if named:
        _statistics(found, catalog)
        _spread(found, catalog)
    return MaskSet(
        columns=found,
        detect=detect,
        rules=named,
        hash_key=hash_key,
        dynamic_is_gated=rules.policy.dynamic_sql in ("approve", "block"),
        approval_timeout_s=rules.policy.approval_timeout_s,
        opaque_is_gated=rules.policy.opaque_function in ("approve", "block"),
    )


def _applies(rule: MaskRules, grant: str, database: str) -> bool:
    return (
        (rule.grants is None or matcher(rule.grants)(grant))
        and not matcher(rule.except_grants)(grant)
        and (rule.databases is None or matcher(rule.databases)(database))
    )


def _named(rules: Iterable[MaskRules], catalog: Catalog) -> dict[Key, ColumnMask]:
    """Columns that a rule's globs name. The first rule gives the method, the strictest the predicates."""
    found: dict[Key, ColumnMask] = {}
    for rule in rules:
        matches, explicit = matcher(rule.columns), matcher(p for p in rule.columns if _names_system(p))
        for relation in catalog.relations.values():
            test = explicit if relation.schema in SYSTEM_SCHEMAS else matches
            for column in relation.columns:
                if not test(f"{relation.full_name}.{column.name}"):
                    continue
                key = (relation.oid, column.attnum)
                before = found.get(key)
                if before is None:
                    found[key] = _mask(rule, key, relation, column)
                elif _STRICTER[rule.predicates] > _STRICTER[before.predicates]:
                    found[key] = replace(before, predicates=rule.predicates)
    return found


def _names_system(pattern: str) -> bool:
    """A glob such as `*.*.name` is not meant for PostgreSQL's own catalogs; `pg_catalog.x.y` is."""
    return not is_glob(pattern.partition(".")[0])


def _mask(rule: MaskRules, key: Key, relation: CatalogRelation, column: Column) -> ColumnMask:
    return ColumnMask(key, f"{relation.full_name}.{column.name}", rule.name, rule.method, rule.predicates)


def _column(catalog: Catalog, key: Key) -> tuple[CatalogRelation, Column] | None:
    relation = catalog.relations.get(key[0])
    if relation is None:
        return None
    return next(((relation, column) for column in relation.columns if column.attnum == key[1]), None)


def _spread(found: dict[Key, ColumnMask], catalog: Catalog) -> None:
    """Add what follows from the masks found, until nothing new follows."""
    changed = True
    lifted: set[Key] = set()
    while changed:
        changed = False
        source = _source(found, catalog)
        before = len(found)
        for relation in catalog.relations.values():
            if relation.schema in SYSTEM_SCHEMAS:
                continue
            _generated(found, relation, source)
            _inherited(found, relation, catalog, lifted)
            _viewed(found, relation, source)
        changed = len(found) != before


def _follow(
    found: dict[Key, ColumnMask],
    relation: CatalogRelation,
    column: Column,
    source: ColumnMask,
    *,
    derived: bool,
) -> None:
    key = (relation.oid, column.attnum)
    if key not in found:
        found[key] = replace(
            source,
            key=key,
            name=f"{relation.full_name}.{column.name}",
            derived=derived or source.derived,
            via=source.name,
        )


def _generated(found: dict[Key, ColumnMask], relation: CatalogRelation, source: Source) -> None:
    for column in relation.columns:
        if column.generated is None or (relation.oid, column.attnum) in found:
            continue
        keys = trace_expression(column.generated, relation, source)
        if keys:
            _follow(found, relation, column, _first(found, keys), derived=True)


def _inherited(
    found: dict[Key, ColumnMask], relation: CatalogRelation, catalog: Catalog, lifted: set[Key]
) -> None:
    """Down to children; and up to parents, which show a child's rows, but from there not to its siblings."""
    for oid in relation.parents:
        parent = catalog.relations.get(oid)
        if parent is None:
            continue
        above = {column.name: column for column in parent.columns}
        for column in relation.columns:
            other = above.get(column.name)
            if other is None:
                continue
            key, parent_key = (relation.oid, column.attnum), (parent.oid, other.attnum)
            if parent_key in found and parent_key not in lifted and key not in found:
                _follow(found, relation, column, found[parent_key], derived=False)
            elif key in found and parent_key not in found:
                _follow(found, parent, other, found[key], derived=False)
                lifted.add(parent_key)


def _viewed(found: dict[Key, ColumnMask], relation: CatalogRelation, source: Source) -> None:
    if relation.definition is None or all((relation.oid, c.attnum) in found for c in relation.columns):
        return
    outputs = trace_view(relation.definition, source)
    for index, column in enumerate(relation.columns):
        output = outputs[index] if outputs is not None and len(outputs) == len(relation.columns) else None
        if output is None:
            if found:
                _follow(found, relation, column, next(iter(found.values())), derived=True)
        elif output.taint:
            derived = output.plain is None or output.plain not in found
            _follow(found, relation, column, _first(found, output.taint), derived=derived)


def _first(found: Mapping[Key, ColumnMask], keys: Iterable[Key]) -> ColumnMask:
    return found[min(key for key in keys if key in found)]


def _source(found: Mapping[Key, ColumnMask], catalog: Catalog) -> Source:
    return Source(catalog, frozenset(found), routine_tracer=routine_taint)


def _statistics(found: dict[Key, ColumnMask], catalog: Catalog) -> None:
    """What PostgreSQL remembers of values is masked as soon as any column is."""
    if not found:
        return
    strictest = max((mask.predicates for mask in found.values()), key=_STRICTER.__getitem__)
    rule = next(iter(found.values())).rule
    for key, (relation_name, column_name) in SYSTEM_KEYS.items():
        named = catalog.named(None, relation_name)
        places = [
            ((relation.oid, column.attnum), relation.schema)
            for relation in named
            for column in relation.columns
            if column.name == column_name
        ]
        for place, schema in places or [(key, "pg_catalog")]:
            name = f"{schema}.{relation_name}.{column_name}"
            found.setdefault(place, ColumnMask(place, name, rule, "redact", strictest, derived=True, via="*"))


def routine_taint(source: Source, routine: Routine) -> Taint:
    """What the results of an SQL function may carry, traced; of any other, all that it may read."""
    read, _ = source.text(routine.source, plpgsql=routine.language == "plpgsql")
    if routine.language != "sql":
        return read
    tracer = Tracer(source)
    known = words_of(routine.source) or frozenset()
    try:
        statements = parse(routine.source)
        found = [tracer.query(s.kind, s.node, Scope(variables=known)).whole() for s in statements]
    except UnreadableError:
        return read
    return union([*found, frozenset(tracer.predicates), frozenset(tracer.flows)])
