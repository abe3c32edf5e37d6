"""How many rows a statement would touch, by the planner's estimate; None where that cannot be had.

None counts as too many: whoever asks is a guard with `min_rows`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gatekeeper.model import Facts
from gatekeeper.policy.guards import is_plannable
from gatekeeper.policy.planner import FAILURES, Connection, plan
from gatekeeper.policy.query import planned_query, search_paths
from gatekeeper.sql.catalog import Catalog

_STATEMENT_MS: Final = 1000
_LOCK_MS: Final = 500
_OVERALL_S: Final = 2.0


async def estimates(
    connection: Connection,
    facts: Facts,
    statements: Iterable[int],
    params: Sequence[str | None] | None,
    catalog: Catalog,
    *,
    role: str | None = None,
    search_path: str | None = None,
) -> Mapping[int, float | None]:
    """What `decide` asks for by Undecided: an estimate for each of those statements.

    `search_path` is the session's own where it is known; else every relation that an unqualified name can
    mean is asked about, and the largest counts. Never raises for what the database or the statement does.
    """
    found: dict[int, float | None] = {}
    for index in statements:
        statement = facts.statements[index]
        paths = (search_path,) if search_path is not None else search_paths([statement], catalog)
        possible = is_plannable(statement, catalog) and paths
        found[index] = (
            await rows(connection, statement.text, params, search_paths=paths, role=role)
            if possible
            else None
        )
    return found


async def rows(
    connection: Connection,
    sql: str,
    params: Sequence[str | None] | None = None,
    *,
    search_paths: Sequence[str] = ("",),
    role: str | None = None,
) -> float | None:
    """Rows that one statement would return, insert, update or delete, whichever are most; None: not known.

    Only for statements that call no user-defined function (`guards.is_plannable`): planning runs immutable
    ones. `params`: values of `$1` … as text. Without them only a query whose rows do not rest on them has an
    estimate, such as INSERT … VALUES. Takes two seconds at most; a connection that has not answered by then
    is closed.
    """
    query = planned_query(sql)
    if query is None or connection.is_closed():
        return None
    try:
        async with asyncio.timeout(_OVERALL_S):
            plans = [
                await plan(
                    connection, query, params,
                    statement_ms=_STATEMENT_MS, lock_ms=_LOCK_MS, search_path=path, role=role,
                )
                for path in search_paths
            ]  # fmt: skip
    except TimeoutError:
        connection.terminate()
        return None
    except FAILURES:
        return None
    # One who may choose the values later may choose all rows: a guess at the usual ones bounds nothing.
    return max((one.rows for one in plans), default=None) if all(one.known for one in plans) else None
