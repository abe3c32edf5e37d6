"""The whole log, once through, in constant memory: the first record that is not as it was written is named.

Everything that a reader or an export shows comes from the chained rows, or is compared with them here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gatekeeper.recording.appender import end_row
from gatekeeper.recording.chain import ORIGIN, Chain
from gatekeeper.recording.entries import BLOCK, Kind, canonical, decode
from gatekeeper.recording.prune import seal
from gatekeeper.recording.summary import Counts

_CHUNK: Final = 4096
_NEVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: `problem` is None where every record is as it was written."""

    rows: int
    """That were checked; a statement has two or more."""
    last_seq: int
    last_hash: str
    """In hexadecimal: keep it elsewhere, and it proves later that nothing before it was taken back."""
    pruned: int
    """Rows that were pruned before the first one."""
    stopped: bool
    """The gateway was stopped properly; else it runs, or was killed."""
    problem: str | None = None
    seq: int | None = None
    """Of the first record that is not as it was written."""


class _Found(Exception):  # noqa: N818 - what it carries is the finding
    def __init__(self, seq: int, problem: str) -> None:
        self.seq = seq
        self.problem = problem
        super().__init__(problem)


def verify(
    connection: sqlite3.Connection, key: bytes, progress: Callable[[int], None] | None = None
) -> Verification:
    """Check a store from its first row to its end, beside a running gateway too.

    `progress` is called now and then with the number of rows so far.
    """
    walk = _Walk(connection, Chain(key))
    try:
        walk.whole(progress)
    except _Found as found:
        return walk.result(found.problem, found.seq)
    except sqlite3.DatabaseError as error:
        return walk.result(f"the file is damaged after record {walk.seq}: {error}", walk.seq + 1)
    return walk.result()


