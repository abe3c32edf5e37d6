"""What lies behind the names of a statement: views, triggers, and the bodies of routines.

Each body is read once per catalog snapshot. What cannot be read is opaque, never harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from gatekeeper.model import FunctionRef, Refusal, RelationRef, StatementClass
from gatekeeper.sql import functions, plpgsql, queries, utility
from gatekeeper.sql.catalog import Catalog, CatalogRelation, Routine
from gatekeeper.sql.contents import UNREADABLE, Contents
from gatekeeper.sql.settings import constant
from gatekeeper.sql.tree import Tree, UnreadableError, parse
from gatekeeper.sql.walk import Handler, Walk

MAX_BODIES: Final = 1000
"""How many views and routines are looked into behind one statement; what lies beyond is opaque."""
MAX_NESTING: Final = 20
"""How deep bodies may stand in bodies: DO in DO, a function created by a function."""
_HANDLERS: Final[dict[str, Handler]] = {**queries.HANDLERS, **utility.HANDLERS}
_CREATES: Final = frozenset(
    {"CreateFunctionStmt", "ViewStmt", "RuleStmt", "CreateTrigStmt", "CreatePolicyStmt", "AlterPolicyStmt"}
)  # fmt: skip
"""Statements that run nothing of what stands in them."""
_SYSTEM_SCHEMAS: Final = (None, "pg_catalog", "information_schema")


def gather(kind: str, node: Tree, depth: int = 0) -> Contents:
    """All that a statement contains, read from the tree and the texts in it. Raises UnreadableError."""

    def body(language: str, text: str, into: Contents) -> None:
        read_body(language, text, into, depth + 1)

    found = Walk(_HANDLERS, body).run(kind, node)
    if kind in _CREATES:
        found.named |= found.called
        found.called.clear()
    return found


def read_body(language: str, text: str, into: Contents, depth: int = 0) -> None:
    """The body of a function or of DO; opaque as `?` where it cannot be read."""
    try:
        if depth > MAX_NESTING:
            into.opaque.add(UNREADABLE)
        elif language == "sql":
            into.merge([gather(raw.kind, raw.node, depth) for raw in parse(text)])
        elif language == "plpgsql":
            into.merge(list(_block(text, depth)))
        else:
            into.opaque.add(UNREADABLE)
    except UnreadableError:
        into.opaque.add(UNREADABLE)


def _block(text: str, depth: int) -> Iterator[Contents]:
    body = plpgsql.read(text)
    yield Contents(types=body.types)
    statements = list(body.statements)
    for expression in body.executed:
        yield _expression(expression, depth)
        if (executed := _constant(expression)) is None:
            yield Contents(dynamic_sql=True)
        else:
            statements.append(executed)
    for expression in body.expressions:
        yield _expression(expression, depth)
    for statement in statements:
        for raw in parse(statement):
            yield _without_variables(gather(raw.kind, raw.node, depth))


def _expression(sql: str, depth: int) -> Contents:
    """An expression as `SELECT …`; it counts as a SELECT only where it reads FROM something."""
    statements = parse(sql)
    if len(statements) != 1 or statements[0].kind != "SelectStmt":
        raise UnreadableError(Refusal("42601", "PL/pgSQL body cannot be read"))
    node = statements[0].node
    reads = "fromClause" in node or "larg" in node
    return _without_variables(gather("SelectStmt" if reads else queries.ARM, node, depth))


def _without_variables(found: Contents) -> Contents:
    """In PL/pgSQL `name.field` is a field of a variable where no relation has that name."""
    found.fields = {(alias, name) for alias, name in found.fields if not alias or alias in found.ranges}
    return found


def _constant(sql: str) -> str | None:
    """The value of `SELECT 'constant'`."""
    node = parse(sql)[0].node
    if node.keys() != {"targetList", "limitOption", "op"} or len(node["targetList"]) != 1:
        return None
    return constant(node["targetList"][0]["ResTarget"].get("val"))


def follow(found: Contents, aliases: Iterable[tuple[str, RelationRef]]) -> None:
    """Add the relations that those in `found` may stand for, to the end."""
    by_name: dict[str, list[RelationRef]] = {}
    for name, target in aliases:
        by_name.setdefault(name, []).append(target)
    waiting = list(found.relations)
    while waiting:
        ref = waiting.pop()
        targets = [t for t in by_name.get(ref.name, ()) if t.name]
        if ref.schema is not None:
            targets += [RelationRef(t.schema, ref.name) for t in by_name.get(f"{ref.schema}.", ())]
        for target in targets:
            meant = RelationRef(target.schema, target.name, ref.written)
            for uses in (found.read, found.modified, found.refreshed):
                if RelationRef(ref.schema, ref.name) in uses:
                    uses.add(target)
            if meant not in found.relations:
                found.relations[meant] = None
                waiting.append(meant)


def resolve(found: Contents, catalog: Catalog, *, uncertain: bool) -> None:
    """Merge into `found` all that its relations and functions bring with them.

    With `uncertain`, user-defined routines that are called are opaque.
    """
    _Resolver(found, catalog, uncertain=uncertain).run()


class _Resolver:
    def __init__(self, found: Contents, catalog: Catalog, *, uncertain: bool) -> None:
        self.found = found
        self.catalog = catalog
        self.uncertain = uncertain
        self.builtins = catalog.builtins or functions.BUILTINS
        self.bodies: set[tuple[str, int]] = set()

    def run(self) -> None:
        self.merge_all([self.found])
        if StatementClass.DDL in self.found.classes and self.catalog.event_triggers:
            behind = list(self.event_triggers())
            self.found.merge(behind)
            self.merge_all(behind)

    def merge_all(self, waiting: list[Contents]) -> None:
        """Merge what lies behind these, and behind that, to the end."""
        while waiting:
            behind = list(self.behind(waiting.pop()))
            self.found.merge(behind)
            waiting += behind

    def behind(self, contents: Contents) -> Iterator[Contents]:
        for function in contents.called:
            yield from self.call(function)
        for function in contents.named:
            self.found.classes |= functions.classes(function.name)
            for routine in self.catalog.routines_named(function.schema, function.name):
                yield from self.body(routine)
        for function in self.attributes(contents):
            yield from self.call(function)
        for names, known in (
            (contents.operators, self.catalog.operators),
            (contents.types, self.catalog.type_calls),
        ):
            for name in names & known.keys() if known else ():
                yield from self.unseen(known[name], told=True)
        if not self.catalog.relations:
            return
        for ref in contents.read | contents.modified | contents.refreshed:
            yield from self.relation(ref, contents)
        for schema in contents.schemas:
            for relation in self.catalog.relations.values():
                if relation.schema == schema:
                    self.found.relations[RelationRef(schema, relation.name, written=True)] = None

    # --- functions ------------------------------------------------------------------------------------

    def call(self, ref: FunctionRef) -> Iterator[Contents]:
        self.found.classes |= functions.classes(ref.name)
        builtin = ref.schema in _SYSTEM_SCHEMAS and (ref.name in self.builtins or self.is_type(ref.name))
        routines = self.catalog.routines_named(ref.schema, ref.name)
        if not routines and not builtin:
            self.found.classes.add(StatementClass.FUNCTION)
            self.opaque(ref)
        for routine in routines:
            yield from self.routine(routine, builtin=builtin)

    def is_type(self, name: str) -> bool:
        """`jsonb('{}')` is a cast where no function has that name."""
        types = self.catalog.memo.get("types")
        if not isinstance(types, frozenset):
            types = frozenset(self.catalog.type_names.values())
            self.catalog.memo["types"] = types
        return name in types

    def routine(self, routine: Routine, *, builtin: bool) -> Iterator[Contents]:
        """An extension's functions are like built-in ones, as far as it is known what they do."""
        ref = FunctionRef(routine.schema, routine.name)
        if routine.constructs_range:
            return
        if not routine.extension:
            self.found.classes.add(StatementClass.FUNCTION)
            if self.uncertain:
                self.opaque(ref)
            else:
                yield from self.body(routine)
        elif routine.language not in ("c", "internal"):
            yield from self.body(routine)
        elif not (builtin or functions.known_in_extensions(routine.name)):
            self.found.classes.add(StatementClass.FUNCTION)
            self.opaque(ref)

    def body(self, routine: Routine) -> Iterator[Contents]:
        if ("routine", routine.oid) in self.bodies:
            return
        ref = FunctionRef(routine.schema, routine.name)
        if len(self.bodies) >= MAX_BODIES:
            self.opaque(ref)
            return
        self.bodies.add(("routine", routine.oid))
        body = routine_contents(self.catalog, routine)
        if UNREADABLE in body.opaque:
            self.opaque(ref)
        else:
            yield body

    def opaque(self, ref: FunctionRef) -> None:
        self.found.opaque.add(ref)
        self.found.changes_catalog = True

    def attributes(self, contents: Contents) -> Iterator[FunctionRef]:
        """`alias.name` calls a function where the alias has no such column."""
        for alias, name in contents.fields:
            if self.catalog.routines_named(None, name) and not self.is_column(contents, alias, name):
                self.found.functions[FunctionRef(None, name)] = None
                yield FunctionRef(None, name)

    def is_column(self, contents: Contents, alias: str, name: str) -> bool:
        ranges = contents.ranges.get(alias)
        if not ranges:
            return False
        for known in ranges:
            if known is None:
                return False
            if isinstance(known, frozenset):
                if name not in known:
                    return False
                continue
            relations = self.catalog.named(known.schema, known.name)
            if not relations or not all(any(c.name == name for c in r.columns) for r in relations):
                return False
        return True

    # --- relations ------------------------------------------------------------------------------------

    def relation(self, ref: RelationRef, contents: Contents) -> Iterator[Contents]:
        modified = ref in contents.modified
        for relation in self.catalog.named(ref.schema, ref.name):
            if relation.kind == "v" or (relation.kind == "m" and ref in contents.refreshed):
                yield from self.view(relation, written=modified)
            yield from self.unseen(relation.calls)
            if modified:
                if relation.has_rules:
                    self.opaque(FunctionRef(relation.schema, f"rule on {relation.name}"))
                for oid in self.triggers(relation):
                    yield from self.trigger(oid)

    def unseen(self, oids: Iterable[int], *, told: bool = False) -> Iterator[Contents]:
        """Functions that no statement names: behind operators, casts, domains, defaults and checks.

        What an extension has in C only computes.
        """
        for oid in oids:
            routine = self.catalog.routines.get(oid)
            if routine is None or routine.constructs_range:
                continue
            if routine.extension and routine.language in ("c", "internal"):
                continue
            if told:
                self.found.functions[FunctionRef(routine.schema, routine.name)] = None
            yield from self.body(routine)

    def view(self, view: CatalogRelation, *, written: bool) -> Iterator[Contents]:
        key = ("written view" if written else "view", view.oid)
        if key in self.bodies:
            return
        if len(self.bodies) >= MAX_BODIES:
            self.opaque(FunctionRef(view.schema, view.name))
            return
        self.bodies.add(key)
        yield view_contents(self.catalog, view, written=written)

    def triggers(self, relation: CatalogRelation) -> tuple[int, ...]:
        """Its own, and those of what lies below it."""
        key = ("triggers", relation.oid)
        found = self.catalog.memo.get(key)
        if not isinstance(found, tuple):
            below = (self.catalog.relations[oid].triggers for oid in self.catalog.descendants(relation.oid))
            found = tuple(dict.fromkeys(oid for oids in (relation.triggers, *below) for oid in oids))
            self.catalog.memo[key] = found
        return found

    def trigger(self, oid: int) -> Iterator[Contents]:
        routine = self.catalog.routines.get(oid)
        if routine is None:
            return
        self.found.functions[FunctionRef(routine.schema, routine.name)] = None
        if not (routine.extension and functions.known_in_extensions(routine.name)):
            yield from self.body(routine)

    def event_triggers(self) -> Iterator[Contents]:
        for oid in self.catalog.event_triggers:
            yield from self.trigger(oid)


