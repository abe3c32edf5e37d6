"""How many statements a session has: a count up to some row is kept, the rows after it are counted."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from gatekeeper.recording.appender import Open
from gatekeeper.recording.entries import BLOCK, HELD, REFUSED, Kind, decode


class Counts(NamedTuple):
    """Statements of a session, those refused by rule or person, and those held."""

    statements: int = 0
    refused: int = 0
    held: int = 0

    def plus(self, kind: int, entry: bytes) -> Counts:
        """The counts with one more row."""
        match kind:
            case Kind.OPENED:
                verdict = decode(entry)[2]
                return Counts(
                    self.statements + 1, self.refused + (verdict in REFUSED), self.held + (verdict == HELD)
                )
            case Kind.DECIDED:
                return self._replace(refused=self.refused + (decode(entry)[4] != "approved"))
            case _:
                return self


def blocks(connection: sqlite3.Connection, sid: int, after: int = 0) -> list[int]:
    """First rows of the blocks in which the session has rows at or after `after`."""
    found = connection.execute(
        "select block from spans where sid = ? and block >= ? order by block", (sid, after // BLOCK)
    )
    return [block * BLOCK for (block,) in found.fetchall()]


def count_on(connection: sqlite3.Connection, sid: int, upto: int, counts: Counts) -> Counts:
    """The counts, which cover the rows before `upto`, with all rows after it."""
    for first in blocks(connection, sid, upto):
        rows = connection.execute(
            "select kind, entry from log where seq between ? and ? and sid = ? and kind in (3, 5)",
            (max(first, upto), first + BLOCK - 1, sid),
        )
        for kind, entry in rows.fetchall():
            counts = counts.plus(kind, entry)
    return counts


def find(connection: sqlite3.Connection, id_: str) -> Open | None:
    """A session as the file knows it."""
    row = connection.execute(
        "select sid, ended_at, upto, statements, refused, held from sessions where id = ?"
        " order by sid desc limit 1",
        (id_,),
    ).fetchone()
    if row is None:
        return None
    sid, ended_at, upto, *kept = row
    counts = Counts(*kept)
    if ended_at is None:
        counts = count_on(connection, sid, upto, counts)
    return Open(sid, -1, *counts, ended=ended_at is not None)
