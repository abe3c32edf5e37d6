"""SQL text in, PostgreSQL's raw parse tree out, as plain dicts. Every text is read or refused.

libpg_query writes its tree as JSON three times faster than as protobuf, and dicts are walked several times
faster than protobuf messages. A node is `{"SelectStmt": {…}}`; a field whose type the grammar fixes holds the
fields alone, and `FIELD_TYPES` names that type.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
from postgast.native import lib
from postgast.pg_query_pb2 import Node as NodeMessage

from gatekeeper.model import Refusal

Tree: TypeAlias = dict[str, Any]

MAX_BYTES: Final = 4 * 1024 * 1024
"""Longer texts are not read at all."""
MAX_CODE_BYTES: Final = 1024 * 1024
"""What may stand outside of string literals."""
MAX_STATEMENTS: Final = 10_000
MAX_TREE_BYTES: Final = 24 * 1024 * 1024
MAX_DEEP_TREE_BYTES: Final = 2 * 1024 * 1024
"""Of a tree that is too deep for a reader in C."""
MAX_COMMENT_DEPTH: Final = 500
_SMALL_BYTES: Final = 16 * 1024
"""A level of the tree takes two bytes of text at least, and less than 200 bytes of C stack."""
_STACK_BYTES_PER_BYTE: Final = 160
"""Reserved, not used, on a thread's stack for each byte of a longer text."""
_LITERALS: Final = re.compile(
    rb"""(?P<literal>
        [eE]'(?:[^'\\]++|\\.|'')*+' | '[^']*+'
        | \$(?P<tag>(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*+)?)\$.*?\$(?P=tag)\$)
    | "[^"]*+" | --[^\r\n]*+ | /\*.*?\*/ | [A-Za-z_\x80-\xff][\w$\x80-\xff]*+
    | (?P<open>['"] | /\* | \$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*+)?\$)""",
    re.VERBOSE | re.DOTALL,
)
_OPERATOR_RUN: Final = re.compile(rb"[-+*/<>=~!@#%^&|`?]{1000,}")

FIELD_TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    field.message_type.name: {
        inner.json_name: inner.message_type.name
        for inner in field.message_type.fields
        if inner.message_type is not None and inner.message_type.name != "Node"
    }
    for field in NodeMessage.DESCRIPTOR.fields
}
"""Node type → field → the type of what it holds, where that is not any node."""


@dataclass(frozen=True, slots=True)
class RawStatement:
    """One statement of a query string."""

    kind: str
    node: Tree
    text: str


class UnreadableError(Exception):
    """The text cannot be judged; `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.message)


_TOO_LONG: Final = Refusal("54000", "statement is too long to be judged", hint="Send it in smaller parts.")
TOO_DEEP: Final = Refusal("54001", "statement is nested too deeply to be judged")


def parse(sql: str) -> list[RawStatement]:
    """Read a query string; none for an empty one. Raises UnreadableError."""
    raw, tree = _tree(sql)
    found = []
    statements = tree.get("stmts", ())
    if len(statements) > MAX_STATEMENTS:
        raise UnreadableError(_TOO_LONG)
    for statement in statements:
        node = statement.get("stmt")
        if not node:
            continue
        start = statement.get("stmt_location", 0)
        length = statement.get("stmt_len", 0)
        text = raw[start : start + length] if length else raw[start:]
        ((kind, fields),) = node.items()
        found.append(RawStatement(kind, fields, text.decode("utf-8", "replace").strip()))
    return found


def _tree(sql: str) -> tuple[bytes, Tree]:
    try:
        raw = sql.encode("utf-8")
    except UnicodeEncodeError:
        raise UnreadableError(Refusal("22021", 'invalid byte sequence for encoding "UTF8"')) from None
    if b"\0" in raw:
        raise UnreadableError(Refusal("22021", 'invalid byte sequence for encoding "UTF8": 0x00'))
    if len(raw) <= _SMALL_BYTES:
        return raw, _decode(_parse_json(raw))
    if len(raw) > MAX_BYTES or (len(raw) > MAX_CODE_BYTES and _code_bytes(raw) > MAX_CODE_BYTES):
        raise UnreadableError(_TOO_LONG)
    if _comments_too_deep(raw):
        raise UnreadableError(TOO_DEEP)
    return raw, _decode(_on_a_big_stack(raw))


def _code_bytes(raw: bytes) -> int:
    """How much stands outside of string literals; counting stops where it is too much."""
    literals = 0
    for match in _LITERALS.finditer(raw):
        if match.start() - literals > MAX_CODE_BYTES:
            break
        if match["literal"] is not None:
            literals += match.end() - match.start()
        elif match["open"] is not None or b"/*" in match[0][2:]:
            break  # never closed, or a nested comment: whatever follows counts
    return len(raw) - literals


def _comments_too_deep(raw: bytes) -> bool:
    """PostgreSQL's lexer reads `/*/*/*…` again from every slash: a minute for 400 kB."""
    return raw.count(b"/*") > MAX_COMMENT_DEPTH and any(
        run[0].count(b"/*") > MAX_COMMENT_DEPTH for run in _OPERATOR_RUN.finditer(raw)
    )