class _Walk:
    def __init__(self, connection: sqlite3.Connection, chain: Chain) -> None:
        self.connection = connection
        self.chain = chain
        self.seq = 0
        self.last = ORIGIN
        self.kind = int(Kind.STOPPED)
        self.rows = 0
        self.pruned = 0
        self.sessions = 0
        self._counts: dict[int, tuple[Counts, Counts, int]] = {}
        """Of sessions that have not ended yet: counts so far, those listed, and up to which row those are."""
        self._block = -1
        self._in_block: set[int] = set()

    def result(self, problem: str | None = None, seq: int | None = None) -> Verification:
        return Verification(
            rows=self.rows,
            last_seq=self.seq,
            last_hash=self.last.hex(),
            pruned=self.pruned,
            stopped=self.kind == Kind.STOPPED,
            problem=problem,
            seq=seq,
        )

    def whole(self, progress: Callable[[int], None] | None) -> None:
        self._start()
        ended = False
        while not ended:
            chunk = self.connection.execute(
                "select seq, sid, kind, sql, entry, hash from log where seq > ? order by seq limit ?",
                (self.seq, _CHUNK),
            ).fetchall()
            if not chunk:
                break
            ended = self._chunk(chunk)
            if progress is not None:
                progress(self.rows)
        if not ended:
            raise _Found(self.seq + 1, f"the end was cut off: nothing follows record {self.seq}")
        self._summaries()

    def _start(self) -> None:
        """Begin after what was pruned, whose seal must fit."""
        prunes = self.connection.execute("select upto, hash, at, removed, who, seal from pruned order by id")
        found = prunes.fetchall()
        kept = self.connection.execute(
            "select seq, sid, kind, sql, entry, hash, shown from kept order by seq"
        ).fetchall()
        if not found:
            if kept:
                raise _Found(kept[0][0], f"record {kept[0][0]} is kept from a prune that never was")
            return
        if seal(self.chain, [row[:5] for row in found], kept) != found[-1][5]:
            raise _Found(1, "what a prune has kept was changed, or the key is another one")
        self.seq, self.last = found[-1][0], found[-1][1]
        self.pruned = found[-1][0]
        self.sessions = sum(row[2] in (Kind.LOGIN, Kind.SESSION) for row in kept if row[6])

    def _chunk(self, chunk: list[tuple[int, int, int, str | None, bytes, bytes]]) -> bool:
        """Check rows that follow; true where the last of them is the end."""
        link, last, expected = self.chain.link, self.last, self.seq
        final = chunk[-1][0]
        for seq, sid, kind, sql, entry, digest in chunk:
            expected += 1
            if seq != expected:
                raise _Found(expected, f"record {expected} is missing: {seq} follows {expected - 1}")
            if kind == Kind.END:
                self._end(seq, sid, sql, entry, digest, seq == final)
                return True
            last = link(last, canonical(seq, sid, kind, sql, entry))
            if last != digest:
                raise _Found(seq, f"record {seq} was changed, or does not follow {seq - 1} as it was written")
            if sid:
                self._of_session(seq, sid, kind, entry)
            self.seq, self.last, self.kind = seq, last, kind
            self.rows += 1
        return False

    def _end(self, seq: int, sid: int, sql: str | None, entry: bytes, digest: bytes, final: bool) -> None:
        if (seq, sid, Kind.END, sql, entry, digest) != end_row(self.chain, self.seq, self.last):
            raise _Found(seq, f"the end was cut off or changed after record {self.seq}")
        if not final:
            raise _Found(seq + 1, f"record {seq + 1} was added behind the end")

    def _of_session(self, seq: int, sid: int, kind: int, entry: bytes) -> None:
        block = seq // BLOCK
        if block != self._block:
            self._block = block
            self._in_block.clear()
        if sid not in self._in_block:
            self._in_block.add(sid)
            span = self.connection.execute(
                "select 1 from spans where sid = ? and block = ?", (sid, block)
            ).fetchone()
            if span is None:
                raise _Found(seq, f"record {seq} is not found with its session: the index was changed")
        if sid == seq:
            self._session_begins(seq, entry)
            return
        known = self._counts.get(sid)
        if known is not None:
            counts, listed, upto = known
            if seq >= upto:
                self._compare(sid, counts, listed)
                upto = _NEVER
            self._counts[sid] = (counts.plus(kind, entry), listed, upto)
        if kind == Kind.SESSION_END:
            self._session_ends(seq, sid, entry)

    def _session_begins(self, seq: int, entry: bytes) -> None:
        self.sessions += 1
        row = self.connection.execute(
            'select id, "grant", subject, issuer, run, database, client, started_at,'
            " statements, refused, held, upto from sessions where sid = ?",
            (seq,),
        ).fetchone()
        values: list[Any] = decode(entry)
        if row is None or list(row[:7]) != values[1:8] or row[7] != values[0]:
            raise _Found(seq, f"the list of sessions does not tell what record {seq} tells")
        self._counts[seq] = (Counts(), Counts(*row[8:11]), row[11])

    def _session_ends(self, seq: int, sid: int, entry: bytes) -> None:
        row = self.connection.execute(
            "select ended_at, end_reason, statements, refused, held, upto from sessions where sid = ?", (sid,)
        ).fetchone()
        known = self._counts.pop(sid, None)
        # A session whose beginning was pruned, or that has ended before, is not known here.
        first = row is not None and (row[5] == seq + 1 or (known is None and row[5] <= seq))
        if not first or (row[5] == seq + 1 and list(row[:2]) != decode(entry)):
            raise _Found(seq, f"the list of sessions does not tell what record {seq} tells")
        if known is not None:
            self._compare(sid, known[0], Counts(*row[2:5]))

    def _compare(self, sid: int, counts: Counts, listed: Counts) -> None:
        if counts != listed:
            raise _Found(sid, f"the list of sessions counts otherwise than the records of session {sid}")

    def _summaries(self) -> None:
        for sid, (counts, kept, upto) in self._counts.items():
            if upto <= self.seq + 1:
                self._compare(sid, counts, kept)
            row = self.connection.execute(
                "select ended_at, upto from sessions where sid = ?", (sid,)
            ).fetchone()
            if row is None or (row[0] is not None and row[1] <= self.seq + 1):
                raise _Found(sid, f"the list of sessions ends session {sid} otherwise than its records")
        (listed,) = self.connection.execute(
            "select count(*) from sessions where sid <= ?", (self.seq,)
        ).fetchone()
        if listed != self.sessions:
            raise _Found(0, f"{listed} sessions are listed, {self.sessions} are in the records")
        (sound,) = self.connection.execute("pragma integrity_check('sessions')").fetchone()
        if sound != "ok":
            raise _Found(0, f"the list of sessions is damaged: {sound}")
