"""Walks a parse tree and gathers what it contains. Nothing is looked up; nothing is left out.

The walk keeps its own stack, so that no tree is too deep for it. A node type without a handler is walked
through to its children; a statement node without a class is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias

from gatekeeper.model import Effect, FunctionRef, Refusal, RelationRef, SettingChange
from gatekeeper.sql.classes import CLASSES, changes_names
from gatekeeper.sql.contents import UNREADABLE, Contents, Range
from gatekeeper.sql.tags import NOT_STATEMENTS, command_tag
from gatekeeper.sql.tree import FIELD_TYPES, Tree, UnreadableError

Scope: TypeAlias = frozenset[str]
"""Names of the common table expressions in sight."""
BodyReader: TypeAlias = Callable[[str, str, Contents], None]
"""`(language, text, into)`: reads the body of a function or of DO."""
Handler: TypeAlias = "Callable[[Walk, str, Tree, Scope], None]"

_LEAVES: Final = frozenset(
    {"A_Const", "ParamRef", "String", "RoleSpec", "A_Star", "Integer", "Float", "Boolean", "SQLValueFunction"}
)  # fmt: skip
_TARGETS: Final = ("relation", "view", "sequence", "table")
_NO_TYPES: Final[Mapping[str, str]] = {}


class Walk:
    """One walk over one statement."""

    def __init__(self, handlers: Mapping[str, Handler], read_body: BodyReader) -> None:
        self.found = Contents()
        self.handlers = handlers
        self.read_body = read_body
        self.stack: list[tuple[str, Tree, Scope]] = []
        self.silent = False
        """Under EXPLAIN without ANALYZE: planned, not run."""
        self.cte_columns: dict[str, set[Range]] = {}
        self.views: list[str] = []
        """Names of the views that are made."""

    def run(self, kind: str, node: Tree) -> Contents:
        """Walk the tree under this node."""
        stack, handlers = self.stack, self.handlers
        stack.append((kind, node, frozenset()))
        while stack:
            kind, node, scope = stack.pop()
            handler = handlers.get(kind)
            if handler is not None:
                handler(self, kind, node, scope)
            elif kind in CLASSES:
                self.statement(kind, node, scope)
            elif kind.endswith("Stmt") and kind not in NOT_STATEMENTS:
                raise _unsupported(kind)
            else:
                self.children(kind, node, scope)
        for view in self.views:
            self.found.aliases.update({(view, read): None for read in self.found.read})
        return self.found

    def push(self, kind: str | None, item: Any, scope: Scope) -> None:
        """Have a node, or a list of nodes, walked next. `kind` None: the node says what it is."""
        if type(item) is list:
            for child in reversed(item):
                self.push(kind, child, scope)
        elif type(item) is dict and item:
            if kind is None:
                ((kind, item),) = item.items()
            if kind not in _LEAVES:
                self.stack.append((kind, item, scope))

    def children(self, kind: str, node: Tree, scope: Scope, without: Collection[str] = ()) -> None:
        """Have everything under a node walked."""
        types = FIELD_TYPES.get(kind, _NO_TYPES)
        stack = self.stack
        for name, value in reversed(node.items()):
            if type(value) is list:
                if name in without:
                    continue
                of_type = types.get(name)
                if of_type is not None:
                    self.push(of_type, value, scope)
                    continue
                for child in reversed(value):
                    if type(child) is not dict:
                        continue
                    for inner, fields in child.items():
                        if inner not in _LEAVES:
                            stack.append((inner, fields, scope))
            elif type(value) is dict and name not in without:
                self.push(types.get(name), value, scope)

    # --- what is found --------------------------------------------------------------------------------

    def effect(self, kind: str, node: Tree) -> None:
        """The statement's own tag and classes."""
        tag = command_tag(kind, node)
        if tag is None:
            raise _unsupported(kind)
        if not self.silent:
            missing = kind in ("UpdateStmt", "DeleteStmt") and "whereClause" not in node
            self.found.effects[Effect(tag, missing)] = None
        self.found.classes |= CLASSES[kind]
        if changes_names(kind):
            self.found.changes_catalog = True

    def statement(self, kind: str, node: Tree, scope: Scope) -> None:
        """Any statement. What DDL is about is written, whatever else it names is read."""
        self.effect(kind, node)
        for field in _TARGETS:
            if isinstance(target := node.get(field), dict) and "relname" in target:
                self.relation(target, written=changes_names(kind))
        self.children(kind, node, scope, without=_TARGETS)

    def relation(self, node: Tree, *, written: bool) -> RelationRef:
        """A relation that is named; gives it as if it were read."""
        schema, name = node.get("schemaname"), node["relname"]
        self.found.relations[RelationRef(schema, name, written)] = None
        return RelationRef(schema, name)

    def modifies(self, node: Tree) -> RelationRef:
        """A relation whose rows are written."""
        ref = self.relation(node, written=True)
        self.found.modified.add(ref)
        return ref

    def named(self, names: list[str], *, written: bool) -> None:
        """A relation that a list of strings names."""
        if names:
            schema = names[-2] if len(names) > 1 else None
            self.found.relations[RelationRef(schema, names[-1], written)] = None

    def alias(self, name: str, *ranges: Range) -> None:
        """What an alias in FROM stands for."""
        self.found.ranges.setdefault(name, set()).update(ranges)

    def stands_for(self, name: str, node: Tree | None) -> None:
        """From now on the name may mean that relation."""
        if node:
            self.found.aliases[name, RelationRef(node.get("schemaname"), node["relname"])] = None

    def calls(self, names: list[str]) -> FunctionRef:
        """A function that is called."""
        ref = FunctionRef(names[-2] if len(names) > 1 else None, names[-1])
        self.found.functions[ref] = None
        self.found.called.add(ref)
        return ref

    def names(self, names: list[str]) -> None:
        """A function that what is created will call."""
        ref = FunctionRef(names[-2] if len(names) > 1 else None, names[-1])
        self.found.functions[ref] = None
        self.found.named.add(ref)

    def settings(self, changes: Iterable[SettingChange]) -> None:
        """Settings that change."""
        self.found.settings.update(dict.fromkeys(changes))

    def body(self, language: str, text: str, name: str) -> None:
        """The body of a function or of DO; where it cannot be read, `name` is opaque."""
        inner = Contents()
        self.read_body(language, text, inner)
        inner.opaque = {FunctionRef(None, name) if ref == UNREADABLE else ref for ref in inner.opaque}
        self.found.merge([inner])


def strings(node: Any) -> list[str]:
    """The strings of a List or TypeName node, of a String node, or of a list of String nodes."""
    if isinstance(node, dict):
        if "List" in node:
            node = node["List"].get("items", [])
        elif "TypeName" in node:
            node = node["TypeName"].get("names", [])
        else:
            node = [node]
    return [
        item["String"].get("sval", "") for item in node or () if isinstance(item, dict) and "String" in item
    ]


def _unsupported(kind: str) -> UnreadableError:
    return UnreadableError(Refusal("0A000", f"{kind} is not supported"))
