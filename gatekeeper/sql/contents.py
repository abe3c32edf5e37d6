"""What a piece of SQL contains, as a value that can be gathered, kept and merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from gatekeeper.model import Effect, FunctionRef, RelationRef, SettingChange, StatementClass

UNREADABLE: Final = FunctionRef(None, "?")
"""Stands in `opaque` for a body that cannot be read, until the one who knows its name puts it there."""


@dataclass(slots=True)
class Contents:
    """Gathered while a tree is walked; what it names is not looked up yet."""

    effects: dict[Effect, None] = field(default_factory=dict)
    """In order, each once."""
    classes: set[StatementClass] = field(default_factory=set)
    relations: dict[RelationRef, None] = field(default_factory=dict)
    functions: dict[FunctionRef, None] = field(default_factory=dict)
    refreshed: set[RelationRef] = field(default_factory=set)
    """Materialized views whose definition runs."""
    settings: dict[SettingChange, None] = field(default_factory=dict)
    opaque: set[FunctionRef] = field(default_factory=set)
    fields: set[tuple[str, str]] = field(default_factory=set)
    """`alias.name` as written: a column, or a function called in PostgreSQL's attribute notation."""
    ranges: dict[str, set[RelationRef | None]] = field(default_factory=dict)
    """Alias → the relations that it stands for; None for what is not a relation."""
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
            self.functions.update(other.functions)
            self.refreshed |= other.refreshed
            self.settings.update(other.settings)
            self.opaque |= other.opaque
            self.dynamic_sql |= other.dynamic_sql
            self.changes_catalog |= other.changes_catalog
            self.calls_end_run |= other.calls_end_run
