"""init, check, explain and token."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.identity.devissuer import DevIssuer
from gatekeeper.identity.keys import KeyRing
from gatekeeper.identity.login import Authenticator
from gatekeeper.rules.load import load
from tests.cli.conftest import Run, RunBeside
from tests.control.parts import Parts
from tests.identity.issuers import rules as issuer_rules
from tests.servers import Database


def test_the_starter_file_is_valid_and_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    assert run("init").status == 0
    done = run("check")
    assert done.status == 0
    assert "valid" in done.out
    (tmp_path / "rules.toml").write_text("precious")
    again = run("init")
    assert again.status == 1
    assert "exists already" in again.err
    assert (tmp_path / "rules.toml").read_text() == "precious"
    assert run("init", "other.toml").status == 0
    load(tmp_path / "other.toml")


def test_every_error_of_a_rules_file_is_a_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(
        '[gateway]\nlisen = "x"\n[[guard]]\nname = "no-drop"\naction = "blok"\n[[grant]]\n'
    )
    done = run("check")
    assert done.status == 1
    lines = done.err.splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("gatekeeper: ") for line in lines)
    assert any("lisen" in line for line in lines)
    assert any('"no-drop"' in line and "blok" in line for line in lines)
    as_json = run("check", "--json")
    assert as_json.status == 1
    found = json.loads(as_json.out)
    assert found["valid"] is False
    assert [f"gatekeeper: {problem}" for problem in found["problems"]] == lines


def test_a_valid_file_is_counted_in_json(run: Run) -> None:
    run("init")
    found = json.loads(run("check", "--json").out)
    assert found["valid"] is True
    assert found["grants"] >= 2


RULES = """
[[issuer]]
name = "ci"
issuer = "https://issuer.example"
audience = "gatekeeper"

[[database]]
name = "app"
dsn = "{dsn}"
password = "env:APP_PASSWORD"

[[database]]
name = "other"
dsn = "embedded"

[[grant]]
name = "deploy"
issuer = "ci"
claims = {{ sub = "x" }}
databases = ["app"]
classes = ["READ", "WRITE", "DDL"]

[[grant]]
name = "read"
issuer = "ci"
claims = {{ sub = "x" }}
databases = ["app", "other"]

[[guard]]
name = "no-truncate"
statements = ["TRUNCATE TABLE"]
action = "block"
message = "Never."

[[guard]]
name = "unbounded"
statements = ["DELETE"]
where = "missing"
action = "approve"
approvals = 2
timeout = "90s"

[[guard]]
name = "big"
statements = ["UPDATE"]
min_rows = 100
action = "block"

