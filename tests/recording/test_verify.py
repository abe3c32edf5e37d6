from __future__ import annotations

import hmac
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.events import OperatorAction, StatementDecided
from gatekeeper.model import Action, ApprovalRecord
from gatekeeper.recording.chain import Chain, load_key
from gatekeeper.recording.prune import prune
from gatekeeper.recording.reader import open_records
from gatekeeper.recording.store import open_store
from gatekeeper.recording.verify import Verification, verify

from .samples import T0, closed, ended, login, opened

SWAPPED = """
update log set seq = -seq where seq in (700, 701);
update log set seq = 1401 + seq where seq < 0;
"""
CLOSED_UP = """
delete from log where seq = 700;
update log set seq = -seq where seq > 700;
update log set seq = -seq - 1 where seq < 0;
"""
INVENTED = """
create temp table t as select * from sessions limit 1;
update t set sid = 1, id = 'x';
insert into sessions select * from t;
"""


def check(path: Path) -> Verification:
    records = open_records(path)
    try:
        return verify(records.connection, load_key(path.with_name(path.name + ".key")))
    finally:
        records.close()


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Three sessions of a few hundred statements, over several blocks, cleanly stopped."""
    path = tmp_path / "r.db"
    store = open_store(str(path), clock=lambda: T0)
    for session in ("a", "b", "c"):
        store.submit([login(session)])
        for n in range(1, 500):
            verdict = Action.APPROVE if n % 7 == 0 else Action.BLOCK if n % 11 == 0 else Action.ALLOW
            store.submit([opened(n, f"select {n % 50}", session, verdict=verdict)])
            if verdict is Action.APPROVE:
                decided = "denied" if n % 14 == 0 else "approved"
                store.submit([StatementDecided(T0 + n, session, n, ApprovalRecord(f"{n}", "g", decided))])
            store.submit([closed(n, session)])
        if session != "c":
            store.submit([ended(session)])
        store.submit([OperatorAction(T0, "ann", "kill", session)])
        store.flush()
    store.close()
    return path


def test_untouched_recordings_verify(recorded: Path) -> None:
    found = check(recorded)
    assert found.problem is None
    assert found.stopped
    assert found.rows > 3000
    open_store(str(recorded)).close()
    assert check(recorded).problem is None


def test_a_running_gateway_is_verified_too(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    store.submit([login(), *(opened(n) for n in range(1, 3000))])
    store.flush()
    found = check(tmp_path / "r.db")
    assert found.problem is None
    assert not found.stopped
    store.close()


@pytest.mark.parametrize(
    ("damage", "seq", "says"),
    [
        (
            "update log set entry = cast(replace(hex(entry), 'A', 'A') as blob) where seq = 700",
            700,
            "changed",
        ),
        ("update log set sql = sql || ' ' where seq = 3", 3, "changed"),
        ("update log set sql = null where seq = 3", 3, "changed"),
        ("update log set sid = 0 where seq = 700", 700, "changed"),
        ("update log set kind = 10 where seq = 700", 700, "changed"),
        ("update log set hash = zeroblob(32) where seq = 700", 700, "changed"),
        ("delete from log where seq = 700", 700, "missing"),
        ("delete from log where seq = 1", 1, "missing"),
        ("delete from log where seq > 700", 701, "cut off"),
        ("delete from log where seq >= (select max(seq) from log)", None, "cut off"),
        ("delete from log", 1, "cut off"),
        (SWAPPED, 700, "changed"),
        (CLOSED_UP, 700, "changed"),
        (
            "insert into log select max(seq) + 1, 0, 9, null, x'00', zeroblob(32) from log",
            None,
            "added behind the end",
        ),
        ("update sessions set statements = statements - 1 where id = 'a'", None, "counts otherwise"),
        ("update sessions set refused = 0 where id = 'c'", None, "counts otherwise"),
        ("update sessions set upto = upto - 1 where id = 'a'", None, ""),
        ("update sessions set subject = 'somebody else' where id = 'b'", None, "does not tell"),
        ("update sessions set ended_at = 1 where id = 'b'", None, "does not tell"),
        ("update sessions set ended_at = 1, end_reason = 'x' where id = 'c'", None, "ends session"),
        ("delete from sessions where id = 'b'", None, "does not tell"),
        (INVENTED, None, "sessions are listed"),
        ("delete from spans where block = 1", 1024, "the index was changed"),
        ("insert into kept values (5, 0, 3, 'x', x'00', x'00', 1)", 5, "a prune that never was"),
        ("insert into pruned values (1, 700, zeroblob(32), 1, 700, 'x', zeroblob(32))", 1, "was changed"),
    ],
)
def test_what_was_done_to_the_file_is_found(recorded: Path, damage: str, seq: int | None, says: str) -> None:
    connection = sqlite3.connect(recorded)
    connection.executescript(damage)
    connection.commit()
    connection.close()
    found = check(recorded)
    assert found.problem is not None
    assert says in found.problem
    if seq is not None:
        assert found.seq == seq


def test_the_cut_off_end_cannot_be_hidden_by_an_end_of_another_place(recorded: Path) -> None:
    connection = sqlite3.connect(recorded)
    connection.execute("delete from log where seq > 700 and kind <> 0")
    connection.execute("update log set seq = 701 where kind = 0")
    connection.commit()
    connection.close()
    assert check(recorded).problem == "the end was cut off or changed after record 700"


def test_a_damaged_page_is_named_not_a_traceback(recorded: Path) -> None:
    with recorded.open("r+b") as file:
        file.seek(1024 * 200)
        file.write(b"\xff" * 1024 * 5)
    found = check(recorded)
    assert found.problem is not None
    assert found.seq is not None


def test_another_key_finds_the_first_record_changed(recorded: Path) -> None:
    records = open_records(recorded)
    assert verify(records.connection, bytes(32)).seq == 1
    records.close()


def aged(path: Path) -> None:
    """Sessions over 100 days: one ended long ago, one that lives on with an open statement, one new."""
    store = open_store(str(path), clock=lambda: T0)
    day = 86400.0
    store.submit([login("old", T0), login("long", T0)])
    for n in range(1, 2000):
        store.submit([opened(n, f"select {n % 9}", "old", at=T0 + n), closed(n, "old", at=T0 + n)])
        store.submit([opened(n, "select long", "long", at=T0 + n), closed(n, "long", at=T0 + n)])
    store.submit([opened(2000, "vacuum", "long", at=T0 + 2000), ended("old", T0 + 2000)])
    store.submit([opened(2001, "analyze", "long", at=T0 + 2000)])
    store.submit([login("new", T0 + 100 * day), opened(1, "select 5", "new", at=T0 + 100 * day)])
    store.submit(
        [closed(1, "new", at=T0 + 100 * day), closed(2000, "long", at=T0 + 100 * day, outcome="VACUUM")]
    )
    store.submit([opened(2002, "select long", "long", at=T0 + 100 * day)])
    store.flush()
    store.close()


def test_a_pruned_store_verifies_and_shows_what_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    aged(path)
    before = [
        r for r in open_records(path).all_records() if r.at > T0 + 86400 or r.sql in ("vacuum", "analyze")
    ]
    done = prune(path, 90 * 86400, T0 + 101 * 86400, who="ann")
    assert done.removed > 7000
    found = check(path)
    assert found.problem is None
    assert found.pruned == done.upto
    records = open_records(path)
    assert [s.id for s in records.sessions()] == ["new", "long"]
    (record,) = (r for r in records.all_records() if r.kind == "operator")
    assert (record.subject, record.detail) == ("ann", f"prune records up to {done.upto}")
    after = [r for r in records.all_records() if r.kind not in ("operator", "session_end")]
    assert [r for r in after if r.kind != "login" or r.session == "new"] == before
    long = [(r.sql, r.outcome) for r in records.records("long") if r.kind == "statement"]
    assert long == [("vacuum", "VACUUM"), ("analyze", None), ("select long", None)]
    assert prune(path, 90 * 86400, T0 + 101 * 86400, who="ann").removed == 0
    store = open_store(str(path))
    store.submit([login("x"), opened(1, "select 5", "x"), ended("x")])
    store.close()
    assert check(path).problem is None
    again = prune(path, 1, T0 + 10**9, who="ann")
    assert again.removed > 0
    assert check(path).problem is None


@pytest.mark.parametrize(
    "damage",
    [
        "update kept set sql = 'x' where sql is not null",
        "delete from kept where seq = (select min(seq) from kept)",
        "update kept set shown = 1 - shown",
        "update pruned set upto = upto + 1",
        "update pruned set at = 0",
        "delete from pruned",
        "delete from log where seq = (select max(upto) + 1 from pruned)",
    ],
)
def test_what_was_done_to_a_pruned_file_is_found(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "r.db"
    aged(path)
    prune(path, 90 * 86400, T0 + 101 * 86400, who="ann")
    connection = sqlite3.connect(path)
    connection.executescript(damage)
    connection.commit()
    connection.close()
    assert check(path).problem is not None


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=150))
def test_the_chain_is_hmac_sha_256(content: bytes, key: bytes) -> None:
    assert Chain(key).link(bytes(32), content) == hmac.digest(key, bytes(32) + content, "sha256")
