"""Walks a parse tree and gathers what it contains. Nothing is looked up; nothing is left out.

The walk keeps its own stack, so that no tree is too deep for it. A node type without a handler is walked
through to its children; a statement node without a class is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from gatekeeper.model import Effect, FunctionRef, Refusal, RelationRef, SettingChange, StatementClass
from gatekeeper.sql import functions, settings
from gatekeeper.sql.contents import UNREADABLE, Contents
from gatekeeper.sql.tags import NOT_STATEMENTS, STATEMENTS, command_tag
from gatekeeper.sql.tree import FIELD_TYPES, Tree, UnreadableError

READ, WRITE, FUNCTION, ROLE, DDL, MISC, SERVER = StatementClass
Scope = frozenset[str]
"""Names of the common table expressions in sight."""

_NONE: Final[frozenset[StatementClass]] = frozenset()
_DDL: Final = frozenset({DDL})
_OUTSIDE: Final = frozenset({DDL, SERVER})

CLASSES: Final[dict[str, frozenset[StatementClass]]] = {
    **dict.fromkeys(STATEMENTS, _DDL),
    **dict.fromkeys(
        (
            "AlterExtensionContentsStmt", "AlterExtensionStmt", "AlterFdwStmt", "AlterForeignServerStmt",
            "AlterSubscriptionStmt", "AlterSystemStmt", "AlterUserMappingStmt", "CreateExtensionStmt",
            "CreateFdwStmt", "CreateForeignServerStmt", "CreateForeignTableStmt", "CreatePLangStmt",
            "CreateSubscriptionStmt", "CreateTableSpaceStmt", "CreateUserMappingStmt", "DropSubscriptionStmt",
            "DropTableSpaceStmt", "ImportForeignSchemaStmt",
        ),
        _OUTSIDE,
    ),
    **dict.fromkeys(
        (
            "AlterDefaultPrivilegesStmt", "AlterRoleSetStmt", "AlterRoleStmt", "CreateRoleStmt",
            "DropRoleStmt", "GrantRoleStmt", "GrantStmt",
        ),
        frozenset({ROLE}),
    ),
    **dict.fromkeys(("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "TruncateStmt"), frozenset({WRITE})),
    **dict.fromkeys(("CallStmt", "DoStmt"), frozenset({FUNCTION})),
    **dict.fromkeys(
        ("CheckPointStmt", "ListenStmt", "LockStmt", "NotifyStmt", "ReindexStmt", "UnlistenStmt", "VacuumStmt"),
        frozenset({MISC}),
    ),
    "LoadStmt": frozenset({SERVER}),
    "SelectStmt": frozenset({READ}),
    # Always allowed, or no more than what stands in them:
    **dict.fromkeys(
        (
            "ClosePortalStmt", "ConstraintsSetStmt", "CopyStmt", "DeallocateStmt", "DeclareCursorStmt", "DiscardStmt",
            "ExecuteStmt", "ExplainStmt", "FetchStmt", "PrepareStmt", "TransactionStmt", "VariableSetStmt",
            "VariableShowStmt",
        ),
        _NONE,
    ),
}  # fmt: skip
"""What each statement needs of itself. Empty: always allowed, or only what is nested in it counts."""

_TARGETS: Final = ("relation", "view", "sequence", "rel")
_RELATIONS: Final = frozenset(
    "OBJECT_" + kind
    for kind in ("TABLE", "VIEW", "MATVIEW", "INDEX", "SEQUENCE", "FOREIGN_TABLE")
)  # fmt: skip
_PARTS_OF_RELATIONS: Final = frozenset(
    "OBJECT_" + kind for kind in ("COLUMN", "RULE", "TRIGGER", "POLICY", "TABCONSTRAINT")
)
_WRITES: Final = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_LOCKS: Final = {
    "LCS_FORKEYSHARE": "SELECT FOR KEY SHARE",
    "LCS_FORSHARE": "SELECT FOR SHARE",
    "LCS_FORNOKEYUPDATE": "SELECT FOR NO KEY UPDATE",
    "LCS_FORUPDATE": "SELECT FOR UPDATE",
}
_SKIP: Final = frozenset(
    {"A_Const", "ParamRef", "String", "RoleSpec", "A_Star", "Integer", "Float", "Boolean"}
)

BodyReader = Callable[[str, str, Contents], None]
"""`(language, text, into)`: reads the body of a function or of DO."""


def gather(kind: str, node: Tree, read_body: BodyReader) -> Contents:
    """All that a statement contains, read from the tree alone. Raises UnreadableError for an unknown node."""
    walk = _Walk(read_body)
    walk.run(kind, node)
    return walk.found


class _Walk:
    def __init__(self, read_body: BodyReader) -> None:
        self.found = Contents()
        self.read_body = read_body
        self.stack: list[tuple[str | None, Any, Scope]] = []
        self.silent = False
        """Under EXPLAIN without ANALYZE: planned, not run."""

    def run(self, kind: str, node: Tree) -> None:
        stack = self.stack
        stack.append((kind, node, frozenset()))
        while stack:
            kind_or_none, item, scope = stack.pop()
            if type(item) is list:
                stack.extend([(kind_or_none, child, scope) for child in reversed(item)])
                continue
            if type(item) is not dict or not item:
                continue
            if kind_or_none is None:
                ((kind_or_none, item),) = item.items()
            if kind_or_none in _SKIP:
                continue
            handler = _HANDLERS.get(kind_or_none)
            if handler is not None:
                handler(self, kind_or_none, item, scope)
            elif kind_or_none in STATEMENTS:
                self.statement(kind_or_none, item, scope)
            elif kind_or_none.endswith("Stmt") and kind_or_none not in NOT_STATEMENTS:
                raise UnreadableError(Refusal("0A000", f"{kind_or_none} is not supported"))
            else:
                self.children(kind_or_none, item, scope)

    def children(self, kind: str, node: Tree, scope: Scope, without: tuple[str, ...] = ()) -> None:
        types = FIELD_TYPES.get(kind, {})
        fields = [
            (types.get(name), value, scope)
            for name, value in node.items()
            if type(value) in (dict, list) and name not in without
        ]
        fields.reverse()
        self.stack.extend(fields)

    def effect(self, kind: str, node: Tree) -> None:
        tag = command_tag(kind, node)
        if tag is None:
            raise UnreadableError(Refusal("0A000", f"{kind} is not supported"))
        if not self.silent:
            missing = kind in ("UpdateStmt", "DeleteStmt") and "whereClause" not in node
            self.found.effects[Effect(tag, missing)] = None
        self.found.classes |= CLASSES[kind]

    def statement(self, kind: str, node: Tree, scope: Scope) -> None:
        """Any statement: mostly DDL. What it is about is written, whatever else it names is read."""
        self.effect(kind, node)
        writes = DDL in CLASSES[kind]
        if writes:
            self.found.changes_catalog = True
        for field in _TARGETS:
            if isinstance(target := node.get(field), dict) and "relname" in target:
                self.relation(target, written=writes)
        self.children(kind, node, scope, without=_TARGETS)

    def relation(self, node: Tree, *, written: bool) -> RelationRef:
        ref = RelationRef(node.get("schemaname"), node["relname"], written)
        self.found.relations[ref] = None
        return ref

    def named(self, item: Tree, *, written: bool, parts: int = 0) -> None:
        """A relation named by a list of strings, the last `parts` of which name something in it."""
        names = strings(item)
        names = names[: len(names) - parts]
        if names:
            ref = RelationRef(names[-2] if len(names) > 1 else None, names[-1], written)
            self.found.relations[ref] = None

    def settings(self, changes: Iterable[SettingChange]) -> None:
        self.found.settings.update(dict.fromkeys(changes))

    def body(self, language: str, text: str, name: str) -> None:
        """The body of a function or of DO; where it cannot be read, `name` is opaque."""
        inner = Contents()
        self.read_body(language, text, inner)
        inner.opaque = {FunctionRef(None, name) if ref == UNREADABLE else ref for ref in inner.opaque}
        self.found.merge([inner])

    def call(self, names: list[str]) -> None:
        if names:
            self.found.functions[FunctionRef(names[-2] if len(names) > 1 else None, names[-1])] = None


def strings(node: Any) -> list[str]:
    """The strings of a List node, or of a list of String nodes."""
    if isinstance(node, dict):
        if "List" in node:
            node = node["List"].get("items", [])
        elif "TypeName" in node:
            node = node["TypeName"].get("names", [])
        else:
            node = [node]
    return [item["String"].get("sval", "") for item in node if isinstance(item, dict) and "String" in item]


def _with(walk: _Walk, node: Tree, scope: Scope) -> Scope:
    """Push the common table expressions; give the scope of the statement that has them."""
    clause = node.get("withClause")
    if clause is None:
        return scope
    entries = [entry["CommonTableExpr"] for entry in clause.get("ctes", ())]
    everything = scope.union(entry.get("ctename", "") for entry in entries)
    inner = everything if clause.get("recursive") else scope
    pushes: list[tuple[str | None, Any, Scope]] = []
    for entry in entries:
        walk.found.ranges.setdefault(entry.get("ctename", ""), set()).add(None)
        pushes.append((None, entry.get("ctequery"), inner))
        inner = inner | {entry.get("ctename", "")}
    pushes.reverse()
    walk.stack.extend(pushes)
    return everything


def _select(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    _query(walk, kind, node, scope)


def _query(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    """A SELECT without its own effect: of an INSERT's VALUES, or an arm of UNION."""
    found = walk.found
    mark = len(walk.stack)
    inner = _with(walk, node, scope)
    ctes = walk.stack[mark:]
    del walk.stack[mark:]
    if "larg" in node:
        for arm in (node["rarg"], node["larg"]):
            walk.stack.append(("_Arm", arm, inner))
    if (into := node.get("intoClause")) is not None:
        walk.found.classes.add(DDL)
        walk.found.changes_catalog = True
        walk.effect("SelectStmt", node)
        walk.relation(into["rel"], written=True)
    for item in node.get("lockingClause", ()):
        strength = item["LockingClause"].get("strength", "")
        if not walk.silent:
            found.effects[Effect(_LOCKS.get(strength, "SELECT FOR UPDATE"))] = None
        found.classes.add(WRITE)
    walk.children(kind, node, inner, without=("larg", "rarg", "withClause", "intoClause", "lockingClause"))
    walk.stack.extend(ctes)