def routine_contents(catalog: Catalog, routine: Routine) -> Contents:
    """What a call of a routine would do, as far as its definition says; read once per snapshot."""
    key = ("routine", routine.oid)
    found = catalog.memo.get(key)
    if not isinstance(found, Contents):
        found = Contents()
        if routine.definition:
            _read_definition(routine, found)
        elif routine.kind == "a":
            read_body("sql", routine.source, found)
        else:
            read_body(routine.language, routine.source, found)
        catalog.memo[key] = found
    return found


def _read_definition(routine: Routine, into: Contents) -> None:
    """The whole definition has its SET clauses too."""
    try:
        statements = parse(routine.definition)
        if len(statements) == 1 and statements[0].kind == "CreateFunctionStmt":
            into.merge([gather(utility.ROUTINE, statements[0].node)])
        else:
            into.opaque.add(UNREADABLE)
    except UnreadableError:
        into.opaque.add(UNREADABLE)
    own = FunctionRef(None, routine.name)
    if own in into.opaque:
        into.opaque.add(UNREADABLE)


def view_contents(catalog: Catalog, view: CatalogRelation, *, written: bool) -> Contents:
    """What a view's definition reads; with `written`, what it selects FROM is written through it."""
    key = ("written view" if written else "view", view.oid)
    found = catalog.memo.get(key)
    if isinstance(found, Contents):
        return found
    found = Contents()
    read_body("sql", view.definition or "", found)
    if UNREADABLE in found.opaque or not found.effects:
        found.opaque = {FunctionRef(view.schema, f"view {view.name}")}
    found.effects.clear()
    system = [r for r in found.read if r.schema is None and catalog.named("pg_catalog", r.name)]
    for ref in system:
        # the definition was printed with pg_catalog alone in the search path
        del found.relations[ref]
        found.read.discard(ref)
        found.relations[RelationRef("pg_catalog", ref.name)] = None
        found.read.add(RelationRef("pg_catalog", ref.name))
    if written:
        found.modified |= found.read
        found.relations.update({RelationRef(r.schema, r.name, written=True): None for r in found.read})
        if len(found.read) == 1:
            found.classes.discard(StatementClass.READ)
    catalog.memo[key] = found
    return found
