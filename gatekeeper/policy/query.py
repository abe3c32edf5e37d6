"""The query that a statement would run, as text that EXPLAIN takes; None where there is none to ask about.

Whatever wraps it is taken off: EXPLAIN ANALYZE, PREPARE, DECLARE, COPY, CREATE TABLE AS, CREATE VIEW, INTO.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import postgast

from gatekeeper.model import StatementFacts
from gatekeeper.sql.catalog import Catalog
from gatekeeper.sql.tree import Tree, UnreadableError, parse

_PLAIN: Final = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_WRAPPERS: Final = frozenset(
    {"explain_stmt", "prepare_stmt", "declare_cursor_stmt", "copy_stmt", "create_table_as_stmt", "view_stmt"}
)
_QUERIES: Final = frozenset({"select_stmt", "insert_stmt", "update_stmt", "delete_stmt", "merge_stmt"})
_MAX_WRAPPED_BYTES: Final = 16 * 1024
"""libpg_query writes trees back to text by recursion, unchecked: no longer text may get that far."""
_MAX_PATHS: Final = 16


def planned_query(text: str) -> str | None:
    """The query behind one statement. A text of several statements has none."""
    try:
        statements = parse(text)
    except (UnreadableError, RecursionError):
        return None
    if len(statements) != 1:
        return None
    (statement,) = statements
    if statement.kind in _PLAIN and "intoClause" not in statement.node:
        return statement.text
    if statement.kind == "CopyStmt" and "relation" in statement.node:
        return None if statement.node.get("is_from") else _whole_table(statement.node["relation"])
    if len(statement.text.encode()) > _MAX_WRAPPED_BYTES:
        return None
    return _unwrapped(statement.text)


def search_paths(statements: Iterable[StatementFacts], catalog: Catalog) -> tuple[str, ...]:
    """Search paths under which every unqualified name is found, each as every relation it can mean, once.

    Nobody but the session knows its own search path: whoever asks the planner asks under each of these, and
    believes the largest answer. None at all where there are too many.
    """
    schemas = sorted(
        {
            relation.schema
            for statement in statements
            for ref in statement.relations
            if ref.schema is None
            for relation in catalog.named(None, ref.name)
        }
        - {"pg_catalog"}
    )
    names = {ref.name for statement in statements for ref in statement.relations if ref.schema is None}
    quoted = [quote(schema) for schema in schemas]
    if all(len(catalog.named(None, name)) <= 1 for name in names):
        return (", ".join(quoted),)
    if len(quoted) > _MAX_PATHS:
        return ()
    return tuple(", ".join([first, *(q for q in quoted if q != first)]) for first in quoted)


def quote(identifier: str) -> str:
    """An identifier as PostgreSQL reads it back, whatever stands in it."""
    return '"' + identifier.replace('"', '""') + '"'


def _whole_table(relation: Tree) -> str:
    parts = [quote(relation[key]) for key in ("schemaname", "relname") if key in relation]
    return ("TABLE " if relation.get("inh") else "TABLE ONLY ") + ".".join(parts)


def _unwrapped(text: str) -> str | None:
    tree: Any = postgast.parse(text)
    node = tree.stmts[0].stmt
    while (kind := node.WhichOneof("node")) in _WRAPPERS:
        node = getattr(node, kind).query
    if kind not in _QUERIES:
        return None
    if kind == "select_stmt":
        node.select_stmt.ClearField("into_clause")
    tree.stmts[0].stmt.CopyFrom(type(node).FromString(node.SerializeToString()))
    return str(postgast.deparse(tree))
