"""One writer, in the loop's thread: what was submitted in one turn of the loop is one transaction.

`then` is called after the commit. What nobody waits for (outcomes) may wait for the next commit for a
moment, and is kept and written again where a commit fails; what somebody waits for fails to them instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gatekeeper.errors import ConfigError, RecordingError
from gatekeeper.events import Committed, Event, SessionEnded
from gatekeeper.identity.runs import StoredRun
from gatekeeper.recording import chain, places, schema, summary
from gatekeeper.recording.appender import Appender, LogRow
from gatekeeper.recording.checkpoints import Checkpointer
from gatekeeper.recording.entries import Kind, decode

_MERGE_S: Final = 0.02
"""How long an outcome may wait for another commit to go with."""
_RETRY_S: Final = 0.5
_MAX_KEPT: Final = 20_000
"""Outcomes that are kept in memory while they cannot be written."""
_BUSY_TIMEOUT_S: Final = 0.25
"""How long the loop may stand still while a prune holds the file."""

_ALONE: Final = (
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    ValueError,
    OverflowError,
)
"""Errors that are one event's own; all others are the store's."""

_IN_ONE: Final = 12
_ROW: Final = "(?, ?, ?, ?, ?, ?)"
_REPLACE: Final = [f"replace into log values {', '.join([_ROW] * n)}" for n in range(_IN_ONE + 1)]  # noqa: S608
"""By the number of rows."""

Group = tuple[Sequence[Event], Committed | None]


class Store:
    """The recordings of one gateway: `events.Recorder` and `identity.runs.RunStore`. Made by `open_store`."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        key: bytes,
        lock: int,
        *,
        clock: Callable[[], float],
        report: Callable[[str | None], None] | None,
    ) -> None:
        self.path = path
        self.problem: str | None = None
        """Why the last commit failed; None where it did not."""
        self.dropped = 0
        """Outcomes that were given up because too many could not be written."""
        self._connection = connection
        self._lock = lock
        self._clock = clock
        self._report = report
        self._queue: list[Group] = []
        self._kept: deque[Event] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._urgent = False
        self._paused = False
        self._closed = False
        self._forgotten = 0
        self._chain = chain.Chain(key)
        seq, last = places.end_of(connection, self._chain, path)
        self._appender = Appender(self._chain, seq, last, lambda id_: summary.find(connection, id_))
        self._checkpoints = Checkpointer(path, self._pause, self._forget)
        self._begin()

    # --- Recorder -----------------------------------------------------------------------------------------

    def submit(self, events: Sequence[Event], then: Committed | None = None) -> None:
        """Queue events; `then` is called from the loop after the commit, with the error if it failed."""
        self._queue.append((events, then))
        if self._urgent:
            return
        if then is not None or any(isinstance(event, SessionEnded) for event in events):
            self._urgent = True
            self._schedule(None)
        elif self._timer is None:
            self._schedule(_MERGE_S)

    def flush(self) -> None:
        """Write all that is queued, now."""
        paused, self._paused = self._paused, False
        self._turn()
        self._paused = paused

    def close(self) -> None:
        """Write all that is queued and the mark of a proper stop; give up what cannot be written."""
        if self._closed:
            return
        self._closed = True
        self._checkpoints.stop()
        self._paused = False
        self._turn()
        self._appender.mark(Kind.STOPPED, self._clock())
        with contextlib.suppress(RecordingError):
            self._commit()
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("pragma wal_checkpoint(truncate)")
        self._connection.close()
        os.close(self._lock)

    # --- RunStore -----------------------------------------------------------------------------------------

    def load_runs(self) -> Iterable[StoredRun]:
        """All runs ever saved, each once, as last saved."""
        try:
            rows = self._connection.execute("select entry from runs order by grant, run").fetchall()
        except sqlite3.Error as error:
            raise RecordingError(f"cannot read the recordings: {error}") from None
        return [_decode_run(entry) for (entry,) in rows]

    def save_run(self, run: StoredRun) -> None:
        """Keep a run, in place of what was kept under its `(grant, run)`; on its way to the disk at once."""
        try:
            self._connection.execute(
                'insert or replace into runs ("grant", run, entry) values (?, ?, ?)',
                (run.grant, run.run, msgspec.json.encode(run)),
            )
        except sqlite3.Error as error:
            raise RecordingError(f"cannot write the recordings: {error}") from None

    # --- the writer ---------------------------------------------------------------------------------------

    def _schedule(self, delay_s: float | None) -> None:
        if self._paused or self._closed:
            return
        loop = self._loop
        if loop is None:
            try:
                loop = self._loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # no loop: whoever uses the store without one calls flush()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_soon(self._turn) if delay_s is None else loop.call_later(delay_s, self._turn)

    def _turn(self) -> None:
        """Write everything that is queued in one transaction, then tell who waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._paused:
            return  # resumed() comes back to it
        self._urgent = False
        groups, self._queue = self._queue, []
        if not groups and not self._kept:
            return
        calls = deque[tuple[Committed, RecordingError | None]]()
        try:
            self._write([(tuple(self._kept), None), *groups])
        except RecordingError as error:
            if isinstance(error.__cause__, _ALONE):
                self._write_each(groups, calls)
            else:
                self._failed(groups, error, calls)
        else:
            self._kept.clear()
            calls.extend((then, None) for _, then in groups if then is not None)
            self._tell(None)
        self._checkpoints.written(self._appender.seq)
        self._call(calls)

    def _write(self, groups: Iterable[Group]) -> None:
        try:
            for events, _ in groups:
                for event in events:
                    self._appender.add(event)
        except (sqlite3.Error, ValueError, OverflowError) as error:
            self._appender.rolled_back()
            raise RecordingError(f"cannot record: {error}") from error
        self._commit()

    def _write_each(
        self, groups: Iterable[Group], calls: deque[tuple[Committed, RecordingError | None]]
    ) -> None:
        """Something in the batch can never be written, such as a gigabyte: it must not take others along."""
        kept, self._kept = self._kept, deque()
        problem = None
        for events, then in (*(((event,), None) for event in kept), *groups):
            error = None
            try:
                self._write([(events, None)])
            except RecordingError as failed:
                error, problem = failed, str(failed)
                if then is None and not isinstance(failed.__cause__, _ALONE):
                    self._kept.extend(events)
                elif then is None:
                    self.dropped += len(events)
            if then is not None:
                calls.append((then, error))
        self._tell(problem)

    def _commit(self) -> None:
        appender = self._appender
        # The first row takes the place of the END row.
        rows = (*appender.rows, appender.end_row())
        try:
            if len(rows) <= _IN_ONE and not appender.spans and not appender.ends:
                # One statement is a transaction of its own, and saves the time of BEGIN and COMMIT.
                self._connection.execute(_REPLACE[len(rows)], [value for row in rows for value in row])
            else:
                self._transaction(rows)
        except (sqlite3.Error, OverflowError, ValueError) as error:
            appender.rolled_back()
            raise RecordingError(f"cannot write the recordings: {error}") from error
        appender.committed()

    def _transaction(self, rows: tuple[LogRow, ...]) -> None:
        appender, execute, many = self._appender, self._connection.execute, self._connection.executemany
        execute("begin immediate")
        try:
            many(_REPLACE[1], rows)
            if appender.spans or appender.ends:
                many(f"insert into sessions values ({', '.join('?' * 15)})", appender.logins)  # noqa: S608
                many("insert or ignore into spans values (?, ?)", appender.spans)
                many(
                    "update sessions set statements = ?, refused = ?, held = ?, upto = ? where sid = ?",
                    appender.counts,
                )
                many("update sessions set ended_at = ?, end_reason = ? where sid = ?", appender.ends)
            execute("commit")
        finally:
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    execute("rollback")

    def _failed(
        self,
        groups: list[Group],
        error: RecordingError,
        calls: deque[tuple[Committed, RecordingError | None]],
    ) -> None:
        for events, then in groups:
            if then is not None:
                calls.append((then, error))
            else:
                self._kept.extend(events)
        while len(self._kept) > _MAX_KEPT:
            self._kept.popleft()
            self.dropped += 1
        self._tell(str(error))
        if self._kept and not self._closed and self._timer is None:
            self._schedule(_RETRY_S)

    def _call(self, calls: deque[tuple[Committed, RecordingError | None]]) -> None:
        """Call who waits; one that fails does not keep the others from being called."""
        try:
            while calls:
                then, error = calls.popleft()
                then(error)
        finally:
            if calls and self._loop is not None:
                self._loop.call_soon(self._call, calls)

    def _tell(self, problem: str | None) -> None:
        if problem != self.problem:
            self.problem = problem
            if self._report is not None:
                self._report(problem)

    # --- checkpoints --------------------------------------------------------------------------------------

    def _pause(self, paused: bool) -> None:
        """From the checkpointer's thread: hold commits back for a moment, or go on."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        with contextlib.suppress(RuntimeError):  # the loop closes this very moment
            loop.call_soon_threadsafe(self._set_paused, paused)

    def _set_paused(self, paused: bool) -> None:
        if self._closed:
            return
        self._paused = paused
        if paused:
            self._checkpoints.paused.set()
        elif self._queue or self._kept:
            self._turn()

    def _forget(self, floor: int) -> bool:
        """From the checkpointer's thread: true once the appender has forgotten the rows up to `floor`."""
        loop = self._loop
        if self._forgotten < floor and loop is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._set_forgotten, floor)
        return self._forgotten >= floor

    def _set_forgotten(self, floor: int) -> None:
        self._appender.forget(floor)
        self._forgotten = floor

    def _begin(self) -> None:
        """Say that a gateway started, and end the sessions that the last one did not."""
        now = self._clock()
        row = self._connection.execute(
            "select kind, entry from log where seq = ?", (self._appender.seq,)
        ).fetchone()
        died_at = now if row is None else min(now, float(decode(row[1])[0]))
        orphans = self._connection.execute(
            "select id from sessions where ended_at is null order by sid"
        ).fetchall()
        for (id_,) in orphans:
            self._appender.add(SessionEnded(died_at, id_, "the gateway stopped without ending the session"))
        clean = row is None or row[0] == Kind.STOPPED
        self._appender.mark(Kind.STARTED, now, clean)
        self._commit()


