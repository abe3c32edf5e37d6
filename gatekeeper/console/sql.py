"""SQL for people: coloured, laid out, and never other than what was sent.

Laying out changes white space between tokens and nothing else: what an approver reads must be what will
run, which a formatter that rewrites (casts, operators, aliases, comments) cannot promise.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from gatekeeper.console.text import Span, safe

_MOST_FORMATTED = 8_000
"""Longer texts are shown as they came: formatting them would stop the screen."""
_MOST_COLOURED = 20_000

_KEYWORDS: Final = frozenset(
    """
    ADD ALL ALTER ANALYZE AND ANY AS ASC BEGIN BETWEEN BY CALL CASCADE CASE CAST CHECK CLOSE CLUSTER
    COLUMN COMMENT COMMIT CONCURRENTLY CONFLICT CONSTRAINT COPY CREATE CROSS CURSOR DATABASE DEALLOCATE
    DECLARE DEFAULT DELETE DESC DISCARD DISTINCT DO DROP ELSE END EXCEPT EXECUTE EXISTS EXPLAIN
    EXTENSION FETCH FILTER FOR FOREIGN FROM FULL FUNCTION GRANT GROUP HAVING IF ILIKE IN INDEX INNER
    INSERT INTERSECT INTO IS JOIN KEY LATERAL LEFT LIKE LIMIT LISTEN LOCK MATERIALIZED MERGE MOVE
    NATURAL NOT NOTHING NOTIFY NULL OF OFFSET ON ONLY OR ORDER OUTER OVER OWNER PARTITION POLICY PREPARE
    PRIMARY PROCEDURE PUBLIC RECURSIVE REFERENCES REFRESH REINDEX RELEASE RENAME RESET RESTRICT
    RETURNING REVOKE RIGHT ROLE ROLLBACK ROW ROWS SAVEPOINT SCHEMA SELECT SEQUENCE SERVER SET SHOW START
    TABLE TABLESAMPLE TEMP TEMPORARY THEN TO TRANSACTION TRIGGER TRUNCATE TYPE UNION UNIQUE UPDATE USER
    USING VACUUM VALUES VIEW WHEN WHERE WINDOW WITH WORK
    """.split()  # noqa: SIM905
)
_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<string>[eEbBxX]'(?:[^'\\]|\\.|'')*(?:'|\Z)|(?:[uU]&)?'(?:[^']|'')*(?:'|\Z)
        |\$(?P<tag>[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*|)\$.*?(?:\$(?P=tag)\$|\Z))
    | (?P<name>(?:[uU]&)?"(?:[^"]|"")*(?:"|\Z))
    | (?P<number>\$\d+|(?:0[xX][0-9a-fA-F_]+|\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+))
    | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
    | (?P<other>::|.)
    """,
    re.VERBOSE | re.DOTALL,
)


