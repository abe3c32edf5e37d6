"""A frozen snapshot of what a database's names mean, and how it is read.

The snapshot answers by OID and by name; what it does not know it says so, and the caller doubts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

_RANGE_CONSTRUCTORS: Final = frozenset(
    (
        *("range_constructor2", "range_constructor3"),
        *("multirange_constructor0", "multirange_constructor1", "multirange_constructor2"),
    )
)
UNREADABLE: Final = '"'
"""Stands for code that could not be read: no grammar takes it, so whoever reads it has to doubt."""

RelationKind = Literal["r", "p", "v", "m", "f", "S", "i", "I", "c", "t"]
"""pg_class.relkind."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a relation (pg_attribute)."""

    attnum: int
    name: str
    type_oid: int
    base_type_oid: int
    """The type under a domain, else `type_oid`."""
    generated: str | None = None
    """The expression of a generated column, from pg_get_expr."""


@dataclass(frozen=True, slots=True)
class CatalogRelation:
    """A relation (pg_class)."""

    oid: int
    schema: str
    name: str
    kind: RelationKind
    columns: tuple[Column, ...]
    definition: str | None = None
    """Of a view or materialized view, from pg_get_viewdef; UNREADABLE where that had to wait for a lock."""
    definition_stamp: str = ""
    """Changes with the definition (xmin of its rewrite rule)."""
    parents: tuple[int, ...] = ()
    """OIDs of partitioned or inherited parents (pg_inherits)."""
    rows: float = -1.0
    """pg_class.reltuples; -1 where it was never analysed."""
    triggers: tuple[int, ...] = ()
    """OIDs of the functions of its enabled, non-internal triggers."""
    has_rules: bool = False
    """True where it has rewrite rules other than a view's own."""
    calls: tuple[int, ...] = ()
    """OIDs of the user-defined functions that run when it is written or read, unseen in any statement: those
    in defaults, checks, generated columns, indexes, row security, and in the domains of its columns."""

    @property
    def full_name(self) -> str:
        """`schema.name`, unquoted."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Routine:
    """A function or procedure outside pg_catalog and information_schema (pg_proc)."""

    oid: int
    schema: str
    name: str
    language: str
    kind: Literal["f", "p", "a", "w"]
    source: str
    """prosrc, or the text of pg_get_function_sqlbody."""
    definition: str
    """pg_get_functiondef; empty for aggregates."""
    returns_trigger: bool = False
    returns_set: bool = False
    argument_names: tuple[str, ...] = ()
    extension: bool = False
    """True where it belongs to an extension."""

    @property
    def constructs_range(self) -> bool:
        """PostgreSQL made it with a range type; it computes a range from its arguments, and nothing else."""
        return self.language == "internal" and self.source in _RANGE_CONSTRUCTORS


@dataclass(frozen=True)
class Catalog:
    """All relations and user-defined routines of one database, at one moment."""

    version: int
    relations: Mapping[int, CatalogRelation] = field(default_factory=dict)
    routines: Mapping[int, Routine] = field(default_factory=dict)
    builtins: frozenset[str] = frozenset()
    """Names of all functions in pg_catalog and information_schema."""
    builtin_oids: Mapping[int, str] = field(default_factory=dict)
    """OID to name of the functions in pg_catalog, for FunctionCall."""
    event_triggers: tuple[int, ...] = ()
    """OIDs of the functions of enabled event triggers."""
    type_names: Mapping[int, str] = field(default_factory=dict)
    """Type OID to its name, as format_type gives it."""
    type_categories: Mapping[int, str] = field(default_factory=dict)
    """Type OID to pg_type.typcategory."""
    operators: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Sign of an operator outside of pg_catalog to the OIDs of the user-defined functions behind it."""
    type_calls: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Unqualified name of a type to the OIDs of the user-defined functions that a cast to it may run."""
    own_types: frozenset[str] = frozenset()
    """Unqualified names of the types outside of pg_catalog."""

    @cached_property
    def memo(self) -> dict[object, object]:
        """What others derive from this snapshot and keep for as long as it lives."""
        return {}

    @cached_property
    def _by_name(self) -> Mapping[str, tuple[CatalogRelation, ...]]:
        found: dict[str, list[CatalogRelation]] = {}
        for relation in self.relations.values():
            found.setdefault(relation.name, []).append(relation)
        return {name: tuple(relations) for name, relations in found.items()}

    @cached_property
    def _routines_by_name(self) -> Mapping[str, tuple[Routine, ...]]:
        found: dict[str, list[Routine]] = {}
        for routine in self.routines.values():
            found.setdefault(routine.name, []).append(routine)
        return {name: tuple(routines) for name, routines in found.items()}

    def named(self, schema: str | None, name: str) -> tuple[CatalogRelation, ...]:
        """Every relation that the name can mean; an unqualified one is looked for in all schemas.

        `pg_temp` is the schema of some session: of temporary relations the snapshot knows views.
        """
        found = self._by_name.get(name, ())
        if schema == "pg_temp":
            return tuple(r for r in found if r.schema.startswith("pg_temp_"))
        return found if schema is None else tuple(r for r in found if r.schema == schema)

    def routines_named(self, schema: str | None, name: str) -> tuple[Routine, ...]:
        """Every user-defined routine that the name can mean, all overloads."""
        found = self._routines_by_name.get(name, ())
        return found if schema is None else tuple(r for r in found if r.schema == schema)

    def descendants(self, oid: int) -> Iterable[int]:
        """OIDs of the partitions and children below a relation, itself left out."""
        below = [r.oid for r in self.relations.values() if oid in r.parents]
        for child in below:
            yield child
            yield from self.descendants(child)


EMPTY = Catalog(version=0)
