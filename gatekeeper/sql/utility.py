"""What all other statements contain: DDL, COPY, EXPLAIN, SET, DO, CALL and the like."""

from __future__ import annotations

from typing import Any, Final

from gatekeeper.model import Effect, RelationRef, StatementClass
from gatekeeper.sql import settings
from gatekeeper.sql.tree import Tree
from gatekeeper.sql.walk import Handler, Scope, Walk, strings

ROUTINE: Final = "_Routine"
"""A CREATE FUNCTION that stands for a call of what it creates."""
_RELATIONS: Final = frozenset(
    {
        "OBJECT_TABLE",
        "OBJECT_VIEW",
        "OBJECT_MATVIEW",
        "OBJECT_INDEX",
        "OBJECT_SEQUENCE",
        "OBJECT_FOREIGN_TABLE",
    }
)
_ROWS: Final = frozenset({"OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_FOREIGN_TABLE"})
"""Relations through which rows are written."""
_PARTS: Final = frozenset(
    {"OBJECT_COLUMN", "OBJECT_RULE", "OBJECT_TRIGGER", "OBJECT_POLICY", "OBJECT_TABCONSTRAINT"}
)  # fmt: skip
_NO_FUNCTIONS: Final = """
    stype mstype basetype sortop leftarg rightarg element like commutator negator restrict join alignment
    storage category collatable subtype collation provider passedbyvalue parallel parser template copy locale
    initcond from
"""
_TYPE_ARGUMENTS: Final = frozenset(_NO_FUNCTIONS.split())
"""Of CREATE AGGREGATE, OPERATOR and TYPE: what does not name a function that they call."""
_OUTSIDE_LANGUAGES: Final = frozenset({"c", "internal"})
_ITEM_FUNCTION: Final = 2
"""OPCLASS_ITEM_FUNCTION."""


# --- sessions, cursors, prepared statements -------------------------------------------------------------


