"""What queries contain: SELECT, INSERT, UPDATE, DELETE, MERGE, and the expressions in them."""

from __future__ import annotations

from typing import Any, Final

from gatekeeper.model import Effect, RelationRef, StatementClass
from gatekeeper.sql import functions, settings
from gatekeeper.sql.contents import Range
from gatekeeper.sql.tree import Tree
from gatekeeper.sql.walk import Handler, Scope, Walk, strings

ARM: Final = "_Arm"
"""A SELECT that is no statement: an arm of UNION, the VALUES of INSERT, an expression of PL/pgSQL."""

_LOCKS: Final = {
    "LCS_FORKEYSHARE": "SELECT FOR KEY SHARE",
    "LCS_FORSHARE": "SELECT FOR SHARE",
    "LCS_FORNOKEYUPDATE": "SELECT FOR NO KEY UPDATE",
    "LCS_FORUPDATE": "SELECT FOR UPDATE",
}
_MERGES: Final = {"CMD_INSERT": "INSERT", "CMD_UPDATE": "UPDATE", "CMD_DELETE": "DELETE"}
_SIGNS: Final = ("name", "operName", "useOp")
_BETWEEN: Final = ("<", "<=", ">", ">=")
_READ_ONLY: Final = "262144"
"""INV_READ, for lo_open."""
_OF_PG_DUMP: Final = "restrict_nonsystem_relation_kind"


def _with(walk: Walk, node: Tree, scope: Scope) -> tuple[Scope, list[tuple[Tree, Scope]]]:
    """Common table expressions: the scope of the statement that has them, and each with its own."""
    clause = node.get("withClause")
    if clause is None:
        return scope, []
    entries = [entry["CommonTableExpr"] for entry in clause.get("ctes", ())]
    everything = scope.union(entry["ctename"] for entry in entries)
    inner = everything if clause.get("recursive") else scope
    found = []
    for entry in entries:
        names = strings(entry.get("aliascolnames", ()))
        columns = frozenset(names) if names else _columns(entry.get("ctequery"))
        walk.cte_columns.setdefault(entry["ctename"], set()).add(columns)
        found.append((entry, inner))
        inner = inner | {entry["ctename"]}
    return everything, found


def _push_with(walk: Walk, entries: list[tuple[Tree, Scope]]) -> None:
    for entry, scope in reversed(entries):
        walk.children("CommonTableExpr", entry, scope)


def _columns(query: Any) -> Range:
    """Names of the output columns of a query where they are plain to see."""
    select = query.get("SelectStmt") if isinstance(query, dict) else None
    while select is not None and "larg" in select:
        select = select["larg"]
    if not select or "targetList" not in select:
        return None
    names = set()
    for item in select["targetList"]:
        target = item["ResTarget"]
        fields = target.get("val", {}).get("ColumnRef", {}).get("fields", [{}])
        if "name" in target:
            names.add(target["name"])
        elif "String" in fields[-1]:
            names.add(fields[-1]["String"]["sval"])
        elif "A_Star" in fields[-1]:
            return None
    return frozenset(names)


