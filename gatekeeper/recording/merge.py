"""Rows of the log in, records out: the events of one statement become one record.

Records are given in the order of their opening, each when its statement is closed; where one stays open, its
outcome is looked up ahead, so that a log of any length streams through in little memory.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from gatekeeper.recording.entries import BLOCK, VERDICTS, Kind, Row, decode
from gatekeeper.recording.summary import blocks
from gatekeeper.recording.views import RecordView

_WINDOW: Final = 4096
"""Records that wait for the first of them to be complete."""
_CACHE: Final = 2048

Fields = dict[str, Any]


class Log:
    """Looks up rows and what they name; keeps the last of it at hand."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._cache: OrderedDict[tuple[str, int], Any] = OrderedDict()

    def row(self, seq: int) -> Row | None:
        """A row by its number, in the log or among what a prune kept."""
        for table in ("log", "kept"):
            found = self.connection.execute(
                f"select seq, sid, kind, sql, entry, hash from {table} where seq = ?",  # noqa: S608
                (seq,),
            ).fetchone()
            if found is not None:
                return Row(*found)
        return None

    def session(self, sid: int) -> Fields:
        """What every record of a session repeats."""
        return self._cached("session", sid)  # type: ignore[no-any-return]

    def text(self, seq: int) -> str | None:
        """The text of the statement that the row `seq` opened."""
        return self._cached("text", seq)  # type: ignore[no-any-return]

    def facts(self, seq: int) -> list[Any]:
        """The facts of the statement that the row `seq` opened."""
        return self._cached("facts", seq)  # type: ignore[no-any-return]

    def _cached(self, what: str, seq: int) -> Any:
        key = (what, seq)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        row = self.row(seq)
        value: Any
        match what:
            case "session":
                value = _session(row) if row and row.kind in (Kind.LOGIN, Kind.SESSION) else {"session": ""}
            case "text":
                value = row.sql if row else None
            case _:
                value = decode(row.entry)[4] if row else None
                value = value if isinstance(value, list) else ["", (), (), (), (), ()]
        self._cache[key] = value
        if len(self._cache) > _CACHE:
            self._cache.popitem(last=False)
        return value

    def pruned(self) -> int:
        """The last row that was pruned."""
        return int(self.connection.execute("select coalesce(max(upto), 0) from pruned").fetchone()[0])

    # --- rows -------------------------------------------------------------------------------------------

    def rows(self, after: int = 0) -> Iterator[Row]:
        """All rows that still tell something, in order.

        Read in short transactions: a long one would keep the WAL from being started anew.
        """
        if after == 0:
            kept = self.connection.execute(
                "select seq, sid, kind, sql, entry, hash from kept where shown order by seq"
            ).fetchall()
            yield from map(Row._make, kept)
            after = self.pruned()
        while True:
            found_rows = self.connection.execute(
                "select seq, sid, kind, sql, entry, hash from log where seq > ? order by seq limit 4096",
                (after,),
            ).fetchall()
            if not found_rows:
                return
            after = found_rows[-1][0]
            yield from map(Row._make, found_rows)

    def rows_of(self, sid: int, after: int = 0) -> Iterator[Row]:
        """The rows of one session, in order."""
        pruned = self.pruned()
        if after < pruned:
            kept = self.connection.execute(
                "select seq, sid, kind, sql, entry, hash from kept where sid = ? and shown order by seq",
                (sid,),
            ).fetchall()
            yield from map(Row._make, kept)
        for first in blocks(self.connection, sid, after):
            found = self.connection.execute(
                "select seq, sid, kind, sql, entry, hash from log"
                " where seq between ? and ? and sid = ? order by seq",
                (max(first, after + 1), first + BLOCK - 1, sid),
            ).fetchall()
            yield from map(Row._make, found)


