"""Reads a Catalog from a database, on PostgreSQL 13 to 18, and tells cheaply whether it has changed since."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import asyncpg

from gatekeeper.sql.catalog import EMPTY, UNREADABLE, Catalog, CatalogRelation, Column, Routine

Connection: TypeAlias = "asyncpg.Connection[Any]"
FIRST_USER_OID: Final = 16384

_RELATIONS: Final = """
select c.oid, n.nspname, c.relname, c.relkind::text as kind, c.reltuples::float8 as rows,
       r.xmin::text as stamp
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_rewrite r on r.ev_class = c.oid and r.rulename = '_RETURN'
where (c.relpersistence <> 't' or c.relkind = 'v') and n.nspname <> 'pg_toast'
"""
# To print a view, a generated column or an SQL body, PostgreSQL locks the relations in it: what others have
# locked exclusively, or wait to, is left out, so that a migration does not hold up whoever reads the catalog.
_LOCKED: Final = """
select array_agg(distinct relation) from pg_catalog.pg_locks
where locktype = 'relation' and mode = 'AccessExclusiveLock' and pid <> pg_backend_pid()
  and database = (select oid from pg_catalog.pg_database where datname = current_database())
"""
_ALL: Final = "select array_agg(oid) from pg_catalog.pg_class"
_VIEWS: Final = """
select c.oid, pg_get_viewdef(c.oid) from pg_catalog.pg_class c
where c.relkind in ('v', 'm') and c.oid <> all ($1::oid[])
  and not exists (select from pg_catalog.pg_rewrite r
                  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass
                       and d.objid = r.oid and d.refclassid = 'pg_catalog.pg_class'::regclass
                  where r.ev_class = c.oid and d.refobjid = any ($1::oid[]))
"""
_COLUMNS: Final = """
select a.attrelid, array_agg(a.attnum order by a.attnum) as attnums,
       array_agg(a.attname::text order by a.attnum) as names,
       array_agg(a.atttypid order by a.attnum) as types,
       array_agg(case when a.attgenerated = '' then null
                      when a.attrelid = any ($1::oid[]) then $2::text
                      else pg_get_expr(d.adbin, d.adrelid) end order by a.attnum) as generated
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum and a.attgenerated <> ''
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f', 'c')
  and (c.relpersistence <> 't' or c.relkind = 'v')
group by a.attrelid
"""
_PARENTS: Final = """
select inhrelid, array_agg(inhparent order by inhseqno) from pg_catalog.pg_inherits group by inhrelid
"""
_TRIGGERS: Final = """
select tgrelid, array_agg(distinct tgfoid) from pg_catalog.pg_trigger
where not tgisinternal and tgenabled <> 'D' group by tgrelid
"""
_RULES: Final = "select distinct ev_class from pg_catalog.pg_rewrite where rulename <> '_RETURN'"
_EVENT_TRIGGERS: Final = "select distinct evtfoid from pg_catalog.pg_event_trigger where evtenabled <> 'D'"
_TYPES: Final = """
with recursive base(oid, base) as (
    select oid, oid from pg_catalog.pg_type where typtype <> 'd'
    union all
    select t.oid, b.base from pg_catalog.pg_type t join base b on t.typbasetype = b.oid where t.typtype = 'd'
)
select t.oid, format_type(t.oid, null) as name, t.typcategory::text as category, b.base,
       t.typname::text as bare, t.typnamespace <> 'pg_catalog'::regnamespace as own,
       case when t.typtype = 'd' then t.typbasetype else t.typelem end as within
