"""What a name may stand for, and which masked columns it may carry. What is not known carries all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from gatekeeper.sql.catalog import Catalog, CatalogRelation, Routine

Key = tuple[int, int]
"""OID of a relation and attribute number; a negative OID stands for a system view that the catalog lacks."""
Taint = frozenset[Key]
CLEAN: Final[Taint] = frozenset()
NULLNESS: Final[Key] = (0, 0)
"""In a taint: whether the value is NULL tells something of the masked value too."""

UNSEEN: Final[Key] = (0, 1)
"""In a taint: a column that the rules name and the catalog does not know yet."""

SYSTEM_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "pg_statistic": ("stavalues1", "stavalues2", "stavalues3", "stavalues4", "stavalues5"),
    "pg_stats": ("most_common_vals", "histogram_bounds", "most_common_elems", "range_bounds_histogram"),
    "pg_statistic_ext_data": ("stxdmcv", "stxdexpr"),
    "pg_stats_ext": ("most_common_vals",),
    "pg_stats_ext_exprs": ("most_common_vals", "histogram_bounds", "most_common_elems"),
    "pg_stat_activity": ("query",),
    "pg_stat_statements": ("query",),
}
"""What PostgreSQL remembers of values, and of statements that carried them."""
SYSTEM_KEYS: Final[dict[Key, tuple[str, str]]] = {
    (-1 - n, 1 + m): (relation, column)
    for n, (relation, columns) in enumerate(SYSTEM_VALUES.items())
    for m, column in enumerate(columns)
}
SYSTEM_SCHEMAS: Final = frozenset({"pg_catalog", "information_schema", "pg_toast"})

_READS_TEXT: Final = re.compile(
    r"""(query|table|schema|database|cursor)_to_xml(schema|_and_xmlschema)?|ts_stat|ts_rewrite|pg_mcv_list_items"""
    r"""|pg_stat_get_(backend_)?activity|pg_stat_statements.*|pg_logical_slot_(get|peek)_.*|pg_read_.*|dblink.*"""
    r"""|crosstab.*|connectby|xpath_table|get_raw_page|heap_page_items|.*_page_items|pg_get_wal_.*|lo_import"""
)
"""Functions that run SQL from a text, or read what PostgreSQL keeps of values."""
_PURE_C: Final = re.compile(
    r"""digest|hmac|crypt|gen_salt|gen_random_.*|encrypt.*|decrypt.*|pgp_.*|armor|dearmor|uuid_.*|(strict_)?(word_)?similarity.*"""
    r"""|show_trgm|show_limit|set_limit|unaccent.*|levenshtein.*|soundex|difference|d?metaphone.*|daitch_.*|citext.*|regexp_.*"""
    r"""|akeys|avals|skeys|svals|each|hstore.*|hs_.*|exist.*|defined|isexists|isdefined|slice|tconvert|delete|fetchval"""
    r"""|ltree.*|subltree|subpath|nlevel|lca|text2ltree|index|cube.*|earth.*|ll_to_earth|latitude|longitude|icount|sort.*|uniq|idx"""
    r"""|subarray|intset.*|intarray.*|st_.*|_st_.*|postgis_.*|geometry.*|geography.*|vector.*|l2_.*|cosine_.*|inner_product"""
    r"""|split_part|translate|replace|strpos|textic.*|seg.*|isn.*|tablefunc|normal_rand|moddatetime|autoinc"""
)
"""Functions of known extensions, in C, that look at their arguments alone."""
_TOKENS: Final = re.compile(
    r"""U&"|"((?:[^"]|"")*)"|([A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)""", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Output:
    """A column of a query or a relation, and what it may carry."""

    name: str | None
    """None: not known, so it may be any."""
    taint: Taint
    plain: Key | None = None
    """The column of a relation that it is, as it is."""
    type_oid: int = 0
    """0: not known."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of something, in order."""

    known: tuple[Output, ...]
    rest: Taint | None = None
    """None: these are all, and in this order. Else there may be others, which carry this."""
    guess: Callable[[str], Taint] | None = None
    """For a relation that nobody knows: what its column of a name may carry."""

    def whole(self) -> Taint:
        """What any of them may carry."""
        return union((self.rest or CLEAN, *(c.taint for c in self.known)))


def union(taints: Iterable[Taint]) -> Taint:
    """All that any of them carries."""
    found = [taint for taint in taints if taint]
    return found[0] if len(found) == 1 else CLEAN.union(*found)


@dataclass
class Source:
    """The catalog as seen through a set of masked columns."""

    catalog: Catalog
    masked: Taint
    matches: Callable[[str], bool] | None = None
    """Whether a full column name would be masked, for relations that the catalog does not know."""
    column_globs: tuple[str, ...] = ()
    """A column name for each glob of the rules, that it matches."""
    routine_tracer: Callable[[Source, Routine], Taint] | None = None
    uncertain: bool = False
    """True where routines may have changed since the catalog was read."""
    _routines: dict[int, Taint] = field(default_factory=dict)

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the relations that have masked columns."""
        relations = (self.catalog.relations.get(oid) for oid, _ in self.masked)
        system = (SYSTEM_KEYS[key][0] for key in self.masked if key in SYSTEM_KEYS)
        return frozenset(r.name for r in relations if r is not None) | frozenset(system)

    @cached_property
    def touching(self) -> frozenset[str]:
        """Names of relations that have masked columns, and of views that look at one in whatever way."""
        found = set(self.names)
        views = [
            r for r in self.catalog.relations.values() if r.definition and r.schema not in SYSTEM_SCHEMAS
        ]
        words = {view.oid: words_of(view.definition or "") for view in views}
        while True:
            before = len(found)
            for view in views:
                seen = words[view.oid]
                if seen is None or not found.isdisjoint(seen):
                    found.add(view.name)
            if len(found) == before:
                return frozenset(found)

    @cached_property
    def by_relation(self) -> dict[int, Taint]:
        """OID to the masked columns of that relation."""
        found: dict[int, set[Key]] = {}
        for key in self.masked:
            found.setdefault(key[0], set()).add(key)
        return {oid: frozenset(keys) for oid, keys in found.items()}

    def alternatives(self, schema: str | None, name: str) -> tuple[Columns, ...]:
        """The columns of each relation that the name can mean."""
        return tuple(Columns(self._columns(relation)) for relation in self._candidates(schema, name))

    def relation(self, schema: str | None, name: str, *, stale: bool) -> Columns:
        """The columns that a relation of this name may have. `stale`: the name may stand for any relation."""
        candidates = list(self._candidates(schema, name))
        system = self._system(name, candidates)
        if system is not None:
            return system
        if not candidates:
            return self._unknown(schema, name, stale=stale)
        columns = [self._columns(relation) for relation in candidates]
        rest = self.masked if stale else None
        if len(columns) == 1:
            return Columns(columns[0], rest)
        if all([c.name for c in other] == [c.name for c in columns[0]] for other in columns[1:]):
            merged = (
                Output(same[0].name, union(c.taint for c in same)) for same in zip(*columns, strict=True)
            )
            return Columns(tuple(merged), rest)
        return Columns(tuple(column for some in columns for column in some), rest or CLEAN)

    def _candidates(self, schema: str | None, name: str) -> Iterator[CatalogRelation]:
        if schema == "pg_temp":
            yield from (r for r in self.catalog.named(None, name) if r.schema.startswith("pg_temp"))
        else:
            found = self.catalog.named(schema, name)
            system = [r for r in found if r.schema == "pg_catalog"]
            yield from system if system and schema is None and len(found) == 1 else found

    def _columns(self, relation: CatalogRelation) -> tuple[Output, ...]:
        found = []
        for column in relation.columns:
            key = (relation.oid, column.attnum)
            taint = frozenset((key,)) if key in self.masked else CLEAN
            found.append(Output(column.name, taint, key, column.base_type_oid))
        return tuple(found)

    def _system(self, name: str, candidates: list[CatalogRelation]) -> Columns | None:
        """A system view whose value columns are masked, where the catalog has it not."""
        if candidates or name not in SYSTEM_VALUES:
            return None
        keys = {column: key for key, (relation, column) in SYSTEM_KEYS.items() if relation == name}
        known = tuple(
            Output(column, frozenset((key,)) if key in self.masked else CLEAN, key)
            for column, key in keys.items()
        )
        return Columns(known, CLEAN)

    def _unknown(self, schema: str | None, name: str, *, stale: bool) -> Columns:
        """A relation that the catalog does not know: made a moment ago, or not there at all."""
        if stale:
            return Columns((), self.masked)
        if schema in SYSTEM_SCHEMAS or (schema is None and name.startswith("pg_")):
            return Columns((), CLEAN)
        matches, unseen = self.matches, frozenset((UNSEEN,))
        if matches is None:
            return Columns((), CLEAN)
        schemas = (
            (schema,) if schema else tuple({"public", *(r.schema for r in self.catalog.relations.values())})
        )

        def guess(column: str) -> Taint:
            return unseen if any(matches(f"{s}.{name}.{column}") for s in schemas) else CLEAN

        return Columns((), union(guess(column) for column in self.column_globs), guess)

    # --- functions ---------------------------------------------------------------------------------

    def function(self, schema: str | None, name: str) -> tuple[Taint, tuple[Routine, ...]]:
        """What a function's result may carry beside its arguments, and the user-defined ones it may be."""
        routines = () if schema == "pg_catalog" else self.catalog.routines_named(schema, name)
        taint = union(self.routine(routine) for routine in routines)
        if (
            _READS_TEXT.fullmatch(name)
            or (self.uncertain and schema != "pg_catalog" and name not in self.catalog.builtins)
            or (not routines and name not in self.catalog.builtins)
        ):
            taint = self.masked
        return taint, tuple(routines)

    def routine(self, routine: Routine) -> Taint:
        """What a user-defined routine may read, by the words of its body and of those that it may call."""
        if routine.oid not in self._routines:
            self._routines[routine.oid] = CLEAN  # recursion adds nothing of its own
            self._routines[routine.oid] = self._read(routine)
        return self._routines[routine.oid]

    def _read(self, routine: Routine) -> Taint:
        if _READS_TEXT.fullmatch(routine.name):
            return self.masked
        if routine.kind == "a" and routine.source:
            _, called = self.text(routine.source, plpgsql=False)
            return union(self.routine(other) for other in called if other.oid != routine.oid)
        if routine.constructs_range:
            return CLEAN
        if routine.language not in ("sql", "plpgsql"):
            known = routine.extension and _PURE_C.fullmatch(routine.name) is not None
            return CLEAN if known and routine.language in ("c", "internal") else self.masked
        taint, called = self.text(routine.source, plpgsql=routine.language == "plpgsql")
        if taint and taint != self.masked and self.routine_tracer is not None:
            taint = self.routine_tracer(self, routine)
        return union((taint, *(self.routine(other) for other in called if other.oid != routine.oid)))

    def text(self, body: str, *, plpgsql: bool) -> tuple[Taint, list[Routine]]:
        """What code may read, judged by its words alone, and the routines that it may call."""
        words = words_of(body)
        if words is None or (plpgsql and is_dynamic(body)):
            return self.masked, []
        if any(_READS_TEXT.fullmatch(word) for word in words):
            return self.masked, []
        oids = {r.oid for word in words & self.names for r in self.catalog.named(None, word)}
        taint = union(self.by_relation.get(oid, CLEAN) for oid in oids)
        system = frozenset(k for k in self.masked if k in SYSTEM_KEYS and SYSTEM_KEYS[k][0] in words)
        called = [r for word in words for r in self.catalog.routines_named(None, word)]
        return taint | system, called


def words_of(code: str) -> frozenset[str] | None:
    """Every identifier that code may hold, folded as PostgreSQL folds it; None where they cannot be told."""
    found = set()
    for match in _TOKENS.finditer(code):
        if match[2] is not None:
            found.add(match[2].lower())
        elif match[1] is not None:
            found.add(match[1].replace('""', '"'))
        else:
            return None
    return frozenset(found)


_DYNAMIC: Final = re.compile(r"\bexecute\b(?!\s+(function|procedure)\b)", re.IGNORECASE)


def is_dynamic(code: str) -> bool:
    """True where PL/pgSQL code runs SQL whose text is not in it."""
    return _DYNAMIC.search(code) is not None


def strings(nodes: Iterable[Any]) -> list[str]:
    """The texts of a list of String nodes; an A_Star becomes `*`."""
    return [node["String"].get("sval", "") if "String" in node else "*" for node in nodes]
