"""A masked value that decides which rows come, how many or in what order: refused, held or allowed by the
rule.
"""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.masking.probe import Probe, rules_of
from tests.masking.schema import MASK, leaks

pytestmark = pytest.mark.server

ORACLES = """
select id from customers where ssn = 'x'
select id from customers where ssn like 'K%'
select id from customers where upper(ssn) > 'L'
select id from customers where ssn is not null
select id from customers c where (c).ssn = 'x'
select id from customers c where c::text like '%K%'
select id from customers c where to_jsonb(c)->>'ssn' = 'x'
select id from customers c where c = row(1)
select count(*) from customers where salary between 1 and 2
select count(*) from customers where salary in (1, 2)
select count(*) from customers where tags @> '{x}'
select count(*) from customers where doc ? 'k'
select id from customers where exists (select 1 from customers i where i.ssn = 'x')
select id from customers where id in (select id from customers where ssn = 'x')
select id from customers where 'x' in (select ssn from customers)
select o.id from orders o join customers c on c.ssn = o.note
select o.id from orders o join customers c using (id) where c.salary > 1
select 1 from customers a join customers b using (ssn)
select 1 from customers a natural join customers b
select 1 from customers a natural join (select ssn from customers) b
select count(*) filter (where ssn = 'x') from customers
select name from customers group by name, ssn
select name from customers group by 1 having max(ssn) > 'x'
select count(distinct ssn) from customers
select distinct ssn from customers
select distinct on (ssn) id from customers
select id from customers order by ssn
select id, ssn from customers order by 2
select id, ssn as s from customers order by s
select id from customers order by salary desc limit 1
select array_agg(id order by ssn) from customers
select rank() over (order by salary) from customers
select row_number() over (partition by ssn) from customers
select count(*) over w from customers window w as (order by ssn)
select id from customers limit (select salary from customers where id = 1)
select id from customers offset (select salary from customers where id = 1)
select ssn from customers union select 'x'
select ssn from customers intersect select 'x'
select ssn from customers except select 'x'
select 'x' where 'y' = (select ssn from customers where id = 1)
select case when ssn like 'K%' then 1 end from customers
select case ssn when 'x' then 1 end from customers
select case when (select ssn from customers where id = 1) > 'K' then pg_sleep(1) end
select generate_series(1, salary) from customers
select 1 from generate_series(1, (select salary from customers where id = 1))
select 1 from customers, generate_series(1, salary)
select unnest(tags) is null from customers
select 1 / (salary - 1) from customers
select salary / 0 from customers
select salary::smallint from customers
select ssn::int from customers
select coalesce(nullif(ssn, 'x'), (1 / 0)::text) from customers
select count(nullif(ssn, 'x')) from customers
select (ssn = 'x' and 1 / (id - 1) > 0) from customers
select pg_sleep(salary) from customers
select to_date(ssn, 'YYYY') from customers
select repeat('x', salary) from customers
select substr(name, salary) from customers
update customers set note = 'x' where ssn = 'x'
update orders set note = 'x' from customers c where c.id = customer_id and c.salary > 1
delete from customers where ssn = 'x'
delete from orders using customers c where c.ssn = orders.note
merge into orders o using customers c on c.ssn = o.note when matched then delete
merge into orders o using customers c on c.id = o.customer_id when matched and c.ssn = 'x' then delete
insert into customers (id, name, ssn) values (1, 'x', 'y') on conflict (ssn) do update set note = 'hit' returning id
insert into orders (id) select id from customers where ssn = 'x'
with recursive r(s) as (select ssn from customers union select s from r) select 1 from r
with x as (select ssn as s from customers) select 1 from x where s > 'x'
select 1 from (select ssn as s from customers) x where s > 'x'
select 1 from people where number = 'x'
select 1 from people2 where n2 = 'x'
select 1 from events_1 where ssn = 'x'
select 1 from child where secret = 'x'
select 1 from customers where ssn_upper = 'X'
select 1 from pg_stats where most_common_vals::text like '%x%'
select count(*) from customers where ssn_of(id) = 'x'
select 1 where steal() = 'x'
select 1 from customers where loud(ssn) = 'X'
explain select * from customers where ssn = 'x'
explain analyze select * from customers order by ssn
prepare p as select 1 from customers where ssn = $1
declare c cursor for select 1 from customers where ssn > 'x'
copy (select id from customers where ssn = 'x') to stdout
create table z as select id from customers where ssn = 'x'
create view z as select id from customers where ssn = 'x'
create index on customers (id) where ssn = 'x'
create policy p on customers using (ssn = 'x')
alter table customers add check (ssn is null)
do $$ begin if (select ssn from customers where id = 1) like 'K%' then raise notice 'hit'; end if; end $$
do $$ begin perform 1 from customers where ssn = 'x'; end $$
select id from customers where "ssn" = 'x'
select id from customers where U&"\\0073sn" = 'x'
select id from "customers" where SSN = 'x'
select id from customers, (values ('x')) v(g) where ssn = g
select id from customers c join lateral (select 1 where c.ssn = 'x') l on true
select id from customers c(a, b, d) where d = 'x'
""".strip().split("\n")


@pytest.fixture
def with_predicates(probe: Probe, request: pytest.FixtureRequest) -> Iterator[Probe]:
    made = Probe(probe.database, rules_of(replace(MASK, predicates=request.param), dynamic="approve"))
    made.catalog = probe.catalog
    from gatekeeper.masking.resolve import resolve
    from tests.masking.probe import KEY

    made.masks = resolve(made.rules, made.catalog, "ci", "app", hash_key=KEY)
    yield made
    made.close()


@pytest.mark.parametrize("sql", ORACLES)
def test_a_masked_value_may_not_decide_anything(probe: Probe, sql: str) -> None:
    refusal = probe.plan(sql).refusal
    assert refusal is not None
    assert refusal.sqlstate == "42501"
    assert refusal.message.startswith('column "p')
    assert refusal.message.endswith('" is masked')


@pytest.mark.parametrize("with_predicates", ["approve"], indirect=True)
@pytest.mark.parametrize("sql", ORACLES[:20])
def test_a_rule_can_let_a_person_decide_about_predicates(with_predicates: Probe, sql: str) -> None:
    planned = with_predicates.plan(sql)
    assert planned.refusal is None
    assert planned.hold is not None
    assert planned.hold.guard == "mask pii"


@pytest.mark.parametrize("with_predicates", ["allow"], indirect=True)
@pytest.mark.parametrize(
    "sql", [sql for sql in ORACLES if "pg_sleep" not in sql and "generate_series" not in sql]
)
def test_a_rule_can_allow_predicates_and_values_stay_masked(with_predicates: Probe, sql: str) -> None:
    outcome = with_predicates.run(sql)
    if outcome.refused is None:
        assert outcome.plan.hold is None
        assert not leaks(outcome.through.everything()), outcome.through
