"""The nearest of the names that would have been right, for those who mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(written: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?`, or nothing where no name comes near."""
    by_folded = {name.lower(): name for name in known}
    near = difflib.get_close_matches(written.lower(), by_folded, n=1, cutoff=0.6)
    return f"; did you mean {by_folded[near[0]]}?" if near else ""


def one_of(options: Iterable[str]) -> str:
    """`a, b or c`."""
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last