from pg_catalog.pg_type t join base b using (oid)
"""
# What runs a function without naming it in a statement. `kind` says what `owner` is: the OID of a relation
# or of a type, or a sign.
_CALLS: Final = f"""
with recursive own as (
    select p.oid from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
), code(class, oid, routine) as (
    select 'pg_catalog.pg_proc'::regclass::oid, oid, oid from own
    union all
    select 'pg_catalog.pg_operator'::regclass::oid, o.oid, own.oid
    from pg_catalog.pg_operator o join own on own.oid = o.oprcode
), used(class, oid, routine) as (
    select d.classid, d.objid, c.routine
    from code c join pg_catalog.pg_depend d on d.refclassid = c.class and d.refobjid = c.oid
)
select kind, owner, array_agg(distinct routine order by routine) as routines from (
    select 'relation' as kind, a.adrelid::text as owner, u.routine from used u
    join pg_catalog.pg_attrdef a on a.oid = u.oid and u.class = 'pg_catalog.pg_attrdef'::regclass
    union all
    select case when c.contypid = 0 then 'relation' else 'type' end,
           case when c.contypid = 0 then c.conrelid else c.contypid end::text, u.routine from used u
    join pg_catalog.pg_constraint c on c.oid = u.oid and u.class = 'pg_catalog.pg_constraint'::regclass
    union all
    select 'relation', i.indrelid::text, u.routine from used u
    join pg_catalog.pg_index i on i.indexrelid = u.oid and u.class = 'pg_catalog.pg_class'::regclass
    union all
    select 'relation', p.polrelid::text, u.routine from used u
    join pg_catalog.pg_policy p on p.oid = u.oid and u.class = 'pg_catalog.pg_policy'::regclass
    union all
    select 'type', t.type::text, u.routine from used u
    join pg_catalog.pg_cast c on c.oid = u.oid and u.class = 'pg_catalog.pg_cast'::regclass
    cross join lateral (values (c.casttarget), (c.castsource)) t(type)
    where t.type >= {FIRST_USER_OID} or greatest(c.casttarget, c.castsource) < {FIRST_USER_OID}
    union all
    select 'operator', o.oprname::text, c.routine from code c join pg_catalog.pg_operator o on o.oid = c.oid
    where c.class = 'pg_catalog.pg_operator'::regclass
) found group by kind, owner
"""  # noqa: S608 - put together from constants
_BUILTINS: Final = """
select p.oid, p.proname::text, n.nspname = 'pg_catalog' from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname in ('pg_catalog', 'information_schema')
"""
_ROUTINES: Final = """
select p.oid, n.nspname, p.proname, l.lanname, p.prokind::text as kind, {source} as source,
       case when p.prokind = 'a' then '' when {locked} then $2::text else pg_get_functiondef(p.oid) end
           as definition,
       p.prorettype = 'pg_catalog.trigger'::regtype as returns_trigger, p.proretset, p.proargnames,
       exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_proc'::regclass
               and d.objid = p.oid and d.deptype = 'e') as extension
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join pg_catalog.pg_language l on l.oid = p.prolang
where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
"""
_LOCKED_BODY: Final = """
exists (select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid
          and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = any ($1::oid[]))"""
_AGGREGATE: Final = """
(select 'SELECT ' || string_agg(format('%I.%I()', fn.nspname, f.proname), ', ')
 from pg_catalog.pg_aggregate g
 join pg_catalog.pg_proc f on f.oid in (g.aggtransfn, g.aggfinalfn, g.aggcombinefn, g.aggserialfn,
                                        g.aggdeserialfn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn)
 join pg_catalog.pg_namespace fn on fn.oid = f.pronamespace
 where g.aggfnoid = p.oid)"""
_SQL_BODIES_SINCE: Final = 14
_LOCK_TIMEOUT: Final = "100ms"
_ATTEMPTS: Final = 5


async def read_catalog(connection: Connection, version: int, previous: Catalog = EMPTY) -> Catalog:
    """All relations and user-defined routines, as one moment of the database.

    `version` is the snapshot's own number, not the server's. Of temporary relations only views are in it, for
    whoever writes through one writes a table; others are unknown to whoever judges a statement. Definitions
    that cannot be printed now, because somebody holds an exclusive lock, come from `previous` where they have
    not changed, and are UNREADABLE elsewhere.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("set local search_path = pg_catalog")
        await connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
        relations = await connection.fetch(_RELATIONS)
        parents = {row[0]: tuple(row[1]) for row in await connection.fetch(_PARENTS)}
        triggers = {row[0]: tuple(row[1]) for row in await connection.fetch(_TRIGGERS)}
        rules = {row[0] for row in await connection.fetch(_RULES)}
        event_triggers = await connection.fetch(_EVENT_TRIGGERS)
        types = {row["oid"]: row for row in await connection.fetch(_TYPES)}
        calls = _Calls(await connection.fetch(_CALLS), types)
        builtins = await connection.fetch(_BUILTINS)
        views, column_rows, routines = await _printed(connection)
    columns = {row[0]: row for row in column_rows}
    bases = {oid: row["base"] for oid, row in types.items()}
    return Catalog(
        version=version,
        relations={
            row["oid"]: CatalogRelation(
                oid=row["oid"],
                schema=row["nspname"],
                name=row["relname"],
                kind=row["kind"],
                columns=_columns(columns.get(row["oid"]), bases),
                definition=_definition(row, views, previous),
                definition_stamp=row["stamp"] or "",
                parents=parents.get(row["oid"], ()),
                rows=row["rows"],
                triggers=triggers.get(row["oid"], ()),
                has_rules=row["oid"] in rules,
                calls=calls.of_relation(row["oid"], columns.get(row["oid"])),
            )
            for row in relations
        },
        routines={row["oid"]: _routine(row) for row in routines},
        builtins=frozenset(row[1] for row in builtins),
        builtin_oids={row[0]: row[1] for row in builtins if row[2]},
        event_triggers=tuple(row[0] for row in event_triggers),
        type_names={oid: row["name"] for oid, row in types.items()},
        type_categories={oid: row["category"] for oid, row in types.items()},
        operators=calls.operators,
        type_calls=calls.types_by_name(),
        own_types=frozenset(row["bare"] for row in types.values() if row["own"]),
    )


