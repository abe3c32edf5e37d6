"""Errors and notices of statements that touch masked columns: what can carry a value goes, the rest stays.

SQLSTATE, severity, position and the names of schema, table, column, type and constraint stay. A message
stays where everything in it is known without the value: its quoted parts are words of the statement or
names of the catalog, and no number stands outside of them. Where code of users may have run (RAISE), no
message stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_KEPT: Final = frozenset("SVCPpFLRstcdn")
_BY_CLASS: Final = {
    "00": "a message is hidden",
    "01": "a warning is hidden",
    "22": "the data does not fit",
    "23": "a constraint is violated",
    "40": "the transaction was rolled back",
    "42": "the statement is not valid",
    "P0": "the function raised an error",
}
_HIDDEN: Final = "(the text is hidden, since a masked column is involved)"
_WORDS: Final = re.compile(r"[^\W\d]\w*")
_ANY_WORDS: Final = re.compile(r"\w+")
_NO_SUCH_WORDS: Final = frozenset(
    {"function", "procedure", "operator", "aggregate", "does", "not", "exist", "unknown"}
)
"""`function f(integer) does not exist`, in which the types are PostgreSQL's words and not the statement's."""
_UNSAFE: Final = re.compile(r"[\d(){}\[\]=]")


def hide(fields: dict[str, str], known: Callable[[str], bool], *, user_code: bool) -> dict[str, str]:
    """The fields without what can carry a value; `known` tells of a quoted part whether it is no secret."""
    kept = {code: text for code, text in fields.items() if code in _KEPT}
    names = frozenset(fields[code] for code in "stcdn" if code in fields)

    def clean(text: str) -> bool:
        return not user_code and _clean(text, lambda part: part in names or known(part))

    def of_known_words(text: str) -> bool:
        return all(w in _NO_SUCH_WORDS or known(w) for w in _ANY_WORDS.findall(text))

    message, code = fields.get("M", ""), fields.get("C", "")
    if (code[:2] != "P0" and clean(message)) or (code == "42883" and of_known_words(message)):
        kept["M"] = message
    else:
        kept["M"] = f"{_BY_CLASS.get(fields.get('C', '')[:2], 'the message is hidden')} {_HIDDEN}"
    if "H" in fields and clean(fields["H"]):
        kept["H"] = fields["H"]
    return {code: kept[code] for code in [*fields, "M"] if code in kept}


def _clean(text: str, known: Callable[[str], bool]) -> bool:
    parts = text.split('"')
    if len(parts) % 2 == 0:
        return False
    return all(known(part) for part in parts[1::2]) and not any(_UNSAFE.search(part) for part in parts[::2])


def words_of(sql: str) -> frozenset[str]:
    """Every word of a statement, as written and in lower case: the client has sent them itself."""
    found = _WORDS.findall(sql)
    return frozenset(found) | frozenset(word.lower() for word in found)
