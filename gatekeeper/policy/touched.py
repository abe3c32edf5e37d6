"""The tables that a statement touches, and what PostgreSQL's catalogs say of each.

Only catalogs are read, and no table is opened: who waits for a lock on it would make an approver wait too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from gatekeeper.model import Facts, StatementFacts
from gatekeeper.policy import locks
from gatekeeper.policy.planner import Connection
from gatekeeper.sql.catalog import Catalog, CatalogRelation
from gatekeeper.sql.tree import UnreadableError, parse

_MOST: Final = 50
"""Tables that are looked at; a statement that touches more is not read table by table by anybody."""
_MOST_CONFLICTS: Final = 10
_ACTIONS: Final = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


@dataclass(slots=True)
class Touched:
    """One table, and what is known of it so far."""

    relation: CatalogRelation
    written: bool
    lock: str
    deletes: bool = False
    updates: frozenset[str] | None = frozenset()
    """Names of columns that may be set; None: any."""
    truncates: bool = False
    rows: int | None = None
    bytes: int | None = None
    cascades: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """`schema.name`."""
        return self.relation.full_name


def touched(facts: Facts, catalog: Catalog) -> dict[int, Touched]:
    """Every table that the query may touch, by OID, with the strongest lock it takes there."""
    found: dict[int, Touched] = {}
    for statement in facts.statements:
        on_written, on_read = locks.strongest(statement)
        updates = _updated_columns(statement)
        deletes = not {"DELETE", "MERGE"}.isdisjoint(statement.tags)
        truncates = "TRUNCATE TABLE" in statement.tags and _cascades_by_word(statement)
        for ref in sorted(statement.relations, key=str):
            for relation in catalog.named(ref.schema, ref.name):
                if relation.kind not in {"r", "p", "m", "f"} or relation.schema in {
                    "pg_catalog",
                    "information_schema",
                }:
                    continue
                if relation.oid not in found and len(found) >= _MOST:
                    continue
                lock = on_written if ref.written else on_read
                table = found.setdefault(relation.oid, Touched(relation, ref.written, lock))
                table.written |= ref.written
                table.lock = locks.stronger(table.lock, lock)
                if ref.written:
                    table.deletes |= deletes
                    table.truncates |= truncates
                    table.updates = (
                        None if None in (updates, table.updates) else _union(updates, table.updates)
                    )
    return found


def _union(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str]:
    return (one or frozenset()) | (other or frozenset())


def _updated_columns(statement: StatementFacts) -> frozenset[str] | None:
    """Columns that the statement sets, where its own text says so; None where they may be any."""
    if {"UPDATE", "MERGE"}.isdisjoint(statement.tags):
        return frozenset()
    try:
        (parsed,) = parse(statement.text)
    except (UnreadableError, RecursionError, ValueError):
        return None
    if (
        parsed.kind != "UpdateStmt"
        or sum(effect.tag in {"UPDATE", "MERGE"} for effect in statement.effects) > 1
    ):
        return None
    return frozenset(str(target["ResTarget"].get("name", "")) for target in parsed.node.get("targetList", ()))


def _cascades_by_word(statement: StatementFacts) -> bool:
    """TRUNCATE … CASCADE; a TRUNCATE nested in something else may be one."""
    try:
        (parsed,) = parse(statement.text)
    except (UnreadableError, RecursionError, ValueError):
        return True
    return parsed.kind != "TruncateStmt" or parsed.node.get("behavior") == "DROP_CASCADE"


_SIZES: Final = """
    SELECT t.oid,
           sum(greatest(c.reltuples, 0)) FILTER (WHERE c.oid = t.part AND c.relkind <> 'p')::float8 AS rows,
           bool_or(c.reltuples >= 0) FILTER (WHERE c.oid = t.part AND c.relkind <> 'p') AS known,
           sum(c.relpages)::int8 * current_setting('block_size')::int8 AS bytes
    FROM unnest($1::oid[], $2::oid[]) AS t(oid, part)
    JOIN pg_catalog.pg_class AS m ON m.oid = t.part
    JOIN pg_catalog.pg_class AS c ON c.oid = m.oid OR c.oid = m.reltoastrelid
         OR c.oid IN (SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid IN (m.oid, m.reltoastrelid))
    GROUP BY t.oid