class _Calls:
    """Which user-defined functions run without being named: by relation, type and sign."""

    def __init__(self, rows: list[Any], types: dict[int, Any]) -> None:
        found: dict[str, dict[str, tuple[int, ...]]] = {"relation": {}, "type": {}, "operator": {}}
        for row in rows:
            found[row["kind"]][row["owner"]] = tuple(row["routines"])
        self.operators = found["operator"]
        self._relations = {int(oid): routines for oid, routines in found["relation"].items()}
        self._direct = {int(oid): routines for oid, routines in found["type"].items()}
        self._types = types

    def of_type(self, oid: int) -> tuple[int, ...]:
        """Of a type and of those under it: the type of a domain, the elements of an array."""
        found: dict[int, None] = {}
        while self._direct and oid and (row := self._types.get(oid)) is not None:
            found.update(dict.fromkeys(self._direct.get(oid, ())))
            oid = row["within"]
        return tuple(found)

    def types_by_name(self) -> dict[str, tuple[int, ...]]:
        """By unqualified name; several types may share one."""
        found: dict[str, tuple[int, ...]] = {}
        for oid, row in self._types.items() if self._direct else ():
            if routines := self.of_type(oid):
                found[row["bare"]] = found.get(row["bare"], ()) + routines
        return found

    def of_relation(self, oid: int, columns: Any) -> tuple[int, ...]:
        """Its own, and those of its columns' types."""
        found = dict.fromkeys(self._relations.get(oid, ()))
        for type_oid in columns["types"] if columns is not None and self._direct else ():
            found.update(dict.fromkeys(self.of_type(type_oid)))
        return tuple(found)


async def _printed(connection: Connection) -> tuple[dict[int, str], list[Any], list[Any]]:
    """What PostgreSQL has to print: view definitions, columns, routines. Waits for no lock.

    Where others take new locks faster than we look, all counts as locked in the end.
    """
    for attempt in range(_ATTEMPTS):
        last = attempt == _ATTEMPTS - 1
        locked = await connection.fetchval(_ALL if last else _LOCKED) or []
        try:
            async with connection.transaction():
                views = dict(await connection.fetch(_VIEWS, locked))
                columns = await connection.fetch(_COLUMNS, locked, UNREADABLE)
                source = _source(connection)
                routines = await connection.fetch(
                    _ROUTINES.format(source=source, locked=_LOCKED_BODY), locked, UNREADABLE
                )
                return views, columns, routines
        except asyncpg.LockNotAvailableError:
            if last:
                raise
    raise AssertionError("unreachable")


