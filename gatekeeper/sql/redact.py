"""Statements without their passwords: what a record, a screen or a log may hold.

PostgreSQL's own scanner says what is a literal, so that no way of quoting hides one. What cannot be scanned
is cut off where a password may begin: rather too little is kept than a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import postgast
from postgast.pg_query_pb2 import Token

REDACTED: Final = "[REDACTED]"

# A backslash may spell any word in an E'' or U&'' string; "://" is a URL, which may hold a password.
_WORTH_A_LOOK: Final = ("passw", "connection", "dblink", "options", "://", "\\")
_ROLES: Final = ("role", "user", "group")
_DEPTH: Final = 8
"""Of statements in literals in statements."""

_LITERALS: Final = frozenset({"SCONST", "USCONST", "BCONST", "XCONST"})
_COMMENTS: Final = frozenset({"SQL_COMMENT", "C_COMMENT"})
_NESTED_ROLE_STATEMENT: Final = re.compile(r"\b(?:create|alter)\s+(?:role|user|group)\b", re.IGNORECASE)
# Repetitions are bounded, so that no text takes more than linear time.
_BEGINS_A_SECRET: Final = re.compile(
    r"passw|\bconnection\b|\boptions\b|dblink|\b(?:create|alter)\b.{0,200}?\b(?:role|user|group)\b",
    re.IGNORECASE | re.DOTALL,
)
_QUOTE: Final = re.compile(r"['\"$]")
_REST_OF_WORD: Final = re.compile(r"\w*[\s=:/*-]*")
_SECRET_OPTION: Final = re.compile(r"passw|passphrase|secret|token", re.IGNORECASE)

_KEY_VALUE: Final = re.compile(
    r"""((?:password|passwd|passphrase)\s*=\s*)(?:'(?:[^'\\]|\\.|'')*'?|"(?:[^"\\]|\\.)*"?|(?:\\.|[^\s'";)&])+)""",
    re.IGNORECASE | re.DOTALL,
)
_URL_USER: Final = re.compile(r"(://[^/\s:@'\"]*:)[^/\s'\"]*(?=@)")
_URL_ODD_QUERY: Final = re.compile(r"(://[^\s?'\"]{0,500}\?)(?=[^\s='\"]{0,500}%)[^\s'\"]*")
_ESCAPED_UP_TO_QUOTE: Final = re.compile(r"(?:[^'\\]|\\.)*", re.DOTALL)

_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-f]{1,2})|u([0-9a-f]{4})|u([0-9a-f]{8})|([0-7]{1,3})|(.))", re.IGNORECASE | re.DOTALL
)
_UNICODE: Final = re.compile(r"\\(?:\+([0-9a-f]{6})|([0-9a-f]{4})|(\\))", re.IGNORECASE)
_CONTROL: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_DOLLAR: Final = re.compile(r"\$(?:[^\W\d]\w*)?\$")


_NAMES: Final = {number: name for name, number in Token.items()}


class _Token(NamedTuple):
    name: str
    text: str
    start: int
    end: int


def redact_sql(sql: str) -> str:
    """The statement with every password in it replaced by `[REDACTED]`.

    Covers CREATE and ALTER ROLE, USER and GROUP, OPTIONS of foreign servers and user mappings, connection
    strings and URLs in any literal, and all of that inside DO, function bodies and strings that are executed.
    A password that is data, such as one written into a table, is not covered.
    """
    lower = sql.lower()
    if any(word in lower for word in _WORTH_A_LOOK) or (
        any(word in lower for word in _ROLES) and ("create" in lower or "alter" in lower)
    ):
        return _redact(sql, 0)
    return sql


def _redact(sql: str, depth: int) -> str:
    tokens = _scan(sql) if depth <= _DEPTH else None
    if tokens is None:
        return _cut(sql)
    pieces: list[str] = []
    done = 0
    for token, text in _replaced(tokens, depth):
        pieces += (sql[done : token.start], text)
        done = token.end
    return "".join((*pieces, sql[done:])) if pieces else sql


def _cut(sql: str) -> str:
    """A text that cannot be scanned, up to the first quote after a word that may introduce a password."""
    found = _BEGINS_A_SECRET.search(sql)
    if found is None:
        return _plain(sql)
    quote = _QUOTE.search(sql, found.end())
    if quote is not None and "passw" not in found[0].lower():
        return sql[: quote.start()] + f"'{REDACTED}'"
    word = _REST_OF_WORD.match(sql, found.end())
    return sql[: found.end() if word is None else word.end()] + f"'{REDACTED}'"


def _scan(sql: str) -> list[_Token] | None:
    """Tokens, comments among them, with places in characters; None where the text cannot be scanned."""
    if "\0" in sql:
        return None  # the scanner ends there, the text does not
    try:
        data = sql.encode()
        found = postgast.scan(sql).tokens
    except (postgast.PgQueryError, ValueError):
        return None
    if len(data) == len(sql):
        return [_Token(_NAMES.get(t.token, ""), sql[t.start : t.end], t.start, t.end) for t in found]
    tokens = []
    at_byte = at = 0
    for t in found:
        start = at + len(data[at_byte : t.start].decode())
        text = data[t.start : t.end].decode()
        at_byte, at = t.end, start + len(text)
        tokens.append(_Token(_NAMES.get(t.token, ""), text, start, at))
    return tokens


