from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatekeeper.errors import ConfigError, RecordingError
from gatekeeper.recording.prune import prune
from gatekeeper.recording.reader import open_reader, open_records
from gatekeeper.recording.store import Store, open_store

from .samples import T0, closed, ended, login, opened
from .test_store import committed
from .test_verify import check


async def test_no_committed_statement_is_lost_when_the_gateway_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    for turn in range(4):
        output = tmp_path / f"{turn}.out"
        with output.open("wb") as out:
            writer = subprocess.Popen(
                [sys.executable, "-m", "tests.recording.writer", str(path), f"s{turn}"], stdout=out
            )
        deadline = time.monotonic() + 20
        while output.stat().st_size < 500 and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        await asyncio.sleep(random.random() * 0.3)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        confirmed = [int(line) for line in output.read_text().split()]
        assert len(confirmed) > 100
        statements = [r for r in open_records(path).records(f"s{turn}") if r.kind == "statement"]
        assert len(statements) - len(confirmed) in (0, 1)
        assert [r.sql for r in statements[: len(confirmed)]] == [
            f"insert into t values ({n})" for n in confirmed
        ]
        assert {r.outcome for r in statements} == {"SELECT 1", None}
        found = check(path)
        assert found.problem is None
        assert not found.stopped
    open_store(str(path)).close()
    assert check(path).problem is None
    assert all(s.end_reason for s in open_records(path).sessions())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    at = tmp_path / "disk"
    at.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(at)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield at
    subprocess.run(["umount", "-l", str(at)], check=True)


async def test_on_a_full_disk_statements_fail_and_outcomes_come_later(small_disk: Path) -> None:
    told: list[str | None] = []
    store = open_store(str(small_disk / "r.db"), report=told.append)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(200_000))
    await committed(store, [login()])
    n = 0
    failed: RecordingError | None = None
    while failed is None and n < 5000:
        n += 1
        try:
            await committed(store, [opened(n, "select " + "x" * 1000 + str(n))])
        except RecordingError as error:
            failed = error
    assert "cannot write the recordings" in str(failed)
    for done in range(1, n):
        store.submit([closed(done)])
    await asyncio.sleep(0.1)
    assert told == [store.problem]
    with pytest.raises(RecordingError):
        await committed(store, [opened(n + 1, "y" * 100_000)])
    ballast.unlink()
    await asyncio.sleep(0.7)
    assert len(told) == 2
    assert store.problem is None
    await committed(store, [opened(n + 2, "select 'after'")])
    store.submit([ended()])
    store.close()
    records = [r for r in open_records(small_disk / "r.db").records("s1") if r.kind == "statement"]
    assert [r.outcome for r in records] == ["SELECT 1"] * (n - 1) + [None]
    assert records[-1].sql == "select 'after'"
    assert check(small_disk / "r.db").problem is None


async def test_a_disk_that_is_full_at_the_start_is_one_clear_line(small_disk: Path) -> None:
    file = os.open(small_disk / "ballast", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space left"):
        os.write(file, bytes(4096 * os.write(file, bytes(10_000_000)) or 1))
    os.close(file)
    with pytest.raises(ConfigError, match="cannot write") as error:
        open_store(str(small_disk / "r.db"))
    assert "\n" not in str(error.value)


async def test_a_store_that_cannot_be_written_is_one_clear_line(small_disk: Path) -> None:
    open_store(str(small_disk / "r.db")).close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ConfigError, match=r"cannot write recordings in .*Read-only file system"):
        open_store(str(small_disk / "r.db"))
    with pytest.raises(ConfigError, match=r"cannot write recordings in .*Read-only file system"):
        open_store(str(small_disk / "new.db"))
    reader = open_reader(small_disk / "r.db")
    assert await reader.sessions() == ()
    await reader.close()
    with pytest.raises(ConfigError, match="no such directory"):
        open_store(str(small_disk / "nowhere" / "r.db"))


async def test_an_event_that_can_never_be_written_takes_no_other_along(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    store._connection.setlimit(0, 100_000)  # SQLITE_LIMIT_LENGTH, a gigabyte otherwise
    results: list[str] = []
    store.submit([login()])
    store.submit([opened(1, "x" * 200_000)], lambda error: results.append("failed" if error else "done"))
    store.submit([opened(2)], lambda error: results.append("failed" if error else "done"))
    store.submit([closed(2, outcome="y" * 200_000)])
    store.submit([opened(3), closed(3)])
    await asyncio.sleep(0.01)
    assert results == ["failed", "done"]
    store.submit([opened(4)], lambda error: results.append("failed" if error else "done"))
    await asyncio.sleep(0.01)
    assert results[-1] == "done"
    assert store.dropped == 1
    store.close()
    records = [r for r in open_records(tmp_path / "r.db").records("s1") if r.kind == "statement"]
    assert [r.sql for r in records] == ["select 1"] * 3
    assert check(tmp_path / "r.db").problem is None


async def writing(store: Store, statements: int, session: str = "s1") -> None:
    for n in range(1, statements, 8):
        store.submit([closed(k, session, at=T0 + n) for k in range(max(n - 8, 1), n)])
        for k in range(n, n + 7):
            store.submit([opened(k, f"select {k}", session, at=T0 + n)], lambda _: None)
        await committed(store, [opened(n + 7, f"select {n}", session, at=T0 + n)])


async def test_the_wal_does_not_grow_under_steady_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 1024 * 1024
    monkeypatch.setattr("gatekeeper.recording.checkpoints._WAL_BYTES", limit)
    monkeypatch.setattr("gatekeeper.recording.checkpoints._CHECK_ROWS", 256)
    store = open_store(str(tmp_path / "r.db"))
    largest = 0
    await committed(store, [login()])
    for turn in range(30):
        await writing(store, 1000, f"s{turn}")
        largest = max(largest, (tmp_path / "r.db-wal").stat().st_size)
    assert (tmp_path / "r.db").stat().st_size > 4 * limit
    assert largest < 4 * limit
    store.close()
    assert check(tmp_path / "r.db").problem is None


async def test_a_prune_beside_a_running_gateway_loses_no_text(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    store = open_store(str(path), clock=lambda: T0)
    await committed(store, [login()])
    await writing(store, 4000)
    pruning = asyncio.create_task(asyncio.to_thread(prune, path, 1000, T0 + 4000, who="ann"))
    n = 10_000
    while not pruning.done():
        n += 1
        # The same texts as those that are being removed.
        await committed(store, [opened(n, f"select {n % 2000}", at=T0 + 5000)])
        await asyncio.sleep(0.001)
    assert (await pruning).removed > 3000
    assert store.problem is None
    store.close()
    assert check(path).problem is None
    late = [r for r in open_records(path).records("s1") if r.kind == "statement" and r.at == T0 + 5000]
    assert [r.sql for r in late] == [f"select {k % 2000}" for k in range(10_001, n + 1)]
    assert all(r.tags == ("SELECT",) for r in late)
