"""What a piece of SQL contains as it stands: gathered, merged and kept, with nothing looked up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gatekeeper.model import Effect, FunctionRef, RelationRef, SettingChange, StatementClass

UNREADABLE: Final = FunctionRef(None, "?")
"""Stands in `opaque` for a body that cannot be read, until the one who knows its name puts it there."""

Range: TypeAlias = RelationRef | frozenset[str] | None
"""What an alias in FROM stands for: a relation, known column names, or nobody knows what."""


@dataclass(slots=True)
class Contents:
    """Sets that keep their order are dicts without values."""

    effects: dict[Effect, None] = field(default_factory=dict)
    classes: set[StatementClass] = field(default_factory=set)
    relations: dict[RelationRef, None] = field(default_factory=dict)
    read: set[RelationRef] = field(default_factory=set)
    """Relations that a query reads: the definition of a view runs."""
    modified: set[RelationRef] = field(default_factory=set)
    """Relations whose rows are written: triggers fire, rules apply."""
    refreshed: set[RelationRef] = field(default_factory=set)
    """Materialized views whose definition runs."""
    schemas: set[str] = field(default_factory=set)
    """Schemas all of whose relations are touched."""
    functions: dict[FunctionRef, None] = field(default_factory=dict)
    """Functions that are called, now or by what is created."""
    called: set[FunctionRef] = field(default_factory=set)
    named: set[FunctionRef] = field(default_factory=set)
    """Functions that what is created will call. Each such call is judged in its turn."""
    operators: set[str] = field(default_factory=set)
    """Signs of the operators that are used, unqualified."""
    types: set[str] = field(default_factory=set)
    """Names of the types that are named, unqualified."""
    aliases: dict[tuple[str, RelationRef], None] = field(default_factory=dict)
    """What a name may stand for once this has run; see StatementFacts.aliases."""
    settings: dict[SettingChange, None] = field(default_factory=dict)
    opaque: set[FunctionRef] = field(default_factory=set)
    fields: set[tuple[str, str]] = field(default_factory=set)
    """`alias.name` as written: a column, or a function called in PostgreSQL's attribute notation."""
    ranges: dict[str, set[Range]] = field(default_factory=dict)
    """Alias → what it stands for; several where it occurs in several places."""
    dynamic_sql: bool = False
    changes_catalog: bool = False
    calls_end_run: bool = False
    transaction: str | None = None
    prepares: str | None = None
    executes: str | None = None
    declares: str | None = None
    fetches: str | None = None

    def merge(self, others: Iterable[Contents]) -> None:
        """Take in what the others would do; what only a top-level statement can be stays as it is."""
        for other in others:
            self.effects.update(other.effects)
            self.classes |= other.classes
            self.relations.update(other.relations)
            self.read |= other.read
            self.modified |= other.modified
            self.refreshed |= other.refreshed
            self.schemas |= other.schemas
            self.functions.update(other.functions)
            self.called |= other.called
            self.named |= other.named
            self.operators |= other.operators
            self.types |= other.types
            self.aliases.update(other.aliases)
            self.settings.update(other.settings)
            self.opaque |= other.opaque
            self.fields |= other.fields
            for alias, ranges in other.ranges.items():
                self.ranges.setdefault(alias, set()).update(ranges)
            self.dynamic_sql |= other.dynamic_sql
            self.changes_catalog |= other.changes_catalog
            self.calls_end_run |= other.calls_end_run