def open_store(
    store: str,
    *,
    key_file: Path | None = None,
    clock: Callable[[], float] = time.time,
    report: Callable[[str | None], None] | None = None,
) -> Store:
    """Open recordings for writing and make them where they are missing; ConfigError where that fails.

    The key is read from `key_file`, else from `STORE.key`, and made there with the recordings. `report` is
    told when commits begin to fail, with the reason, and with None when they succeed again.
    """
    path = places.store_path(store)
    if path.is_dir():
        raise ConfigError(f"cannot write recordings in {path}: it is a directory")
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write recordings in {path}: no such directory: {path.parent}")
    lock = places.lock(path)
    connection = None
    try:
        fresh = not path.exists() or path.stat().st_size == 0
        connection = schema.connect_writer(path, _BUSY_TIMEOUT_S)
        at = key_file or chain.key_path(path)
        empty = fresh or connection.execute("select max(seq) from log").fetchone()[0] is None
        key = chain.make_key(at) if empty and not at.exists() else chain.load_key(at)
        return Store(path, connection, key, lock, clock=clock, report=report)
    except BaseException as error:
        if connection is not None:
            connection.close()
        os.close(lock)
        match error:
            case schema.WrongFileError():
                raise ConfigError(f"cannot write recordings in {path}: {error}") from None
            case ConfigError():
                raise
            case sqlite3.Error() | RecordingError():
                raise ConfigError(f"cannot write recordings in {path}: {error}") from None
            case OSError():
                raise ConfigError(f"cannot write recordings in {path}: {error.strerror}") from None
            case _:
                raise


def _decode_run(entry: bytes) -> StoredRun:
    fields = msgspec.json.decode(entry)
    if fields["ends_at"] is None:
        fields["ends_at"] = float("inf")  # JSON has no infinity
    return StoredRun(**fields)
