"""What a query string contains: every statement, and all that it would run.

The one way in is `extract`; it gives Facts for every text and raises for none.
"""

from __future__ import annotations

from typing import TypeAlias

from gatekeeper.model import CopyDirection, Facts, RelationRef, StatementFacts
from gatekeeper.sql.catalog import Catalog
from gatekeeper.sql.contents import Contents
from gatekeeper.sql.routines import follow, gather, resolve
from gatekeeper.sql.tags import command_tag
from gatekeeper.sql.tree import TOO_DEEP, RawStatement, UnreadableError, parse

Aliases: TypeAlias = "frozenset[tuple[str, RelationRef]]"
"""What names stand for besides, as `StatementFacts.aliases` of earlier statements tell."""


def extract(sql: str, catalog: Catalog, *, uncertain: bool = False, aliases: Aliases = frozenset()) -> Facts:
    """What `sql` would do.

    `uncertain`: uncommitted DDL of this transaction may have changed what names mean; `aliases`, of its
    statements so far, tell what names stand for as well.
    `classes` of a statement that is always allowed (transaction control, SHOW, SET, RESET, FETCH, MOVE,
    CLOSE, EXECUTE, DEALLOCATE, DISCARD, SET CONSTRAINTS, `CALL gatekeeper.end_run()`) are empty; its
    `settings` still have to be looked at. EXPLAIN without ANALYZE has the classes, relations and functions
    of what it plans, not its effects. Statements after one that changes the catalog are judged as uncertain.
    """
    try:
        statements = []
        for raw in parse(sql):
            found = _statement(raw, catalog, aliases, uncertain=uncertain)
            uncertain = uncertain or found.changes_catalog
            aliases |= found.aliases
            statements.append(found)
    except UnreadableError as error:
        return Facts(sql, (), error.refusal)
    except RecursionError:
        return Facts(sql, (), TOO_DEEP)
    return Facts(sql, tuple(statements))


def _statement(raw: RawStatement, catalog: Catalog, aliases: Aliases, *, uncertain: bool) -> StatementFacts:
    found = gather(raw.kind, raw.node)
    if raw.kind == "DoStmt":
        aliases = aliases.union(found.aliases)  # several statements in one
    if aliases:
        follow(found, aliases)
    resolve(found, catalog, uncertain=uncertain)
    return _frozen(raw, found)


def _frozen(raw: RawStatement, found: Contents) -> StatementFacts:
    return StatementFacts(
        tag=_tag(raw),
        text=raw.text,
        effects=tuple(found.effects),
        classes=frozenset(found.classes),
        relations=frozenset(found.relations),
        functions=frozenset(found.functions),
        settings=tuple(found.settings),
        dynamic_sql=found.dynamic_sql,
        opaque_functions=frozenset(found.opaque),
        transaction=found.transaction,
        prepares=found.prepares,
        executes=found.executes,
        declares=found.declares,
        fetches=found.fetches,
        copy=_copy(raw),
        changes_catalog=found.changes_catalog,
        calls_end_run=found.calls_end_run,
        aliases=frozenset(found.aliases),
    )


def _tag(raw: RawStatement) -> str:
    return command_tag(raw.kind, raw.node) or ""


def _copy(raw: RawStatement) -> CopyDirection | None:
    if raw.kind != "CopyStmt" or "filename" in raw.node or raw.node.get("is_program"):
        return None
    return "in" if raw.node.get("is_from") else "out"
