"""What any statement gives back, decides by and writes, in masked columns; a kind not listed adds doubt.

The tracer of `sql/lineage` knows queries and writes; here are the utility statements around them, and the
code of functions, DO blocks and triggers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from gatekeeper.masking import code
from gatekeeper.model import RelationRef
from gatekeeper.sql.catalog import Catalog
from gatekeeper.sql.lineage import CLEAN, Columns, Output, Source, Taint, Tracer
from gatekeeper.sql.scopes import Item, Scope
from gatekeeper.sql.sources import strings, union
from gatekeeper.sql.tree import Tree
from gatekeeper.sql.writes import WRITERS

_NOTHING: Final = Columns(())
_ANYTHING: Final = Item(None, Columns((), CLEAN))
_MAKERS: Final = frozenset(
    {
        "DefineStmt", "CreateCastStmt", "CreateEventTrigStmt", "CreateOpClassStmt", "CreateConversionStmt",
        "CreateDomainStmt", "AlterDomainStmt", "CreateTransformStmt", "CreatePLangStmt", "AlterOperatorStmt",
        "AlterTypeStmt", "CreateRangeStmt",
    }
)  # fmt: skip
"""Statements that name functions which will run where no one sees them called."""
_QUERIES: Final = frozenset({"SelectStmt", *WRITERS})


@dataclass(frozen=True, slots=True)
class Pending:
    """What a transaction has changed that the catalog does not show yet."""

    renamed: frozenset[str] = frozenset()
    """Names that may stand for another relation; `*`: all."""
    harmless_triggers: frozenset[str] = frozenset()
    """Trigger functions that look at no masked column of whatever table."""
    made: frozenset[str] = frozenset()
    """Names of functions, operators and types that were made, and may stand in for PostgreSQL's own."""
    aliases: frozenset[tuple[str, RelationRef]] = frozenset()
    """See `StatementFacts.aliases`."""