def _only_itself(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del scope
    walk.effect(kind, node)


def _prepare(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    walk.found.prepares = node["name"]
    walk.push(None, node.get("argtypes"), scope)
    walk.push(None, node.get("query"), scope)


def _execute(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    walk.found.executes = node["name"]
    walk.children(kind, node, scope)


def _declare(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    walk.found.declares = node["portalname"]
    walk.push(None, node.get("query"), scope)


def _fetch(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del scope
    walk.effect(kind, node)
    walk.found.fetches = node["portalname"]


def _transaction(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del scope
    walk.effect(kind, node)
    name = node.get("kind", "").removeprefix("TRANS_STMT_").replace("_", " ")
    walk.found.transaction = {"START": "BEGIN", "PREPARE": "PREPARE TRANSACTION"}.get(name, name)
    walk.settings(settings.of_transaction(node.get("options", []), "transaction_"))


def _set(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del scope
    walk.effect(kind, node)
    walk.settings(settings.of_set(node.get("setstmt", node)))


def _discard(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del scope
    walk.effect(kind, node)
    if node.get("target", "DISCARD_ALL") == "DISCARD_ALL":
        walk.settings(settings.of_set({"kind": "VAR_RESET_ALL"}))


def _copy(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    incoming = node.get("is_from", False)
    if "filename" in node or node.get("is_program"):
        walk.found.classes.add(StatementClass.SERVER)
    if (relation := node.get("relation")) is not None:
        if incoming:
            walk.found.classes.add(StatementClass.WRITE)
            walk.modifies(relation)
        else:
            walk.found.classes.add(StatementClass.READ)
            walk.found.read.add(walk.relation(relation, written=False))
    walk.children(kind, node, scope, without=("relation",))


def _explain(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    options = [option["DefElem"] for option in node.get("options", ())]
    runs = any(o.get("defname") == "analyze" and not _is_false(o.get("arg")) for o in options)
    walk.silent = walk.silent or not runs
    walk.push(None, node.get("query"), scope)


def _is_false(argument: Tree | None) -> bool:
    if argument is None:
        return False
    ((kind, value),) = argument.items()
    match kind:
        case "Integer":
            return not value.get("ival")
        case "Boolean":
            return not value.get("boolval")
        case "String":
            return str(value.get("sval")).lower() in ("off", "false")
    return False


# --- relations --------------------------------------------------------------------------------------------


def _truncate(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del scope
    walk.effect(kind, node)
    for item in node.get("relations", ()):
        walk.modifies(item["RangeVar"])


def _by_name(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    """DROP, COMMENT and SECURITY LABEL name objects by lists of strings."""
    del scope
    walk.effect(kind, node)
    what = node.get("removeType") or node.get("objtype") or ""
    written = kind == "DropStmt"
    for item in node.get("objects") or [node.get("object")]:
        if what in _RELATIONS:
            walk.named(strings(item), written=written)
        elif what in _PARTS:
            walk.named(strings(item)[:-1], written=written)
        elif what == "OBJECT_SCHEMA" and written:
            walk.found.schemas.update(strings(item))


def _grant(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del scope
    walk.effect(kind, node)
    everything = node.get("targtype") == "ACL_TARGET_ALL_IN_SCHEMA"
    for item in node.get("objects", ()):
        if "RangeVar" in item:
            walk.relation(item["RangeVar"], written=False)
        elif everything:
            walk.found.schemas.update(strings(item))


def _rename(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.statement(kind, node, scope)
    if node.get("renameType") == "OBJECT_ROLE":
        walk.found.classes ^= {StatementClass.DDL, StatementClass.ROLE}
    elif node.get("renameType") == "OBJECT_SCHEMA":
        walk.found.schemas.add(node["subname"])
        walk.found.aliases[f"{node['newname']}.", RelationRef(node["subname"], "")] = None
    elif node.get("renameType") in _ROWS:
        walk.stands_for(node["newname"], node.get("relation"))


def _alter_schema(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    """SET SCHEMA."""
    walk.statement(kind, node, scope)
    if relation := node.get("relation"):
        walk.stands_for(relation["relname"], relation)


def _view(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    """Whoever writes through a view writes what it reads."""
    walk.statement(kind, node, scope)
    walk.views.append(node["view"]["relname"])


def _alter_table(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    """What is done to a parent is done to its children."""
    walk.statement(kind, node, scope)
    for item in node.get("cmds", ()):
        command = item["AlterTableCmd"]
        definition = command.get("def", {})
        if "PartitionCmd" in definition:
            walk.stands_for(node["relation"]["relname"], definition["PartitionCmd"].get("name"))
        elif command.get("subtype") == "AT_AddInherit" and "RangeVar" in definition:
            walk.stands_for(definition["RangeVar"]["relname"], node["relation"])


def _foreign_table(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    base = node.get("base", {})
    walk.relation(base["relation"], written=True)
    walk.children("CreateStmt", base, scope, without=("relation",))


def _create_as(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    walk.relation(node["into"]["rel"], written=True)
    walk.push(None, node.get("query"), scope)


def _refresh(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del scope
    walk.effect(kind, node)
    walk.found.refreshed.add(walk.relation(node["relation"], written=True))


# --- routines -----------------------------------------------------------------------------------------------


def _create_trigger(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.statement(kind, node, scope)
    if (target := node.get("relation")) is not None:
        ref = walk.relation(target, written=True)
        for name in ("old", "new"):
            walk.alias(name, ref)
    walk.names(strings(node.get("funcname")))


def _define(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    """CREATE AGGREGATE, OPERATOR, TYPE: the functions that they are made of."""
    walk.statement(kind, node, scope)
    for item in node.get("definition") or node.get("params") or ():
        element = item["DefElem"]
        if "TypeName" in element.get("arg", {}) and element.get("defname") not in _TYPE_ARGUMENTS:
            walk.names(strings(element["arg"]))


def _create_with_functions(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    """CREATE CAST, TRANSFORM, CONVERSION, OPERATOR CLASS and FAMILY."""
    walk.statement(kind, node, scope)
    named: list[Any] = [node.get(field, {}).get("objname") for field in ("func", "fromsql", "tosql")]
    named.append(node.get("func_name"))
    for item in node.get("items", ()):
        element = item.get("CreateOpClassItem", {})
        if element.get("itemtype") == _ITEM_FUNCTION:
            named.append(element.get("name", {}).get("objname"))
    for names in named:
        if names:
            walk.names(strings(names))


def _create_function(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    without = ("options", "sql_body")
    walk.statement(kind, {name: value for name, value in node.items() if name not in without}, scope)
    language, body = _routine_body(walk, node, scope)
    if language in _OUTSIDE_LANGUAGES or language.endswith("u"):
        walk.found.classes.add(StatementClass.SERVER)
    if language in _OUTSIDE_LANGUAGES and body:
        # a name for one of PostgreSQL's own functions in C
        walk.names([body[-1]])


def _routine(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    """Its arguments have types, which may check them, and defaults."""
    del kind
    walk.push(None, node.get("parameters"), scope)
    walk.push("TypeName", node.get("returnType"), scope)
    _routine_body(walk, node, scope)


def _routine_body(walk: Walk, node: Tree, scope: Scope) -> tuple[str, list[str]]:
    """What a routine does when it is called: its body and its SET clauses. Gives its language and AS."""
    language, body = "sql", []
    for item in node.get("options", ()):
        element = item["DefElem"]
        match element.get("defname"):
            case "language":
                language = "".join(strings(element.get("arg"))).lower()
            case "as":
                body = strings(element.get("arg"))
            case "set":
                walk.settings(settings.of_set(element["arg"]["VariableSetStmt"], local=True))
    if body:
        walk.body(language, body[0], strings(node.get("funcname"))[-1])
    elif "sql_body" in node:
        walk.push(None, node["sql_body"], scope)
    return language, body


def _alter_function(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del scope
    walk.effect(kind, node)
    for item in node.get("actions", ()):
        if item["DefElem"].get("defname") == "set":
            walk.settings(settings.of_set(item["DefElem"]["arg"]["VariableSetStmt"], local=True))


def _do(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del scope
    walk.effect(kind, node)
    walk.found.changes_catalog = True
    language, body = "plpgsql", ""
    for item in node.get("args", ()):
        text = "".join(strings(item["DefElem"].get("arg")))
        if item["DefElem"].get("defname") == "language":
            language = text.lower()
        else:
            body = text
    walk.body(language, body, f"do {language}")


def _call(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    call = node["funccall"]
    if strings(call.get("funcname")) == ["gatekeeper", "end_run"] and not call.get("args"):
        walk.found.calls_end_run = True
        if not walk.silent:
            walk.found.effects[Effect("CALL")] = None
        return
    walk.effect(kind, node)
    walk.push("FuncCall", call, scope)


HANDLERS: Final[dict[str, Handler]] = {
    "ConstraintsSetStmt": _only_itself,
    "AlterDefaultPrivilegesStmt": _only_itself,
    "PrepareStmt": _prepare,
    "ExecuteStmt": _execute,
    "DeclareCursorStmt": _declare,
    "FetchStmt": _fetch,
    "TransactionStmt": _transaction,
    "VariableSetStmt": _set,
    "AlterRoleSetStmt": _set,
    "AlterDatabaseSetStmt": _set,
    "AlterSystemStmt": _set,
    "DiscardStmt": _discard,
    "CopyStmt": _copy,
    "ExplainStmt": _explain,
    "TruncateStmt": _truncate,
    "DropStmt": _by_name,
    "CommentStmt": _by_name,
    "SecLabelStmt": _by_name,
    "GrantStmt": _grant,
    "RenameStmt": _rename,
    "AlterObjectSchemaStmt": _alter_schema,
    "ViewStmt": _view,
    "AlterTableStmt": _alter_table,
    "CreateForeignTableStmt": _foreign_table,
    "CreateTableAsStmt": _create_as,
    "RefreshMatViewStmt": _refresh,
    "CreateTrigStmt": _create_trigger,
    "CreateEventTrigStmt": _create_trigger,
    "DefineStmt": _define,
    "CreateRangeStmt": _define,
    "CreateCastStmt": _create_with_functions,
    "CreateTransformStmt": _create_with_functions,
    "CreateConversionStmt": _create_with_functions,
    "CreateOpClassStmt": _create_with_functions,
    "AlterOpFamilyStmt": _create_with_functions,
    "CreateFunctionStmt": _create_function,
    ROUTINE: _routine,
    "AlterFunctionStmt": _alter_function,
    "DoStmt": _do,
    "CallStmt": _call,
}
