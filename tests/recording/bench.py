"""How fast statements are recorded, at a thousand and a million: `python -m tests.recording.bench [MANY]`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import uvloop

from gatekeeper.recording.chain import load_key
from gatekeeper.recording.reader import open_records
from gatekeeper.recording.store import Store, open_store
from gatekeeper.recording.verify import verify

from .samples import closed, ended, login, opened

SESSIONS = 16
BATCH = 2000


async def record(store: Store, first: int, count: int, together: int) -> tuple[float, float]:
    """Median latency of a commit, and CPU per statement (opened and closed), in µs."""
    loop = asyncio.get_running_loop()
    waits: list[float] = []
    cpu = 0.0
    for start in range(first, first + count, BATCH):
        sql = "select abalance from pgbench_accounts where aid = $1"
        numbers = range(start, min(start + BATCH, first + count))
        opens = [opened(n, sql, f"s{n % SESSIONS}", params=(str(n),)) for n in numbers]
        closes = [closed(n, f"s{n % SESSIONS}") for n in numbers]
        began = time.process_time()
        for k in range(0, len(opens), together):
            if k:
                store.submit(closes[k - together : k])
            for event in opens[k : k + together - 1]:
                store.submit([event], lambda _: None)
            done = loop.create_future()
            asked = time.perf_counter()
            store.submit([opens[min(k + together, len(opens)) - 1]], done.set_result)
            await done
            waits.append(time.perf_counter() - asked)
        store.submit(closes[-together:])
        store.flush()
        cpu += time.process_time() - began
    return median(waits) * 1e6, cpu / count * 1e6


def say(at: int, together: int, wait: float, cpu: float) -> None:
    print(f"{at:>9} statements, {together:>2} a commit: {wait:6.0f} µs a commit, {cpu:5.1f} µs CPU each")


async def main(many: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "r.db"
        store = open_store(str(path))
        store.submit([login(f"s{n}") for n in range(SESSIONS)])
        at = 1
        for size in (1000, many):
            for together in (1, 4, 16):
                wait, cpu = await record(store, at, 4000, together)
                at += 4000
                say(at, together, wait, cpu)
            if at < size:
                await record(store, at, size - at, 16)
                at = size
                wait, cpu = await record(store, at, 4000, 1)
                at += 4000
                say(at, 1, wait, cpu)
        store.submit([login("short"), opened(1, session="short"), ended("short")])
        store.close()
        print(f"{path.stat().st_size / at:.0f} bytes a statement")
        records = open_records(path)
        jobs: dict[str, Callable[[], object]] = {
            "sessions listed": lambda: records.sessions(),
            "short session opened": lambda: list(records.records("short")),
            "first search": lambda: records.sessions("pgbench_accounts"),
            "second search": lambda: records.sessions("pgbench_accounts"),
        }
        for what, work in jobs.items():
            began = time.perf_counter()
            work()
            print(f"{what} in {(time.perf_counter() - began) * 1000:.1f} ms")
        began = time.perf_counter()
        found = verify(records.connection, load_key(path.with_name("r.db.key")))
        took = time.perf_counter() - began
        each = took / found.rows * 1e6
        print(f"verified {found.rows} rows in {took:.1f} s, {each:.1f} µs a row: {found.problem}")


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
