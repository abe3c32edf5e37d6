"""Globs of the rules: `*` and `?`, case-sensitive, and no text takes more than linear time per star."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A function that tells whether a text matches any of the globs as a whole; none match nothing.

    `*` crosses `/`, `.` and newlines alike, and there is no escape for it.
    """
    return _matcher(tuple(patterns))


@lru_cache(maxsize=4096)
def _matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    plain = frozenset(pattern for pattern in patterns if not is_glob(pattern))
    globs = [_regex(pattern) for pattern in patterns if is_glob(pattern)]
    if not globs:
        return plain.__contains__
    fullmatch = re.compile("|".join(globs), re.DOTALL).fullmatch

    def matches(text: str) -> bool:
        return text in plain or fullmatch(text) is not None

    return matches


def is_glob(pattern: str) -> bool:
    """True where the text stands for more than itself."""
    return "*" in pattern or "?" in pattern


def _regex(pattern: str) -> str:
    """The glob as a regular expression in which only the last star backtracks.

    Each earlier star takes the nearest place where what follows it fits, in an atomic group: a later place
    could only leave less for the rest, so trying others would cost time and find nothing.
    """
    first, *rest = (
        "".join("." if character == "?" else re.escape(character) for character in piece)
        for piece in re.split(r"\*+", pattern)
    )
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{piece})" for piece in middle) + ".*" + last
