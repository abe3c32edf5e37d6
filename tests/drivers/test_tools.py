"""pg_dump, pg_restore, pgbench and large scripts by psql: the same through the gateway as directly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.place import Place

SCHEMA = """
create schema shop;
create type shop.kind as enum ('a', 'b');
create domain shop.positive as int check (value > 0);
create table shop.item (
    id int generated always as identity primary key, kind shop.kind not null default 'a',
    n shop.positive, name text collate "C", tags text[], data jsonb, twice int generated always as (n * 2) stored,
    at timestamptz default now()
) with (fillfactor = 90);
create table shop.part (id int, at date not null) partition by range (at);
create table shop.part_1 partition of shop.part for values from ('2024-01-01') to ('2025-01-01');
create index on shop.item using gin (data);
create view shop.named as select id, name from shop.item where name is not null;
create materialized view shop.counted as select kind, count(*) from shop.item group by kind;
create function shop.total(shop.kind) returns bigint language sql stable
    begin atomic; select count(*) from shop.item where kind = $1; end;
create function shop.touch() returns trigger language plpgsql as $$
begin new.name := coalesce(new.name, 'none'); return new; end $$;
create trigger touch before insert on shop.item for each row execute function shop.touch();
create sequence shop.counter start 5;
alter table shop.item enable row level security;
create policy seen on shop.item using (n > 0);
comment on table shop.item is 'it''s an item';
insert into shop.item (n, tags, data) select i, array['x', null], '{"i": 1}' from generate_series(1, 2000) i;
insert into shop.part values (1, '2024-05-05');
refresh materialized view shop.counted;
"""  # noqa: E501


@pytest.fixture
def shop(place: Place) -> Iterator[Place]:
    place.run("psql", "-Xq1", "-v", "ON_ERROR_STOP=1", env=place.through(), stdin=SCHEMA)
    yield place
    place.sql("drop schema shop cascade")


def dumped(place: Place, env: dict[str, str]) -> str:
    text = place.run(place.server.bin_dir / "pg_dump", "-n", "shop", env=env).stdout
    return re.sub(r"\\(un)?restrict \w+", "", text)


@pytest.mark.parametrize("form", ["custom", "directory"])
def test_a_dump_is_the_same_and_can_be_restored(shop: Place, tmp_path: Path, form: str) -> None:
    tools, through = shop.server.bin_dir, shop.through()
    directly = dumped(shop, shop.direct())
    assert dumped(shop, through) == directly
    archive, jobs = tmp_path / "dump", ("-j", "2") if form == "directory" else ()
    shop.run(tools / "pg_dump", "-n", "shop", "-F", form, *jobs, "-f", archive, env=through)
    shop.sql("drop schema shop cascade")
    shop.run(tools / "pg_restore", "--exit-on-error", "-d", "postgres", "-j", "2", archive, env=through)
    assert dumped(shop, shop.direct()) == directly
    shop.run(tools / "pg_restore", "--exit-on-error", "--clean", "-1", "-d", "postgres", archive, env=through)
    assert dumped(shop, shop.direct()) == directly


def test_a_masked_table_is_dumped_with_its_masks(place: Place) -> None:
    text = place.run(
        place.server.bin_dir / "pg_dump", "-a", "-t", "masked_people", env=place.through()
    ).stdout
    assert "1\tAda\t[REDACTED]" in text


def test_pgbench_in_all_modes(place: Place) -> None:
    pgbench, through = place.server.bin_dir / "pgbench", place.through()
    place.run(pgbench, "-i", "-q", "-s", "1", env=through)
    for mode in ("simple", "extended", "prepared"):
        for script in ("tpcb-like", "select-only"):
            done = place.run(pgbench, "-n", "-M", mode, "-b", script, "-c", "4", "-t", "50", env=through)
            assert "number of transactions actually processed: 200/200" in done.stdout
            assert "number of failed transactions: 0" in done.stdout
    place.run(pgbench, "-n", "-C", "-S", "-c", "2", "-t", "10", env=through)
    pipeline = place.directory / "pipeline.sql"
    pipeline.write_text("\\startpipeline\n" + "select 1;\n" * 20 + "\\endpipeline\n")
    done = place.run(pgbench, "-n", "-M", "prepared", "-f", pipeline, "-t", "50", env=through)
    assert "actually processed: 50/50" in done.stdout
    place.sql("drop table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers")


@pytest.mark.parametrize("one", [True, False])
def test_a_large_migration_by_psql(place: Place, tmp_path: Path, one: bool) -> None:
    parts = ["create schema migrated; set search_path = migrated;"]
    for i in range(100 if one else 20):
        parts.append(f"create table t{i} (id int primary key, name text not null default 'it''s; ok');")
        parts.append(f"insert into t{i} select n from generate_series(1, 20) n;")
        parts.append(f"alter table t{i} add column more jsonb; create index on t{i} (name);")
        parts.append(f"copy t{i} (id, name) from stdin;\n100\tcopied\n\\.\n")
    file = tmp_path / "migration.sql"
    file.write_text("\n".join(parts))
    transaction = ["-1"] if one else []
    place.run("psql", "-Xq", *transaction, "-v", "ON_ERROR_STOP=1", "-f", file, env=place.through())
    assert place.sql("select count(*) from migrated.t19") == "21"
    place.sql("drop schema migrated cascade")


def test_what_psql_shows_is_the_same(shop: Place) -> None:
    script = "\\d shop.item\n\\d+ shop.named\n\\df+ shop.*\n\\dn+\n\\dp shop.*\n\\l\n\\du\n\\dT+ shop.*\n"
    script += "select * from shop.total('a') \\gx\nselect 1/0;\nselect 1 \\gset\n\\echo :?column?\n"
    script += "\\set FETCH_COUNT 100\nselect id from shop.item order by id;\n\\errverbose\n"
    psql = shop.server.bin_dir / "psql"
    through = shop.run(psql, "-X", env=shop.through(), stdin=script)
    directly = shop.run(psql, "-X", env=shop.direct(), stdin=script)
    assert (through.stdout, through.stderr) == (directly.stdout, directly.stderr)
