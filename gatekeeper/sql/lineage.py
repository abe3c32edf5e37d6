"""Which masked columns an output, a condition or a write may derive from; what is not understood, from all.

A direct walk of PostgreSQL's own grammar (libpg_query's tree), not sqlglot's lineage: that one names no
column at all for whole rows, `(c).ssn`, set-returning functions and RETURNING, fails on a quarter of the
statements that matter, and takes milliseconds. Here everything that an expression mentions counts, whatever
is done with it, so that a kind of node that is not listed can add doubt but never take any away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from gatekeeper.sql import expressions, writes
from gatekeeper.sql.catalog import CatalogRelation
from gatekeeper.sql.figures import figure
from gatekeeper.sql.from_items import range_var, rename, sources_of
from gatekeeper.sql.scopes import Item, Scope
from gatekeeper.sql.sources import CLEAN, NULLNESS, Columns, Key, Output, Source, Taint, strings, union
from gatekeeper.sql.tree import Tree, UnreadableError, parse

__all__ = [
    "CLEAN",
    "NULLNESS",
    "Columns",
    "Key",
    "Output",
    "Source",
    "Taint",
    "Tracer",
    "trace_expression",
    "trace_view",
]

_MAX_ROUNDS: Final = 20
"""A recursive query whose columns still change after that many rounds carries what all of them carry."""


@dataclass
class Tracer:
    """Walks one statement. What it finds besides outputs gathers in its fields."""

    source: Source
    renamed: frozenset[str] = frozenset()
    """Names that may stand for any relation, since something was renamed and not yet committed; `*`: all."""
    absorbing: frozenset[Key] = frozenset()
    """Masked columns that never show any part of what is written into them."""
    made: set[str] = field(default_factory=set)
    """Names of functions, operators and types that this transaction made, perhaps beside PostgreSQL's own."""
    predicates: set[Key] = field(default_factory=set)
    flows: set[Key] = field(default_factory=set)

    # --- queries -----------------------------------------------------------------------------------

    def query(self, kind: str, node: Tree, scope: Scope) -> Columns:
        """The output columns of a SELECT, VALUES, or of a writing statement with RETURNING."""
        if kind == "SelectStmt":
            return self.select(node, scope)
        writer = writes.WRITERS.get(kind)
        if writer is not None:
            return writer(self, node, scope)
        self.doubt(node, scope)
        return Columns((), self.source.masked)

    def select(self, node: Tree, scope: Scope) -> Columns:
        """The output columns of a SELECT or VALUES."""
        scope = self.with_clause(node.get("withClause"), scope)
        if node.get("op", "SETOP_NONE") != "SETOP_NONE":
            columns = self._set_operation(node, scope)
            here = scope.below([Item(None, columns)])
        elif "valuesLists" in node:
            columns = self._values(node["valuesLists"], scope)
            here = scope.below()
        else:
            here = scope.below()
            stars = self.from_clause(node.get("fromClause", ()), here)
            self.predicate(node.get("whereClause"), here)
            columns = self.targets(node.get("targetList", ()), here, stars)
            self._grouping(node, columns, here)
        for item in node.get("sortClause", ()):
            self.sort_key(item, columns, here)
        self.predicate(node.get("limitCount"), here)
        self.predicate(node.get("limitOffset"), here)
        if "intoClause" in node:
            self.flows |= columns.whole()
        return columns

    def with_clause(self, node: Tree | None, scope: Scope) -> Scope:
        """A scope in which the names of a WITH clause are known."""
        if node is None:
            return scope
        ctes = dict(scope.ctes)
        inner = Scope(scope.items, scope.parent, ctes, scope.variables)
        if node.get("recursive"):  # PostgreSQL sorts them: one may refer to another that follows
            unseen = Columns((), self.source.masked)
            ctes.update(
                (wrapped["CommonTableExpr"].get("ctename", ""), unseen) for wrapped in node.get("ctes", ())
            )
        for wrapped in node.get("ctes", ()):
            cte = wrapped["CommonTableExpr"]
            name, names = cte.get("ctename", ""), strings(cte.get("aliascolnames", ()))
            ((kind, query),) = cte["ctequery"].items()
            if node.get("recursive"):
                columns = self._recursive(name, names, kind, query, inner, ctes)
            else:
                columns = rename(self.query(kind, query, inner.below()), names)
            ctes[name] = self._search_and_cycle(cte, columns)
        return inner

    def _recursive(
        self, name: str, names: list[str], kind: str, query: Tree, scope: Scope, ctes: dict[str, Columns]
    ) -> Columns:
        if kind != "SelectStmt" or not _mentions(query, name):
            return rename(self.query(kind, query, scope.below()), names)
        ctes.pop(name, None)
        first = query["larg"] if "larg" in query and not _mentions(query["larg"], name) else None
        if first is None:
            ctes[name] = Columns((), self.source.masked)
            return rename(self.query(kind, query, scope.below()), names)
        columns = rename(self.select(first, scope.below()), names)
        for _ in range(_MAX_ROUNDS):
            ctes[name] = columns
            after = rename(self.select(query, scope.below()), names)
            if after == columns:
                return columns
            columns = after
        whole = columns.whole()
        return Columns(tuple(replace(c, taint=whole, plain=None) for c in columns.known), columns.rest)

    def _search_and_cycle(self, cte: Tree, columns: Columns) -> Columns:
        search, cycle = cte.get("search_clause"), cte.get("cycle_clause")
        if search is None and cycle is None:
            return columns
        whole = columns.whole()
        self.predicates |= whole
        extra = [search.get("search_seq_column")] if search else []
        extra += [cycle.get("cycle_mark_column"), cycle.get("cycle_path_column")] if cycle else []
        return Columns((*columns.known, *(Output(name, whole) for name in extra)), columns.rest)

    def _set_operation(self, node: Tree, scope: Scope) -> Columns:
        left, right = self.select(node["larg"], scope), self.select(node["rarg"], scope)
        if not (node["op"] == "SETOP_UNION" and node.get("all")):
            self.predicates |= left.whole() | right.whole()
        if left.rest is not None or right.rest is not None or len(left.known) != len(right.known):
            return Columns(left.known, left.whole() | right.whole())
        return Columns(
            tuple(
                Output(a.name, a.taint | b.taint, type_oid=a.type_oid if a.type_oid == b.type_oid else 0)
                for a, b in zip(left.known, right.known, strict=True)
            )
        )

    def _values(self, lists: Iterable[Tree], scope: Scope) -> Columns:
        rows = [[self.expression(v, scope) for v in row["List"].get("items", ())] for row in lists]
        if len({len(row) for row in rows}) != 1:
            return Columns((), union(t for row in rows for t in row))
        taints = (union(column) for column in zip(*rows, strict=True))
        return Columns(tuple(Output(f"column{n}", taint) for n, taint in enumerate(taints, 1)))

    def _grouping(self, node: Tree, columns: Columns, scope: Scope) -> None:
        for item in node.get("groupClause", ()):
            self.sort_key(item, columns, scope, group=True)
        self.predicate(node.get("havingClause"), scope)
        for window in node.get("windowClause", ()):
            self.window(window["WindowDef"], scope)
        for item in node.get("distinctClause", ()):
            if item:
                self.sort_key(item, columns, scope)
            else:
                self.predicates |= columns.whole()

    def sort_key(self, node: Tree, columns: Columns, scope: Scope, *, group: bool = False) -> None:
        """A key of ORDER BY, GROUP BY or DISTINCT ON: an output by its number or name, or an expression."""
        if "SortBy" in node:
            node = node["SortBy"].get("node", {})
        if "GroupingSet" in node:
            for part in node["GroupingSet"].get("content", ()):
                self.sort_key(part, columns, scope, group=group)
            return
        if "A_Const" in node and "ival" in node["A_Const"]:
            number = node["A_Const"]["ival"].get("ival", 0)
            sure = columns.rest is None and 1 <= number <= len(columns.known)
            self.predicates |= columns.known[number - 1].taint if sure else columns.whole()
            return
        if "ColumnRef" in node and len(node["ColumnRef"]["fields"]) == 1:
            name = strings(node["ColumnRef"]["fields"])[0]
            named = [c for c in columns.known if c.name == name or c.name is None]
            self.predicates |= union(c.taint for c in named) | (columns.rest or CLEAN)
            if not group and columns.rest is None and any(c.name == name for c in named):
                return
        self.predicate(node, scope)

    def window(self, node: Tree, scope: Scope) -> None:
        """A window: what its rows are parted and ordered by."""
        for item in (*node.get("partitionClause", ()), *node.get("orderClause", ())):
            self.predicate(item, scope)
        self.predicate(node.get("startOffset"), scope)
        self.predicate(node.get("endOffset"), scope)

    def targets(self, nodes: Iterable[Tree], scope: Scope, stars: Columns) -> Columns:
        """The columns of a target list; `stars` is what `*` stands for."""
        found: list[Output] = []
        rest: Taint | None = None
        for wrapped in nodes:
            node = wrapped["ResTarget"]
            columns = self._target(node, scope, stars)
            found += columns.known
            if columns.rest is not None:
                rest = columns.rest | (rest or CLEAN)
        return Columns(tuple(found), rest)

    def _target(self, node: Tree, scope: Scope, stars: Columns) -> Columns:
        value = node.get("val", {})
        fields = strings(value["ColumnRef"]["fields"]) if "ColumnRef" in value else []
        if fields == ["*"]:
            return stars
        if fields and fields[-1] == "*":
            item = scope.item(fields[:-1])
            return (
                item.columns
                if item is not None
                else Columns((), scope.column(fields[:-1]).taint | scope.all())
            )
        if "A_Indirection" in value and any(
            "A_Star" in i for i in value["A_Indirection"].get("indirection", ())
        ):
            item = expressions.row_of(value["A_Indirection"].get("arg", {}), scope)
            if item is not None and len(value["A_Indirection"]["indirection"]) == 1:
                return item.columns
            return Columns((), self.expression(value, scope))
        output = self.output(value, scope)
        return Columns((replace(output, name=node.get("name") or figure(value)),))

    def from_clause(self, nodes: Iterable[Tree], scope: Scope) -> Columns:
        """Add what stands in FROM to the scope, and give the columns of `*`."""
        return sources_of(self, nodes, scope)

    def range_var(self, node: Tree, scope: Scope) -> Item:
        """A relation or WITH query by its name."""
        return range_var(self, node, scope)

    # --- expressions -------------------------------------------------------------------------------

    def predicate(self, node: Tree | None, scope: Scope) -> None:
        """An expression that decides which rows come, how many or in what order."""
        if node:
            self.predicates |= self.expression(node, scope)

    def expression(self, node: Tree, scope: Scope) -> Taint:
        """What the value of an expression may carry."""
        return expressions.taint(self, node, scope)

    def output(self, node: Tree, scope: Scope) -> Output:
        """An expression as a column: where it is a plain one, that too."""
        if "ColumnRef" in node:
            fields = strings(node["ColumnRef"]["fields"])
            if fields[-1] != "*":
                return scope.column(fields)
        if "A_Indirection" in node:
            found = expressions.field_of(node["A_Indirection"], scope)
            if found is not None:
                return found
        return Output(None, self.expression(node, scope), type_oid=expressions.type_of(node))

    def nested(self, node: Any, scope: Scope) -> Taint:
        """All that any expression inside of a node carries, whatever the node is."""
        found: list[Taint] = []
        stack = [node]
        while stack:
            value = stack.pop()
            if isinstance(value, list):
                stack += value
            elif isinstance(value, dict):
                if len(value) == 1 and next(iter(value))[:1].isupper():
                    found.append(self.expression(value, scope))
                else:
                    stack += value.values()
        return union(found)

    def doubt(self, node: Any, scope: Scope) -> None:
        """Whatever a node mentions counts as decided by and written."""
        taint = self.nested(node, scope)
        self.predicates |= taint
        self.flows |= taint


def _mentions(node: Any, relation: str) -> bool:
    stack = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack += value
        elif isinstance(value, dict):
            if value.get("relname") == relation and "schemaname" not in value:
                return True
            stack += value.values()
    return False


@lru_cache(maxsize=2048)
def _parsed(sql: str) -> Tree | None:
    try:
        statements = parse(sql)
    except UnreadableError:
        return None
    return statements[0].node if len(statements) == 1 and statements[0].kind == "SelectStmt" else None


def trace_view(definition: str, source: Source) -> tuple[Output, ...] | None:
    """The columns of a view by its definition; None where they cannot be told apart."""
    node = _parsed(definition)
    if node is None:
        return None
    columns = Tracer(source).select(node, Scope())
    return columns.known if columns.rest is None else None


def trace_expression(expression: str, relation: CatalogRelation, source: Source) -> Taint:
    """What an expression over a relation's own columns carries; everything where it cannot be read."""
    node = _parsed(f"SELECT ({expression})")
    if node is None:
        return source.masked
    columns = source.relation(relation.schema, relation.name, stale=False)
    scope = Scope([Item(relation.name, columns, relation.schema, relation=True)])
    return union(
        Tracer(source).expression(target["ResTarget"]["val"], scope) for target in node["targetList"]
    )
