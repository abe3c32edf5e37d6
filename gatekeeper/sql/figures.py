"""The name that PostgreSQL gives a column without one (FigureColname in parse_target.c)."""

from __future__ import annotations

from typing import Final

from gatekeeper.sql.sources import strings
from gatekeeper.sql.totals import words
from gatekeeper.sql.tree import Tree

_FIXED: Final = {
    "A_ArrayExpr": "array",
    "RowExpr": "row",
    "CoalesceExpr": "coalesce",
    "GroupingFunc": "grouping",
    "MergeSupportFunc": "merge_action",
    "XmlSerialize": "xmlserialize",
}
_DOUBT: Final = words(
    """
    SQLValueFunction XmlExpr JsonParseExpr JsonScalarExpr JsonSerializeExpr JsonObjectConstructor
    JsonArrayConstructor JsonArrayQueryConstructor JsonObjectAgg JsonArrayAgg JsonFuncExpr
    """
)


def figure(node: Tree) -> str | None:
    """The name; None where it is not known here, so that it may be any."""
    return _figure(node)[1]


def _figure(node: Tree) -> tuple[int, str | None]:
    """How sure PostgreSQL is of a name (0 not, 1 weakly, 2 surely), and the name."""
    if not node:
        return 0, "?column?"
    ((kind, inner),) = node.items()
    if kind in _DOUBT:
        return 2, None
    if kind in _FIXED:
        return 2, _FIXED[kind]
    match kind:
        case "ColumnRef":
            names = [name for name in strings(inner["fields"]) if name != "*"]
            return (2, names[-1]) if names else (2, None)
        case "A_Indirection":
            names = strings(part for part in inner.get("indirection", ()) if "String" in part)
            return (2, names[-1]) if names else _figure(inner.get("arg", {}))
        case "FuncCall":
            return 2, strings(inner["funcname"])[-1]
        case "A_Expr" if inner.get("kind") == "AEXPR_NULLIF":
            return 2, "nullif"
        case "TypeCast":
            strength, name = _figure(inner.get("arg", {}))
            if strength <= 1 and "typeName" in inner:
                return 1, strings(inner["typeName"]["names"])[-1]
            return strength, name
        case "CollateClause":
            return _figure(inner.get("arg", {}))
        case "MinMaxExpr":
            return 2, "least" if inner.get("op") == "IS_LEAST" else "greatest"
        case "CaseExpr":
            strength, name = _figure(inner.get("defresult", {}))
            return (1, "case") if strength <= 1 else (strength, name)
        case "SubLink":
            return _sublink(inner)
    return 0, "?column?"


def _sublink(inner: Tree) -> tuple[int, str | None]:
    match inner.get("subLinkType"):
        case "EXISTS_SUBLINK":
            return 2, "exists"
        case "ARRAY_SUBLINK":
            return 2, "array"
        case "EXPR_SUBLINK":
            return 2, None  # the name of the subquery's column
    return 0, "?column?"
