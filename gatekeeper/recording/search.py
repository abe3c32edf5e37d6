"""Statements by a part of their text or of a name in them: an index beside the store, made by who searches.

The index is a file of its own that can be thrown away: what it finds is looked up in the log. It is not made
in the gateway, whose loop would feel it; what it does not cover yet is looked through row by row.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from gatekeeper.recording.entries import Kind, decode
from gatekeeper.recording.merge import Log

_BATCH: Final = 2000
_MOST_TRIGRAMS: Final = 24
_SCHEMA: Final = """
create virtual table if not exists docs using fts5(sql, names, content='', tokenize='trigram', detail='none');
create table if not exists uses (doc integer, sid integer, primary key (doc, sid)) without rowid;
create table if not exists covered (id integer primary key check (id = 1), upto integer, origin blob);
"""
_NEXT_ROWS: Final = (
    "select seq, sid, kind, sql, entry from log"
    " where seq > max(?, (select coalesce(max(upto), 0) from pruned)) and kind > 0 order by seq limit ?"
)
_KEPT_ROWS: Final = "select seq, sid, kind, sql, entry from kept"
# A doc is the row that holds a text or facts; `uses` names the sessions with statements that name it.


def index_path(store: Path) -> Path:
    """Where the index of a store lies."""
    return store.with_name(store.name + ".search")


def drop_index(store: Path) -> None:
    """Remove the index: the next search makes it anew."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(OSError):
            Path(f"{index_path(store)}{suffix}").unlink()


class Searcher:
    """Finds the sessions that have a statement whose text, relations, functions or tags hold a part."""

    def __init__(self, store: Path, log: Log, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._index = self._open(index_path(store))

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()

    def _open(self, path: Path) -> sqlite3.Connection | None:
        """The index, made where it is missing; None where it cannot be kept: then every row is looked at."""
        origin = self._log.connection.execute("select hash from log order by seq limit 1").fetchone()
        connection = None
        try:
            connection = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = off")
            connection.executescript(_SCHEMA)
            known = connection.execute("select origin from covered").fetchone()
            if origin and known is None:
                connection.execute("insert or ignore into covered values (1, 0, ?)", origin)
            elif origin and known != origin:
                # Another store had this name, or its first rows were pruned.
                connection.executescript(
                    f"begin; drop table docs; drop table uses; drop table covered; {_SCHEMA} commit"
                )
                connection.execute("insert into covered values (1, 0, ?)", origin)
        except (sqlite3.Error, OSError):
            if connection is not None:
                connection.close()
            return None
        return connection

    def sessions_with(self, part: str, budget_s: float) -> set[int]:
        """Numbers of sessions with such a statement; extends the index for at most `budget_s` first."""
        needle = part.casefold()
        covered = self._extend(budget_s)
        found: set[int] = set()
        if covered and len(needle) >= 3:
            found = self._sessions_of(self._verified(self._docs(part), needle))
        else:
            covered = 0
        for row in self._log.rows(after=max(covered, self._log.pruned())):
            if row.kind != Kind.OPENED or row.sid in found:
                continue
            entry = decode(row.entry)
            text = row.sql if row.sql is not None else self._log.text(entry[3])
            facts = entry[4] if isinstance(entry[4], list) else self._log.facts(entry[4])
            if _holds(needle, text, facts):
                found.add(row.sid)
        return found

    # --- the index --------------------------------------------------------------------------------------

    def _extend(self, budget_s: float) -> int:
        """Cover more rows, for so long; up to which row the index goes."""
        index = self._index
        if index is None:
            return 0
        until = self._clock() + budget_s
        upto = self._upto(index)
        try:
            while self._clock() < until:
                rows = self._log.connection.execute(_NEXT_ROWS, (upto, _BATCH)).fetchall()
                if not rows:
                    break
                index.execute("begin immediate")
                if self._upto(index) != upto:  # another reader is at it too
                    index.execute("rollback")
                    upto = self._upto(index)
                    continue
                kept = [] if upto else self._log.connection.execute(_KEPT_ROWS).fetchall()
                docs, uses = _indexed(row for row in (*kept, *rows) if row[2] == Kind.OPENED)
                index.executemany("insert into docs (rowid, sql, names) values (?, ?, ?)", docs)
                index.executemany("insert or ignore into uses values (?, ?)", uses)
                upto = rows[-1][0]
                index.execute("update covered set upto = ?", (upto,))
                index.execute("commit")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                index.execute("rollback")
        return self._upto(index)

    def _upto(self, index: sqlite3.Connection) -> int:
        try:
            found = index.execute("select upto from covered").fetchone()
        except sqlite3.Error:
            return 0
        return int(found[0]) if found else 0

    def _docs(self, part: str) -> list[int]:
        """Rows that may hold the part: all its trigrams occur in them."""
        if self._index is None:
            return []
        trigrams = dict.fromkeys(part[i : i + 3] for i in range(len(part) - 2))
        query = " AND ".join('"' + t.replace('"', '""') + '"' for t in list(trigrams)[:_MOST_TRIGRAMS])
        return [seq for (seq,) in self._index.execute("select rowid from docs where docs match ?", (query,))]

    def _verified(self, docs: Iterable[int], needle: str) -> Iterator[int]:
        for seq in docs:
            row = self._log.row(seq)
            if row is not None and _holds(needle, row.sql, decode(row.entry)[4]):
                yield seq

    def _sessions_of(self, docs: Iterable[int]) -> set[int]:
        if self._index is None:
            return set()
        found: set[int] = set()
        for doc in docs:
            found.update(sid for (sid,) in self._index.execute("select sid from uses where doc = ?", (doc,)))
        return found


def _indexed(
    rows: Iterable[tuple[int, int, int, str | None, bytes]],
) -> tuple[list[Any], set[tuple[int, int]]]:
    docs: list[tuple[int, str, str]] = []
    uses: set[tuple[int, int]] = set()
    for seq, sid, _, sql, blob in rows:
        entry = decode(blob)
        if sql is not None or isinstance(entry[4], list):
            docs.append((seq, sql or "", _names(entry[4])))
        uses.update((doc, sid) for doc in _docs_of(seq, entry))
    return docs, uses


def _docs_of(seq: int, entry: list[Any]) -> tuple[int, int]:
    """The rows that hold a statement's text and its facts."""
    return entry[3] or seq, entry[4] if isinstance(entry[4], int) else seq


def _names(facts: Any) -> str:
    """Tags, relations and functions, one a line."""
    return "\n".join((*facts[1], *facts[3], *facts[4])) if isinstance(facts, list) else ""


def _holds(needle: str, sql: str | None, facts: Any) -> bool:
    return (sql is not None and needle in sql.casefold()) or needle in _names(facts).casefold()
