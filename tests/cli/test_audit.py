"""Commands on recordings, beside a gateway or without one."""

from __future__ import annotations

import getpass
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatekeeper.events import LoginFailed, StatementDecided
from gatekeeper.model import Action, ApprovalRecord, Decision
from gatekeeper.recording.store import Store, open_store
from tests.cli.conftest import Run, RunBeside
from tests.control.parts import Parts
from tests.recording import samples


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(str(tmp_path / "recordings.db"))
    approval = ApprovalRecord(
        "a1", "unbounded", "denied", (Decision("alice", samples.T0, False, "not today"),)
    )
    store.submit(
        [
            samples.login("abcd1"),
            samples.opened(1, "select id, ssn\nfrom customers", "abcd1"),
            samples.closed(
                1, "abcd1", rows=2, masked_columns=("public.customers.ssn",), sample=samples.SAMPLE
            ),
            samples.opened(2, "delete from orders", "abcd1", verdict=Action.APPROVE, guards=("unbounded",)),
            StatementDecided(samples.T0, "abcd1", 2, approval),
            samples.closed(2, "abcd1", outcome="42501", rows=None),
            samples.ended("abcd1"),
            samples.login("xyz2", subject="dora"),
            samples.opened(
                1, "truncate \x1b[31m customers", "xyz2", verdict=Action.BLOCK, params=("a", None)
            ),
            LoginFailed(samples.T0, samples.info(""), "28000", "no grant 'x'"),
        ]
    )
    store.flush()
    yield store
    store.close()


def test_sessions_are_listed(run: Run, store: Store) -> None:
    done = run("audit", "list", "--store", "recordings.db")
    assert done.status == 0
    assert "abcd1" in done.out
    assert "goes on" in done.out
    assert "client disconnected" in done.out
    found = json.loads(run("audit", "list", "--store", "recordings.db", "--json").out)
    assert {session["id"] for session in found} >= {"abcd1", "xyz2"}
    only = json.loads(run("audit", "list", "--search", "dora", "--json", "--store", "recordings.db").out)
    assert [session["id"] for session in only] == ["xyz2"]
    assert len(json.loads(run("audit", "list", "--limit", 1, "--json", "--store", "recordings.db").out)) == 1


def test_the_store_is_found_by_the_rules(run: Run, store: Store, tmp_path: Path) -> None:
    run("init")
    assert "abcd1" in run("audit", "list").out
    assert "abcd1" in run("audit", "list", "--rules", tmp_path / "rules.toml").out


def test_a_session_is_shown_whole(run: Run, store: Store) -> None:
    done = run("audit", "show", "abc", "--rows", "--store", "recordings.db")
    assert done.status == 0
    assert "from customers" in done.out
    assert "decision: denied by alice: not today" in done.out
    assert "masked: public.customers.ssn" in done.out
    assert "[REDACTED]" in done.out
    found = json.loads(run("audit", "show", "abc", "--json", "--store", "recordings.db").out)
    assert [record["kind"] for record in found] == ["login", "statement", "statement", "session_end"]
    assert found[2]["approval"]["decision"] == "denied"
    missing = run("audit", "show", "nothing", "--store", "recordings.db")
    assert (missing.status, missing.err) == (1, "gatekeeper: no session nothing is recorded\n")


def test_what_was_recorded_cannot_drive_the_terminal(run: Run, store: Store) -> None:
    done = run("audit", "show", "xyz2", "--store", "recordings.db")
    assert "\x1b" not in done.out
    assert "parameters: 'a', NULL" in done.out


def test_statements_are_searched(run: Run, store: Store) -> None:
    done = run("audit", "search", "DELETE", "--store", "recordings.db")
    assert "delete from orders" in done.out
    assert "ssn" not in done.out
    of_dora = json.loads(run("audit", "search", "dora", "--json", "--store", "recordings.db").out)
    assert {record["session"] for record in of_dora} == {"xyz2"}
    narrow = run(
        *(
            "audit",
            "search",
            "orders",
            "--verdict",
            "approve",
            "--grant",
            "ci-migrations",
            "--within",
            "9000d",
        ),
        *("--json", "--store", "recordings.db"),
    )
    assert [record["sql"] for record in json.loads(narrow.out)] == ["delete from orders"]
    assert (
        json.loads(
            run("audit", "search", "orders", "--within", "1s", "--json", "--store", "recordings.db").out
        )
        == []
    )
    assert run("audit", "search", "nothing like it", "--store", "recordings.db").out == "nothing found\n"


def test_the_export_is_one_object_a_line(run: Run, store: Store, tmp_path: Path) -> None:
    done = run("audit", "export", "--format", "jsonl", "--store", "recordings.db")
    records = [json.loads(line) for line in done.lines]
    assert {"login", "login_failed", "statement", "session_end"} <= {record["kind"] for record in records}
    one = run("audit", "export", "--session", "xyz2", "--store", "recordings.db", "-o", "out.jsonl")
    assert (one.status, one.out) == (0, "")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


def test_the_chain_is_verified(run: Run, store: Store, tmp_path: Path) -> None:
    done = run("audit", "verify", "--store", "recordings.db")
    assert done.status == 0
    assert "all as they were written" in done.out
    assert json.loads(run("audit", "verify", "--json", "--store", "recordings.db").out)["valid"] is True
    store.close()
    changed = sqlite3.connect(tmp_path / "recordings.db")
    changed.execute("update log set sql = 'select 1' where sql like 'delete%'")
    changed.commit()
    changed.close()
    broken = run("audit", "verify", "--store", "recordings.db")
    assert broken.status == 1
    assert len(broken.err.splitlines()) == 1
    as_json = run("audit", "verify", "--json", "--store", "recordings.db")
    assert as_json.status == 1
    assert json.loads(as_json.out)["valid"] is False


def test_what_is_old_is_pruned_and_the_rest_verifies(run: Run, store: Store) -> None:
    store.close()
    done = run("audit", "prune", "--older-than", "30d", "--store", "recordings.db")
    assert done.status == 0, done.err
    assert "events removed" in done.out
    assert run("audit", "verify", "--store", "recordings.db").status == 0


async def test_a_prune_beside_a_gateway_is_the_gateways_to_record(
    run_beside: RunBeside, store: Store, control: Path, parts: Parts
) -> None:
    store.submit([samples.login("new", at=time.time())])
    store.flush()
    done = await run_beside("audit", "prune", "--older-than", "30d")
    assert done.status == 0, done.err
    (action,) = parts.actions
    assert (action.who, action.action, action.target) == (getpass.getuser(), "prune", "older than 30d")
