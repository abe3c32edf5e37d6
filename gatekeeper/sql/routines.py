"""What lies behind the names of a statement: views, triggers, and the bodies of routines.

Each body is read once per catalog snapshot. What cannot be read is opaque, never harmless.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gatekeeper.model import FunctionRef, Refusal, RelationRef, StatementClass
from gatekeeper.sql import functions, plpgsql
from gatekeeper.sql.catalog import Catalog, CatalogRelation, Routine
from gatekeeper.sql.contents import UNREADABLE, Contents
from gatekeeper.sql.settings import constant
from gatekeeper.sql.tree import UnreadableError, parse
from gatekeeper.sql.walk import gather

MAX_BODIES: Final = 1000
"""How many views and routines are looked into behind one statement; what lies beyond is opaque."""


def read_body(language: str, text: str, into: Contents) -> None:
    """The body of a function or of DO; opaque as `?` where the language is another or the text is not clear."""
    try:
        match language:
            case "sql":
                into.merge(gather(raw.kind, raw.node, read_body) for raw in parse(text))
            case "plpgsql":
                into.merge(_block(text))
            case _:
                into.opaque.add(UNREADABLE)
    except UnreadableError:
        into.opaque.add(UNREADABLE)


def _block(text: str) -> Iterator[Contents]:
    body = plpgsql.read(text)
    statements = list(body.statements)
    for expression in body.executed:
        yield _expression(expression)
        text_run = _constant(expression)
        if text_run is None:
            yield Contents(dynamic_sql=True)
        else:
            statements.append(text_run)
    for expression in body.expressions:
        yield _expression(expression)
    for statement in statements:
        yield from (gather(raw.kind, raw.node, read_body) for raw in parse(statement))


def _expression(sql: str) -> Contents:
    """An expression as `SELECT …`; it counts as a SELECT only where it reads FROM something."""
    statements = parse(sql)
    if len(statements) != 1 or statements[0].kind != "SelectStmt":
        raise UnreadableError(Refusal("42601", "PL/pgSQL body cannot be read"))
    node = statements[0].node
    return gather("SelectStmt" if "fromClause" in node or "larg" in node else "_Arm", node, read_body)


def _constant(sql: str) -> str | None:
    """The value of `SELECT 'constant'`."""
    node = parse(sql)[0].node
    if node.keys() != {"targetList", "limitOption", "op"} or len(node["targetList"]) != 1:
        return None
    return constant(node["targetList"][0]["ResTarget"].get("val"))


def resolve(found: Contents, catalog: Catalog, *, uncertain: bool) -> None:
    """Merge into `found` all that its relations and functions bring with them."""
    _Resolver(found, catalog, uncertain=uncertain).run()


class _Resolver:
    def __init__(self, found: Contents, catalog: Catalog, *, uncertain: bool) -> None:
        self.found = found
        self.catalog = catalog
        self.uncertain = uncertain
        self.builtins = catalog.builtins or functions.BUILTINS
        self.bodies: set[int] = set()
        self.seen: set[tuple[RelationRef, bool]] = set()

    def run(self) -> None:
        waiting = [self.found]
        while waiting:
            contents = waiting.pop()
            for behind in self.behind(contents):
                self.found.merge([behind])
                waiting.append(behind)

    def behind(self, contents: Contents) -> Iterator[Contents]:
        for function in list(contents.functions):
            yield from self.function(function)
        for relation in list(contents.relations):
            yield from self.relation(relation, refreshed=relation in contents.refreshed)
        if contents.fields:
            yield from self.attributes(contents)

    def function(self, ref: FunctionRef) -> Iterator[Contents]:
        self.found.classes |= functions.classes(ref.name)
        routines = self.catalog.routines_named(ref.schema, ref.name)
        if routines:
            self.found.classes.add(StatementClass.FUNCTION)
            for routine in routines:
                yield from self.routine(routine, ref)
        elif ref.schema in (None, "pg_catalog", "information_schema") and ref.name in self.builtins:
            return
        else:
            self.found.classes.add(StatementClass.FUNCTION)
            self.opaque(ref)

    def opaque(self, ref: FunctionRef) -> None:
        self.found.opaque.add(ref)
        self.found.changes_catalog = True

    def routine(self, routine: Routine, ref: FunctionRef) -> Iterator[Contents]:
        if routine.extension and routine.language in ("c", "internal"):
            known = functions.harmless_in_extensions(routine.name) or functions.classes(routine.name)
            if not known and not functions.runs_text(routine.name):
                self.opaque(ref)
            return
        if self.uncertain:
            self.opaque(ref)
            return
        if routine.oid in self.bodies:
            return
        if len(self.bodies) >= MAX_BODIES:
            self.opaque(ref)
            return
        self.bodies.add(routine.oid)
        body = routine_contents(self.catalog, routine)
        if UNREADABLE in body.opaque:
            self.opaque(FunctionRef(routine.schema, routine.name))
        yield body

    def relation(self, ref: RelationRef, *, refreshed: bool) -> Iterator[Contents]:
        if (ref, refreshed) in self.seen:
            return
        self.seen.add((ref, refreshed))
        for relation in self.catalog.named(ref.schema, ref.name):
            if relation.kind == "v" or (relation.kind == "m" and refreshed):
                yield from self.view(relation, written=ref.written and relation.kind == "v")
            if not ref.written:
                continue
            if relation.has_rules:
                self.opaque(FunctionRef(relation.schema, f"rule on {relation.name}"))
            yield from self.triggers(relation)

    def view(self, view: CatalogRelation, *, written: bool) -> Iterator[Contents]:
        if len(self.bodies) >= MAX_BODIES:
            self.opaque(FunctionRef(view.schema, view.name))
            return
        self.bodies.add(view.oid)
        yield view_contents(self.catalog, view, written=written)

    def triggers(self, relation: CatalogRelation) -> Iterator[Contents]:
        oids: list[int] = list(relation.triggers)
        for child in self.catalog.descendants(relation.oid):
            oids += self.catalog.relations[child].triggers
        for oid in dict.fromkeys(oids):
            routine = self.catalog.routines.get(oid)
            if routine is not None:
                ref = FunctionRef(routine.schema, routine.name)
                self.found.functions[ref] = None
                self.found.classes.add(StatementClass.FUNCTION)
                yield from self.routine(routine, ref)

    def attributes(self, contents: Contents) -> Iterator[Contents]:
        """`alias.name` calls a function where the alias has no such column."""
        for alias, name in contents.fields:
            routines = self.catalog.routines_named(None, name)
            if not routines or self.is_column(contents, alias, name):
                continue
            ref = FunctionRef(None, name)
            self.found.functions[ref] = None
            yield from self.function(ref)

    def is_column(self, contents: Contents, alias: str, name: str) -> bool:
        ranges = contents.ranges.get(alias)
        if not ranges:
            return False
        return all(ref is not None and self.all_have(ref, name) for ref in ranges)

    def all_have(self, ref: RelationRef, column: str) -> bool:
        relations = self.catalog.named(ref.schema, ref.name)
        return bool(relations) and all(any(c.name == column for c in r.columns) for r in relations)


def routine_contents(catalog: Catalog, routine: Routine) -> Contents:
    """What a routine's body contains, read once per snapshot."""
    key = ("routine", routine.oid)
    found = catalog.memo.get(key)
    if isinstance(found, Contents):
        return found
    contents = Contents()
    if routine.kind in ("a", "w") and not routine.definition:
        _aggregate(routine, contents)
    else:
        _definition(routine, contents)
    catalog.memo[key] = contents
    return contents


def _definition(routine: Routine, into: Contents) -> None:
    """By its whole definition, which has its SET clauses too; what CREATE itself would do is left out."""
    try:
        statements = parse(routine.definition)
    except UnreadableError:
        into.opaque.add(UNREADABLE)
        return
    if len(statements) != 1 or statements[0].kind != "CreateFunctionStmt":
        into.opaque.add(UNREADABLE)
        return
    into.merge([gather("_Routine", statements[0].node, read_body)])


def _aggregate(routine: Routine, into: Contents) -> None:
    read_body("sql", routine.source, into)


def view_contents(catalog: Catalog, view: CatalogRelation, *, written: bool) -> Contents:
    """What a view's definition reads; with `written`, the relations in its FROM are written through it."""
    key = ("view", view.oid, written)
    found = catalog.memo.get(key)
    if isinstance(found, Contents):
        return found
    contents = Contents()
    read_body("sql", view.definition or "", contents)
    if UNREADABLE in contents.opaque or not view.definition:
        contents.opaque = {FunctionRef(view.schema, f"view {view.name}")}
    contents.effects.clear()
    if written:
        contents.relations.update(
            {RelationRef(r.schema, r.name, written=True): None for r in contents.relations}
        )
    catalog.memo[key] = contents
    return contents
