from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from gatekeeper.errors import ConfigError, RecordingError
from gatekeeper.events import (
    Event,
    LoginFailed,
    OperatorAction,
    RulesReloaded,
    StatementBound,
    StatementDecided,
)
from gatekeeper.identity.runs import StoredRun
from gatekeeper.model import Action, ApprovalRecord, Decision
from gatekeeper.recording.export import export
from gatekeeper.recording.reader import open_reader, open_records
from gatekeeper.recording.store import Store, open_store

from .samples import SAMPLE, T0, closed, ended, info, login, opened


async def committed(store: Store, events: Sequence[Event]) -> None:
    done = asyncio.get_running_loop().create_future()
    store.submit(events, lambda error: done.set_exception(error) if error else done.set_result(None))
    await done


async def test_a_record_is_readable_from_elsewhere_once_then_is_called(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    reader = open_reader(tmp_path / "r.db")
    await committed(store, [login(), opened()])
    records = await reader.records("s1")
    assert [r.kind for r in records] == ["login", "statement"]
    assert records[1].sql == "select 1"
    assert records[1].outcome is None
    store.close()
    await reader.close()


async def test_then_is_called_from_the_loop_never_at_once(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    calls: list[RecordingError | None] = []
    store.submit([login()], calls.append)
    store.submit([opened()], calls.append)
    assert calls == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert calls == [None, None]
    store.close()


async def test_a_callback_that_fails_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    calls: list[RecordingError | None] = []
    loop = asyncio.get_running_loop()
    caught: list[object] = []
    loop.set_exception_handler(lambda _, context: caught.append(context))

    def broken(_: RecordingError | None) -> None:
        raise ValueError

    store.submit([login()], broken)
    store.submit([opened()], calls.append)
    await asyncio.sleep(0.01)
    loop.set_exception_handler(None)
    assert calls == [None]
    assert len(caught) == 1
    store.close()


async def test_all_events_of_a_statement_become_one_record(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    approval = ApprovalRecord("a1", "unbounded", "approved", (Decision("ann", T0 + 3, True, "ok"),))
    await committed(store, [login()])
    await committed(
        store, [opened(1, "delete from orders where id = $1", verdict=Action.APPROVE, guards=("unbounded",))]
    )
    await committed(store, [StatementBound(T0 + 2, "s1", 1, ("7", None))])
    await committed(store, [StatementDecided(T0 + 3, "s1", 1, approval)])
    store.submit([closed(1, outcome="DELETE 1", masked_columns=("public.customers.ssn",), sample=SAMPLE)])
    store.submit([ended()])
    store.close()
    records = list(open_records(tmp_path / "r.db").records("s1"))
    assert [r.kind for r in records] == ["login", "statement", "session_end"]
    it = records[1]
    assert (it.session, it.grant, it.subject, it.issuer, it.run, it.database) == (
        *("s1", "ci-migrations", "repo:acme/app:ref:refs/heads/main", "github", "771.1", "app"),
    )
    assert (it.sql, it.params, it.verdict, it.guards) == (
        "delete from orders where id = $1",
        ("7", None),
        "approve",
        ("unbounded",),
    )
    assert (it.outcome, it.rows, it.duration_ms) == ("DELETE 1", 1, 250.0)
    assert it.approval == {
        "id": "a1",
        "guard": "unbounded",
        "decision": "approved",
        "decisions": [{"who": "ann", "at": T0 + 3, "approved": True, "reason": "ok"}],
    }
    assert it.masked_columns == ("public.customers.ssn",)
    assert it.sample_columns == SAMPLE.columns
    assert it.sample_rows == SAMPLE.rows


async def test_failed_logins_reloads_and_operator_actions_are_records(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    store.submit([LoginFailed(T0, info("s0"), "28000", "signature does not match")])
    store.submit([RulesReloaded(T0, "abc", ()), RulesReloaded(T0, "abd", ("[[guard]] 1: action: missing",))])
    store.submit([OperatorAction(T0, "ann", "kill", "s1", "stuck")])
    store.close()
    records = list(open_records(tmp_path / "r.db").all_records())
    assert [(r.kind, r.outcome, r.detail) for r in records] == [
        ("login_failed", "28000", "signature does not match"),
        ("reload", "in force", "rules abc"),
        ("reload", "rejected", "rules abd; [[guard]] 1: action: missing"),
        ("operator", None, "kill s1: stuck"),
    ]
    assert records[3].subject == "ann"
    assert records[0].grant == "ci-migrations"


async def test_a_text_is_stored_once(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    long = "select " + ", ".join(f"c{i}" for i in range(3000))
    store.submit([login(), *(opened(n, long) for n in range(1, 50))])
    store.submit([login("s2"), *(opened(n, long, "s2") for n in range(1, 50))])
    store.close()
    records = open_records(tmp_path / "r.db")
    assert [r.sql for r in records.records("s2") if r.kind == "statement"] == [long] * 49
    stored = records.connection.execute("select count(*) from log where sql is not null").fetchone()
    assert stored == (1,)


async def test_sessions_are_listed_newest_first_with_their_counts(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    denied = ApprovalRecord("a1", "g", "denied")
    store.submit([login("a"), login("b", T0 + 1)])
    store.submit([opened(1, session="a"), opened(2, session="a", verdict=Action.BLOCK)])
    store.submit([opened(3, session="a", verdict=Action.APPROVE), StatementDecided(T0, "a", 3, denied)])
    store.submit([opened(n, session="b") for n in range(1, 5000)])
    store.submit([ended("b")])
    store.flush()
    reader = open_reader(tmp_path / "r.db")
    b, a = await reader.sessions()
    assert (b.id, b.statements, b.refused, b.held, b.end_reason) == ("b", 4999, 0, 0, "client disconnected")
    assert (a.id, a.statements, a.refused, a.held, a.ended_at) == ("a", 3, 2, 1, None)
    assert [s.id for s in await reader.sessions(limit=1)] == ["b"]
    store.close()
    await reader.close()


async def test_a_session_id_may_be_cut_short_where_that_is_unambiguous(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    store.submit([login("abcd"), login("abef"), login("ab")])
    store.close()
    reader = open_reader(tmp_path / "r.db")
    assert (await reader.records("abc"))[0].session == "abcd"
    assert (await reader.records("ab"))[0].session == "ab"
    with pytest.raises(RecordingError, match="more than one recorded session begins with a"):
        await reader.records("a")
    with pytest.raises(RecordingError, match="no session x is recorded"):
        await reader.records("x")
    await reader.close()


async def test_jsonl_has_exactly_the_fields_of_the_contract(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    store.submit([login(), opened(1, "select 'ü\u2028'"), closed(), ended()])
    store.close()
    lines = list(export(open_records(tmp_path / "r.db"), "jsonl"))
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    statement = json.loads(lines[1])
    assert list(statement) == [
        *("seq", "kind", "at", "session", "grant", "subject", "issuer", "run", "database", "protocol"),
        *("sql", "params", "tags", "classes", "relations", "functions", "verdict", "guards", "approval"),
        *("outcome", "rows", "duration_ms", "masked_columns", "detail", "hash"),
    ]
    assert statement["at"] == "2025-06-15T15:06:41.000000Z"
    assert statement["sql"] == "select 'ü\u2028'"
    assert len(statement["hash"]) == 64


async def test_nothing_that_a_client_can_send_fails_to_be_recorded(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    await committed(
        store, [login(subject="\udcff", claims={"big": 2**70, "deep": {"x": ["\ud800", math.inf]}})]
    )
    await committed(store, [opened(1, "select '\udcff\x00'", params=("\udcfe",), relations=("a\udcff.b",))])
    store.close()
    statement = list(open_records(tmp_path / "r.db").records("s1"))[1]
    assert statement.sql == "select '\\udcff\x00'"
    assert statement.params == ("\\udcfe",)
    assert statement.subject == "\\udcff"


async def test_the_key_and_the_recordings_are_private(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    store.submit([login()])
    store.flush()
    for name in ("r.db", "r.db.key", "r.db-wal"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
    store.close()


async def test_a_second_gateway_on_the_same_file_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    with pytest.raises(ConfigError, match="another gateway writes the recordings"):
        open_store(str(tmp_path / "r.db"))
    store.close()
    open_store(str(tmp_path / "r.db")).close()


async def test_another_key_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    store.submit([login()])
    store.close()
    (tmp_path / "r.db.key").write_text("00" * 32)
    with pytest.raises(ConfigError, match="do not end as they were left, or the key is another one"):
        open_store(str(tmp_path / "r.db"))
    (tmp_path / "r.db.key").unlink()
    with pytest.raises(ConfigError, match="the key of the recordings is missing"):
        open_store(str(tmp_path / "r.db"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: p.mkdir(), "it is a directory"),
        (lambda p: p.write_bytes(b"not a database, but some text of a good length" * 100), "not a database"),
    ],
)
async def test_what_is_no_recording_is_refused_in_one_line(tmp_path: Path, make: object, says: str) -> None:
    make(tmp_path / "r.db")  # type: ignore[operator]
    with pytest.raises(ConfigError, match=says) as error:
        open_store(str(tmp_path / "r.db"))
    assert "\n" not in str(error.value)


async def test_postgresql_as_a_store_is_not_supported_yet() -> None:
    with pytest.raises(ConfigError, match="not supported yet"):
        open_store("postgresql://db/recordings")


async def test_runs_survive_a_restart(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    run = StoredRun("771.1", "ci", "repo", "github", T0)
    store.save_run(run)
    store.save_run(StoredRun("772.1", "ci", "repo", "github", T0, T0 + 60))
    store.save_run(StoredRun("772.1", "ci", "repo", "github", T0, T0 + 60, T0 + 5))
    store.close()
    store = open_store(str(tmp_path / "r.db"))
    assert list(store.load_runs()) == [run, StoredRun("772.1", "ci", "repo", "github", T0, T0 + 60, T0 + 5)]
    store.close()


async def test_sessions_left_open_are_ended_at_the_next_start(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    store.submit([login(), opened()])
    store.close()
    open_store(str(tmp_path / "r.db")).close()
    records = list(open_records(tmp_path / "r.db").records("s1"))
    assert records[1].outcome is None
    assert (records[2].kind, records[2].detail) == (
        "session_end",
        "the gateway stopped without ending the session",
    )


async def test_a_file_of_a_newer_version_or_of_something_else_is_refused(tmp_path: Path) -> None:
    open_store(str(tmp_path / "r.db")).close()
    for name, change, says in (
        ("r.db", "pragma user_version = 99", "written by a newer Gatekeeper"),
        ("other.db", "create table t (x)", "not one of recordings"),
    ):
        connection = sqlite3.connect(tmp_path / name)
        connection.execute(change)
        connection.commit()
        connection.close()
        with pytest.raises(ConfigError, match=rf"cannot write recordings in .*{name}: .*{says}"):
            open_store(str(tmp_path / name))
        with pytest.raises(RecordingError, match=says):
            open_records(tmp_path / name)
    with pytest.raises(RecordingError, match="no recordings in"):
        open_records(tmp_path / "missing.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(RecordingError, match="nothing is recorded in it"):
        open_records(tmp_path / "empty.db")
