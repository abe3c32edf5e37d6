"""What a result's columns are, as RowDescription tells it (PostgreSQL 18, 54.7)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a result."""

    name: str
    table_oid: int
    """OID of the table it comes from as it is, 0 where it is computed."""
    attnum: int
    """Attribute number in that table, 0 where it is computed."""
    type_oid: int
    format: int
    """0 text, 1 binary. In the description of a statement always 0: Bind decides."""
