"""Recordings as they are read: over a connection that never writes, with or without a gateway beside it."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlite_utils

from gatekeeper.errors import RecordingError
from gatekeeper.recording import schema
from gatekeeper.recording.merge import Log, Merger
from gatekeeper.recording.store import store_path
from gatekeeper.recording.summary import Counts, count_on
from gatekeeper.recording.views import RecordedSession, RecordView

_SHOWN: Final = (
    'select sid, id, "grant", subject, issuer, run, database, client, started_at, ended_at, end_reason,'
    " statements, refused, held, upto from sessions"
)
_SEARCHED: Final = ("id", "subject", '"grant"', "run", "database", "issuer")

T = TypeVar("T")


class Records:
    """The recordings of one store, read synchronously; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = schema.connect_reader(path)
        self._db = sqlite_utils.Database(self.connection, execute_plugins=False)
        self.log = Log(self.connection)

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def sessions(self, search: str = "", limit: int = 200) -> tuple[RecordedSession, ...]:
        """Sessions, newest first; `search` looks in SQL, subject, grant, run and database."""
        where = ""
        if search:
            named = " or ".join(f"{name} like :like escape '!'" for name in _SEARCHED)
            where = f"where {named} or sid in (select sid from log where sql like :like escape '!')"  # noqa: S608
        like = "%" + re.sub(r"([!%_])", r"!\1", search) + "%"
        query = f"{_SHOWN} {where} order by sid desc limit :limit"
        rows = self._db.query(query, {"limit": limit, "like": like} if search else {"limit": limit})
        return tuple(self._session(row) for row in list(rows))

    def records(self, session: str) -> Iterator[RecordView]:
        """The records of a session in order; its ID may be cut short where that is unambiguous."""
        return Merger(self.log).records(self.log.rows_of(self.sid(session)))

    def all_records(self) -> Iterator[RecordView]:
        """Every record, in order."""
        return Merger(self.log).records(self.log.rows())

    def sid(self, session: str) -> int:
        """The number of a session, by its ID or the beginning of it; RecordingError where that names none."""
        if not session:
            raise RecordingError("which session?")
        found = self.connection.execute(
            "select sid, id from sessions where id >= ? and id < ? order by id = ? desc, sid desc limit 2",
            (session, session + "\U0010ffff", session),
        ).fetchall()
        if not found:
            raise RecordingError(f"no session {session} is recorded")
        if found[0][1] != session and len(found) > 1:
            raise RecordingError(f"more than one recorded session begins with {session}")
        return int(found[0][0])

    def _session(self, row: dict[str, Any]) -> RecordedSession:
        counts = Counts(row["statements"], row["refused"], row["held"])
        if row["ended_at"] is None:
            counts = count_on(self.connection, row["sid"], row["upto"], counts)
        names = ("id", "grant", "subject", "issuer", "run", "database", "client")
        times = ("started_at", "ended_at", "end_reason")
        return RecordedSession(**{name: row[name] for name in (*names, *times)}, **counts._asdict())


class Reader:
    """`views.RecordingReader`: the same, in a thread of its own, for the loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: Records | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gatekeeper-recordings")

    async def sessions(self, search: str = "", limit: int = 200) -> tuple[RecordedSession, ...]:
        """Sessions, newest first; `search` looks in SQL, subject, grant, run and database."""
        return await self.run(lambda records: records.sessions(search, limit))

    async def records(self, session: str) -> tuple[RecordView, ...]:
        """All records of a session in order; its ID may be cut short where that is unambiguous."""
        return await self.run(lambda records: tuple(records.records(session)))

    async def run(self, what: Callable[[Records], T]) -> T:
        """Do something in the reader's thread; RecordingError where the recordings cannot be read."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, what)

    async def close(self) -> None:
        """Close the file and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _run(self, what: Callable[[Records], T]) -> T:
        try:
            if self._records is None:
                self._records = Records(self._path)
            return what(self._records)
        except sqlite3.Error as error:
            raise RecordingError(f"cannot read the recordings in {self._path}: {error}") from None

    def _close(self) -> None:
        if self._records is not None:
            self._records.close()
            self._records = None


def open_reader(store: str | Path) -> Reader:
    """Read a store from the loop; the file is opened when it is first asked for something."""
    return Reader(store_path(store))


def open_records(store: str | Path) -> Records:
    """Read a store without a loop; RecordingError where there is none or it cannot be read."""
    return Records(store_path(store))
