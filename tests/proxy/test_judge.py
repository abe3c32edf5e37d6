"""Judgements are kept by text, and by shape where no fact depends on a literal: as good as fresh ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.model import Verdict
from gatekeeper.proxy.judge import Judge, Judgement
from gatekeeper.rules.load import parse
from gatekeeper.rules.schema import MaskRules, Rules
from gatekeeper.sql.catalog import Catalog, CatalogRelation, Column

RULES = parse(
    """
[[issuer]]
name = "local"
issuer = "https://issuer.example"
audience = "gatekeeper"
[[database]]
name = "app"
dsn = "postgresql://gateway@db/app"
[[grant]]
name = "ci"
issuer = "local"
claims = { sub = "*" }
databases = ["app"]
classes = ["READ", "WRITE", "FUNCTION", "DDL", "MISC"]
[[guard]]
name = "secret-word"
pattern = "(?i)hunter[0-9]|forbidden'$"
action = "block"
[[guard]]
name = "no-where"
statements = ["UPDATE", "DELETE"]
where = "missing"
action = "approve"
[[mask]]
name = "pii"
columns = ["public.customers.ssn"]
predicates = "block"
""",
    Path("/rules.toml"),
)


class Static:
    """A database that does not change."""

    def __init__(self) -> None:
        self.rules: Rules = RULES
        self.stale = False
        self.sticky: dict[tuple[int, int], MaskRules] = {}
        self.catalog = Catalog(
            version=1,
            relations={
                1: CatalogRelation(
                    1, "public", "customers", "r",
                    (Column(1, "id", 23, 23), Column(2, "ssn", 25, 25), Column(3, "name", 25, 25)),
                ),
                2: CatalogRelation(
                    2, "public", "orders", "r", (Column(1, "id", 23, 23), Column(2, "note", 25, 25))
                ),
            },
            builtins=frozenset({"count", "lower", "max", "nextval", "set_config", "coalesce"}),
        )  # fmt: skip


def judge() -> Judge:
    return Judge(Static(), "ci", "app", b"k" * 32)


def seen(judgement: Judgement) -> tuple[object, ...]:
    """All that a session goes by."""
    verdict = judgement.verdict
    assert isinstance(verdict, Verdict)
    statements = tuple((s.settings, s.changes_catalog, s.effects) for s in judgement.facts.statements)
    plan = judgement.plan
    return (
        verdict, judgement.tags, judgement.classes, judgement.relations, judgement.functions, statements,
        judgement.reason, judgement.plain, judgement.dynamic, plan.touches, plan.refusal, plan.hold,
    )  # fmt: skip


SHAPES = [
    "select id from orders where id = {}",
    "select note, id from orders where note = {} and id > {}",
    "select ssn, id from customers where id = {} limit {}",
    "select {} as x, name from customers where name = {}",
    "insert into orders (id, note) values ({}, {})",
    "update orders set note = {} where id = {}",
    "update orders set note = {}",
    "delete from orders where id in ({}, {})",
    "delete from orders where {}",
    "select id from customers where ssn = {}",
    "select name, ssn from customers order by {}",
    "select name from customers group by {}, name",
    "select distinct on ({}) name from customers",
    "select set_config({}, {}, false)",
    "select nextval({})",
    "select {}::regclass, {}::text",
    "select count(*) from orders where note like {}",
    "/* {} */ select id from orders where note = {}; -- {}",
    "select id from orders where note = {};",
    "select coalesce(ssn, {}) from customers",
    "select case when ssn = {} then {} end from customers",
    "with x as (delete from orders where id = {} returning *) select * from x where note = {}",
    "set search_path = {}",
    "select (array[1, 2])[{}], id from orders",
    "select id from orders where note = E{} or note = {}",
    "explain select id from orders where id = {}",
    "select date '2026-01-01' + {}, id from orders",
]
LITERALS = [
    "1", "2", "0", "-1", "1.5", "true", "false", "null", "'a'", "''", "'hunter2'", "'the forbidden'", "'2'",
    "'search_path'", "'role'", "'customers'", "'it''s'", "$$dollar$$", "U&'\\0061'", "'%x%'",
    "99999999999999999999",
]  # fmt: skip


def filled(shape: str, literals: list[str]) -> str:
    parts = shape.split("{}")
    return "".join(
        part + (literals[i % len(literals)] if i < len(parts) - 1 else "") for i, part in enumerate(parts)
    )


@given(
    st.sampled_from(SHAPES),
    st.lists(st.lists(st.sampled_from(LITERALS), min_size=1, max_size=3), min_size=2, max_size=6),
)
def test_what_was_judged_before_changes_no_judgement(shape: str, fillings: list[list[str]]) -> None:
    warm = judge()
    for literals in fillings:
        sql = filled(shape, literals)
        assert seen(warm.judge(sql, 1.0)) == seen(judge().judge(sql, 1.0)), sql


@pytest.mark.parametrize("literal", LITERALS)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_literal_after_a_harmless_one(shape: str, literal: str) -> None:
    warm = judge()
    warm.judge(filled(shape, ["1"]), 1.0)
    warm.judge(filled(shape, ["'a'"]), 1.0)
    sql = filled(shape, [literal])
    assert seen(warm.judge(sql, 1.0)) == seen(judge().judge(sql, 1.0))


def test_statements_of_one_shape_share_a_judgement() -> None:
    warm = judge()
    first = warm.judge("select id from orders where id = 1", 1.0)
    assert warm.judge("select id from orders where id = 2", 1.0) is first


def test_a_new_catalog_or_new_rules_make_every_judgement_anew() -> None:
    sources = Static()
    warm = Judge(sources, "ci", "app", b"k" * 32)
    first = warm.judge("select id from orders where id = 1", 1.0)
    sources.catalog = Catalog(
        version=2, relations=sources.catalog.relations, builtins=sources.catalog.builtins
    )
    second = warm.judge("select id from orders where id = 2", 1.0)
    assert second is not first
    assert second.epoch != first.epoch
