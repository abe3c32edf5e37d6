"""Old rows are removed and the chain stays whole: a sealed note says up to where, with which hash.

What later rows still name (the login of a session that goes on, a text, the opening of a statement that was
closed later) is kept aside under the same seal.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gatekeeper.errors import ConfigError, RecordingError
from gatekeeper.events import OperatorAction
from gatekeeper.recording import places, schema
from gatekeeper.recording.chain import Chain, key_path, load_key
from gatekeeper.recording.entries import BLOCK, Kind, Row, canonical, decode, encode
from gatekeeper.recording.merge import Log
from gatekeeper.recording.search import drop_index
from gatekeeper.recording.store import open_store

_BATCH: Final = 500
"""Rows removed in one transaction, which the gateway may have to wait for."""
_REST_S: Final = 0.005
_WAY_TIMEOUT_S: Final = 10.0
_OF_A_STATEMENT: Final = (Kind.BOUND, Kind.DECIDED, Kind.CLOSED)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did."""

    removed: int
    """Rows; a statement has two or more."""
    upto: int
    """The last row that is gone."""


def seal(chain: Chain, prunes: Iterable[Sequence[Any]], kept: Iterable[Sequence[Any]]) -> bytes:
    """Covers all prunes as (upto, hash, at, removed, who), and every kept row with its hash and `shown`."""
    digest = hashlib.sha256()
    for seq, sid, kind, sql, entry, mac, shown in kept:
        content = canonical(seq, sid, kind, sql, entry)
        digest.update(len(content).to_bytes(8, "big") + content + mac + bytes([bool(shown)]))
    return chain.seal(b"prune", encode(tuple(tuple(p) for p in prunes)) + digest.digest())


