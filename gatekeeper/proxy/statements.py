"""What a session knows of its statements: prepared, bound, and running."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatekeeper.masking.rows import Field

if TYPE_CHECKING:
    from gatekeeper.masking.plan import MaskPlan
    from gatekeeper.proxy.judge import Judgement


@dataclass(slots=True)
class Prepared:
    """A prepared statement, by Parse or by PREPARE."""

    sql: str
    judgement: Judgement
    uncertain: bool
    """It was judged while uncommitted DDL made the catalog stale."""
    run: Run | None = None
    """The record that its Parse opened, until a Bind takes it."""
    opened_verdict: object = None
    """The verdict that the record says."""
    by_sql: bool = False
    """PREPARE made it, and `judgement` is that of the query that did."""
    index: int = 0
    """Which statement of the judgement's facts it is, where PREPARE made it."""
    doubtful: bool = False
    """SQL that nobody could read may have made another statement of this name."""
    parameter_types: tuple[int, ...] = ()
    fields: tuple[Field, ...] | None = None
    """Its result, as a Describe told; None where nobody asked. Empty: no rows."""
    described_epoch: int = -1
    """Epoch of the judge when they were last asked for: a catalog that changed makes them doubtful."""
    ends_run: bool = False


@dataclass(slots=True)
class Portal:
    """A portal by Bind, or a cursor by DECLARE."""

    sql: str
    judgement: Judgement
    prepared: Prepared | None
    run: Run | None = None
    """The statement's record; None for a cursor, whose FETCHes have their own."""
    result_formats: tuple[int, ...] = ()
    fields: tuple[Field, ...] | None = None
    described: bool = False
    """The server was asked for its fields."""
    ends_run: bool = False
    index: int = 0
    """Which statement of the judgement's facts it runs."""
    doubtful: bool = False
    """A function may have opened another cursor of this name."""

    @property
    def shape(self) -> tuple[Field, ...] | None:
        """Its fields, by its own Describe or its statement's; None where neither has been answered."""
        if self.fields is None and self.prepared is not None and self.prepared.fields is not None:
            self.fields = with_formats(self.prepared.fields, self.result_formats)
        return self.fields


@dataclass(slots=True)
class Run:
    """One execution of a query string, from its record's opening to its closing."""

    n: int
    opened_at: float
    judgement: Judgement
    started_at: float = 0.0
    columns: tuple[str, ...] = ()
    sample: list[tuple[str | None, ...]] = field(default_factory=list)
    rows: int | None = None
    masked: dict[str, None] = field(default_factory=dict)
    outcome: list[str] = field(default_factory=list)
    """Command tags so far, or the SQLSTATE alone."""
    plans: dict[int, tuple[MaskPlan, int]] = field(default_factory=dict)
    """For EXECUTE and FETCH, by statement: the plan of what they name, and the statement in that."""
    closed: bool = False
    ends_run: bool = False
    sql: str = ""


def with_formats(fields: Sequence[Field], formats: Sequence[int]) -> tuple[Field, ...]:
    """Fields of a statement's Describe in the formats that Bind asked for."""
    if not formats or not any(formats):
        return tuple(fields)
    codes = formats if len(formats) == len(fields) else (formats[0],) * len(fields)
    return tuple(
        Field(f.name, f.table_oid, f.attnum, f.type_oid, code) for f, code in zip(fields, codes, strict=True)
    )