@dataclass
class Statements:
    """Traces whole statements with one tracer, whose predicates and flows gather."""

    tracer: Tracer
    dynamic: bool = False
    """Set where SQL is run whose text cannot be read."""
    opaque: bool = False
    """Set where code in another language is run or made."""
    renames: set[str] = field(default_factory=set)
    """Names that may stand for another relation once the statement has run; `*`: all."""
    harmless_triggers: set[str] = field(default_factory=set)
    variables: frozenset[str] = frozenset()

    @property
    def source(self) -> Source:
        """What names stand for."""
        return self.tracer.source

    @property
    def catalog(self) -> Catalog:
        """What exists."""
        return self.tracer.source.catalog

    def trace(self, kind: str, node: Tree, scope: Scope | None = None) -> Columns:
        """The output columns of a statement; of PREPARE, DECLARE and COPY those of the query in it."""
        scope = scope or Scope(variables=self.variables)
        self.tracer.made.update(_made(kind, node))
        if kind in _QUERIES:
            return self.tracer.query(kind, node, scope)
        handler = _HANDLERS.get(kind)
        if handler is not None:
            return handler(self, node, scope)
        self.tracer.flows |= self.tracer.nested(node, scope.below([_ANYTHING]))
        if kind in _MAKERS:
            self.tracer.flows |= self._routines_in(node)
        return _NOTHING

    def inner(self, wrapped: Tree, scope: Scope) -> Columns:
        """A statement inside of another."""
        ((kind, node),) = wrapped.items()
        return self.trace(kind, node, scope)

    def _routines_in(self, node: Any) -> Taint:
        """What the user-defined routines may read whose names stand anywhere in a node."""
        names = set(_texts(node))
        return union(
            self.source.routine(r) for name in names for r in self.catalog.routines_named(None, name)
        )

    # --- statements around a query -------------------------------------------------------------------

    def explain(self, node: Tree, scope: Scope) -> Columns:
        """A plan shows the statement's own constants, and results of functions that the planner runs."""
        self.inner(node["query"], scope)
        return Columns((Output("QUERY PLAN", self._routines_in(node["query"]), type_oid=25),))

    def queried(self, node: Tree, scope: Scope) -> Columns:
        """PREPARE and DECLARE."""
        return self.inner(node["query"], scope)

    def copy(self, node: Tree, scope: Scope) -> Columns:
        """COPY … TO gives the columns; FROM writes what the client sends."""
        if node.get("is_from"):
            return _NOTHING
        if "query" in node:
            columns = self.inner(node["query"], scope)
        else:
            item = self.tracer.range_var(node["relation"], scope)
            columns = self._copied(item, strings(node.get("attlist", ())))
        if "filename" in node or node.get("is_program"):
            self.tracer.flows |= columns.whole()
        return columns

    def _copied(self, item: Item, names: list[str]) -> Columns:
        if names:
            found = []
            for name in names:
                exact, doubt = item.column(name)
                sure = len(exact) == 1 and not doubt
                found.append(exact[0] if sure else _merged(name, exact, doubt))
            return Columns(tuple(found))
        return self.copied_columns(item.columns)

    def copied_columns(self, columns: Columns) -> Columns:
        """Generated columns are not copied."""
        if columns.rest is not None:
            return columns
        return Columns(tuple(column for column in columns.known if not self._generated(column)))

    def alternatives(self, node: Tree) -> tuple[Columns, ...]:
        """For COPY of a table: the columns of each that the name can mean."""
        if node.get("is_from") or "relation" not in node or "attlist" in node:
            return ()
        relation = node["relation"]
        found = self.source.alternatives(relation.get("schemaname"), relation.get("relname", ""))
        return tuple(self.copied_columns(columns) for columns in found)

    def _generated(self, column: Output) -> bool:
        relation = self.catalog.relations.get(column.plain[0]) if column.plain else None
        if relation is None or column.plain is None:
            return False
        return any(c.attnum == column.plain[1] and c.generated is not None for c in relation.columns)

    def create_as(self, node: Tree, scope: Scope) -> Columns:
        """CREATE TABLE AS, CREATE MATERIALIZED VIEW: rows go where no mask is."""
        self.tracer.flows |= self.inner(node["query"], scope).whole()
        return _NOTHING

    def view(self, node: Tree, scope: Scope) -> Columns:
        """CREATE VIEW."""
        self.tracer.flows |= self.inner(node["query"], scope).whole()
        return _NOTHING

    def unknown(self, node: Tree, scope: Scope) -> Columns:
        """EXECUTE and FETCH, of what is not seen here."""
        self.tracer.predicates |= self.tracer.nested(node, scope)
        return Columns((), self.source.masked)

    def call(self, node: Tree, scope: Scope) -> Columns:
        """CALL: what is handed to a procedure may go anywhere."""
        call = {"FuncCall": node["funccall"]}
        self.tracer.flows |= self.tracer.nested(node["funccall"].get("args", ()), scope)
        return Columns((), self.tracer.expression(call, scope))

    def schema(self, node: Tree, scope: Scope) -> Columns:
        """CREATE SCHEMA with what is made in it."""
        for element in node.get("schemaElts", ()):
            self.inner(element, scope)
        return _NOTHING

    # --- tables ----------------------------------------------------------------------------------------

    def create_table(self, node: Tree, scope: Scope) -> Columns:
        """A new table holds nothing yet; its defaults may."""
        self.tracer.flows |= self.tracer.nested(
            [node.get("tableElts", ()), node.get("constraints", ()), node.get("partspec", {})],
            scope.below([_ANYTHING]),
        )
        for parent in node.get("inhRelations", ()):
            if self.tracer.range_var(parent["RangeVar"], Scope()).columns.whole():
                self.renames.add(node["relation"].get("relname", ""))  # rows of the parent may move there
        return _NOTHING

    def alter_table(self, node: Tree, scope: Scope) -> Columns:
        """ALTER TABLE, command by command."""
        item = self.tracer.range_var(node["relation"], Scope())
        here = scope.below([item])
        for wrapped in node.get("cmds", ()):
            command = wrapped["AlterTableCmd"]
            subtype, definition = command.get("subtype", ""), command.get("def", {})
            match subtype:
                case "AT_AlterColumnType":
                    self._retype(item, command.get("name", ""), definition.get("ColumnDef", {}), here)
                case "AT_AttachPartition":
                    self._joins(self.tracer.range_var(definition["PartitionCmd"]["name"], Scope()), item)
                case "AT_AddInherit":
                    self._joins(item, self.tracer.range_var(definition["RangeVar"], Scope()))
                case "AT_AddConstraint" if (
                    definition.get("Constraint", {}).get("contype") == "CONSTR_FOREIGN"
                ):
                    for name in strings(definition["Constraint"].get("fk_attrs", ())):
                        self.tracer.predicates |= _of(item, name)
                case "AT_AddConstraint" if definition.get("Constraint", {}).get("contype") in _HARMLESS:
                    pass
                case "AT_AddConstraint":
                    self.tracer.predicates |= self.tracer.nested(definition, here)
                case _:
                    self.tracer.flows |= self.tracer.nested(definition, here)
        return _NOTHING

    def _retype(self, item: Item, name: str, column: Tree, scope: Scope) -> None:
        """ALTER COLUMN … TYPE: a value that cannot become one of that type makes it fail."""
        type_name, using = column.get("typeName", {}), column.get("raw_default")
        if using:
            taint = self.tracer.expression(using, scope)
            self.write(item, name, taint)
            self.tracer.predicates |= taint
        elif "typmods" in type_name:
            self.tracer.predicates |= _of(item, name)
        else:
            own = {"ColumnRef": {"fields": [{"String": {"sval": name}}]}}
            self.tracer.expression({"TypeCast": {"arg": own, "typeName": type_name}}, scope)

    def _joins(self, child: Item, parent: Item) -> None:
        """The parent will show the child's rows: what is masked in one has to be masked in the other."""
        for column in child.columns.known:
            if column.taint and (column.name is None or not _of(parent, column.name)):
                self.tracer.flows |= column.taint
        self.tracer.flows |= child.columns.rest or CLEAN

    def write(self, item: Item, name: str | None, taint: Taint) -> None:
        """A value goes into a column for good."""
        if taint:
            exact, doubt = item.column(name or "")
            plain = exact[0].plain if len(exact) == 1 and not doubt else None
            if plain is None or plain not in self.tracer.absorbing:
                self.tracer.flows |= taint

    def index(self, node: Tree, scope: Scope) -> Columns:
        """An index on plain columns keeps them as they are; its expressions and condition have statistics."""
        here = scope.below([self.tracer.range_var(node["relation"], Scope())])
        for wrapped in node.get("indexParams", ()):
            self.tracer.flows |= self.tracer.nested(wrapped["IndexElem"].get("expr", {}), here)
        self.tracer.predicate(node.get("whereClause"), here)
        return _NOTHING

    def statistics(self, node: Tree, scope: Scope) -> Columns:
        """CREATE STATISTICS."""
        here = scope.below()
        self.tracer.from_clause(node.get("relations", ()), here)
        for wrapped in node.get("exprs", ()):
            self.tracer.flows |= self.tracer.nested(wrapped["StatsElem"].get("expr", {}), here)
        return _NOTHING

    def policy(self, node: Tree, scope: Scope) -> Columns:
        """Row security: a condition on rows."""
        here = scope.below([self.tracer.range_var(node["table"], Scope())])
        self.tracer.predicate(node.get("qual"), here)
        self.tracer.predicate(node.get("with_check"), here)
        return _NOTHING

    def rename(self, node: Tree, _: Scope) -> Columns:
        """RENAME and SET SCHEMA: for the rest of the transaction the names mean something else."""
        relation = node.get("relation")
        if relation is None:
            if node.get("renameType") == "OBJECT_SCHEMA" or node.get("objectType") == "OBJECT_EXTENSION":
                self.renames.add("*")
        elif self._moves_masked(node, self.tracer.range_var(relation, Scope())):
            self.renames.add(relation.get("relname", ""))
            if node.get("renameType") in (
                "OBJECT_TABLE",
                "OBJECT_VIEW",
                "OBJECT_MATVIEW",
                "OBJECT_FOREIGN_TABLE",
            ):
                self.renames.add(node.get("newname", ""))
        return _NOTHING

    @staticmethod
    def _moves_masked(node: Tree, item: Item) -> bool:
        """Whether a masked column may have another name then; a name that is new carries doubt anyway."""
        if node.get("renameType") == "OBJECT_COLUMN":
            return bool(_of(item, node.get("subname", "")))
        return bool(item.columns.whole())

    def inside(self, variables: frozenset[str], tracer: Tracer | None = None) -> Statements:
        """For statements inside of code; they gather with this one, or with a tracer of their own."""
        if tracer is not None:
            return Statements(tracer, variables=variables)
        return Statements(
            self.tracer, renames=self.renames, harmless_triggers=self.harmless_triggers, variables=variables
        )