def _parse_json(raw: bytes) -> bytes:
    result = lib.pg_query_parse(raw)
    try:
        if result.error:
            raise UnreadableError(_refusal(result.error.contents))
        tree: bytes = result.parse_tree
        return tree
    finally:
        lib.pg_query_free_parse_result(result)


def _on_a_big_stack(raw: bytes) -> bytes:
    """Parse on a thread whose stack no tree can overflow: libpg_query recurses without a check."""
    outcome: list[bytes | UnreadableError] = []

    def work() -> None:
        try:
            outcome.append(_parse_json(raw))
        except UnreadableError as error:
            outcome.append(error)

    with _stack_size_lock:
        before = threading.stack_size(1024 * 1024 * (4 + len(raw) * _STACK_BYTES_PER_BYTE // 1024 // 1024))
        try:
            thread = threading.Thread(target=work, name="parse")
            thread.start()
        except RuntimeError:
            raise UnreadableError(_TOO_LONG) from None
        finally:
            threading.stack_size(before)
    thread.join()
    found = outcome[0]
    if isinstance(found, UnreadableError):
        raise found
    return found


_stack_size_lock = threading.Lock()


def _decode(json: bytes) -> Tree:
    if len(json) > MAX_TREE_BYTES:
        raise UnreadableError(_TOO_LONG)
    try:
        tree: Tree = msgspec.json.decode(json)
    except RecursionError:
        tree = _decode_deep(json)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UnreadableError(Refusal("42601", "statement cannot be read")) from None
    return tree


_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]|[^\s\[\]{}:,"]+')


def _decode_deep(json: bytes) -> Tree:
    """Read JSON without recursion, some twenty times slower. libpg_query's is well-formed."""
    if len(json) > MAX_DEEP_TREE_BYTES:
        raise UnreadableError(TOO_DEEP)
    root: list[Any] = []
    stack: list[Any] = [root]
    keys: list[str | None] = [None]
    for token in _TOKENS.findall(json):
        first = token[:1]
        if first in b"]}":
            stack.pop()
            keys.pop()
            continue
        value: Any = {} if first == b"{" else [] if first == b"[" else msgspec.json.decode(token)
        top = stack[-1]
        if isinstance(top, list):
            top.append(value)
        elif keys[-1] is None:
            keys[-1] = value
            continue
        else:
            top[keys[-1]] = value
            keys[-1] = None
        if first in b"{[":
            stack.append(value)
            keys.append(None)
    tree: Tree = root[0]
    return tree


def _refusal(error: ctypes.Structure) -> Refusal:
    message = (error.message or b"syntax error").decode("utf-8", "replace")
    if message.startswith("memory exhausted") or "stack depth" in message:
        return TOO_DEEP
    return Refusal("42601", message)