[[mask]]
name = "pii"
columns = ["public.customers.ssn"]
"""


class Explaining:
    def __init__(self, run: RunBeside) -> None:
        self._run = run

    async def __call__(self, sql: str, grant: str = "deploy", *more: str) -> dict[str, Any]:
        done = await self._run("explain", sql, "--grant", grant, "--json", *more)
        assert done.status == 0, done.err
        found: dict[str, Any] = json.loads(done.out)
        return found


@pytest.fixture
async def explained(run_beside: RunBeside, database: Database, tmp_path: Path) -> Explaining:
    environment = database.environment()
    user, host, port = environment["PGUSER"], environment["PGHOST"], environment["PGPORT"]
    dsn = f"postgresql://{user}@/{database.name}?host={host}&port={port}"
    (tmp_path / "rules.toml").write_text(RULES.format(dsn=dsn))
    os.environ["APP_PASSWORD"] = environment["PGPASSWORD"]
    connection = await database.connect()
    await connection.execute(
        "create table customers (id int, name text, ssn text);"
        "create view people as select id, ssn as secret from customers;"
        "create table orders as select n from generate_series(1, 1000) n; analyze orders;"
        "create function wipe() returns void language sql as 'truncate customers'"
    )
    await connection.close()
    return Explaining(run_beside)


async def test_explain_names_classes_tags_relations_and_verdict(explained: Explaining) -> None:
    found = await explained("select count(*) from customers c join orders on c.id = n")
    assert (found["verdict"], found["catalog"], found["database"]) == ("allow", True, "app")
    (statement,) = found["statements"]
    assert statement["tags"] == ["SELECT"]
    assert statement["classes"] == ["READ"]
    assert {relation["name"] for relation in statement["relations"]} == {"customers", "orders"}


async def test_explain_sees_guards_and_classes(explained: Explaining) -> None:
    blocked = await explained("truncate customers")
    assert (blocked["verdict"], blocked["sqlstate"], blocked["guards"]) == ("block", "42501", ["no-truncate"])
    assert blocked["detail"] == "Never."
    held = await explained("delete from customers")
    assert held["verdict"] == "approve"
    assert held["hold"] == {"guard": "unbounded", "approvals": 2, "timeout_s": 90}
    assert held["statements"][0]["where_missing"]
    refused = await explained("create table t (a int)", "read")
    assert refused["verdict"] == "reject"
    assert 'grant "read" does not allow DDL' in refused["message"]


async def test_explain_reads_the_bodies_of_functions(explained: Explaining) -> None:
    found = await explained("select wipe()")
    assert "TRUNCATE TABLE" in found["statements"][0]["tags"]
    assert found["verdict"] in ("block", "reject")


async def test_explain_asks_the_planner(explained: Explaining) -> None:
    few = await explained("update orders set n = 0 where n = 5")
    many = await explained("update orders set n = 0 where n > 5")
    assert few["verdict"] == "allow"
    assert (many["verdict"], many["guards"]) == ("block", ["big"])
    assert many["statements"][0]["estimated_rows"] > 500


async def test_explain_names_masks(explained: Explaining) -> None:
    found = await explained("select secret from people")
    assert {mask["column"] for mask in found["masks"]} == {"public.customers.ssn", "public.people.secret"}
    assert (await explained("select n from orders"))["masks"] == []
    refused = await explained("select name from customers where ssn = '1'")
    assert refused["verdict"] == "reject"
    assert "is masked" in refused["message"]


async def test_explain_runs_nothing(explained: Explaining, database: Database) -> None:
    await explained("create table made (a int); select wipe()")
    connection = await database.connect()
    assert await connection.fetchval("select to_regclass('made')") is None
    await connection.close()


async def test_explain_refuses_what_cannot_be_parsed(explained: Explaining) -> None:
    found = await explained("selec 1")
    assert (found["verdict"], found["sqlstate"]) == ("reject", "42601")


async def test_explain_is_for_people_too(explained: Explaining, run_beside: RunBeside) -> None:
    done = await run_beside("explain", "delete from customers", "--grant", "deploy")
    assert done.status == 0
    assert done.lines[0].startswith("APPROVE")
    assert "waits for 2 approvals, up to 90 s (unbounded)" in done.out
    assert "public.customers.ssn (redact)" in done.out
    assert "\x1b" not in done.out


async def test_explain_says_when_it_had_no_catalog(explained: Explaining, run_beside: RunBeside) -> None:
    os.environ["APP_PASSWORD"] = "wrong"
    found = await explained("truncate customers")
    assert (found["catalog"], found["verdict"]) == (False, "block")
    assert found["catalog_problem"]
    done = await run_beside("explain", "truncate customers", "--grant", "deploy")
    assert "without the database's catalog" in done.err
    embedded = await explained("select 1", "read", "--database", "other")
    assert "bundled database" in embedded["catalog_problem"]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--grant", "nobody"], 'no grant "nobody"; the rules have: deploy, read'),
        (["--grant", "deploy", "--database", "nowhere"], 'no database "nowhere"'),
        (["--grant", "deploy", "--database", "other"], 'grant "deploy" does not open database "other"'),
    ],
)
async def test_explain_knows_the_names(
    explained: Explaining, run_beside: RunBeside, more: list[str], problem: str
) -> None:
    done = await run_beside("explain", "select 1", *more)
    assert done.status == 1
    assert problem in done.err


async def test_a_token_of_the_command_lets_in(run: Run, tmp_path: Path) -> None:
    done = run(
        *("token", "--claim", "repository_id=1296269", "--claim", "run_id=7", "--claim", 'groups=["a","b"]'),
        *("--claim", "ok=true", "--claim", "ref=refs/heads/main", "--claim", "odd=null", "--ttl", "5m"),
    )
    assert done.status == 0
    assert len(done.lines) == 1
    directory = tmp_path / "state" / "gatekeeper" / "demo" / "issuer"
    issuer = DevIssuer(directory)
    assert stat.S_IMODE(issuer.key_file.stat().st_mode) == 0o600
    keys = KeyRing()
    now = time.time()
    admitted = await Authenticator(keys).authenticate(
        issuer_rules(issuer.jwks_file, issuer=issuer.issuer, run=("run_id",)),
        "deploy",
        "app",
        done.lines[0],
        now,
    )
    await keys.close()
    claims = admitted.identity.claims
    assert admitted.identity.run == "7"
    assert (claims["groups"], claims["ok"], claims["ref"], claims["odd"]) == (
        ["a", "b"], True, "refs/heads/main", "null",
    )  # fmt: skip
    assert 290 < admitted.identity.token_expires_at - now <= 301


def test_an_issuer_may_live_elsewhere(run: Run, tmp_path: Path) -> None:
    assert run("token", "--issuer-dir", tmp_path / "mine").status == 0
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["jwks.json", "key"]


async def test_a_bundled_database_is_explained_by_its_running_gateway(
    run_beside: RunBeside, control: Path, parts: Parts
) -> None:
    version = load(control.parent / "rules.toml").version
    answer = {**(await parts.explain("select 1", "deploy", "app")), "rules": version, "from": "the gateway"}

    async def explain(sql: str, grant: str, database: str | None) -> dict[str, Any]:
        return answer

    parts.operator._explain = explain
    found = json.loads((await run_beside("explain", "select 1", "--grant", "deploy", "--json")).out)
    assert found["from"] == "the gateway"
    answer["rules"] = "of another file"
    found = json.loads((await run_beside("explain", "select 1", "--grant", "deploy", "--json")).out)
    assert (found["verdict"], found["catalog"]) == ("allow", False)