def prune(
    store: str | Path,
    older_than_s: float,
    now: float,
    *,
    who: str,
    key_file: Path | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Pruned:
    """Remove all rows before the first one that is younger than `older_than_s`.

    Works beside a running gateway, which is asked first to name none of the rows any more. ConfigError where
    the key is missing, RecordingError where the store cannot be pruned. Without a gateway the prune becomes
    an operator's record too; beside one that is the gateway's to record.
    """
    path = places.store_path(store)
    if not path.exists():
        raise RecordingError(f"no recordings in {path}")
    chain = Chain(load_key(key_file or key_path(path)))
    try:
        held = places.lock(path)
    except ConfigError:
        return _prune(path, chain, now - older_than_s, now, who, sleep, gateway_runs=True)
    try:
        done = _prune(path, chain, now - older_than_s, now, who, sleep, gateway_runs=False)
    finally:
        os.close(held)
    if done.removed:
        recorder = open_store(str(path), key_file=key_file, clock=lambda: now)
        recorder.submit([OperatorAction(now, who, "prune", f"records up to {done.upto}")])
        recorder.close()
    return done


def _prune(
    path: Path,
    chain: Chain,
    older_than: float,
    now: float,
    who: str,
    sleep: Callable[[float], None],
    *,
    gateway_runs: bool,
) -> Pruned:
    try:
        connection = schema.connect_writer(path, busy_timeout_s=5.0)
    except (sqlite3.Error, OSError) as error:
        raise RecordingError(f"cannot prune the recordings in {path}: {error}") from None
    try:
        connection.execute("pragma wal_autocheckpoint = 1000")
        log = Log(connection)
        cut = _cut(log, older_than)
        before = log.pruned()
        if cut > before:
            if gateway_runs:
                _make_way(connection, cut, sleep)
            _note(connection, chain, log, cut, now, who)
        removed = _remove(connection, max(cut, before), sleep)
        if removed:
            drop_index(path)
        return Pruned(removed, max(cut, before))
    except sqlite3.Error as error:
        raise RecordingError(f"cannot prune the recordings in {path}: {error}") from None
    finally:
        connection.close()


def _cut(log: Log, older_than: float) -> int:
    """The last row that is old enough. The last event of all always stays."""
    end = log.connection.execute("select coalesce(max(seq), 0) from log").fetchone()[0]
    low, high = log.pruned(), max(end - 2, 0)
    while low < high:
        middle = (low + high + 1) // 2
        row = log.row(middle)
        if row is not None and float(decode(row.entry)[0]) < older_than:
            low = middle
        else:
            high = middle - 1
    return low


def _make_way(connection: sqlite3.Connection, cut: int, sleep: Callable[[float], None]) -> None:
    connection.execute("update keeper set floor = max(floor, ?)", (cut,))
    waited = 0.0
    while connection.execute("select seen from keeper").fetchone()[0] < cut:
        if waited > _WAY_TIMEOUT_S:
            raise RecordingError("the running gateway does not make way for a prune: try again, or stop it")
        sleep(0.1)
        waited += 0.1


def _note(connection: sqlite3.Connection, chain: Chain, log: Log, cut: int, now: float, who: str) -> None:
    """Say what will be gone, and keep what is still named; from here on readers do not see it."""
    shown, named, sessions = _still_needed(log, cut)
    last = log.row(cut)
    if last is None:
        raise RecordingError(f"record {cut} is missing: run gatekeeper audit verify")
    rows = {seq: row for seq in shown | named if (row := log.row(seq)) is not None}
    kept = [(*row, int(seq in shown)) for seq, row in sorted(rows.items())]
    connection.execute("begin immediate")
    try:
        columns = "upto, hash, at, removed, who"
        prunes = connection.execute(f"select {columns} from pruned order by id").fetchall()  # noqa: S608
        start = prunes[-1][0] if prunes else 0
        prunes.append((cut, last.hash, now, cut - start, who))
        connection.execute("delete from kept")
        connection.executemany("insert into kept values (?, ?, ?, ?, ?, ?, ?)", kept)
        connection.execute(
            f"insert into pruned ({columns}, seal) values (?, ?, ?, ?, ?, ?)",  # noqa: S608
            (*prunes[-1], seal(chain, prunes, kept)),
        )
        connection.execute("create temp table going_on (sid integer primary key)")
        connection.executemany("insert into going_on values (?)", [(sid,) for sid in sessions])
        gone = "sid <= ? and ended_at is not null and sid not in (select sid from going_on)"
        connection.execute(f"delete from sessions where {gone}", (cut,))  # noqa: S608
        connection.execute("delete from spans where block < ?", (cut // BLOCK,))
        connection.execute("commit")
    finally:
        if connection.in_transaction:
            connection.execute("rollback")


def _still_needed(log: Log, cut: int) -> tuple[set[int], set[int], set[int]]:
    """Rows up to `cut` that stay as they are, those that are only named, and the sessions that go on."""
    unended = log.connection.execute("select sid from sessions where ended_at is null and sid <= ?", (cut,))
    live = {sid for (sid,) in unended.fetchall()}
    going_on = set(live)
    named: set[int] = set()
    first: dict[int, int] = {}
    closed_later: dict[int, set[int]] = {}
    for row in log.rows(after=cut):
        if 0 < row.sid <= cut:
            going_on.add(row.sid)
        if row.kind == Kind.OPENED:
            entry = decode(row.entry)
            first.setdefault(row.sid, entry[1])
            named.update(_names(entry))
        elif row.kind in _OF_A_STATEMENT and row.sid <= cut:
            n = decode(row.entry)[1]
            if n < first.get(row.sid, n + 1):  # numbers only grow: it was opened before
                closed_later.setdefault(row.sid, set()).add(n)
    shown = set(going_on)
    for sid in live | closed_later.keys():
        for rows in _statements(log, sid, cut, closed_later.get(sid, set()), live=sid in live):
            shown.update(row.seq for row in rows)
            named.update(_names(decode(rows[0].entry)))
    return shown, {seq for seq in named if 0 < seq <= cut} - shown, going_on


def _statements(log: Log, sid: int, cut: int, wanted: set[int], *, live: bool) -> Iterable[list[Row]]:
    """The rows up to `cut` of a session's statements that were closed later, or are still open."""
    found: dict[int, list[Row]] = {}
    for row in log.rows_of(sid):
        if row.seq > cut:
            break
        if row.kind != Kind.OPENED and row.kind not in _OF_A_STATEMENT:
            continue
        n = decode(row.entry)[1]
        if row.kind == Kind.OPENED:
            if live or n in wanted:
                found[n] = [row]
        elif row.kind == Kind.CLOSED and n not in wanted:
            found.pop(n, None)
        elif n in found:
            found[n].append(row)
    return found.values()


def _names(entry: list[Any]) -> tuple[int, ...]:
    """Rows that hold the text and the facts of an opened statement."""
    return entry[3], entry[4] if isinstance(entry[4], int) else 0


def _remove(connection: sqlite3.Connection, upto: int, sleep: Callable[[float], None]) -> int:
    removed = 0
    while True:
        done = connection.execute(
            "delete from log where seq in (select seq from log where seq <= ? order by seq limit ?)",
            (upto, _BATCH),
        ).rowcount
        removed += done
        if done < _BATCH:
            return removed
        sleep(_REST_S)
