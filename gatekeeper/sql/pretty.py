"""SQL laid out for people to read. Never what is judged, approved or sent: laying out may rewrite it."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Final

_LONGEST: Final = 10_000
"""Characters; a longer text stays as it is, since sqlglot takes about a second for 100 kB."""


@lru_cache(maxsize=64)
def pretty(sql: str) -> str:
    """One statement over several lines; the text itself where sqlglot does not know the statement."""
    import sqlglot
    from sqlglot import exp

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of statements that it does not know
    if len(sql) > _LONGEST:
        return sql
    try:
        trees = sqlglot.parse(sql, read="postgres")
    except (sqlglot.errors.SqlglotError, RecursionError):
        return sql
    if len(trees) != 1 or trees[0] is None or isinstance(trees[0], exp.Command):
        return sql
    return trees[0].sql(dialect="postgres", pretty=True, comments=True)
