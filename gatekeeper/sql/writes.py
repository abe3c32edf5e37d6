"""INSERT, UPDATE, DELETE and MERGE: what they write where, and what RETURNING gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from gatekeeper.sql.scopes import Item, Scope
from gatekeeper.sql.sources import CLEAN, Columns, Key, Output, Taint
from gatekeeper.sql.tree import Tree

if TYPE_CHECKING:
    from gatekeeper.sql.lineage import Tracer

_TEXT: Final = 25
"""OID of `text`, which takes every text."""


def insert(tracer: Tracer, node: Tree, scope: Scope) -> Columns:
    """INSERT, from VALUES or a query, with ON CONFLICT."""
    scope = tracer.with_clause(node.get("withClause"), scope)
    target = _target(tracer, node["relation"])
    names: list[str | None] = [column["ResTarget"].get("name") for column in node.get("cols", ())]
    if not names and target.closed:
        names = [column.name for column in target.columns.known]
    excluded: dict[str, Taint] = {}
    if "selectStmt" in node:
        ((kind, query),) = node["selectStmt"].items()
        given = tracer.query(kind, query, scope.below())
        _insert(tracer, target, names, given, excluded)
    conflict = node.get("onConflictClause")
    if conflict is not None:
        proposed = Columns(
            tuple(Output(name, excluded.get(name or "", CLEAN)) for name in _names(target, excluded))
        )
        here = scope.below([target, Item("excluded", proposed)])
        _conflict(tracer, conflict, target, here)
    return _returning(tracer, node, [target], scope)


def _names(target: Item, excluded: Iterable[str]) -> list[str | None]:
    known = [column.name for column in target.columns.known]
    return known + [name for name in excluded if name not in known]


def _insert(
    tracer: Tracer, target: Item, names: list[str | None], given: Columns, excluded: dict[str, Taint]
) -> None:
    if given.rest is not None or not names:
        _write(tracer, target, None, given.whole())
        excluded.update((name, given.whole()) for name in names if name)
        return
    for position, column in enumerate(given.known):
        name = names[position] if position < len(names) else None
        _write(tracer, target, name, column.taint)
        if name:
            excluded[name] = column.taint


def _conflict(tracer: Tracer, conflict: Tree, target: Item, scope: Scope) -> None:
    infer = conflict.get("infer", {})
    updates = conflict.get("action") == "ONCONFLICT_UPDATE"
    for wrapped in infer.get("indexElems", ()):
        element = wrapped["IndexElem"]
        tracer.predicate(element.get("expr"), scope)
        if updates and "name" in element:  # which row is updated depends on the value
            exact, doubt = target.column(element["name"])
            tracer.predicates |= doubt.union(*(column.taint for column in exact))
    tracer.predicate(infer.get("whereClause"), scope)
    _assign(tracer, conflict.get("targetList", ()), target, scope)
    tracer.predicate(conflict.get("whereClause"), scope)


def update(tracer: Tracer, node: Tree, scope: Scope) -> Columns:
    """UPDATE … FROM."""
    scope = tracer.with_clause(node.get("withClause"), scope)
    target = _target(tracer, node["relation"])
    here = scope.below([target])
    tracer.from_clause(node.get("fromClause", ()), here)
    tracer.predicate(node.get("whereClause"), here)
    _assign(tracer, node.get("targetList", ()), target, here)
    return _returning(tracer, node, here.items, scope)


def delete(tracer: Tracer, node: Tree, scope: Scope) -> Columns:
    """DELETE … USING."""
    scope = tracer.with_clause(node.get("withClause"), scope)
    here = scope.below([_target(tracer, node["relation"])])
    tracer.from_clause(node.get("usingClause", ()), here)
    tracer.predicate(node.get("whereClause"), here)
    return _returning(tracer, node, here.items, scope)


def merge(tracer: Tracer, node: Tree, scope: Scope) -> Columns:
    """MERGE, with all of its branches."""
    scope = tracer.with_clause(node.get("withClause"), scope)
    target = _target(tracer, node["relation"])
    here = scope.below()
    tracer.from_clause([node["sourceRelation"]], here)
    here.items.append(target)
    tracer.predicate(node.get("joinCondition"), here)
    for wrapped in node.get("mergeWhenClauses", ()):
        clause = wrapped["MergeWhenClause"]
        tracer.predicate(clause.get("condition"), here)
        targets, values = clause.get("targetList", ()), clause.get("values", ())
        if clause.get("commandType") == "CMD_INSERT":
            names: list[str | None] = [column["ResTarget"].get("name") for column in targets]
            if not names and target.closed:
                names = [column.name for column in target.columns.known]
            known = tuple(Output(None, tracer.expression(value, here)) for value in values)
            _insert(tracer, target, names, Columns(known), {})
        else:
            _assign(tracer, targets, target, here)
    return _returning(tracer, node, here.items, scope)


def _target(tracer: Tracer, node: Tree) -> Item:
    """The relation written; no WITH query can be that."""
    return tracer.range_var(node, Scope())


def _assign(tracer: Tracer, targets: Iterable[Tree], item: Item, scope: Scope) -> None:
    for wrapped in targets:
        target = wrapped["ResTarget"]
        tracer.predicates |= tracer.nested(target.get("indirection", ()), scope)
        _write(tracer, item, target.get("name"), tracer.expression(target.get("val", {}), scope))


def _write(tracer: Tracer, target: Item, name: str | None, taint: Taint) -> None:
    """Values may go back into their own table, into a column whose mask shows nothing of them.

    Where they may not fit the column's type, whether they do tells something of them.
    """
    if not taint:
        return
    exact, doubt = target.column(name) if name is not None else ([], CLEAN)
    plain = exact[0].plain if len(exact) == 1 and not doubt else None
    if plain is None or plain not in tracer.absorbing or any(oid not in (0, plain[0]) for oid, _ in taint):
        tracer.flows |= taint
    elif not _is_text(tracer, plain):
        tracer.predicates |= taint


def _is_text(tracer: Tracer, key: Key) -> bool:
    relation = tracer.source.catalog.relations.get(key[0])
    columns = relation.columns if relation is not None else ()
    return any(column.attnum == key[1] and column.type_oid == _TEXT for column in columns)


def _returning(tracer: Tracer, node: Tree, items: list[Item], scope: Scope) -> Columns:
    clause = node.get("returningClause")
    if clause is None:
        return Columns(())
    target = items[-1] if "sourceRelation" in node else items[0]
    aliases = {"RETURNING_OPTION_OLD": "old", "RETURNING_OPTION_NEW": "new"}
    for wrapped in clause.get("options", ()):
        option = wrapped["ReturningOption"]
        aliases[option.get("option", "RETURNING_OPTION_OLD")] = option.get("value", "")
    versions = [Item(alias, target.columns) for alias in aliases.values()]
    here = scope.below(versions).below(items)
    stars = Columns(())
    for item in items:
        rest = stars.rest if item.columns.rest is None else item.columns.rest | (stars.rest or CLEAN)
        stars = Columns((*stars.known, *item.columns.known), rest)
    return tracer.targets(clause.get("exprs", ()), here, stars)


WRITERS: Final[dict[str, Callable[[Tracer, Tree, Scope], Columns]]] = {
    "InsertStmt": insert,
    "UpdateStmt": update,
    "DeleteStmt": delete,
    "MergeStmt": merge,
}