def _definition(row: Any, views: dict[int, str], previous: Catalog) -> str | None:
    if row["kind"] not in ("v", "m"):
        return None
    if row["oid"] in views:
        return views[row["oid"]]
    before = previous.relations.get(row["oid"])
    if before is not None and before.definition and before.definition_stamp == row["stamp"]:
        return before.definition
    return UNREADABLE


def _source(connection: Connection) -> str:
    body = "case when " + _LOCKED_BODY + " then $2::text else pg_get_function_sqlbody(p.oid) end"
    if connection.get_server_version().major < _SQL_BODIES_SINCE:
        body = "case when false then $1::oid[]::text || $2 end"
    return f"case when p.prokind = 'a' then {_AGGREGATE} else coalesce({body}, p.prosrc) end"


def _columns(row: Any, bases: dict[int, int]) -> tuple[Column, ...]:
    if row is None:
        return ()
    return tuple(
        Column(attnum, name, type_oid, bases.get(type_oid, type_oid), generated)
        for attnum, name, type_oid, generated in zip(
            row["attnums"], row["names"], row["types"], row["generated"], strict=True
        )
    )


def _routine(row: Any) -> Routine:
    return Routine(
        oid=row["oid"],
        schema=row["nspname"],
        name=row["proname"],
        language=row["lanname"],
        kind=row["kind"],
        source=row["source"] or "",
        definition=row["definition"] or "",
        returns_trigger=row["returns_trigger"],
        returns_set=row["proretset"],
        argument_names=tuple(row["proargnames"] or ()),
        extension=row["extension"],
    )


_HASH: Final = "select count(*) || ':' || coalesce(sum(hashtext(xmin::text || '.' || ctid::text)), 0)"
_FINGERPRINT: Final = f"""
select concat_ws('/',
  ({_HASH} from pg_catalog.pg_class
   where (relpersistence <> 't' or relkind = 'v') and relkind not in ('t', 'i', 'I')),
  (select count(*) || ':' || coalesce(sum(hashtext(a.xmin::text || '.' || attrelid || '.' || attnum)), 0)
   from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
   where (c.relpersistence <> 't' or c.relkind = 'v') and c.relkind in ('r', 'p', 'v', 'm', 'f', 'c')),
  ({_HASH} from pg_catalog.pg_namespace where nspname !~ '^pg_(toast_)?temp_'),
  ({_HASH} from pg_catalog.pg_proc),
  ({_HASH} from pg_catalog.pg_rewrite),
  ({_HASH} from pg_catalog.pg_trigger),
  ({_HASH} from pg_catalog.pg_event_trigger),
  ({_HASH} from pg_catalog.pg_inherits),
  ({_HASH} from pg_catalog.pg_policy),
  ({_HASH} from pg_catalog.pg_operator where oid >= {FIRST_USER_OID}),
  ({_HASH} from pg_catalog.pg_cast where oid >= {FIRST_USER_OID}),
  ({_HASH} from pg_catalog.pg_constraint where contypid <> 0),
  ({_HASH} from pg_catalog.pg_type where oid >= {FIRST_USER_OID} and typrelid = 0 and typcategory <> 'A'))
"""  # noqa: S608 - put together from constants


async def fingerprint(connection: Connection) -> str:
    """A text that differs once DDL has changed what names mean: for a poll.

    Counts and hashes `xmin` of the catalogs' rows, so it sees a change as soon as it is committed, and sees
    nothing else: ANALYZE and VACUUM write in place, and temporary tables are left out.
    """
    return str(await connection.fetchval(_FINGERPRINT))
