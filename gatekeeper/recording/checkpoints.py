"""The WAL is copied back off the loop, and it does not grow without end.

A passive checkpoint never resets a WAL that is written without a pause. So the thread copies what there is
while the loop goes on, asks the loop to hold its commits back, copies the few pages that came meanwhile,
and makes one small commit itself, which starts the WAL anew and takes its fsync. The loop never waits for
the disk: it only queues for that moment.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from gatekeeper.recording.schema import PAGE_BYTES

_WAL_BYTES: Final = 32 * 1024 * 1024
"""Above this the WAL is started anew."""
_CHECK_ROWS: Final = 4096
_IDLE_S: Final = 1.0
_PAUSE_TIMEOUT_S: Final = 1.0


class Checkpointer:
    """One thread with its own connection.

    `pause(True)` asks for a pause, `paused` says that it came; `forget(floor)` is true once the appender
    names no row up to `floor`.
    """

    def __init__(
        self,
        path: Path,
        pause: Callable[[bool], None],
        forget: Callable[[int], bool],
        wal_bytes: int | None = None,
    ) -> None:
        self.paused = threading.Event()
        self._path = path
        self._pause = pause
        self._forget = forget
        self._max_pages = (wal_bytes or _WAL_BYTES) // PAGE_BYTES
        self._wake = threading.Event()
        self._stopping = False
        self._seen = 0
        self._thread = threading.Thread(target=self._run, name="gatekeeper-checkpoints", daemon=True)
        self._thread.start()

    def written(self, seq: int) -> None:
        """The log has grown up to `seq`; costs nothing to call often."""
        if seq - self._seen > _CHECK_ROWS:
            self._seen = seq
            self._wake.set()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping = True
        self._wake.set()
        self.paused.set()
        self._thread.join()

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, timeout=0.2, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("pragma synchronous = normal")
            connection.execute("pragma wal_autocheckpoint = 0")
            # So that the commit that starts the WAL anew also cuts the file.
            connection.execute("pragma journal_size_limit = 0")
            while not self._stopping:
                self._wake.wait(_IDLE_S)
                self._wake.clear()
                if _checkpoint(connection).pages > self._max_pages:
                    self._restart(connection)
                self._make_way(connection)
        finally:
            connection.close()

    def _make_way(self, connection: sqlite3.Connection) -> None:
        """Let a prune in another process go on once the appender names none of the rows that it removes."""
        with contextlib.suppress(sqlite3.Error):  # the next time will do
            floor, seen = connection.execute("select floor, seen from keeper").fetchone()
            if floor > seen and self._forget(floor):
                connection.execute("update keeper set seen = ?", (floor,))

    def _restart(self, connection: sqlite3.Connection) -> None:
        self.paused.clear()
        self._pause(True)
        try:
            # Where no loop runs, or it is busy, the pause does not come: the next time will do.
            if self.paused.wait(_PAUSE_TIMEOUT_S) and not self._stopping and _checkpoint(connection).whole:
                with contextlib.suppress(sqlite3.Error):  # the loop's next commit starts the WAL anew then
                    connection.execute("update keeper set turns = turns + 1")
        finally:
            self._pause(False)


class _Copied(NamedTuple):
    pages: int
    """In the WAL."""
    whole: bool
    """All of them are in the file too."""


def _checkpoint(connection: sqlite3.Connection) -> _Copied:
    """Copy what can be copied. A full disk is for a later time."""
    try:
        _, pages, copied = connection.execute("pragma wal_checkpoint(passive)").fetchone()
    except sqlite3.Error:
        return _Copied(0, False)
    return _Copied(pages, pages == copied)