def _replaced(tokens: Sequence[_Token], depth: int) -> Iterator[tuple[_Token, str]]:
    """Tokens that are or hold a secret, with what stands in their place."""
    role = sets = executes = False
    last = before = _Token("", "", 0, 0)
    for token in tokens:
        if token.name in _COMMENTS:
            if (text := _plain(token.text)) != token.text:
                yield token, text
            continue
        if token.name == "NCHAR":
            continue
        if token.text == ";":
            role = sets = executes = False
        elif last.name in ("CREATE", "ALTER") and token.name in ("ROLE", "USER", "GROUP_P"):
            role, sets = True, False
        elif token.name == "MAPPING" and last.name == "USER":
            role = False
        elif token.name == "SET":
            sets = True
        if token.name in _LITERALS:
            if executes or _is_secret(last, role=role, sets=sets):
                yield token, f"'{REDACTED}'"
            elif (text := _inside(token.text, depth)) != token.text:
                yield token, text
            # What is put into such a statement, by || or by format(), is likely to be the password.
            executes = executes or bool(
                _NESTED_ROLE_STATEMENT.search(token.text) and "passw" in token.text.lower()
            )
        elif (
            role
            and last.name == "PASSWORD"
            and token.name not in ("NULL_P", "ASCII_61")
            and token.text != ";"
        ):
            yield token, f"'{REDACTED}'"  # a password without quotes, or in the wrong ones
        elif role and last.name == "ASCII_61" and before.name == "PASSWORD":
            yield token, f"'{REDACTED}'"
        before, last = last, token


def _is_secret(last: _Token, *, role: bool, sets: bool) -> bool:
    """True where a literal is a password, by what stands before it and the statement that it is in."""
    if role:
        # All but a date and settings: a misspelt PASSWORD is followed by the password all the same.
        return not (last.name == "UNTIL" or (sets and last.name in ("TO", "ASCII_61", "ASCII_44")))
    text = last.text
    if text[:2].lower() == "u&":
        text = _UNICODE.sub(_unicode, text[2:])
    return (text[:1] == '"' or text[:1].isalpha()) and bool(_SECRET_OPTION.search(text))


# --- inside literals ------------------------------------------------------------------------------------


def _inside(literal: str, depth: int) -> str:
    """A literal without the secrets that it holds: connection strings, URLs, statements."""
    content = _content(literal)
    if content is None:
        return _plain(literal)
    clean = _plain(content)
    lower = clean.lower()
    if "passw" in lower or "options" in lower or any(word in lower for word in _ROLES):
        scans = literal[0] == "$" or _NESTED_ROLE_STATEMENT.search(clean) or _scan(clean) is not None
        clean = _redact(clean, depth + 1) if scans else clean
    return literal if clean == content else _quoted(literal, clean)


def _plain(text: str) -> str:
    """A text without the passwords of connection strings and URLs."""
    if "=" in text:
        text = _KEY_VALUE.sub(rf"\g<1>{REDACTED}", text)
    if "://" in text:
        text = _URL_USER.sub(rf"\g<1>{REDACTED}", text)
        text = _URL_ODD_QUERY.sub(rf"\g<1>{REDACTED}", text)
    return text


def _content(literal: str) -> str | None:
    """What a literal stands for; None where that is not plain to see."""
    if literal[0] == "$":
        mark = _DOLLAR.match(literal)
        return None if mark is None else literal[mark.end() : -mark.end()]
    prefix, quote, rest = literal.partition("'")
    if not quote:
        return None
    pieces: list[str] = []
    at = 0
    while True:
        if prefix.upper() == "E" and (segment := _ESCAPED_UP_TO_QUOTE.match(rest, at)):
            end = segment.end() if segment.end() < len(rest) else -1
        else:
            end = rest.find("'", at)
        if end < 0:
            return None
        pieces.append(rest[at:end])
        if rest[end + 1 : end + 2] == "'":
            pieces.append("'")
            at = end + 2
            continue
        at = rest.find("'", end + 1) + 1  # a literal that goes on in the next line
        if at == 0:
            break
    text = "".join(pieces)
    match prefix.upper():
        case "E":
            return _ESCAPE.sub(_escape, text)
        case "U&":
            return _UNICODE.sub(_unicode, text)
        case _:
            return text


def _quoted(literal: str, content: str) -> str:
    """A literal that stands for the content, in the way of the one given."""
    if literal[0] == "$" and (mark := _DOLLAR.match(literal)) is not None:
        return mark[0] + content + mark[0]
    text = content.replace("'", "''")
    return "E'" + text.replace("\\", "\\\\") + "'" if "\\" in text else f"'{text}'"


def _escape(found: re.Match[str]) -> str:
    x, u, long, octal, other = found.groups()
    if x or u or long:
        return _character(int(x or u or long, 16))
    return _character(int(octal, 8) & 0xFF) if octal else _CONTROL.get(other, other)


def _unicode(found: re.Match[str]) -> str:
    return "\\" if found[3] else _character(int(found[1] or found[2], 16))


def _character(code: int) -> str:
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
