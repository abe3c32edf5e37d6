"""Runs a statement on a real PostgreSQL twice over: as the database answers it, and as masking lets it
through.
"""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq

from gatekeeper.masking.plan import MaskPlan, plan
from gatekeeper.masking.resolve import MaskSet, resolve
from gatekeeper.masking.rows import Field
from gatekeeper.rules.schema import MaskRules, PolicyRules, Rules
from gatekeeper.sql.catalog import Catalog
from gatekeeper.sql.facts import extract
from gatekeeper.sql.snapshot import read_catalog
from tests.servers import Database

KEY = b"a key for tests alone"
_CODES = {
    pq.DiagnosticField.SEVERITY: "S",
    pq.DiagnosticField.SQLSTATE: "C",
    pq.DiagnosticField.MESSAGE_PRIMARY: "M",
    pq.DiagnosticField.MESSAGE_DETAIL: "D",
    pq.DiagnosticField.MESSAGE_HINT: "H",
    pq.DiagnosticField.CONTEXT: "W",
    pq.DiagnosticField.INTERNAL_QUERY: "q",
    pq.DiagnosticField.SCHEMA_NAME: "s",
    pq.DiagnosticField.TABLE_NAME: "t",
    pq.DiagnosticField.COLUMN_NAME: "c",
    pq.DiagnosticField.DATATYPE_NAME: "d",
    pq.DiagnosticField.CONSTRAINT_NAME: "n",
}
Row = tuple[bytes | None, ...]


@dataclass
class Seen:
    """What came back: of the database, or through masking."""

    rows: list[Row] = field(default_factory=list)
    copied: bytes = b""
    errors: list[dict[str, str]] = field(default_factory=list)
    fields: tuple[Field, ...] = ()

    def everything(self) -> bytes:
        cells = b"\n".join(cell for row in self.rows for cell in row if cell is not None)
        texts = "\n".join(text for error in self.errors for code, text in error.items() if code not in "SC")
        return b"\n".join((cells, self.copied, texts.encode()))


@dataclass
class Outcome:
    direct: Seen
    through: Seen
    plan: MaskPlan
    masked: tuple[str, ...] = ()

    @property
    def refused(self) -> str | None:
        return self.plan.refusal.message if self.plan.refusal else None


def rules_of(*masks: MaskRules, dynamic: str = "allow", opaque: str = "allow") -> Rules:
    policy = PolicyRules(dynamic_sql=dynamic, opaque_function=opaque)  # type: ignore[arg-type]
    return Rules(Path("rules.toml"), "1", policy=policy, masks=masks)


