"""Recordings as they are read: over a connection that never writes, with or without a gateway beside it."""

from __future__ import annotations

import asyncio
import itertools
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlite_utils

from gatekeeper.errors import RecordingError
from gatekeeper.recording import schema
from gatekeeper.recording.entries import Row
from gatekeeper.recording.merge import Log, Merger
from gatekeeper.recording.places import store_path
from gatekeeper.recording.search import Searcher
from gatekeeper.recording.summary import Counts, count_on
from gatekeeper.recording.views import RecordedSession, RecordView

_SHOWN: Final = (
    'select sid, id, "grant", subject, issuer, run, database, client, started_at, ended_at, end_reason,'
    " statements, refused, held, upto from sessions"
)
_SEARCHED: Final = ("id", "subject", '"grant"', "run", "database", "issuer")
_OF_NO_SESSION: Final = (
    "select seq, sid, kind, sql, entry, hash from log where sid = 0 and kind in (2, 8, 9) order by seq desc"
)
_ALL: Final = 1 << 30
_INDEX_S: Final = 1.0
"""How long a search may spend on the index before it begins."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search is narrowed to; None stands for any. Times are Unix seconds."""

    subject: str | None = None
    grant: str | None = None
    relation: str | None = None
    verdict: str | None = None
    since: float | None = None
    until: float | None = None

    def fits(self, record: RecordView) -> bool:
        """True for a record that is wanted."""
        return (
            self.subject in (None, record.subject)
            and self.grant in (None, record.grant)
            and (self.relation is None or _names(self.relation, record.relations))
            and self.verdict in (None, record.verdict)
            and (self.since is None or record.at >= self.since)
            and (self.until is None or record.at < self.until)
        )

    def fits_session(self, session: RecordedSession) -> bool:
        """True for a session that may have such records."""
        return (
            self.subject in (None, session.subject)
            and self.grant in (None, session.grant)
            and (self.until is None or session.started_at < self.until)
            and (self.since is None or session.ended_at is None or session.ended_at >= self.since)
        )


class Records:
    """The recordings of one store, read synchronously; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = schema.connect_reader(path)
        self._db = sqlite_utils.Database(self.connection, execute_plugins=False)
        self.log = Log(self.connection)
        self._searcher: Searcher | None = None

    def close(self) -> None:
        """Close the file."""
        if self._searcher is not None:
            self._searcher.close()
        self.connection.close()

    def sessions(self, search: str = "", limit: int = 200) -> tuple[RecordedSession, ...]:
        """Sessions, newest first; `search` looks in SQL, subject, grant, run and database."""
        if not search:
            rows = self._db.query(f"{_SHOWN} order by sid desc limit :limit", {"limit": limit})
            return tuple(self._session(row) for row in list(rows))
        like = "%" + re.sub(r"([!%_])", r"!\1", search) + "%"
        named = " or ".join(f"{name} like ? escape '!'" for name in _SEARCHED)
        found = self.connection.execute(
            f"select sid from sessions where {named} order by sid desc limit ?",  # noqa: S608
            (*(like for _ in _SEARCHED), limit),
        )
        sids = {sid for (sid,) in found.fetchall()} | self.searcher().sessions_with(search, _INDEX_S)
        chosen = sorted(sids, reverse=True)[:limit]
        return tuple(s for sid in chosen for s in self._one(sid))

    def search(self, text: str, wanted: Wanted | None = None, limit: int = 200) -> Iterator[RecordView]:
        """Records that hold a part of text, newest sessions first, in a session newest first.

        Looks in SQL, tags, relations and functions, and in who it was (session, subject, grant, issuer, run,
        database); not in parameters and rows. Of other kinds, in their detail as well.
        """
        wanted = wanted or Wanted()
        needle = text.casefold()
        found = self._found(text, needle, wanted)
        yield from itertools.islice(found, limit)

    def _found(self, text: str, needle: str, wanted: Wanted) -> Iterator[RecordView]:
        for row in self.connection.execute(_OF_NO_SESSION).fetchall():
            for record in Merger(self.log).records([Row(*row)]):
                if wanted.fits(record) and _holds(record, needle):
                    yield record
        for session in self.sessions(text, _ALL):
            if not wanted.fits_session(session):
                continue
            for record in reversed(tuple(self.records(session.id))):
                if wanted.fits(record) and _holds(record, needle):
                    yield record

    def searcher(self) -> Searcher:
        """Finds statements by their text."""
        if self._searcher is None:
            self._searcher = Searcher(self.path, self.log)
        return self._searcher

    def _one(self, sid: int) -> Iterator[RecordedSession]:
        for row in list(self._db.query(f"{_SHOWN} where sid = :sid", {"sid": sid})):
            yield self._session(row)

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


def _names(wanted: str, relations: Iterable[str]) -> bool:
    """Whether one of these is meant; a name without its schema, here or there, stands for any schema's."""
    last = wanted.rpartition(".")[2]
    return any(
        name == wanted or (name == last if "." in wanted else name.rpartition(".")[2] == wanted)
        for name in relations
    )


def _holds(record: RecordView, needle: str) -> bool:
    who = (record.session, record.subject, record.grant, record.issuer, record.run, record.database)
    what = (record.sql or "", record.detail or "", *record.tags, *record.relations, *record.functions)
    return any(needle in text.casefold() for text in (*what, *who))


def open_reader(store: str | Path) -> Reader:
    """Read a store from the loop; the file is opened when it is first asked for something."""
    return Reader(store_path(store))


def open_records(store: str | Path) -> Records:
    """Read a store without a loop; RecordingError where there is none or it cannot be read."""
    return Records(store_path(store))
