from __future__ import annotations

from pathlib import Path

import pytest

from gatekeeper.events import LoginFailed, OperatorAction
from gatekeeper.model import Action
from gatekeeper.recording.prune import prune
from gatekeeper.recording.reader import Records, Wanted, open_reader, open_records
from gatekeeper.recording.search import index_path
from gatekeeper.recording.store import Store, open_store

from .samples import T0, closed, ended, info, login, opened


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "r.db"))
    store.submit([login("a", T0, subject="alice"), login("b", T0 + 1, subject="bob", grant="dba")])
    store.submit([opened(1, "select Ssn from customers", "a"), closed(1, "a")])
    store.submit([opened(1, "select 100%_done", "b", relations=("hr.Salaries",), verdict=Action.BLOCK)])
    store.submit([opened(2, "select ssn from customers", "b"), opened(3, "select Ssn from customers", "b")])
    store.submit([LoginFailed(T0, info("x", subject="mallory"), "28000", "unknown kid")])
    store.submit([OperatorAction(T0, "ann", "kill", "a")])
    store.flush()
    return store


def found(records: Records, text: str, **wanted: object) -> list[tuple[str, str | None]]:
    return [(r.session, r.sql or r.detail) for r in records.search(text, Wanted(**wanted))]  # type: ignore[arg-type]


@pytest.mark.parametrize("indexed", [True, False])
def test_sessions_are_found_by_parts_of_what_they_did_and_who_they_were(store: Store, indexed: bool) -> None:
    records = open_records(store.path)
    if not indexed:
        index_path(store.path).mkdir()
    for search, sessions in {
        "": ["b", "a"],
        "SSN": ["b", "a"],
        "from customers": ["b", "a"],
        "0%_d": ["b"],
        "%": ["b"],
        "salaries": ["b"],
        "hr.": ["b"],
        "alice": ["a"],
        "dba": ["b"],
        "nothing": [],
        '"': [],
        "'; drop table": [],
        "select ssn from customers": ["b", "a"],
    }.items():
        assert [s.id for s in records.sessions(search)] == sessions, search
    store.submit([login("c"), opened(1, "select fresh", "c"), opened(2, "select ssn from customers", "c")])
    store.flush()
    assert [s.id for s in records.sessions("fresh")] == ["c"]
    assert [s.id for s in records.sessions("ssn")] == ["c", "b", "a"]
    assert [s.id for s in records.sessions("ssn", limit=2)] == ["c", "b"]
    records.close()
    store.close()


def test_records_are_found_and_narrowed(store: Store) -> None:
    records = open_records(store.path)
    assert found(records, "ssn") == [
        ("b", "select Ssn from customers"),
        ("b", "select ssn from customers"),
        ("a", "select Ssn from customers"),
    ]
    assert found(records, "", verdict="block") == [("b", "select 100%_done")]
    assert found(records, "", relation="hr.Salaries") == [("b", "select 100%_done")]
    assert found(records, "", relation="Salaries") == [("b", "select 100%_done")]
    assert found(records, "", relation="public.Salaries") == []
    # A name without its schema stands for every relation of that name.
    assert found(records, "ssn", relation="public.customers") == found(records, "ssn", relation="customers")
    assert found(records, "ssn", subject="alice") == [("a", "select Ssn from customers")]
    assert found(records, "ssn", until=T0 + 1) == []
    assert found(records, "kid") == [("x", "unknown kid")]
    assert found(records, "kill") == [("", "kill a")]
    store.close()


async def test_searching_works_from_the_loop_and_after_a_prune(store: Store) -> None:
    store.submit([ended("a"), ended("b", T0 + 2), login("d", T0 + 10**6)])
    store.submit([opened(1, "select ssn from customers", "d", at=T0 + 10**6)])
    store.flush()
    reader = open_reader(store.path)
    assert [s.id for s in await reader.sessions("ssn")] == ["d", "b", "a"]
    await reader.close()
    store.close()
    prune(store.path, 1000, T0 + 10**6, who="ann")
    reader = open_reader(store.path)
    assert [s.id for s in await reader.sessions("ssn")] == ["d"]
    await reader.close()
