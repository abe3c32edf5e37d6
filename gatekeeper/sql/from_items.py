"""What stands in FROM: relations, subqueries, joins and functions, as items of a scope."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from gatekeeper.sql import expressions
from gatekeeper.sql.figures import figure
from gatekeeper.sql.scopes import Item, Scope
from gatekeeper.sql.sources import CLEAN, Columns, Output, strings, union
from gatekeeper.sql.tree import Tree

if TYPE_CHECKING:
    from gatekeeper.sql.lineage import Tracer


def sources_of(tracer: Tracer, nodes: Iterable[Tree], scope: Scope) -> Columns:
    """Add what stands in FROM to the scope, and give the columns of `*`."""
    stars = Columns(())
    for node in nodes:
        items, columns = from_item(tracer, node, scope)
        scope.items += items
        stars = _joined(stars, columns)
    return stars


def from_item(tracer: Tracer, node: Tree, scope: Scope) -> tuple[list[Item], Columns]:
    """The items that one element of FROM adds, and its columns. `scope` holds what is to its left."""
    ((kind, inner),) = node.items()
    match kind:
        case "RangeVar":
            item = range_var(tracer, inner, scope)
        case "JoinExpr":
            return _join(tracer, inner, scope)
        case "RangeSubselect":
            outer = scope if inner.get("lateral") else _outside(scope)
            ((query_kind, query),) = inner["subquery"].items()
            item = _aliased(inner, tracer.query(query_kind, query, outer.below()))
        case "RangeFunction":
            item = _function(tracer, inner, scope)
        case "RangeTableSample":
            for argument in (*inner.get("args", ()), inner.get("repeatable")):
                tracer.predicate(argument, scope)
            return from_item(tracer, inner["relation"], scope)
        case _:  # XMLTABLE, JSON_TABLE, and whatever comes
            taint = tracer.nested(inner, scope)
            tracer.predicates |= taint
            item = _aliased(inner, Columns((), taint))
    return [item], item.columns


def range_var(tracer: Tracer, node: Tree, scope: Scope) -> Item:
    """A relation or WITH query by its name."""
    name, schema = node.get("relname", ""), node.get("schemaname")
    columns = scope.cte(name) if schema is None else None
    is_relation = columns is None
    if columns is None:
        columns = tracer.source.relation(schema, name, stale=name in tracer.renamed or "*" in tracer.renamed)
    if "alias" not in node:
        return Item(name, columns, schema, is_relation)
    item = _aliased(node, columns)
    return replace(item, relation=is_relation)


def _join(tracer: Tracer, node: Tree, scope: Scope) -> tuple[list[Item], Columns]:
    left, left_columns = from_item(tracer, node["larg"], scope)
    seen = Scope([*scope.items, *left], scope.parent, scope.ctes, scope.variables)
    right, right_columns = from_item(tracer, node["rarg"], seen)
    here = Scope([*left, *right], _outside(scope), scope.ctes, scope.variables)
    tracer.predicate(node.get("quals"), here)
    items, columns = [*left, *right], _joined(left_columns, right_columns)
    if node.get("isNatural"):
        common = [c.name for c in left_columns.known if any(c.name == d.name for d in right_columns.known)]
        sure = left_columns.rest is None and right_columns.rest is None and None not in common
        if not sure:
            tracer.predicates |= columns.whole()
            columns = Columns(columns.known, columns.whole())
        columns = _using(tracer, [n for n in common if n], left_columns, right_columns, columns, sure=sure)
    elif "usingClause" in node:
        names = strings(node["usingClause"])
        sure = left_columns.rest is None and right_columns.rest is None
        columns = _using(tracer, names, left_columns, right_columns, columns, sure=sure)
        if "join_using_alias" in node:
            merged = Columns(columns.known[: len(names)], columns.rest)
            items.append(Item(node["join_using_alias"].get("aliasname"), merged))
    if "alias" in node:
        item = _aliased(node, columns)
        return [item], item.columns
    return items, columns


def _using(
    tracer: Tracer, names: list[str], left: Columns, right: Columns, both: Columns, *, sure: bool
) -> Columns:
    merged = []
    for name in names:
        taint = union(
            union([*(c.taint for c in exact), doubt])
            for exact, doubt in (Item(None, side).column(name) for side in (left, right))
        )
        tracer.predicates |= taint
        merged.append(Output(name, taint))
    others = [c for c in (*left.known, *right.known) if c.name not in names]
    return Columns((*merged, *others), both.rest if sure else both.whole())


def _function(tracer: Tracer, node: Tree, scope: Scope) -> Item:
    taints = []
    calls = [f["List"]["items"][0] for f in node.get("functions", ())]
    for call in calls:
        arguments, result = expressions.row_source(tracer, call, scope)
        tracer.predicates |= arguments
        taints.append(arguments | result)
    taint = union(taints)
    definitions = [d["ColumnDef"].get("colname") for d in node.get("coldeflist", ())]
    names = strings(node.get("alias", {}).get("colnames", ()))
    alias = node.get("alias", {}).get("aliasname")
    single = expressions.single_column(calls[0], names) if len(calls) == 1 else None
    if definitions and len(calls) == 1:
        known = [Output(name, taint) for name in definitions]
        return Item(
            alias, Columns((*known, *([Output("ordinality", CLEAN)] if node.get("ordinality") else [])))
        )
    if single is not None:
        known = [Output(names[0] if names else single or alias or figure(calls[0]), taint)]
        if node.get("ordinality"):
            known.append(Output(names[1] if len(names) > 1 else "ordinality", CLEAN))
        return Item(alias or figure(calls[0]), Columns(tuple(known)))
    return Item(alias or (figure(calls[0]) if calls else None), Columns((), taint))


def rename(columns: Columns, names: list[str]) -> Columns:
    """The columns under the names of a column alias list, which may name only the first ones."""
    if not names:
        return columns
    if columns.rest is not None:
        whole = columns.whole()
        return Columns(tuple(Output(name, whole) for name in names), whole)
    renamed = (
        replace(column, name=names[n] if n < len(names) else column.name)
        for n, column in enumerate(columns.known)
    )
    return Columns(tuple(renamed))


def _aliased(node: Tree, columns: Columns) -> Item:
    alias = node.get("alias", {})
    return Item(alias.get("aliasname"), rename(columns, strings(alias.get("colnames", ()))))


def _joined(left: Columns, right: Columns) -> Columns:
    rest = None if left.rest is None and right.rest is None else (left.rest or CLEAN) | (right.rest or CLEAN)
    return Columns((*left.known, *right.known), rest)


def _outside(scope: Scope) -> Scope:
    """What a subquery in FROM can refer to without LATERAL: the queries around, not its neighbours."""
    return Scope([], scope.parent, scope.ctes, scope.variables)
