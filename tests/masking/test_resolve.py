"""Which columns are masked for whom, and what follows from that."""

from __future__ import annotations

import pytest

from gatekeeper.masking.resolve import MaskSet, resolve
from gatekeeper.rules.schema import MaskRules
from gatekeeper.sql.catalog import Catalog, CatalogRelation, Column
from tests.masking.probe import KEY, Probe, execute, rules_of
from tests.servers import Database


def table(oid: int, name: str, *columns: str, schema: str = "public", **more: object) -> CatalogRelation:
    made = tuple(Column(n, column, 25, 25) for n, column in enumerate(columns, 1))
    return CatalogRelation(oid, schema, name, "r", made, **more)  # type: ignore[arg-type]


CATALOG = Catalog(
    1,
    {
        r.oid: r
        for r in (
            table(20001, "customers", "id", "ssn", "card_number"),
            table(20002, "cards", "card_number", schema="sales"),
            table(1247, "pg_type", "typname", schema="pg_catalog"),
        )
    },
)


def names(masks: MaskSet) -> set[str]:
    return {mask.name for mask in masks.columns.values() if mask.via is None}


def masked(
    *rules: MaskRules, grant: str = "ci", database: str = "app", catalog: Catalog = CATALOG
) -> MaskSet:
    return resolve(rules_of(*rules), catalog, grant, database, hash_key=KEY)


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        (("public.customers.ssn",), {"public.customers.ssn"}),
        (("*.*.card_number",), {"public.customers.card_number", "sales.cards.card_number"}),
        (("*.card?.*",), {"sales.cards.card_number"}),
        (("*.typname",), set()),
        (("pg_catalog.*.typname",), {"pg_catalog.pg_type.typname"}),
        (("public.Customers.ssn",), set()),
        (("*",), {"public.customers.id", "public.customers.ssn", "public.customers.card_number",
                  "sales.cards.card_number"}),
    ],
)  # fmt: skip
def test_globs_name_schema_table_and_column(globs: tuple[str, ...], expected: set[str]) -> None:
    assert names(masked(MaskRules("m", globs))) == expected


def test_a_mask_holds_for_its_grants_and_databases_alone() -> None:
    rule = MaskRules(
        "m", ("public.customers.ssn",), grants=("ci*",), except_grants=("ci-dba",), databases=("app",)
    )
    assert names(masked(rule))
    assert names(masked(rule, grant="ci-2"))
    for how in ({"grant": "ci-dba"}, {"grant": "bot"}, {"database": "other"}):
        assert masked(rule, **how).empty


def test_where_no_mask_applies_the_set_is_empty() -> None:
    assert masked().empty
    assert not masked(MaskRules("m", detect=("US_SSN",))).empty
    assert not masked(MaskRules("m", ("public.unborn.ssn",))).empty


def test_the_first_rule_gives_the_method_and_the_strictest_the_predicates() -> None:
    one = MaskRules("a", ("*.*.ssn",), method="hash", predicates="allow")
    two = MaskRules("b", ("public.customers.*",), method="null", predicates="block")
    mask = masked(one, two).columns[20001, 2]
    assert (mask.rule, mask.method, mask.predicates) == ("a", "hash", "block")


def test_a_mask_sticks_to_the_column_through_a_rename() -> None:
    rule = MaskRules("m", ("public.customers.ssn",))
    before = masked(rule)
    renamed = Catalog(2, {20001: table(20001, "clients", "id", "number", "card_number", schema="crm")})
    after = resolve(rules_of(rule), renamed, "ci", "app", before.sticky, hash_key=KEY)
    assert names(after) == {"crm.clients.number"}
    assert resolve(rules_of(rule), renamed, "ci", "app", after.sticky, hash_key=KEY).columns.keys() >= {
        (20001, 2)
    }
    gone = rules_of(MaskRules("other", ("x.y.z",)))
    assert not names(resolve(gone, renamed, "ci", "app", after.sticky, hash_key=KEY))


@pytest.mark.server
def test_what_follows_from_a_mask_is_masked_with_it(probe: Probe) -> None:
    found = {mask.name: mask for mask in probe.masks.columns.values()}
    for name in (
        "public.customers.ssn_upper", "public.people.number", "public.people.loud", "public.people.salary",
        "public.people2.n2", "public.people_m.ssn", "public.events_1.ssn", "public.child.secret",
        "pg_catalog.pg_stats.most_common_vals", "pg_catalog.pg_statistic.stavalues1",
        "pg_catalog.pg_stat_activity.query",
    ):  # fmt: skip
        assert name in found, name
    for name in (
        "public.customers.name_upper", "public.people.name", "public.names.note", "public.totals.with_ssn",
        "public.events.kind", "public.child.extra", "other.customers.ssn", "public.people_m.id",
    ):  # fmt: skip
        assert name not in found, name
    assert found["public.people.number"].derived is False
    assert found["public.people.loud"].derived is True
    assert found["public.customers.ssn_upper"].derived is True


@pytest.mark.server
async def test_a_mask_on_a_child_covers_its_parent_and_not_its_siblings(database: Database) -> None:
    await execute(
        database,
        """create table p (id int, s text) partition by range (id);
           create table p1 partition of p for values from (0) to (1);
           create table p2 partition of p for values from (1) to (2);
           create table p3 partition of p for values from (2) to (3) partition by range (id);
           create table p3a partition of p3 for values from (2) to (3)""",
    )
    made = Probe(database, rules_of(MaskRules("m", ("public.p1.s",))))
    await made.refresh()
    names = {m.name for m in made.masks.columns.values()}
    assert {"public.p.s", "public.p1.s"} <= names
    assert "public.p2.s" not in names
    made.rules = rules_of(MaskRules("m", ("public.p.s",)))
    made.masks = MaskSet()
    await made.refresh()
    assert {f"public.{t}.s" for t in ("p", "p1", "p2", "p3", "p3a")} <= {
        m.name for m in made.masks.columns.values()
    }
    made.close()


@pytest.mark.server
async def test_a_renamed_column_stays_masked_on_the_server(database: Database) -> None:
    await execute(database, "create table t (id int, s text); insert into t values (1, 'Kanarie')")
    made = Probe(database, rules_of(MaskRules("m", ("public.t.s",))))
    await made.refresh()
    await execute(
        database,
        "alter table t rename column s to x; alter table t rename to u; create view w as select x y from u",
    )
    await made.refresh()
    for sql in ("select * from u", "select upper(x) from u", "select y from w", "copy u to stdout"):
        assert b"ANARIE" not in made.run(sql).through.everything().upper()
    assert made.run("select id from u where x = 'Kanarie'").refused == 'column "public.u.x" is masked'
    made.close()
