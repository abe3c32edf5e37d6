"""What an approver should know of a held statement: found out read-only, in two seconds, or said not to be.

Nothing here decides anything, and nothing here may fail its caller: what cannot be had is named in `problem`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from gatekeeper.model import Facts, Impact, TableImpact
from gatekeeper.policy.guards import is_plannable
from gatekeeper.policy.planner import FAILURES, Connection, plan, read_only
from gatekeeper.policy.query import planned_query, search_paths
from gatekeeper.policy.touched import Touched, find_cascades, find_conflicts, find_sizes, touched
from gatekeeper.sql.catalog import Catalog

_OVERALL_S: Final = 2.0
_STATEMENT_MS: Final = 1000
_LOCK_MS: Final = 200
_MAX_PLANS: Final = 5
_MAX_LINES: Final = 200


async def impact(
    connection: Connection,
    facts: Facts,
    sql: str,
    params: Sequence[str | None] | None,
    catalog: Catalog,
    *,
    role: str | None = None,
    search_path: str | None = None,
    own_pid: int | None = None,
) -> Impact:
    """What the query would touch. Takes two seconds at most and raises for nothing the database does.

    `own_pid` is the backend of the session that asks: it does not stand in its own way. `role` and
    `search_path` are the session's, where they are known. A connection that hangs is closed.
    """
    del sql  # facts hold every statement's own text
    found = _Found(connection, facts, params, catalog, role, search_path, own_pid)
    try:
        async with asyncio.timeout(_OVERALL_S):
            await found.find_out()
    except TimeoutError:
        connection.terminate()
        found.problems.append("the database did not answer within 2 s")
    return found.impact()


@dataclass(slots=True)
class _Found:
    """What is known so far; each step adds to it, and one that fails leaves the others as they are."""

    connection: Connection
    facts: Facts
    params: Sequence[str | None] | None
    catalog: Catalog
    role: str | None
    search_path: str | None
    own_pid: int | None
    tables: dict[int, Touched] = field(default_factory=dict)
    rows: float | None = None
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    async def find_out(self) -> None:
        if self.connection.is_closed():
            self.problems.append("the database cannot be asked")
            return
        self.tables = touched(self.facts, self.catalog)
        for what, step in (
            ("plan", self._plan),
            ("sizes", self._sizes),
            ("foreign keys", self._cascades),
            ("locks", self._conflicts),
        ):
            await self._try(what, step)

    async def _try(self, what: str, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except asyncpg.QueryCanceledError:
            self.problems.append(f"{what}: took too long")
        except asyncpg.LockNotAvailableError:
            self.problems.append(f"{what}: a relation is locked")
        except asyncpg.PostgresError as error:
            # The server's own text could quote values.
            self.problems.append(f"{what}: not to be had (SQLSTATE {error.sqlstate})")
        except TimeoutError:
            raise
        except FAILURES:
            self.problems.append(f"{what}: not to be had")

    async def _plan(self) -> None:
        statements = [s for s in self.facts.statements if is_plannable(s, self.catalog)]
        for statement in statements[:_MAX_PLANS]:
            query = planned_query(statement.text)
            if query is None:
                continue
            params = self.params if len(self.facts.statements) == 1 else None
            paths = search_paths([statement], self.catalog)
            if self.search_path is not None:
                paths = (self.search_path,)
            plans = [
                await plan(
                    self.connection, query, params, statement_ms=_STATEMENT_MS, lock_ms=_LOCK_MS,
                    search_path=path, role=self.role, lines=True,
                )
                for path in paths
            ]  # fmt: skip
            if plans:
                largest = max(plans, key=lambda one: one.rows)
                self.rows = (self.rows or 0.0) + largest.rows
                self.lines.extend(largest.lines)

    async def _sizes(self) -> None:
        async with read_only(self.connection, statement_ms=_STATEMENT_MS, lock_ms=_LOCK_MS):
            await find_sizes(self.connection, self.tables, self.catalog)

    async def _cascades(self) -> None:
        async with read_only(self.connection, statement_ms=_STATEMENT_MS, lock_ms=_LOCK_MS):
            await find_cascades(self.connection, self.tables, self.catalog)

    async def _conflicts(self) -> None:
        async with read_only(self.connection, statement_ms=_STATEMENT_MS, lock_ms=_LOCK_MS):
            await find_conflicts(self.connection, self.tables, self.own_pid)

    def impact(self) -> Impact:
        tables = sorted(self.tables.values(), key=lambda table: (not table.written, table.name))
        return Impact(
            tables=tuple(
                TableImpact(
                    table.name,
                    table.rows,
                    table.bytes,
                    table.lock,
                    tuple(table.cascades),
                    tuple(table.conflicts),
                )
                for table in tables
            ),
            estimated_rows=None if self.rows is None else math.ceil(self.rows),
            plan=tuple(self.lines[:_MAX_LINES]),
            problem="; ".join(self.problems) or None,
        )
