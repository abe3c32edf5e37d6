"""Asks PostgreSQL's planner about a query, on the gateway's own connection, and lets nothing run.

Every question is one short read-only transaction with its own timeouts, rolled back whatever comes; one that
is cancelled closes its connection. Planning computes immutable functions: callers ask only about queries that
call none but PostgreSQL's own (`guards.is_plannable`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[Any]"

FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, UnicodeError)
"""What asking the database can end in, besides an answer."""

_PREPARED: Final = "gatekeeper_planned"
_SETTINGS: Final = """
    SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true),
           set_config('standard_conforming_strings', 'on', true), set_config('plan_cache_mode', $3, true),
           set_config('search_path',
                      concat_ws(', ', nullif($4, ''), nullif(current_setting('search_path'), '')), true)
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the planner thinks of a query."""

    rows: float
    """Rows that it returns, inserts, updates or deletes, whichever are most."""
    lines: tuple[str, ...] = ()
    known: bool = True
    """False where values of parameters were not given and `rows` could be any number with others."""


@contextlib.asynccontextmanager
async def read_only(
    connection: Connection,
    *,
    statement_ms: int,
    lock_ms: int,
    search_path: str = "",
    role: str | None = None,
    generic: bool = False,
) -> AsyncIterator[None]:
    """A read-only transaction that ends in ROLLBACK. `search_path` goes in front of the connection's own."""
    transaction = connection.transaction(readonly=True)
    try:
        await transaction.start()
        mode = "force_generic_plan" if generic else "force_custom_plan"
        await connection.fetch(_SETTINGS, f"{statement_ms}ms", f"{lock_ms}ms", mode, search_path)
        if role is not None:
            await connection.fetch("SELECT set_config('role', $1, true)", role)
        yield
    except asyncio.CancelledError:
        # Whoever cannot wait for an answer cannot wait for ROLLBACK either.
        connection.terminate()
        raise
    finally:
        if not connection.is_closed():
            await transaction.rollback()


async def plan(
    connection: Connection,
    query: str,
    params: Sequence[str | None] | None,
    *,
    statement_ms: int,
    lock_ms: int,
    search_path: str = "",
    role: str | None = None,
    lines: bool = False,
) -> Plan:
    """The plan of one query. Raises one of FAILURES.

    `params` are the values of `$1` … as text, None for NULL; without them (None or none) the planner is asked
    for the plan that would serve any values. With `lines` the plan is given as people read it, too.
    """
    for text in (query, *(value for value in params or () if value is not None)):
        # asyncpg would find out in the middle of a message, and leave the connection in the middle too.
        text.encode()
    prepared, any_values = "$" in query, False
    try:
        async with read_only(
            connection,
            statement_ms=statement_ms,
            lock_ms=lock_ms,
            search_path=search_path,
            role=role,
            generic=not params,
        ):
            if prepared:
                count = await _prepare(connection, query)
                any_values = count > 0 and not params
                query = _execute(count, params)
            # The extended protocol takes one statement only, whatever the text says.
            document = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {query}")
            printed = await connection.fetch(f"EXPLAIN {query}") if lines else []
    finally:
        if prepared and not connection.is_closed():
            with contextlib.suppress(asyncpg.InvalidSQLStatementNameError):
                await connection.fetch(f"DEALLOCATE {_PREPARED}")
    plans = json.loads(document) if isinstance(document, str) else document
    return Plan(
        planned_rows(plans),
        tuple(str(record[0]) for record in printed),
        known=not any_values or not _scans(plans),
    )


async def _prepare(connection: Connection, query: str) -> int:
    """PREPARE takes the types of parameters from the query. Gives their number."""
    await connection.fetch(f"PREPARE {_PREPARED} AS {query}")
    count: int = await connection.fetchval(
        "SELECT cardinality(parameter_types) FROM pg_catalog.pg_prepared_statements WHERE name = $1",
        _PREPARED,
    )
    return count


def _execute(count: int, params: Sequence[str | None] | None) -> str:
    """EXECUTE reads literals as values of the parameters' types."""
    if params and len(params) != count:
        raise asyncpg.InterfaceError(f"the query has {count} parameters, not {len(params)}")
    values = [_literal(value) for value in params] if params else ["NULL"] * count
    return f"EXECUTE {_PREPARED}" + (f"({', '.join(values)})" if values else "")


def _literal(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def planned_rows(document: Sequence[Mapping[str, Any]]) -> float:
    """Rows of a plan in EXPLAIN's JSON: those of the top, or those that one of its ModifyTable nodes gets."""
    return max((rows for entry in document for rows in _rows(entry.get("Plan", {}))), default=0.0)


def _rows(top: Mapping[str, Any]) -> Iterator[float]:
    yield float(top.get("Plan Rows", 0))
    for node in _nodes(top):
        if node.get("Node Type") == "ModifyTable":
            # Up to PostgreSQL 13 every partition is a member of its own.
            members = [
                n for n in node.get("Plans", ()) if n.get("Parent Relationship") in {"Outer", "Member"}
            ]
            yield sum(float(member.get("Plan Rows", 0)) for member in members)


def _scans(document: Sequence[Mapping[str, Any]]) -> bool:
    """True where rows come from anything but values that stand in the query itself."""
    return any(
        node.get("Node Type") not in {"ModifyTable", "Result", "Values Scan"}
        for entry in document
        for node in _nodes(entry.get("Plan", {}))
    )


def _nodes(top: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    waiting = [top]
    while waiting:
        node = waiting.pop()
        waiting.extend(node.get("Plans", ()))
        yield node