def _made(kind: str, node: Tree) -> Iterable[str]:
    """Names under which a function, an operator or a type is called from now on."""
    names = strings(node.get(_NAMED.get(kind, ""), ()))
    if kind == "RenameStmt" and node.get("renameType") not in _NOT_CALLED:
        names = [node.get("newname", "")]
    return names[-1:]


_NAMED: Final = {
    "CreateFunctionStmt": "funcname", "DefineStmt": "defnames", "CreateDomainStmt": "domainname",
    "CreateEnumStmt": "typeName", "CreateRangeStmt": "typeName",
}  # fmt: skip
_NOT_CALLED: Final = frozenset({"OBJECT_COLUMN", "OBJECT_SCHEMA", "OBJECT_ROLE", "OBJECT_DATABASE"})
_HARMLESS: Final = frozenset({"CONSTR_UNIQUE", "CONSTR_PRIMARY", "CONSTR_NOTNULL"})


def _of(item: Item, name: str) -> Taint:
    exact, doubt = item.column(name)
    return union([doubt, *(column.taint for column in exact)])


def _merged(name: str, exact: list[Output], doubt: Taint) -> Output:
    types = {column.type_oid for column in exact}
    type_oid = types.pop() if len(types) == 1 else 0
    return Output(name, union([doubt, *(column.taint for column in exact)]), type_oid=type_oid)