"""


async def find_sizes(connection: Connection, tables: dict[int, Touched], catalog: Catalog) -> None:
    """Rows and bytes as of the last VACUUM or ANALYZE, partitions, indexes and TOAST included."""
    pairs = [(oid, part) for oid in tables for part in _with_parts(oid, catalog)]
    for record in await connection.fetch(_SIZES, [p[0] for p in pairs], [p[1] for p in pairs]):
        table = tables[record["oid"]]
        table.rows = round(record["rows"]) if record["known"] else None
        table.bytes = record["bytes"] if record["bytes"] or record["known"] else None


_CASCADES: Final = """
    WITH RECURSIVE step AS (
        SELECT k.conrelid, k.confrelid, k.conkey, k.confkey, k.confdeltype AS del, k.confupdtype AS upd
        FROM pg_catalog.pg_constraint AS k WHERE k.contype = 'f' AND k.conparentid = 0
    ), reached(root, oid, how) AS (
        SELECT root, oid, how FROM unnest($1::oid[], $2::oid[], $3::text[]) AS s(root, oid, how)
        UNION
        SELECT r.root, s.conrelid, r.how FROM reached AS r JOIN step AS s ON s.confrelid = r.oid
        WHERE r.how = 'truncate' OR (r.how = 'delete' AND s.del = 'c') OR (r.how = 'update' AND s.upd = 'c')
    )
    SELECT r.root, r.oid, r.how, s.conrelid, n.nspname, c.relname, s.del::text AS del, s.upd::text AS upd,
           (SELECT array_agg(a.attname::text ORDER BY k.i) FROM unnest(s.conkey) WITH ORDINALITY AS k(num, i)
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = s.conrelid AND a.attnum = k.num) AS columns,
           (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = s.confrelid AND a.attnum = ANY (s.confkey)) AS referenced
    FROM reached AS r JOIN step AS s ON s.confrelid = r.oid
    JOIN pg_catalog.pg_class AS c ON c.oid = s.conrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE r.how = 'truncate' OR (r.how = 'delete' AND s.del IN ('c', 'n', 'd'))
       OR (r.how = 'update' AND s.upd IN ('c', 'n', 'd'))
    ORDER BY n.nspname, c.relname, columns
"""


async def find_cascades(connection: Connection, tables: dict[int, Touched], catalog: Catalog) -> None:
    """Foreign keys that carry a deletion, a new key or a TRUNCATE on, however far."""
    starts = [
        (oid, start, how)
        for oid, t in tables.items()
        for start in _with_kin(oid, catalog)
        for how in _hows(t)
    ]
    if not starts:
        return
    roots, oids, hows = (list(part) for part in zip(*starts, strict=True))
    for record in await connection.fetch(_CASCADES, roots, oids, hows):
        table = tables[record["root"]]
        how = record["how"]
        if how == "update":
            first = record["oid"] in set(_with_kin(record["root"], catalog))
            if first and table.updates is not None and table.updates.isdisjoint(record["referenced"]):
                continue
        action = "TRUNCATE" if how == "truncate" else _ACTIONS[record["del" if how == "delete" else "upd"]]
        schema = "" if record["nspname"] == "public" else f"{record['nspname']}."
        line = f"{schema}{record['relname']}.{', '.join(record['columns'])} ({action})"
        if line not in table.cascades:
            table.cascades.append(line)
        if (reached := tables.get(record["conrelid"])) is not None:
            lock = "AccessExclusiveLock" if how == "truncate" else "RowExclusiveLock"
            reached.lock = locks.stronger(reached.lock, lock)


def _hows(table: Touched) -> Iterable[str]:
    if table.deletes:
        yield "delete"
    if table.updates is None or table.updates:
        yield "update"
    if table.truncates:
        yield "truncate"


_CONFLICTS: Final = """
    SELECT l.relation, l.pid, l.mode, l.granted, a.application_name
    FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.relation = ANY ($1::oid[])
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.pid IS DISTINCT FROM $2::int4
    ORDER BY l.granted DESC, l.pid, l.mode
"""


async def find_conflicts(connection: Connection, tables: dict[int, Touched], own_pid: int | None) -> None:
    """Who holds a lock that the statement's would wait for, or waits for one itself."""
    for record in await connection.fetch(_CONFLICTS, list(tables), own_pid):
        table = tables[record["relation"]]
        if locks.conflict(table.lock, record["mode"]) and len(table.conflicts) < _MOST_CONFLICTS:
            verb = "holds" if record["granted"] else "waits for"
            name = f" ({record['application_name']})" if record["application_name"] else ""
            who = f"pid {record['pid']}{name}" if record["pid"] is not None else "a prepared transaction"
            table.conflicts.append(f"{who} {verb} {record['mode']}")


def _with_parts(oid: int, catalog: Catalog) -> Iterable[int]:
    return dict.fromkeys([oid, *catalog.descendants(oid)])


def _with_kin(oid: int, catalog: Catalog) -> Iterable[int]:
    """Itself, its partitions, and what it is a partition of: foreign keys to any of them matter."""
    found = dict.fromkeys(_with_parts(oid, catalog))
    above = [*catalog.relations[oid].parents]
    while above:
        parent = above.pop()
        if parent not in found and parent in catalog.relations:
            found[parent] = None
            above.extend(catalog.relations[parent].parents)
    return tuple(found)