def _tokens(sql: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "other"
        if kind == "tag":
            kind = "string"
        found.append((kind, match.group()))
    return found


_MOST_BLANK: Final = 60
"""Longer white space could push what follows out of sight: its length is shown in its place."""


def _blank(text: str) -> str:
    lines = text.count("\n")
    if len(text) - lines <= _MOST_BLANK and lines <= 2:
        return safe(text, lines=True)
    said = f"⟨{lines} line breaks⟩" if lines > 2 else f"⟨{len(text)} blanks⟩"
    return f"\n{said}\n" if lines else f" {said} "


def _role(kind: str, text: str, following: str, *, dotted: bool = False) -> str:
    """The role of a token; a word before or after a dot is a name."""
    match kind:
        case "word":
            if following != "." and not dotted and text.upper() in _KEYWORDS:
                return "sql.keyword"
            return "sql.function" if following == "(" else "sql.name"
        case "comment" | "string" | "number" | "name" | "other":
            return f"sql.{kind}"
        case _:
            return ""


def _dotted(tokens: list[tuple[str, str]], place: int) -> bool:
    return place > 0 and tokens[place - 1][1] == "."


@lru_cache(maxsize=1024)
def coloured(sql: str) -> tuple[Span, ...]:
    """A statement with its line breaks, in roles; harmless to the screen."""
    head, rest = sql[:_MOST_COLOURED], sql[_MOST_COLOURED:]
    tokens = _tokens(head)
    spans: list[Span] = []
    for place, (kind, text) in enumerate(tokens):
        following = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        if kind == "space":
            spans.append((_blank(text), "faint"))
        else:
            role = _role(kind, text, following, dotted=_dotted(tokens, place))
            spans.append((safe(text, lines=True), role))
    if rest:
        spans.append((safe(rest, lines=True), ""))
    return tuple(spans)


@lru_cache(maxsize=4096)
def one_line(sql: str, most: int = 400) -> tuple[Span, ...]:
    """A statement in one line, in roles. A line break that ends a comment stays visible."""
    tokens = _tokens(sql[:most])
    spans: list[Span] = []
    for place, (kind, text) in enumerate(tokens):
        if kind == "space":
            after_comment = place > 0 and tokens[place - 1][1].startswith("--")
            if spans and place + 1 < len(tokens):
                spans.append((" ⏎ " if after_comment else " ", "faint"))
            continue
        following = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        role = _role(kind, text, following, dotted=_dotted(tokens, place))
        spans.append((safe(" ".join(text.split("\n"))), role))
    if len(sql) > most:
        spans.append((" …", "faint"))
    return tuple(spans)


_LAID_OUT: Final = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "MERGE", "EXPLAIN", "VALUES", "CREATE"}
)
_SHORT = 64
"""A statement no longer than this stays in its line."""
_CLAUSES: Final = frozenset(
    {
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "RETURNING",
        "UNION",
        "INTERSECT",
        "EXCEPT",
    }
    | {"VALUES", "SET", "WINDOW", "JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL", "WHEN"}
)
_JOIN_WORDS: Final = frozenset({"LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL", "OUTER"})
_STAYS_AFTER: Final[dict[str, frozenset[str]]] = {
    "FROM": frozenset({"DELETE", "DISTINCT"}),
    "SELECT": frozenset({"ALL", "ANALYZE", "EXPLAIN", "("}),
    "SET": frozenset({"UPDATE", "NULL", "DEFAULT"}),
    "JOIN": _JOIN_WORDS,
    "VALUES": frozenset({"DEFAULT", "(", "EXPLAIN", "ANALYZE"}),
    **dict.fromkeys(_JOIN_WORDS, _JOIN_WORDS),
}


class _Layout:
    """Breaks a line of tokens before its clauses. Only white space between tokens ever changes."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.parens: list[bool] = []
        """For each open parenthesis, whether a query is inside."""
        self.between = False
        self.case = 0
        self.words: list[str] = []

    def _indent(self) -> str:
        return "  " * sum(self.parens)

    def _break(self, word: str, following: str) -> str | None:
        if self.parens and not self.parens[-1]:
            return None
        last = self.words[-1] if self.words else ""
        if word in {"AND", "OR"}:
            if word == "AND" and self.between:
                self.between = False
                return None
            return None if self.case else "\n" + self._indent() + "  "
        if word == "ON" and following == "CONFLICT":
            return "\n" + self._indent()
        if word not in _CLAUSES or last in _STAYS_AFTER.get(word, ()) or (self.case and word == "WHEN"):
            return None
        return "\n" + self._indent()

    def feed(self, kind: str, text: str, gap: str, following: str) -> None:
        """Add a token; `gap` is the white space before it, `following` the next token that is a word."""
        word = text.upper() if kind == "word" else text
        broken = self._break(word, following.upper()) if kind == "word" and self.words and gap else None
        if text == ")" and self.parens and self.parens.pop():
            broken = "\n" + self._indent()
        self.out.append((gap and " ") if broken is None else broken)
        self.out.append(text)
        if text == "(":
            self.parens.append(following.upper() in {"SELECT", "WITH", "INSERT", "UPDATE", "DELETE"})
            if self.parens[-1]:
                self.out.append("\n" + self._indent())
        self.between = self.between or word == "BETWEEN"
        self.case = max(0, self.case + (word == "CASE") - (word == "END"))
        self.words.append(word)


@lru_cache(maxsize=256)
def formatted(sql: str) -> str:
    """The statement laid out in lines. One that its author laid out, or a short one, stays as it is."""
    raw = sql.strip()
    if len(raw) <= _SHORT or len(raw) > _MOST_FORMATTED or "\n" in raw or "\r" in raw:
        return raw
    tokens = _tokens(raw)
    if tokens[0][1].upper() not in _LAID_OUT:
        return raw
    layout = _Layout()
    gap = ""
    for place, (kind, text) in enumerate(tokens):
        if kind == "space":
            gap = text
            continue
        following = next((t for k, t in tokens[place + 1 : place + 3] if k != "space"), "")
        if layout.out and layout.out[-1].startswith("\n"):
            layout.feed(kind, text, "", following)
        else:
            layout.feed(kind, text, gap, following)
        gap = ""
    return "".join(layout.out)