def _texts(node: Any) -> Iterable[str]:
    stack = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack += value.values()
        elif isinstance(value, list):
            stack += value
        elif isinstance(value, str):
            yield value


_HANDLERS: Final[dict[str, Callable[[Statements, Tree, Scope], Columns]]] = {
    "ExplainStmt": Statements.explain,
    "PrepareStmt": Statements.queried,
    "DeclareCursorStmt": Statements.queried,
    "CopyStmt": Statements.copy,
    "CreateTableAsStmt": Statements.create_as,
    "ViewStmt": Statements.view,
    "ExecuteStmt": Statements.unknown,
    "FetchStmt": Statements.unknown,
    "CallStmt": Statements.call,
    "CreateSchemaStmt": Statements.schema,
    "CreateStmt": Statements.create_table,
    "AlterTableStmt": Statements.alter_table,
    "IndexStmt": Statements.index,
    "CreateStatsStmt": Statements.statistics,
    "CreatePolicyStmt": Statements.policy,
    "AlterPolicyStmt": Statements.policy,
    "RenameStmt": Statements.rename,
    "AlterObjectSchemaStmt": Statements.rename,
    "CreateFunctionStmt": code.create_function,
    "DoStmt": code.do,
    "CreateTrigStmt": code.trigger,
    "RuleStmt": code.rule,
}
