"""Names to columns, as PostgreSQL resolves them; where that cannot be told, to all that a name might mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gatekeeper.sql.sources import CLEAN, Columns, Output, Taint, union

SYSTEM_COLUMNS: Final = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})


@dataclass(frozen=True, slots=True)
class Item:
    """Something in FROM, under the name by which it can be referred to."""

    alias: str | None
    columns: Columns
    schema: str | None = None
    """Set where the item can be referred to as schema.relation."""
    relation: bool = False
    """True where it is a table, which has system columns."""

    def column(self, name: str) -> tuple[list[Output], Taint]:
        """The columns that the name may mean, and what else it may carry: empty and clean for none."""
        exact = [c for c in self.columns.known if c.name == name]
        doubt = union(c.taint for c in self.columns.known if c.name is None)
        if self.columns.guess is not None:
            return exact, union((doubt, self.columns.guess(name)))
        return exact, union((doubt, self.columns.rest or CLEAN))

    @property
    def closed(self) -> bool:
        """True where every column is known by its name."""
        return self.columns.rest is None and all(c.name is not None for c in self.columns.known)


@dataclass
class Scope:
    """What an expression can refer to: the items of its query, then those of the queries around it."""

    items: list[Item] = field(default_factory=list)
    parent: Scope | None = None
    ctes: Mapping[str, Columns] = field(default_factory=dict)
    variables: frozenset[str] = frozenset()
    """Names of arguments and variables of a function, which hold no masked value."""

    def below(self, items: Iterable[Item] = ()) -> Scope:
        """A scope for a query inside of this one."""
        return Scope(list(items), self, self.ctes, self.variables)

    def cte(self, name: str) -> Columns | None:
        """The columns of the WITH query of that name."""
        return self.ctes.get(name)

    def column(self, fields: list[str]) -> Output:
        """What a column reference stands for."""
        if len(fields) == 1:
            return self._unqualified(fields[0])
        *qualifier, name = fields
        item = self.item(qualifier)
        if item is None:
            return self._not_an_item(fields)
        exact, doubt = item.column(name)
        if exact or doubt or not item.closed:
            return _one(name, exact, doubt)
        if name in SYSTEM_COLUMNS:
            return Output(name, CLEAN)
        return Output(name, item.columns.whole())  # c.function_name, or a column younger than the catalog

    def _unqualified(self, name: str) -> Output:
        found: list[Output] = []
        doubt: list[Taint] = []
        rows: list[Taint] = []
        level: Scope | None = self
        while level is not None:
            sure = False
            for item in level.items:
                exact, more = item.column(name)
                found += exact
                doubt.append(more)
                sure = sure or bool(exact)
                if item.alias == name:
                    rows.append(item.columns.whole())
            if sure and all(item.closed for item in level.items):
                return _one(name, found, union([*doubt, *rows]))
            level = level.parent
        if found or rows or any(doubt):
            return _one(name, found, union([*doubt, *rows]))
        if name in SYSTEM_COLUMNS or name in self.variables or self.open():
            return Output(name, CLEAN)
        return Output(name, self.all())

    def _not_an_item(self, fields: list[str]) -> Output:
        if fields[0] in self.variables:
            return Output(fields[-1], CLEAN)
        item = self.item(fields)  # schema.relation as a whole row
        return Output(None, self.all() if item is None else item.columns.whole())

    def item(self, qualifier: list[str]) -> Item | None:
        """The item that a qualifier names, innermost first."""
        *before, alias = qualifier
        level: Scope | None = self
        while level is not None:
            for item in level.items:
                if item.alias == alias and (not before or item.schema in (None, before[-1])):
                    return item
            level = level.parent
        return None

    def all(self) -> Taint:
        """Whatever can be referred to at all."""
        here = union(item.columns.whole() for item in self.items)
        return here if self.parent is None else union((here, self.parent.all()))

    def open(self) -> bool:
        """True where some item may have the column, and none that is masked."""
        return any(not item.closed for item in self.items) or (self.parent is not None and self.parent.open())


def _one(name: str, exact: list[Output], doubt: Taint) -> Output:
    if len(exact) == 1 and not doubt:
        return exact[0]
    types = {column.type_oid for column in exact}
    taint = union([*(column.taint for column in exact), doubt])
    return Output(name, taint, type_oid=types.pop() if len(types) == 1 else 0)
