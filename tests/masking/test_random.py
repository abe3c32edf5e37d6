"""Random queries: no cell that derives from a masked column comes out, every other one as PostgreSQL sent it.

Each query is run on two databases that differ in the masked columns alone. What differs between the answers
derives from them, so it has to be masked; what does not derive from them by its making has to stay.
"""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.rules.schema import MaskRules
from tests.masking.probe import Probe, execute, rules_of
from tests.servers import create_database, drop_database

pytestmark = pytest.mark.server

SCHEMA = """
create table a (id int primary key, t text, s text, n int, k int);
create table b (id int primary key, a_id int, t text, s text);
create view v as select a.id, a.t as vt, a.s as vs, upper(a.s) as vu, a.n + 1 as vn, b.t as bt from a join b on b.a_id = a.id;
insert into a values (1, 'one', {s1}, {n1}, 5), (2, 'two', {s2}, {n2}, 6), (3, null, {s1}, {n2}, 7);
insert into b values (1, 1, 'x', {s2}), (2, 2, 'y', {s1}), (3, 1, 'z', {s2});
"""
ONE = {"s1": "'canary one'", "s2": "'canary two'", "n1": "1234567", "n2": "7654321"}
OTHER = {"s1": "'secret aaa'", "s2": "'secret bbb'", "n1": "2222222", "n2": "1111111"}
MASK = MaskRules("m", ("public.a.s", "public.a.n", "public.b.s"))
RELATIONS = {
    "a": {"id": ("int", False), "t": ("text", False), "s": ("text", True), "n": ("int", True), "k": ("int", False)},
    "b": {"id": ("int", False), "a_id": ("int", False), "t": ("text", False), "s": ("text", True)},
    "v": {
        "id": ("int", False), "vt": ("text", False), "vs": ("text", True), "vu": ("text", True),
        "vn": ("int", True), "bt": ("text", False),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Expression:
    sql: str
    type: str
    masked: bool


@dataclass(frozen=True)
class Query:
    sql: str
    columns: tuple[Expression, ...]
    """Name, type and whether it derives from a masked column."""


@pytest.fixture(scope="module")
async def twins(pg18: EmbeddedPostgres) -> AsyncIterator[tuple[Probe, Probe]]:
    databases, probes = [], []
    for values in (ONE, OTHER):
        databases.append(await create_database(pg18))
        await execute(databases[-1], SCHEMA.format(**values))
        probes.append(Probe(databases[-1], rules_of(MASK)))
        await probes[-1].refresh()
    yield probes[0], probes[1]
    for probe, database in zip(probes, databases, strict=True):
        probe.close()
        await drop_database(database)


@st.composite
def expressions(draw: st.DrawFn, scope: dict[str, dict[str, tuple[str, bool]]], depth: int = 2) -> Expression:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        alias = draw(st.sampled_from(sorted(scope)))
        column = draw(st.sampled_from(sorted(scope[alias])))
        type_, masked = scope[alias][column]
        form = draw(st.sampled_from(["{a}.{c}", "({a}).{c}", '"{a}"."{c}"']))
        return Expression(form.format(a=alias, c=column), type_, masked)
    inner = draw(expressions(scope, depth - 1))
    match draw(st.integers(0, 9)):
        case 0:
            return Expression(f"({inner.sql})::text", "text", inner.masked)
        case 1:
            return Expression(f"coalesce({inner.sql}, {inner.sql})", inner.type, inner.masked)
        case 2:
            other = draw(expressions(scope, depth - 1))
            return Expression(f"concat({inner.sql}, {other.sql})", "text", inner.masked or other.masked)
        case 3:
            return Expression(f"to_jsonb({inner.sql})", "json", inner.masked)
        case 4:
            other = draw(expressions(scope, depth - 1))
            return Expression(
                f"jsonb_build_array({inner.sql}, {other.sql})", "json", inner.masked or other.masked
            )
        case 5:
            alias = draw(st.sampled_from(sorted(scope)))
            masked = any(m for _, m in scope[alias].values())
            return Expression(f"{alias}::text", "text", masked)
        case 6:
            return Expression(f"(select {inner.sql})", inner.type, inner.masked)
        case 7:
            alias = draw(st.sampled_from(sorted(scope)))
            return Expression(f"row_to_json({alias})::text", "text", any(m for _, m in scope[alias].values()))
        case 8:
            return Expression(f"array[({inner.sql})::text]::text", "text", inner.masked)
        case _:
            return Expression("'lit'::text", "text", masked=False)


@st.composite
def queries(draw: st.DrawFn, depth: int = 2) -> Query:
    scope: dict[str, dict[str, tuple[str, bool]]] = {}
    sources: list[str] = []
    for n in range(draw(st.integers(1, 2))):
        alias = f"q{depth}_{n}"
        if depth > 0 and draw(st.integers(0, 2)) == 0:
            inner = draw(queries(depth - 1))
            form = draw(st.sampled_from(["({q}) {a}", "lateral ({q}) as {a}"]))
            sources.append(form.format(q=inner.sql, a=alias))
            scope[alias] = {c.sql: (c.type, c.masked) for c in inner.columns}
        else:
            name = draw(st.sampled_from(sorted(RELATIONS)))
            sources.append(f"{draw(st.sampled_from(['', 'public.']))}{name} {alias}")
            scope[alias] = RELATIONS[name]
    targets = draw(st.lists(expressions(scope), min_size=1, max_size=3))
    columns = [Expression(f"c{n}", t.type, t.masked) for n, t in enumerate(targets)]
    listed = ", ".join(f"{t.sql} as c{n}" for n, t in enumerate(targets))
    text = f"select {listed} from {', '.join(sources)}"
    if draw(st.booleans()) and depth == 2:
        other = draw(queries(0))
        if len(other.columns) == len(columns) and all(
            a.type == b.type for a, b in zip(other.columns, columns, strict=True)
        ):
            text = f"({text}) union all ({other.sql})"
            columns = [
                Expression(a.sql, a.type, a.masked or b.masked)
                for a, b in zip(columns, other.columns, strict=True)
            ]
    if draw(st.integers(0, 3)) == 0:
        text = f"with w{depth} as ({text}) select * from w{depth}"
    return Query(text, tuple(columns))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(query=queries(), binary=st.booleans(), copied=st.booleans())
def test_what_derives_is_masked_and_nothing_else(
    twins: tuple[Probe, Probe], query: Query, binary: bool, copied: bool
) -> None:
    one, other = (probe.run(query.sql, binary=binary) for probe in twins)
    assert not one.direct.errors, (query.sql, one.direct.errors)
    assert one.refused is None, query.sql
    assert one.through.rows == other.through.rows, query.sql
    for was, now in zip(one.direct.rows, one.through.rows, strict=True):
        for column, a, b in zip(query.columns, was, now, strict=True):
            if column.masked:
                assert b in (None, b"[REDACTED]"), query.sql
            else:
                assert a == b, query.sql
    if copied:
        sql = f"copy ({query.sql}) to stdout"
        first, second = (probe.run(sql) for probe in twins)
        assert first.through.copied == second.through.copied, sql
