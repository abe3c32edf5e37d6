"""What the value of an expression may carry: all that it mentions, whatever it does with it.

On the way the tracer's predicates and flows gather: an operand that can tell something by more than the
result (see `totals`) counts as a predicate, one that is handed to a function with effects as a flow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gatekeeper.sql import totals
from gatekeeper.sql.scopes import Item, Scope
from gatekeeper.sql.sources import CLEAN, NULLNESS, Output, Taint, is_dynamic, strings, union
from gatekeeper.sql.totals import words
from gatekeeper.sql.tree import Tree

if TYPE_CHECKING:
    from gatekeeper.sql.catalog import Routine
    from gatekeeper.sql.lineage import Tracer

_LEAVES: Final = words(
    """
    A_Const ParamRef A_Star SetToDefault CurrentOfExpr SQLValueFunction TypeName String Integer Float
    Boolean BitString GroupingFunc MergeSupportFunc CaseTestExpr
    """
)
_PASSING: Final = words(
    """
    List RowExpr A_ArrayExpr CollateClause NamedArgExpr NullTest BooleanTest MinMaxExpr JsonValueExpr
    JsonKeyValue JsonScalarExpr JsonSerializeExpr JsonArrayConstructor JsonIsPredicate ResTarget
    MultiAssignRef XmlSerialize JsonObjectConstructor
    """
)
_ONE_COLUMN: Final = words(
    """
    generate_series generate_subscripts regexp_split_to_table string_to_table jsonb_array_elements
    jsonb_array_elements_text json_array_elements json_array_elements_text jsonb_object_keys
    json_object_keys jsonb_path_query
    """
)
_NAMED_VALUE: Final = "array_elements"
_NULLED: Final[Taint] = frozenset((NULLNESS,))
_SMALL: Final = 10_000
_FACTOR: Final = 10

_TYPES: Final = {"text": 25, "varchar": 1043, "bpchar": 1042, "name": 19, "json": 114, "jsonb": 3802}


def taint(tracer: Tracer, node: Tree, scope: Scope) -> Taint:
    """What the value of an expression may carry."""
    if not node:
        return CLEAN
    ((kind, inner),) = node.items()
    handler = _HANDLERS.get(kind)
    if handler is not None:
        return handler(tracer, inner, scope)
    if kind in _LEAVES:
        return CLEAN
    if kind in _PASSING:
        return tracer.nested(inner, scope)
    if kind.endswith("Stmt"):
        return tracer.query(kind, inner, scope.below()).whole()
    return _doubtful(tracer, tracer.nested(inner, scope))


def _doubtful(tracer: Tracer, found: Taint) -> Taint:
    tracer.predicates |= found
    return found | _NULLED if found else found


def _column(_: Tracer, node: Tree, scope: Scope) -> Taint:
    fields = strings(node.get("fields", ()))
    if fields == ["*"]:
        return scope.all()
    if fields[-1] == "*":
        item = scope.item(fields[:-1])
        return scope.all() if item is None else item.columns.whole()
    return scope.column(fields).taint


def _operator(tracer: Tracer, node: Tree, scope: Scope) -> Taint:
    left, right = node.get("lexpr", {}), node.get("rexpr", {})
    a, b = taint(tracer, left, scope), taint(tracer, right, scope)
    both = a | b
    names = strings(node.get("name", ()))
    own = _own_operator(tracer, names, both)
    if own is not None:
        return own
    if not both:
        return CLEAN
    sign = names[-1] if len(names) == 1 or names[0] == "pg_catalog" else ""
    match node.get("kind"):
        case "AEXPR_NULLIF":
            return both | _NULLED
        case "AEXPR_DISTINCT" | "AEXPR_NOT_DISTINCT" | "AEXPR_IN":
            return both
        case "AEXPR_BETWEEN" | "AEXPR_NOT_BETWEEN" | "AEXPR_BETWEEN_SYM" | "AEXPR_NOT_BETWEEN_SYM":
            return both
        case "AEXPR_LIKE" | "AEXPR_ILIKE" if not b:
            return both
        case "AEXPR_OP" | "AEXPR_OP_ANY" | "AEXPR_OP_ALL":
            if sign.startswith(("~~", "!~~")) or sign in totals.NULLING_OPERATORS:
                return both | _NULLED if not b else _doubtful(tracer, both)
            if sign in totals.TOTAL_OPERATORS or _is_small(sign, left, right):
                return both
            if sign not in totals.OTHER_OPERATORS:  # someone's own: its function may do anything
                tracer.flows |= both
    return _doubtful(tracer, both)


def _own_operator(tracer: Tracer, names: list[str], given: Taint) -> Taint | None:
    """What a user's operator gives, whose function may do anything; None for PostgreSQL's own."""
    if names[:-1] == ["pg_catalog"]:
        return None
    signs = ("<", "<=", ">", ">=") if "BETWEEN" in names[-1] else names[-1:]
    catalog = tracer.source.catalog
    routines = [
        routine
        for sign in (signs if catalog.operators else ())
        for oid in catalog.operators.get(sign, ())
        if (routine := catalog.routines.get(oid)) is not None
        and not (routine.extension and routine.language in ("c", "internal"))
    ]
    made = bool(given) and not tracer.made.isdisjoint(signs)
    if not routines and not made:
        return None
    if made or any(_may_write(tracer, routine) for routine in routines):
        tracer.flows |= given
    return _doubtful(tracer, given) | union(tracer.source.routine(routine) for routine in routines)


def _is_small(sign: str, left: Tree, right: Tree) -> bool:
    """A column plus, minus or times a small number: it does not overflow but for the last few values."""
    if sign not in totals.ARITHMETIC:
        return False
    column, constant = (left, right) if "ColumnRef" in left else (right, left)
    if "ColumnRef" not in column:
        return False
    if not constant:
        return True
    value = constant.get("A_Const", {})
    number = value["ival"].get("ival", 0) if "ival" in value else None
    return number is not None and abs(number) <= (_FACTOR if sign == "*" else _SMALL)


def _bool(tracer: Tracer, node: Tree, scope: Scope) -> Taint:
    found = tracer.nested(node.get("args", ()), scope)
    if found and node.get("boolop") != "NOT_EXPR":
        return _doubtful(tracer, found)  # whether the other operand is evaluated at all depends on it
    return found


def _case(tracer: Tracer, node: Tree, scope: Scope) -> Taint:
    conditions = [taint(tracer, node.get("arg", {}), scope)]
    results = [taint(tracer, node.get("defresult", {}), scope)]
    for when in node.get("args", ()):
        conditions.append(taint(tracer, when["CaseWhen"].get("expr", {}), scope))
        results.append(taint(tracer, when["CaseWhen"].get("result", {}), scope))
    return _doubtful(tracer, union(conditions)) | union(results)


def _coalesce(tracer: Tracer, node: Tree, scope: Scope) -> Taint:
    found = [taint(tracer, argument, scope) for argument in node.get("args", ())]
    if any(NULLNESS in one for one in found[:-1]):
        tracer.predicates |= union(found)
    return union(found)


def _cast(tracer: Tracer, node: Tree, scope: Scope) -> Taint:
    argument = node.get("arg", {})
    found = taint(tracer, argument, scope)
    if not found:
        return found
    type_name = node.get("typeName", {})
    target = strings(type_name.get("names", ()))[-1:]
    catalog = tracer.source.catalog
    if target and (target[0] in tracer.made or target[0] in catalog.type_calls):
        tracer.flows |= found  # a domain's check, or the function of a cast, sees the value
        return _doubtful(tracer, found)
    if "arrayBounds" in type_name or not target:
        return _doubtful(tracer, found)
    if target[0] in totals.TEXTUAL_TYPES:
        return found
    source_type = tracer.output(argument, scope).type_oid
    if source_type in totals.WIDENINGS.get(target[0], ()):
        return found
    if target[0] not in totals.TYPES:  # someone's own: its cast or check may do anything
        tracer.flows |= found
    return _doubtful(tracer, found)


def _sublink(tracer: Tracer, node: Tree, scope: Scope) -> Taint:
    ((kind, query),) = node["subselect"].items()
    columns = tracer.query(kind, query, scope.below())
    test = taint(tracer, node.get("testexpr", {}), scope)
    match node.get("subLinkType"):
        case "EXISTS_SUBLINK":
            return CLEAN
        case "EXPR_SUBLINK" | "ARRAY_SUBLINK" | "MULTIEXPR_SUBLINK":
            return columns.whole() | test
        case "ANY_SUBLINK" | "ALL_SUBLINK" if (
            set(strings(node.get("operName", ()))) <= totals.TOTAL_OPERATORS
        ):
            return columns.whole() | test
    return _doubtful(tracer, columns.whole() | test)


def _indirection(tracer: Tracer, node: Tree, scope: Scope) -> Taint:
    found = field_of(node, scope)
    if found is not None:
        return found.taint
    item = row_of(node.get("arg", {}), scope)
    inside = taint(tracer, node.get("arg", {}), scope) if item is None else item.columns.whole()
    indexes = [part["A_Indices"] for part in node.get("indirection", ()) if "A_Indices" in part]
    index = tracer.nested(indexes, scope)
    tracer.predicates |= index
    return inside | index | (_NULLED if indexes and inside | index else CLEAN)


def row_of(node: Tree, scope: Scope) -> Item | None:
    """The item in FROM whose whole row an expression is, where that is certain."""
    if "ColumnRef" not in node:
        return None
    fields = strings(node["ColumnRef"]["fields"])
    if len(fields) != 1:
        return None
    level: Scope | None = scope
    while level is not None:
        if any(item.column(fields[0])[0] or not item.closed for item in level.items):
            return None
        found = [item for item in level.items if item.alias == fields[0]]
        if found:
            return found[0] if len(found) == 1 else None
        level = level.parent
    return None


def field_of(node: Tree, scope: Scope) -> Output | None:
    """`(c).ssn` as the column that it is, where `c` is certainly the row of an item in FROM."""
    parts = node.get("indirection", ())
    item = row_of(node.get("arg", {}), scope)
    if item is None or not parts or "String" not in parts[0]:
        return None
    exact, doubt = item.column(parts[0]["String"].get("sval", ""))
    if len(exact) != 1 or doubt:
        return None
    return (
        exact[0] if len(parts) == 1 else Output(None, exact[0].taint | (_NULLED if exact[0].taint else CLEAN))
    )


def _call(tracer: Tracer, node: Tree, scope: Scope) -> Taint:
    names = strings(node.get("funcname", ()))
    name, schema = names[-1], names[-2] if len(names) > 1 else None
    arguments = [taint(tracer, argument, scope) for argument in node.get("args", ())]
    if node.get("agg_within_group"):
        arguments += [taint(tracer, item["SortBy"]["node"], scope) for item in node.get("agg_order", ())]
    for item in node.get("agg_order", ()):
        tracer.predicate(item["SortBy"]["node"], scope)
    tracer.predicate(node.get("agg_filter"), scope)
    if "over" in node:
        tracer.window(node["over"], scope)
    given = union(arguments)
    if node.get("agg_distinct"):
        tracer.predicates |= given
    more, routines = tracer.source.function(schema, name)
    if not given:
        return more
    made = schema != "pg_catalog" and name in tracer.made
    if routines or made:
        tracer.flows |= given if made or any(_may_write(tracer, r) for r in routines) else CLEAN
        return _doubtful(tracer, given) | more
    if name in totals.EFFECTS:
        tracer.flows |= given
    if name == "count":
        tracer.predicates |= given if NULLNESS in given else CLEAN
        return CLEAN
    if name not in totals.TOTAL_FUNCTIONS | totals.NULLING_FUNCTIONS or not _in_place(name, arguments):
        return _doubtful(tracer, given) | more
    return given | more | (_NULLED if name in totals.NULLING_FUNCTIONS else CLEAN)


def _in_place(name: str, arguments: list[Taint]) -> bool:
    """Whether masked values stand where they cannot make the function fail."""
    if name in totals.SECOND_ARGUMENT and len(arguments) > 1:
        return not arguments[0] and not union(arguments[2:])
    if name in totals.FIRST_ARGUMENT_ONLY:
        return not union(arguments[1:])
    return name not in ("format", "json_build_object", "jsonb_build_object") or not union(arguments[:1])


def _may_write(tracer: Tracer, routine: Routine, seen: frozenset[int] = frozenset()) -> bool:
    """True where a routine, or one that it may call, is not declared STABLE or IMMUTABLE before its body."""
    if routine.oid in seen or (routine.extension and routine.language in ("c", "internal")):
        return False
    head = routine.definition.partition("\nAS ")[0].upper()
    if " IMMUTABLE" not in head and " STABLE" not in head:
        return True
    plpgsql = routine.language == "plpgsql"
    if plpgsql and is_dynamic(routine.source):
        return True
    _, called = tracer.source.text(routine.source, plpgsql=plpgsql)
    return any(_may_write(tracer, other, seen | {routine.oid}) for other in called)


def _aggregate(tracer: Tracer, node: Tree, scope: Scope) -> Taint:
    """JSON_OBJECTAGG and JSON_ARRAYAGG."""
    parts = dict(node.get("constructor", {}))
    for item in parts.pop("agg_order", ()):
        tracer.predicate(item["SortBy"]["node"], scope)
    tracer.predicate(parts.pop("agg_filter", None), scope)
    if "over" in parts:
        tracer.window(parts["over"], scope)
    found = tracer.nested(node.get("arg", {}), scope)
    return _doubtful(tracer, found) if node.get("unique") else found


def _xml(tracer: Tracer, node: Tree, scope: Scope) -> Taint:
    found = tracer.nested([node.get("args", ()), node.get("named_args", ())], scope)
    if node.get("op") in ("IS_XMLCONCAT", "IS_XMLELEMENT", "IS_XMLFOREST"):
        return found
    return _doubtful(tracer, found)


def row_source(tracer: Tracer, call: Tree, scope: Scope) -> tuple[Taint, Taint]:
    """A function in FROM: what its arguments carry, and what its rows carry beside that."""
    whole = taint(tracer, call, scope)
    inner = call.get("FuncCall", {})
    arguments = tracer.nested(inner.get("args", ()), scope) if "FuncCall" in call else whole
    return arguments, whole


def single_column(call: Tree, names: list[str]) -> str | None:
    """For a function that surely gives one column: its name, empty for that of the alias. None: not known."""
    inner = call.get("FuncCall")
    if inner is None:
        return None
    name = strings(inner["funcname"])[-1]
    if name not in _ONE_COLUMN and not (
        name == "unnest" and len(inner.get("args", ())) == 1 and len(names) == 1
    ):
        return None
    if "json" in name:
        return "value" if _NAMED_VALUE in name else None if not names else names[0]
    return ""


def type_of(node: Tree) -> int:
    """OID of the type of an expression, where it is plain to see; else 0."""
    if "TypeCast" in node:
        type_name = node["TypeCast"].get("typeName", {})
        names = strings(type_name.get("names", ()))
        return 0 if "arrayBounds" in type_name else _TYPES.get(names[-1], 0) if names else 0
    if "FuncCall" in node and strings(node["FuncCall"]["funcname"])[-1] in (
        "upper",
        "lower",
        "concat",
        "md5",
    ):
        return 0
    return 0


_HANDLERS: Final[dict[str, Callable[[Any, Tree, Scope], Taint]]] = {
    "ColumnRef": _column,
    "A_Expr": _operator,
    "BoolExpr": _bool,
    "CaseExpr": _case,
    "CoalesceExpr": _coalesce,
    "TypeCast": _cast,
    "SubLink": _sublink,
    "A_Indirection": _indirection,
    "FuncCall": _call,
    "JsonObjectAgg": _aggregate,
    "JsonArrayAgg": _aggregate,
    "XmlExpr": _xml,
}