class Probe:
    """One connection, one catalog, one set of masks."""

    def __init__(self, database: Database, rules: Rules) -> None:
        self.database = database
        self.rules = rules
        self.connection = psycopg.connect(database.dsn(), autocommit=True, prepare_threshold=None)
        self.notices: list[dict[str, str]] = []
        self.connection.add_notice_handler(lambda d: self.notices.append(_fields_of(d)))
        self.catalog = Catalog(0)
        self.masks = MaskSet()

    async def refresh(self) -> None:
        connection = await self.database.connect()
        try:
            self.catalog = await read_catalog(connection, self.catalog.version + 1)
        finally:
            await connection.close()
        self.masks = resolve(self.rules, self.catalog, "ci", "app", self.masks.sticky, hash_key=KEY)

    def plan(self, sql: str, **how: Any) -> MaskPlan:
        facts = extract(sql, self.catalog)
        assert facts.syntax_error is None, (sql, facts.syntax_error)
        return plan(facts, self.masks, self.catalog, **how)

    def run(
        self,
        sql: str,
        params: Sequence[bytes | None] | None = None,
        *,
        binary: bool = False,
        commit: bool = False,
    ) -> Outcome:
        """Run one query and look at every result, in a transaction that is rolled back."""
        planned = self.plan(sql)
        outcome = Outcome(Seen(), Seen(), planned)
        pgconn = self.connection.pgconn
        self.notices.clear()
        if not commit:
            pgconn.exec_(b"begin")
        if binary or params is not None:
            pgconn.send_query_params(sql.encode(), params, result_format=int(binary))
        else:
            pgconn.send_query(sql.encode())
        index = 0
        while (result := _next(pgconn)) is not None:
            self._result(result, index, outcome)
            index += 1
        if not commit:
            pgconn.exec_(b"rollback")
            pgconn.exec_(b"deallocate all")
        outcome.direct.errors += self.notices
        if planned.refusal is None:
            outcome.through.errors = [planned.clean_error(error) for error in outcome.direct.errors]
        return outcome

    def _result(self, result: Any, index: int, outcome: Outcome) -> None:
        allowed = outcome.plan.refusal is None
        match result.status:
            case pq.ExecStatus.TUPLES_OK:
                fields = tuple(
                    Field(
                        (result.fname(n) or b"").decode(), result.ftable(n), result.ftablecol(n), result.ftype(n),
                        result.fformat(n),
                    )
                    for n in range(result.nfields)
                )  # fmt: skip
                outcome.direct.fields = fields
                rows = [
                    tuple(result.get_value(r, c) for c in range(result.nfields))
                    for r in range(result.ntuples)
                ]
                outcome.direct.rows += rows
                if allowed:
                    outcome.through.rows += self.mask(outcome, index, fields, rows)
            case pq.ExecStatus.COPY_OUT:
                formats = [result.fformat(n) for n in range(result.nfields)]
                chunks = []
                while (got := self.connection.pgconn.get_copy_data(0))[0] > 0:
                    chunks.append(bytes(got[1]))
                outcome.direct.copied += b"".join(chunks)
                if allowed:
                    masker = outcome.plan.copy(index, formats)
                    if masker is None:
                        outcome.through.copied += b"".join(chunks)
                    else:
                        outcome.masked = masker.masked
                        outcome.through.copied += b"".join(map(masker.feed, chunks)) + masker.finish()
            case pq.ExecStatus.FATAL_ERROR:
                outcome.direct.errors.append(_fields(result))

    @staticmethod
    def mask(outcome: Outcome, index: int, fields: tuple[Field, ...], rows: Iterable[Row]) -> list[Row]:
        masker = outcome.plan.rows(index, fields)
        if masker is None:
            return list(rows)
        outcome.masked = masker.masked
        bodies = [encode(row) for row in rows]
        masked = [masker.apply(body) for body in bodies]
        framed = b"".join(b"D" + struct.pack("!i", len(b) + 4) + b for b in bodies)
        assert masker.apply_all(framed) == b"".join(b"D" + struct.pack("!i", len(b) + 4) + b for b in masked)
        return [decode(body) for body in masked]

    def close(self) -> None:
        self.connection.close()


def _next(pgconn: Any) -> Any:
    return pgconn.get_result()


def _fields(result: Any) -> dict[str, str]:
    found = {code: result.error_field(which) for which, code in _CODES.items()}
    return {code: text.decode() for code, text in found.items() if text is not None}


def _fields_of(diagnostic: Any) -> dict[str, str]:
    found = {
        "S": diagnostic.severity, "C": diagnostic.sqlstate, "M": diagnostic.message_primary,
        "D": diagnostic.message_detail, "H": diagnostic.message_hint, "W": diagnostic.context,
    }  # fmt: skip
    return {code: text for code, text in found.items() if text is not None}


def encode(row: Row) -> bytes:
    """The body of a DataRow."""
    parts = [struct.pack("!h", len(row))]
    parts += [struct.pack("!i", -1) if cell is None else struct.pack("!i", len(cell)) + cell for cell in row]
    return b"".join(parts)


def decode(body: bytes) -> Row:
    """The cells of a DataRow; every byte has to belong to one."""
    (count,) = struct.unpack_from("!h", body)
    at, cells = 2, []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        cells.append(None if length < 0 else body[at : at + length])
        at += max(0, length)
    assert at == len(body)
    return tuple(cells)


def forms(*canaries: str) -> tuple[bytes, ...]:
    """Ways in which a canary could be written, in lower case."""
    found: set[bytes] = set()
    for canary in canaries:
        raw = canary.encode()
        found |= {raw.lower(), raw[::-1].lower(), raw.hex().encode(), raw[:6].lower(), raw[-6:].lower()}
        for skip in range(3):
            encoded = base64.b64encode(raw[skip:])
            found.add(encoded[: len(encoded) // 4 * 4 - 4].lower())
    return tuple(sorted(found))


async def execute(database: Database, sql: str) -> None:
    connection = await database.connect()
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
        await asyncio.sleep(0)
