"""Rows in, rows out: masked cells change, every other byte stays as PostgreSQL sent it.

One function is built for each shape of result. It finds the masked cells by the lengths before them and
copies what lies between in whole slices; no cell that stays becomes an object of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct, error
from typing import Any, Final

from gatekeeper.errors import ProtocolError
from gatekeeper.masking.maskers import Action, Always, CellMask


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a result, as RowDescription tells it (PostgreSQL 18, 54.7)."""

    name: str
    table_oid: int
    """OID of the table it comes from as it is, 0 where it is computed."""
    attnum: int
    """Attribute number in that table, 0 where it is computed."""
    type_oid: int
    format: int
    """0 text, 1 binary. In the description of a statement always 0: Bind decides."""


@dataclass(frozen=True, slots=True)
class RowMasker:
    """Masks the rows of one result.

    `masked` names the columns: `schema.table.column`, or `?name` where derived.
    """

    masked: tuple[str, ...]
    apply: Callable[[bytes], bytes]
    """Body of a DataRow to the body of a DataRow; raises ProtocolError for one that does not fit."""
    apply_all: Callable[[bytes], bytes]
    """Whole DataRow messages, one after the other and nothing else, to the same masked."""


_INT16: Final = Struct("!h")
_INT32: Final = Struct("!i")
_NULL: Final = b"\xff\xff\xff\xff"


def row_masker(masked: tuple[str, ...], columns: int, cells: Mapping[int, Action]) -> RowMasker:
    """A masker for rows of `columns` cells, of which those in `cells` (by index) are masked."""
    shape = tuple((index, _kind(cells[index])) for index in sorted(cells))
    apply, apply_all = _compiled(columns, shape)
    values: list[CellMask | bytes] = []
    for index, _ in shape:
        cell = cells[index]
        if isinstance(cell, Always):
            cell = cell.value
        if cell is None or isinstance(cell, bytes):
            values.append(_NULL if cell is None else _INT32.pack(len(cell)) + cell)
        else:
            values.append(cell)
    return RowMasker(masked, apply(values), apply_all(values))


def _kind(action: Action) -> str:
    if isinstance(action, Always):
        return "always"
    return "constant" if action is None or isinstance(action, bytes) else "function"


def _broken() -> ProtocolError:
    return ProtocolError("a row does not have the shape that was announced")


@lru_cache(maxsize=512)
def _compiled(columns: int, shape: tuple[tuple[int, str], ...]) -> tuple[Any, Any]:
    """Factories of the functions for one shape; each takes what becomes of the masked cells."""
    source = _source(columns, shape)
    namespace: dict[str, Any] = {
        "int16": _INT16.unpack_from,
        "int32": _INT32.unpack_from,
        "pack": _INT32.pack,
        "NULL": _NULL,
        "StructError": error,
        "broken": _broken,
    }
    exec(source, namespace)  # noqa: S102 - the source is made of integers alone
    return namespace["one"], namespace["many"]


def _cells(shape: tuple[tuple[int, str], ...]) -> list[str]:
    """Statements that walk from `p`, the first cell, over the last masked one; `s` is not copied yet."""
    lines: list[str] = []
    masked = dict(shape)
    for index in range(shape[-1][0] + 1 if shape else 0):
        lines.append("l, = int32(body, p)")
        if index not in masked:
            lines.append("p += 4 + l if l > 0 else 4")
            continue
        n = [i for i, _ in shape].index(index)
        if masked[index] == "always":
            lines += ["q = p + 4 + l if l > 0 else p + 4", "if q > end: raise broken()"]
            lines += ["add(body[s:p])", f"add(m{n})", "s = p = q"]
            continue
        lines += ["if l < 0:", "    p += 4", "else:", "    q = p + 4 + l", "    if q > end: raise broken()"]
        if masked[index] == "function":
            lines += [
                f"    v = m{n}(body[p + 4:q])",
                "    add(body[s:p])",
                "    if v is None: add(NULL)",
                "    else: add(pack(len(v))); add(v)",
            ]
        else:
            lines += ["    add(body[s:p])", f"    add(m{n})"]
        lines.append("    s = p = q")
    return lines


def _source(columns: int, shape: tuple[tuple[int, str], ...]) -> str:
    names = ", ".join(f"m{n}" for n in range(len(shape)))
    unpacked = f"    {names}, = values" if shape else "    pass"
    cells = _cells(shape)
    one = "\n".join(f"            {line}" for line in cells)
    many = "\n".join(f"                {line}" for line in cells)
    return f"""
def one(values):
{unpacked}
    def apply(body):
        try:
            if int16(body)[0] != {columns}: raise broken()
            end = len(body)
            out = []
            add = out.append
            s, p = 0, 2
{one}
            if p > end: raise broken()
        except StructError:
            raise broken() from None
        if not s: return body
        add(body[s:])
        return b"".join(out)
    return apply

def many(values):
{unpacked}
    def apply_all(data):
        result = []
        at, size = 0, len(data)
        try:
            while at < size:
                end = at + 1 + int32(data, at + 1)[0]
                if data[at] != 68 or end > size or int16(data, at + 5)[0] != {columns}: raise broken()
                body = data
                out = []
                add = out.append
                s = at + 5
                p = at + 7
{many}
                if p > end: raise broken()
                if out:
                    add(body[s:end])
                    row = b"".join(out)
                    result.append(b"D" + pack(len(row) + 4))
                    result.append(row)
                else:
                    result.append(body[at:end])
                at = end
        except (StructError, IndexError):
            raise broken() from None
        return b"".join(result)
    return apply_all
"""
