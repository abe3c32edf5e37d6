"""Regular expressions of the rules, in RE2's syntax: whatever the pattern and the text, time is linear.

A pattern meets every statement on the gateway's only loop. In Python's own engine a harmless-looking
`(a+)+b` or `a.*b.*c` on a megabyte of SQL that a client chose would stop all sessions.
"""

from __future__ import annotations

from typing import Any, Final

import re2

_LONGEST: Final = 2000
_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False  # the error is raised; the library would print it as well
_OPTIONS.max_mem = 8 << 20


class LinearPattern:
    """A compiled pattern. Equal where the pattern is, so that unchanged rules compare equal."""

    __slots__ = ("_compiled", "pattern")

    def __init__(self, pattern: str) -> None:
        """ValueError tells what is wrong with the pattern."""
        if len(pattern) > _LONGEST:
            raise ValueError(f"is longer than {_LONGEST} characters")
        self.pattern = pattern
        try:
            self._compiled: Any = re2.compile(pattern, _OPTIONS)
        except (re2.error, UnicodeEncodeError) as error:
            raise ValueError(f"not a regular expression: {_reason(error)}") from None

    def search(self, text: str) -> bool:
        """True where the pattern is found anywhere in the text."""
        return self._compiled.search(text.encode("utf-8", "surrogatepass")) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LinearPattern) and other.pattern == self.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __repr__(self) -> str:
        return f"LinearPattern({self.pattern!r})"


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else error
    reason = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    if "invalid perl operator" in reason or "invalid escape sequence" in reason:
        reason += " (RE2 syntax: no lookaround, no backreferences)"
    return reason
