"""Code: functions, DO blocks, triggers and rules. Whatever it reads of masked columns counts as written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from gatekeeper.sql import plpgsql
from gatekeeper.sql.catalog import Routine
from gatekeeper.sql.lineage import CLEAN, Columns, Output, Taint, Tracer
from gatekeeper.sql.scopes import Item, Scope
from gatekeeper.sql.sources import strings, words_of
from gatekeeper.sql.tree import Tree, UnreadableError, parse

if TYPE_CHECKING:
    from gatekeeper.masking.statements import Statements

_NOTHING: Final = Columns(())
_ANYTHING: Final = Item(None, Columns((), CLEAN))
_CAUGHT: Final = frozenset({"stacked", "sqlerrm"})


def create_function(statements: Statements, node: Tree, scope: Scope) -> Columns:
    """CREATE FUNCTION and PROCEDURE: code that others will call."""
    options = {o["DefElem"].get("defname"): o["DefElem"].get("arg", {}) for o in node.get("options", ())}
    parameters = [p["FunctionParameter"] for p in node.get("parameters", ())]
    names = frozenset(p.get("name", "") for p in parameters)
    for parameter in parameters:
        statements.tracer.flows |= statements.tracer.nested(
            parameter.get("defexpr", {}), scope.below([_ANYTHING])
        )
    if "sql_body" in node:
        inside = statements.inside(names)
        for statement in _statements_in(node["sql_body"]):
            inside.tracer.flows |= inside.inner(statement, Scope(variables=names)).whole()
        return _NOTHING
    language = options.get("language", {}).get("String", {}).get("sval", "").lower()
    body = strings(options.get("as", {}).get("List", {}).get("items", ()))
    text = body[0] if body else ""
    code(statements, language, text, names)
    if strings(node.get("returnType", {}).get("names", ()))[-1:] == ["trigger"]:
        _note_trigger_function(statements, strings(node.get("funcname", ()))[-1], language, text)
    return _NOTHING


def _note_trigger_function(statements: Statements, name: str, language: str, text: str) -> None:
    """Try it on a table that has every masked column there is."""
    masked = {
        column.name: Output(column.name, statements.source.masked)
        for oid, attnum in statements.source.masked
        if (relation := statements.catalog.relations.get(oid)) is not None
        for column in relation.columns
        if column.attnum == attnum
    }
    rows = [Item(name, Columns(tuple(masked.values()), CLEAN)) for name in ("new", "old")]
    inside = statements.inside(frozenset(), Tracer(statements.source))
    code(inside, language, text, frozenset(), rows)
    if inside.tracer.flows or inside.tracer.predicates or inside.dynamic or inside.opaque:
        statements.harmless_triggers.discard(name)
    else:
        statements.harmless_triggers.add(name)


def do(statements: Statements, node: Tree, _: Scope) -> Columns:
    """DO."""
    options = {o["DefElem"].get("defname"): o["DefElem"].get("arg", {}) for o in node.get("args", ())}
    language = options.get("language", {}).get("String", {}).get("sval", "plpgsql").lower()
    code(statements, language, options.get("as", {}).get("String", {}).get("sval", ""), frozenset())
    return _NOTHING


def code(
    statements: Statements, language: str, body: str, names: frozenset[str], rows: Iterable[Item] = ()
) -> None:
    """Whatever code reads of masked columns counts as written; `rows` are NEW and OLD in a trigger."""
    words = words_of(body)
    if language not in ("sql", "plpgsql"):
        statements.opaque = True
        return
    known = names | (words or frozenset())
    if words is None or (words & _CAUGHT and words & statements.source.touching):
        statements.tracer.flows |= statements.source.masked  # DETAIL of a caught error shows whole rows
    try:
        texts, executed = _texts_of(language, body)
    except UnreadableError:
        statements.tracer.flows |= statements.source.masked
        return
    statements.dynamic = statements.dynamic or bool(executed)
    for text in [*texts, *executed]:
        if text.lower().split() in (["select", "new"], ["select", "old"]):
            continue  # RETURN NEW
        inside = statements.inside(known)
        for statement in _parsed(text):
            scope = Scope(list(rows), variables=known)
            statements.tracer.flows |= inside.trace(statement.kind, statement.node, scope).whole()
        statements.dynamic, statements.opaque = (
            statements.dynamic or inside.dynamic,
            statements.opaque or inside.opaque,
        )


def trigger(statements: Statements, node: Tree, scope: Scope) -> Columns:
    """CREATE TRIGGER: its function sees whole rows of the table."""
    item = statements.tracer.range_var(node["relation"], Scope())
    rows = [Item(name, item.columns) for name in ("new", "old")]
    statements.tracer.predicate(node.get("whenClause"), scope.below(rows))
    if not item.columns.whole():
        return _NOTHING
    names = strings(node.get("funcname", ()))
    routines = statements.catalog.routines_named(names[-2] if len(names) > 1 else None, names[-1])
    transitions = [t["TriggerTransition"].get("name", "") for t in node.get("transitionRels", ())]
    if transitions or (not routines and names[-1] not in statements.harmless_triggers):
        statements.tracer.flows |= item.columns.whole()
    for routine in routines:
        _trigger_function(statements, routine, rows, item.columns.whole())
    return _NOTHING


def _trigger_function(statements: Statements, routine: Routine, rows: list[Item], whole: Taint) -> None:
    if routine.language == "plpgsql":
        code(statements, "plpgsql", routine.source, frozenset({"tg_op", "tg_table_name"}), rows)
    elif not routine.extension:
        statements.tracer.flows |= whole


def rule(statements: Statements, node: Tree, scope: Scope) -> Columns:
    """CREATE RULE: statements that others will run without writing them."""
    item = statements.tracer.range_var(node["relation"], Scope())
    here = scope.below([Item(name, item.columns) for name in ("new", "old")])
    statements.tracer.predicate(node.get("whereClause"), here)
    for action in node.get("actions", ()):
        statements.tracer.flows |= statements.inner(action, here).whole()
    return _NOTHING


def _statements_in(node: Any) -> Iterable[Tree]:
    """The statements of a BEGIN ATOMIC body, or the expression of RETURN as one."""
    if "ReturnStmt" in node:
        target = {"ResTarget": {"val": node["ReturnStmt"].get("returnval", {})}}
        yield {"SelectStmt": {"targetList": [target]}}
    elif "List" in node:
        for item in node["List"].get("items", ()):
            yield from _statements_in(item)
    elif node:
        yield node


def _texts_of(language: str, body: str) -> tuple[list[str], list[str]]:
    if language == "sql":
        return [body], []
    read = plpgsql.read(body)
    return [*read.statements, *read.expressions], read.executed


def _parsed(text: str) -> list[Any]:
    return list(parse(text))