def _arm(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    _query(walk, "SelectStmt", node, scope)


def _write(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    mark = len(walk.stack)
    inner = _with(walk, node, scope)
    ctes = walk.stack[mark:]
    del walk.stack[mark:]
    target = node["relation"]
    ref = walk.relation(target, written=True)
    _alias(walk, target, ref)
    if ref.name == "pg_settings":
        # the view's rule calls set_config
        walk.found.settings[settings.UNKNOWN] = None
    walk.children(kind, node, inner, without=("relation", "withClause", "selectStmt"))
    select = node.get("selectStmt")
    if select is not None:
        ((_, query),) = select.items()
        bare = "valuesLists" in query and "larg" not in query
        walk.stack.append(("_Arm" if bare else "SelectStmt", query, inner))
    walk.stack.extend(ctes)


def _range_var(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    if "schemaname" not in node and node.get("relname") in scope:
        _alias(walk, node, None)
        return
    _alias(walk, node, walk.relation(node, written=False))


def _alias(walk: _Walk, node: Tree, ref: RelationRef | None) -> None:
    alias = node.get("alias")
    name = alias["aliasname"] if alias else node["relname"]
    # a column list in the alias renames columns
    renamed = ref is None or (alias is not None and "colnames" in alias)
    walk.found.ranges.setdefault(name, set()).add(None if renamed else RelationRef(ref.schema, ref.name))  # type: ignore[union-attr]


def _column(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    fields = node.get("fields", ())
    if len(fields) > 1 and "String" in fields[-1]:
        names = strings(fields)
        walk.found.fields.add((names[-2] if len(names) == 2 else "", names[-1]))


def _indirection(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    for step in node.get("indirection", ()):
        if "String" in step:
            walk.found.fields.add(("", step["String"].get("sval", "")))
    walk.children(kind, node, scope)


def _range_other(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    if alias := node.get("alias"):
        walk.found.ranges.setdefault(alias["aliasname"], set()).add(None)
    walk.children(kind, node, scope)


def _call(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    names = strings(node.get("funcname", ()))
    walk.call(names)
    name = names[-1]
    if name == "set_config":
        walk.found.settings[settings.of_call(node.get("args", []))] = None
    elif functions.runs_text(name) and not (name == "ts_rewrite" and len(node.get("args", ())) > 2):
        walk.found.dynamic_sql = True
    elif name == "lo_open" and settings.constant(node.get("args", [None])[-1]) == "262144":
        walk.found.functions.pop(FunctionRef(names[-2] if len(names) > 1 else None, name))
        walk.found.functions[FunctionRef("pg_catalog", "loread")] = None
    walk.children(kind, node, scope, without=("funcname",))


def _nothing_but_names(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    if kind == "PrepareStmt":
        walk.found.prepares = node.get("name", "")
    elif kind == "ExecuteStmt":
        walk.found.executes = node.get("name", "")
    elif kind == "DeclareCursorStmt":
        walk.found.declares = node.get("portalname", "")
    elif kind == "FetchStmt":
        walk.found.fetches = node.get("portalname", "")
    walk.children(kind, node, scope)


def _transaction(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    name = node.get("kind", "").removeprefix("TRANS_STMT_").replace("_", " ")
    walk.found.transaction = {
        "START": "BEGIN",
        "PREPARE": "PREPARE TRANSACTION",
    }.get(name, name)
    walk.found.settings.update(
        dict.fromkeys(settings.of_transaction(node.get("options", []), "transaction_"))
    )


def _set(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    walk.settings(settings.of_set(node))


def _alter_set(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    """ALTER ROLE, DATABASE … SET."""
    walk.effect(kind, node)
    walk.settings(settings.of_set(node["setstmt"]))


def _copy(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    incoming = node.get("is_from", False)
    if "filename" in node or node.get("is_program"):
        walk.found.classes.add(SERVER)
    if "relation" in node:
        walk.found.classes.add(WRITE if incoming else READ)
        walk.relation(node["relation"], written=incoming)
    walk.children(kind, node, scope, without=("relation",))


def _explain(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    runs = any(
        option["DefElem"].get("defname") == "analyze" and not _is_false(option["DefElem"].get("arg"))
        for option in node.get("options", ())
    )
    walk.silent = walk.silent or not runs
    walk.stack.append((None, node.get("query"), scope))


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


def _truncate(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    for item in node.get("relations", ()):
        walk.relation(item["RangeVar"], written=True)


def _drop(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    """DROP, COMMENT, SECURITY LABEL and ALTER of objects that are named by lists of strings."""
    walk.effect(kind, node)
    what = node.get("removeType") or node.get("objtype") or ""
    objects = node.get("objects") or [node.get("object") or {}]
    if kind != "CommentStmt":
        walk.found.changes_catalog = True
    for item in objects:
        if what in _RELATIONS:
            walk.named(item, written=True)
        elif what in _PARTS_OF_RELATIONS:
            walk.named(item, written=True, parts=1)


def _create_as(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    walk.found.changes_catalog = True
    walk.relation(node["into"]["rel"], written=True)
    walk.stack.append((None, node.get("query"), scope))


def _refresh(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    walk.found.refreshed.add(walk.relation(node["relation"], written=True))


def _create_trigger(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.statement(kind, node, scope)
    walk.call(strings(node.get("funcname", ())))


def _define(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    """CREATE AGGREGATE, OPERATOR, TYPE …: the functions that they are made of will be called."""
    walk.statement(kind, node, scope)
    for item in node.get("definition", ()):
        element = item["DefElem"]
        if "TypeName" in element.get("arg", {}) and element.get("defname") not in _TYPE_ARGUMENTS:
            walk.call(strings(element["arg"]))


_TYPE_ARGUMENTS: Final = frozenset(
    {"stype", "mstype", "basetype", "sortop", "leftarg", "rightarg", "element", "like", "commutator", "negator",
     "restrict", "join", "alignment", "storage", "category", "collatable", "subtype", "collation", "provider",
     "passedbyvalue", "parallel", "parser", "template", "copy", "locale", "initcond", "from"}
)  # fmt: skip


def _object_with_args(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    """The function of a cast, an operator class or a transform."""
    walk.call(strings(node.get("objname", ())))


def _create_function(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.statement(kind, {k: v for k, v in node.items() if k not in ("options", "sql_body")}, scope)
    language, body = _routine(walk, kind, node, scope)
    if language in ("c", "internal") or language.endswith("u"):
        walk.found.classes.add(SERVER)
    if language in ("c", "internal") and body:
        walk.call([body[-1]])


def _routine(walk: _Walk, kind: str, node: Tree, scope: Scope) -> tuple[str, list[str]]:
    """What a function does when it is called: its body, and its SET clauses. Gives language and AS."""
    del kind
    language: str = "sql"
    body: list[str] = []
    for item in node.get("options", ()):
        element = item["DefElem"]
        match element.get("defname"):
            case "language":
                language = strings(element.get("arg"))[0].lower()
            case "as":
                body = strings(element.get("arg"))
            case "set":
                walk.settings(settings.of_set(element["arg"]["VariableSetStmt"], local=True))
            case _:
                pass
    if body:
        walk.body(language, body[0], strings(node.get("funcname", ()))[-1])
    elif "sql_body" in node:
        walk.stack.append((None, node["sql_body"], scope))
    return language, body


def _routine_alone(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    _routine(walk, kind, node, scope)


def _alter_function(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    walk.found.changes_catalog = True
    for item in node.get("actions", ()):
        if item["DefElem"].get("defname") == "set":
            walk.settings(settings.of_set(item["DefElem"]["arg"]["VariableSetStmt"], local=True))


def _do(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    walk.effect(kind, node)
    walk.found.changes_catalog = True
    language, body = "plpgsql", ""
    for item in node.get("args", ()):
        element = item["DefElem"]
        text = strings(element.get("arg"))[0]
        if element.get("defname") == "language":
            language = text.lower()
        else:
            body = text
    walk.body(language, body, f"do {language}")


def _call_statement(walk: _Walk, kind: str, node: Tree, scope: Scope) -> None:
    call = node["funccall"]
    if strings(call.get("funcname", ())) == ["gatekeeper", "end_run"] and not call.get("args"):
        walk.found.calls_end_run = True
        if not walk.silent:
            walk.found.effects[Effect("CALL")] = None
        return
    walk.effect(kind, node)
    walk.stack.append(("FuncCall", call, scope))


Handler = Callable[[_Walk, str, Tree, Scope], None]
_HANDLERS: Final[dict[str, Handler]] = {
    "_Arm": _arm,
    "_Routine": _routine_alone,
    "SelectStmt": _select,
    **dict.fromkeys(_WRITES, _write),
    "RangeVar": _range_var,
    "ColumnRef": _column,
    "A_Indirection": _indirection,
    **dict.fromkeys(
        ("RangeSubselect", "RangeFunction", "RangeTableFunc", "JsonTable", "JoinExpr"), _range_other
    ),
    "FuncCall": _call,
    **dict.fromkeys(("PrepareStmt", "ExecuteStmt", "DeclareCursorStmt", "FetchStmt"), _nothing_but_names),
    "TransactionStmt": _transaction,
    "VariableSetStmt": _set,
    **dict.fromkeys(("AlterRoleSetStmt", "AlterDatabaseSetStmt"), _alter_set),
    "CopyStmt": _copy,
    "ExplainStmt": _explain,
    "TruncateStmt": _truncate,
    **dict.fromkeys(("DropStmt", "CommentStmt", "SecLabelStmt"), _drop),
    "CreateTableAsStmt": _create_as,
    "RefreshMatViewStmt": _refresh,
    **dict.fromkeys(("CreateTrigStmt", "CreateEventTrigStmt"), _create_trigger),
    "DefineStmt": _define,
    "CreateFunctionStmt": _create_function,
    "AlterFunctionStmt": _alter_function,
    "DoStmt": _do,
    "CallStmt": _call_statement,
}