def _select(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    _arm(walk, kind, node, scope)


def _arm(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del kind
    inner, entries = _with(walk, node, scope)
    if (into := node.get("intoClause")) is not None:
        walk.found.classes.add(StatementClass.DDL)
        walk.found.changes_catalog = True
        walk.relation(into["rel"], written=True)
    for item in node.get("lockingClause", ()):
        if not walk.silent:
            tag = _LOCKS.get(item["LockingClause"].get("strength", ""), "SELECT FOR UPDATE")
            walk.found.effects[Effect(tag)] = None
        walk.found.classes.add(StatementClass.WRITE)
    walk.children("SelectStmt", _with_name_known(node), inner, without=_NOT_CHILDREN)
    walk.push(ARM, node.get("rarg"), inner)
    walk.push(ARM, node.get("larg"), inner)
    _push_with(walk, entries)


def _with_name_known(node: Tree) -> Tree:
    """The name that pg_dump's set_config has, which it takes from pg_settings to see whether it is there.

    SELECT set_config(name, '…', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'
    """
    where = node.get("whereClause", {}).get("A_Expr", {})
    value, tables = where.get("rexpr", {}), node.get("fromClause", ())
    if (
        settings.constant(value) != _OF_PG_DUMP
        or "A_Const" not in value
        or where.get("kind") != "AEXPR_OP"
        or strings(where.get("name")) != ["="]
        or not _is_name(where.get("lexpr", {}))
        or [table.get("RangeVar", {}).get("relname") for table in tables] != ["pg_settings"]
        or tables[0]["RangeVar"].get("schemaname", "pg_catalog") != "pg_catalog"
    ):
        return node
    return {**node, "targetList": [_with_name(item, value) for item in node.get("targetList", ())]}


def _with_name(item: Tree, value: Tree) -> Tree:
    target = item["ResTarget"]
    call = target.get("val", {}).get("FuncCall")
    arguments = call.get("args", ()) if call and strings(call.get("funcname"))[-1:] == ["set_config"] else ()
    if not arguments or not _is_name(arguments[0]):
        return item
    return {"ResTarget": {**target, "val": {"FuncCall": {**call, "args": [value, *arguments[1:]]}}}}


def _is_name(node: Tree) -> bool:
    return strings(node.get("ColumnRef", {}).get("fields")) == ["name"]


_NOT_CHILDREN: Final = frozenset({"larg", "rarg", "withClause", "intoClause", "lockingClause"})


def _write(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    inner, entries = _with(walk, node, scope)
    target = node["relation"]
    ref = walk.modifies(target)
    _name(walk, target, ref)
    for name in ("old", "new", "excluded"):
        walk.alias(name, ref)
    if ref.name == "pg_settings":
        # the view's rule calls set_config
        walk.settings([settings.UNKNOWN])
    elif ref.schema == "pg_catalog" or (ref.schema is None and ref.name.startswith("pg_")):
        walk.found.classes |= {StatementClass.DDL, StatementClass.SERVER}
        walk.found.changes_catalog = True
    conflict = node.get("onConflictClause", {})
    if conflict.get("action") == "ONCONFLICT_UPDATE" and not walk.silent:
        walk.found.effects[Effect("UPDATE")] = None
    walk.children(kind, node, inner, without=("relation", "withClause", "selectStmt"))
    if (select := node.get("selectStmt")) is not None:
        query = select["SelectStmt"]
        bare = "valuesLists" in query
        walk.push(ARM if bare else "SelectStmt", query, inner)
    _push_with(walk, entries)


def _merge_when(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    tag = _MERGES.get(node.get("commandType", ""))
    if tag is not None and not walk.silent:
        walk.found.effects[Effect(tag)] = None
    walk.children(kind, node, scope)


def _range_var(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del kind
    if "schemaname" not in node and node["relname"] in scope:
        _name(walk, node, *walk.cte_columns.get(node["relname"], {None}))
        return
    ref = walk.relation(node, written=False)
    walk.found.read.add(ref)
    _name(walk, node, ref)


def _name(walk: Walk, node: Tree, *ranges: Range) -> None:
    alias = node.get("alias", {})
    columns = strings(alias.get("colnames", ()))
    walk.alias(alias.get("aliasname", node["relname"]), *([frozenset(columns)] if columns else ranges))


def _range_subselect(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    if alias := node.get("alias"):
        columns = strings(alias.get("colnames", ()))
        walk.alias(alias["aliasname"], frozenset(columns) if columns else _columns(node.get("subquery")))
    walk.children(kind, node, scope)


def _range_other(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    if alias := node.get("alias"):
        walk.alias(alias["aliasname"], None)
    walk.children(kind, node, scope)


def _column(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    del kind, scope
    fields = node.get("fields", ())
    if len(fields) > 1 and "String" in fields[-1]:
        names = strings(fields)
        walk.found.fields.add((names[-2] if len(names) == 2 else "", names[-1]))


def _indirection(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    for step in node.get("indirection", ()):
        if "String" in step:
            walk.found.fields.add(("", step["String"].get("sval", "")))
    walk.children(kind, node, scope)


def _operator(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    """An expression, a subquery in one, or a key of ORDER BY, by whatever operator."""
    for field in _SIGNS:
        if names := strings(node.get(field)):
            walk.found.operators.update(_BETWEEN if "BETWEEN" in names[-1] else names[-1:])
    walk.children(kind, node, scope, without=_SIGNS)


def _type(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.found.types.update(strings(node.get("names"))[-1:])
    walk.children(kind, node, scope, without=("names",))


def _call(walk: Walk, kind: str, node: Tree, scope: Scope) -> None:
    arguments = node.get("args", [])
    names = strings(node.get("funcname"))
    if names[-1] == "lo_open" and settings.constant(arguments[-1] if arguments else None) == _READ_ONLY:
        names = ["loread"]
    ref = walk.calls(names)
    first = settings.constant(arguments[0]) if arguments else None
    match ref.name:
        case "set_config":
            walk.settings([settings.of_call(arguments)])
        case "nextval" | "setval" if first:
            walk.named(_dotted(first), written=True)
        case "ts_rewrite" if len(arguments) != 2:
            pass
        case name if functions.runs_text(name):
            _run_text(walk, name, first)
    walk.children(kind, node, scope, without=("funcname",))


def _run_text(walk: Walk, name: str, first: str | None) -> None:
    """A function that runs SQL from text: whatever is known of the text counts besides."""
    walk.found.dynamic_sql = True
    if first is None:
        return
    if name.startswith("table_to_xml"):
        names = _dotted(first)
        walk.named(names, written=False)
        walk.found.read.add(RelationRef(names[-2] if len(names) > 1 else None, names[-1]))
    elif name.startswith(("query_to_xml", "ts_stat", "crosstab")):
        walk.body("sql", first, name)


def _dotted(text: str) -> list[str]:
    """The parts of a name in a string, such as `public."Orders_id_seq"`."""
    names, quoted = [""], False
    for character in text.strip():
        if character == '"':
            quoted = not quoted
        elif character == "." and not quoted:
            names.append("")
        else:
            names[-1] += character if quoted else character.lower()
    return names


HANDLERS: Final[dict[str, Handler]] = {
    ARM: _arm,
    "SelectStmt": _select,
    "InsertStmt": _write,
    "UpdateStmt": _write,
    "DeleteStmt": _write,
    "MergeStmt": _write,
    "MergeWhenClause": _merge_when,
    "RangeVar": _range_var,
    "RangeSubselect": _range_subselect,
    "RangeFunction": _range_other,
    "RangeTableFunc": _range_other,
    "JsonTable": _range_other,
    "JoinExpr": _range_other,
    "A_Expr": _operator,
    "SubLink": _operator,
    "SortBy": _operator,
    "TypeName": _type,
    "ColumnRef": _column,
    "A_Indirection": _indirection,
    "FuncCall": _call,
}