class Merger:
    """One record for each statement, login and the like, from the rows that tell of it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._waiting: OrderedDict[int, Fields] = OrderedDict()
        """By `seq`, which is their order."""
        self._open: dict[tuple[int, int], int] = {}
        """`seq` of the record of the n-th statement of a session."""

    def records(self, rows: Iterable[Row]) -> Iterator[RecordView]:
        """Give the records in the order of their `seq`; those still open at the end come without outcome."""
        for row in rows:
            self._take(row)
            while self._waiting:
                seq, first = next(iter(self._waiting.items()))
                if "_open" in first:
                    if len(self._waiting) < _WINDOW:
                        break
                    self._look_ahead(first)
                yield self._give(seq)
        while self._waiting:
            yield self._give(next(iter(self._waiting)))

    def _give(self, seq: int) -> RecordView:
        fields = self._waiting.pop(seq)
        key = fields.pop("_open", None)
        if key is not None:
            self._open.pop(key, None)
        return msgspec.convert(fields, RecordView, from_attributes=False, strict=False)

    def _look_ahead(self, fields: Fields) -> None:
        """Find the outcome of the first record in the rows of its session alone."""
        sid, n = fields["_open"]
        for row in self._log.rows_of(sid, fields["seq"]):
            if row.kind in (Kind.BOUND, Kind.DECIDED, Kind.CLOSED) and decode(row.entry)[1] == n:
                _tell(fields, row)
                if row.kind == Kind.CLOSED:
                    break

    def _take(self, row: Row) -> None:
        match row.kind:
            case Kind.OPENED:
                self._opened(row)
            case Kind.BOUND | Kind.DECIDED | Kind.CLOSED:
                key = (row.sid, decode(row.entry)[1])
                seq = self._open.get(key)
                if seq is None:
                    return  # its opening could not be recorded, and nothing was sent; or it was given already
                _tell(self._waiting[seq], row)
                if row.kind == Kind.CLOSED:
                    del self._waiting[seq]["_open"]
                    del self._open[key]
            case Kind.LOGIN | Kind.LOGIN_FAILED | Kind.SESSION_END | Kind.RELOAD | Kind.OPERATOR:
                self._waiting[row.seq] = self._other(row)
            case _:
                pass  # marks of the store's own

    def _opened(self, row: Row) -> None:
        at, n, verdict, sql_at, facts, *params = decode(row.entry)
        shared = facts if isinstance(facts, list) else self._log.facts(facts)
        key = (row.sid, n)
        before = self._open.get(key)
        if before is not None:
            self._waiting[before].pop("_open", None)
        self._open[key] = row.seq
        self._waiting[row.seq] = {
            **_common(row, "statement", at),
            **self._log.session(row.sid),
            "sql": self._log.text(sql_at) if sql_at else row.sql,
            "params": params[0] if params else None,
            "verdict": VERDICTS[verdict].value,
            "protocol": shared[0],
            "tags": shared[1],
            "classes": shared[2],
            "relations": shared[3],
            "functions": shared[4],
            "guards": shared[5],
            "_open": key,
        }

    def _other(self, row: Row) -> Fields:
        entry = decode(row.entry)
        match row.kind:
            case Kind.LOGIN:
                return {
                    **_common(row, "login", entry[0]),
                    **self._log.session(row.sid),
                    "detail": _client(entry),
                }
            case Kind.LOGIN_FAILED:
                fields = {**_common(row, "login_failed", entry[0]), **_session(row)}
                return {**fields, "outcome": entry[10], "detail": entry[11]}
            case Kind.SESSION_END:
                fields = {**_common(row, "session_end", entry[0]), **self._log.session(row.sid)}
                return {**fields, "detail": entry[1]}
            case Kind.RELOAD:
                outcome = "rejected" if entry[2] else "in force"
                detail = "; ".join((f"rules {entry[1]}", *entry[2]))
                return {**_common(row, "reload", entry[0]), "outcome": outcome, "detail": detail}
            case _:
                _, who, action, target, reason = entry
                detail = f"{action} {target}" + (f": {reason}" if reason else "")
                return {**_common(row, "operator", entry[0]), "subject": who, "detail": detail}


def _common(row: Row, kind: str, at: float) -> Fields:
    return {"seq": row.seq, "kind": kind, "at": at, "session": "", "hash": row.hash.hex()}


def _session(row: Row) -> Fields:
    entry = decode(row.entry)
    names = ("session", "grant", "subject", "issuer", "run", "database")
    return dict(zip(names, entry[1:7], strict=True))


def _client(entry: list[Any]) -> str:
    return f"from {entry[7]}" + (f" ({entry[8]})" if entry[8] else "")


def _tell(fields: Fields, row: Row) -> None:
    """Add to a statement's record what a later row tells."""
    entry = decode(row.entry)
    fields["hash"] = row.hash.hex()
    match row.kind:
        case Kind.BOUND:
            fields["params"] = entry[2]
        case Kind.DECIDED:
            decisions = [dict(zip(("who", "at", "approved", "reason"), d, strict=True)) for d in entry[5]]
            fields["approval"] = {
                "id": entry[2],
                "guard": entry[3],
                "decision": entry[4],
                "decisions": decisions,
            }
        case _:
            fields["outcome"], fields["rows"], fields["duration_ms"] = entry[2:5]
            if len(entry) > 5:
                fields["masked_columns"] = entry[5]
            if len(entry) > 6:
                fields["sample_columns"], fields["sample_rows"] = entry[6:8]
