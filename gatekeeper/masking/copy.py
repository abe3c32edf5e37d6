"""COPY out, masked while it streams: text, CSV and binary, in chunks that end anywhere.

What is not masked stays byte for byte. No chunk is given out before the row that it belongs to is known to
be whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, Protocol

from gatekeeper.errors import ProtocolError
from gatekeeper.masking.maskers import Action, Always
from gatekeeper.masking.rows import row_masker
from gatekeeper.sql.tree import Tree

_SAFE_ENCODINGS: Final = re.compile(
    r"utf-?8|unicode|sql_?ascii|latin-?\d+|iso-?8859-?\d+|win-?\d+|euc.*|koi8.*|mule.*", re.IGNORECASE
)
"""Encodings in which no byte of another character looks like a delimiter."""
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_INT16: Final = Struct("!h")
_INT32: Final = Struct("!i")


class CopyMasker(Protocol):
    """Masks one COPY TO STDOUT."""

    masked: tuple[str, ...]

    def feed(self, chunk: bytes) -> bytes:
        """The payload of a CopyData to what takes its place; it may be empty. Raises ProtocolError."""

    def finish(self) -> bytes:
        """What is still held back when CopyDone arrives. Raises ProtocolError where a row was cut off."""


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """The options of COPY that shape its output."""

    csv: bool = False
    delimiter: bytes = b"\t"
    null: bytes = b"\\N"
    quote: bytes = b'"'
    escape: bytes = b'"'
    header: bool = False
    safe: bool = True
    """False where the bytes cannot be told apart, because of their encoding."""

    @classmethod
    def of(cls, options: Iterable[Tree]) -> CopyOptions:
        """As PostgreSQL reads them (copy.c, ProcessCopyOptions)."""
        given = {o["DefElem"].get("defname", ""): o["DefElem"].get("arg") for o in options}
        text = {name: _text(argument) for name, argument in given.items()}
        csv = (text.get("format") or "").lower() == "csv"
        quote = _one(text, "quote", b'"')
        return cls(
            csv=csv,
            delimiter=_one(text, "delimiter", b"," if csv else b"\t"),
            null=_one(text, "null", b"" if csv else b"\\N"),
            quote=quote,
            escape=_one(text, "escape", quote),
            header="header" in given and _true(text["header"]),
            safe="encoding" not in given or bool(_SAFE_ENCODINGS.fullmatch(text["encoding"] or "")),
        )


def _text(argument: Any) -> str | None:
    if not isinstance(argument, dict) or not argument:
        return None
    ((kind, inner),) = argument.items()
    match kind:
        case "String":
            return str(inner.get("sval", ""))
        case "Integer":
            return str(inner.get("ival", 0))
        case "Boolean":
            return "true" if inner.get("boolval") else "false"
    return None


def _one(options: Mapping[str, str | None], name: str, default: bytes) -> bytes:
    found = options.get(name)
    return default if found is None else found.encode()


def _true(text: str | None) -> bool:
    return text is None or text.lower() not in ("false", "off", "0")


def copy_masker(
    masked: tuple[str, ...],
    columns: int,
    cells: Mapping[int, Action],
    options: CopyOptions,
    *,
    binary: bool = False,
) -> CopyMasker:
    """A masker for one COPY; `cells` as for `row_masker`."""
    if binary:
        return BinaryCopy(masked, columns, cells)
    return (
        CsvCopy(masked, columns, cells, options) if options.csv else TextCopy(masked, columns, cells, options)
    )


class BinaryCopy:
    """A header, then tuples that look like the bodies of DataRow messages, then -1."""

    def __init__(self, masked: tuple[str, ...], columns: int, cells: Mapping[int, Action]) -> None:
        self.masked = masked
        self._columns = columns
        self._apply = row_masker(masked, columns, cells).apply
        self._held = b""
        self._in_header = True
        self._ended = False

    def feed(self, chunk: bytes) -> bytes:
        """As CopyMasker tells."""
        data = self._held + chunk
        out: list[bytes] = []
        at = 0
        if self._in_header:
            at = self._header(data)
            if not at:
                self._held = data
                return b""
            out.append(data[:at])
            self._in_header = False
        while not self._ended:
            end = self._tuple_end(data, at)
            if end is None:
                break
            row = data[at:end]
            out.append(row if self._ended else self._apply(row))
            at = end
        self._held = data[at:]
        if self._ended and self._held:
            raise ProtocolError("COPY data goes on after its end")
        return b"".join(out)

    def _header(self, data: bytes) -> int:
        if not _SIGNATURE.startswith(data[:11]):
            raise ProtocolError("COPY data does not start with its signature")
        if len(data) < 19:
            return 0
        end = 19 + int(_INT32.unpack_from(data, 15)[0])
        return end if len(data) >= end else 0

    def _tuple_end(self, data: bytes, at: int) -> int | None:
        if len(data) < at + 2:
            return None
        count = _INT16.unpack_from(data, at)[0]
        if count == -1:
            self._ended = True
            return at + 2
        if count != self._columns:
            raise ProtocolError("a row of COPY does not have the columns that were announced")
        at += 2
        for _ in range(count):
            if len(data) < at + 4:
                return None
            at += 4 + max(0, _INT32.unpack_from(data, at)[0])
        return at if len(data) >= at else None

    def finish(self) -> bytes:
        """As CopyMasker tells."""
        if self._held:
            raise ProtocolError("COPY data was cut off")
        return b""


class TextCopy:
    """Lines of cells; backslash escapes both the delimiter and the end of the line."""

    def __init__(
        self, masked: tuple[str, ...], columns: int, cells: Mapping[int, Action], options: CopyOptions
    ) -> None:
        self.masked = masked
        self._columns = columns
        self._cells = sorted(cells.items())
        self._options = options
        self._held = b""
        self._skip = options.header

    def feed(self, chunk: bytes) -> bytes:
        """As CopyMasker tells."""
        data = self._held + chunk if self._held else chunk
        if not data.endswith(b"\n") or _backslashes(data, len(data) - 1) % 2:
            end = self._last_line(data)
            data, self._held = data[:end], data[end:]
        else:
            self._held = b""
        return self._lines(data)

    @staticmethod
    def _last_line(data: bytes) -> int:
        at = len(data)
        while (at := data.rfind(b"\n", 0, at)) >= 0:
            if _backslashes(data, at) % 2 == 0:
                return at + 1
        return 0

    def finish(self) -> bytes:
        """As CopyMasker tells."""
        data, self._held = self._held, b""
        return self._lines(data)

    def _lines(self, data: bytes) -> bytes:
        if not data:
            return b""
        lines = data.split(b"\n")
        if b"\\\n" in data:
            lines = _rejoined(lines)
        ended = lines[-1] == b""
        if ended:
            lines.pop()
        masked = [self._line(line) for line in lines]
        return b"\n".join(masked) + (b"\n" if ended else b"")

    def _line(self, line: bytes) -> bytes:
        if self._skip:
            self._skip = False
            return line
        end = b"\r" if line.endswith(b"\r") and _backslashes(line, len(line) - 1) % 2 == 0 else b""
        delimiter = self._options.delimiter
        found = (line[: len(line) - len(end)]).split(delimiter)
        if b"\\" + delimiter in line:
            found = _rejoined(found, delimiter)
        if len(found) != self._columns:
            raise ProtocolError("a row of COPY does not have the columns that were announced")
        for index, action in self._cells:
            found[index] = self._cell(found[index], action)
        return delimiter.join(found) + end

    def _cell(self, cell: bytes, action: Action) -> bytes:
        null = self._options.null
        if isinstance(action, Always):
            value = action.value
        elif cell == null:
            return cell
        else:
            value = action(_unescape(cell)) if callable(action) else action
        return null if value is None else self._escape(value)

    def _escape(self, value: bytes) -> bytes:
        escaped = value
        for plain, written in _ESCAPES:
            escaped = escaped.replace(plain, written)
        delimiter = self._options.delimiter
        if delimiter not in b"\t":
            escaped = escaped.replace(delimiter, b"\\" + delimiter)
        return b"\\" + escaped if escaped == self._options.null and escaped else escaped


_ESCAPES: Final = (
    (b"\\", b"\\\\"), (b"\b", b"\\b"), (b"\f", b"\\f"), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t"),
    (b"\v", b"\\v"),
)  # fmt: skip
_UNESCAPED: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


def _unescape(cell: bytes) -> bytes:
    if b"\\" not in cell:
        return cell
    return _ESCAPED.sub(lambda match: _UNESCAPED.get(match[1], match[1]), cell)


def _backslashes(data: bytes, at: int) -> int:
    """How many backslashes stand right before a place."""
    start = at
    while start > 0 and data[start - 1] == 0x5C:
        start -= 1
    return at - start


def _rejoined(parts: list[bytes], separator: bytes = b"\n") -> list[bytes]:
    """Put together again what was split at a separator that a backslash escapes."""
    found: list[bytes] = []
    for part in parts:
        if found and _backslashes(found[-1], len(found[-1])) % 2:
            found[-1] += separator + part
        else:
            found.append(part)
    return found


class CsvCopy:
    """Records of cells, quoted or not; a quoted one may hold delimiters and ends of lines."""

    def __init__(
        self, masked: tuple[str, ...], columns: int, cells: Mapping[int, Action], options: CopyOptions
    ) -> None:
        self.masked = masked
        self._columns = columns
        self._cells = dict(cells)
        self._options = options
        self._held = b""
        self._skip = options.header
        quote, escape = re.escape(options.quote), re.escape(options.escape)
        inside = rb"[^%b]*+" % quote if quote == escape else rb"(?:[^%b%b]|%b.)*+" % (quote, escape, escape)
        bare = rb"[^%b%b\n]*+" % (quote, re.escape(options.delimiter))
        self._cell_at = re.compile(rb"%b(?:%b%b%b%b)*+" % (bare, quote, inside, quote, bare), re.DOTALL).match

    def feed(self, chunk: bytes) -> bytes:
        """As CopyMasker tells."""
        data = self._held + chunk if self._held else chunk
        out: list[bytes] = []
        at = 0
        while (record := self._record(data, at)) is not None:
            end, cells = record
            out.append(self._masked(data[at:end], cells, at))
            at = end
        self._held = data[at:]
        return b"".join(out)

    def finish(self) -> bytes:
        """As CopyMasker tells."""
        if not self._held:
            return b""
        record = self._record(self._held + b"\n", 0)
        if record is None:
            raise ProtocolError("COPY data was cut off")
        data, self._held = self._held, b""
        return self._masked(data, record[1], 0)

    def _record(self, data: bytes, at: int) -> tuple[int, list[tuple[int, int]]] | None:
        """Where the record that starts here ends, and its cells; None where it is not whole."""
        delimiter = self._options.delimiter[0]
        cells: list[tuple[int, int]] = []
        size = len(data)
        while True:
            found = self._cell_at(data, at)
            assert found is not None  # it matches the empty cell too
            end = found.end()
            if end == size:
                return None
            cells.append((at, end))
            at = end + 1
            if data[end] == 0x0A:
                return at, cells
            if data[end] != delimiter:  # a quote that is not closed yet
                return None

    def _masked(self, record: bytes, cells: list[tuple[int, int]], offset: int) -> bytes:
        if self._skip:
            self._skip = False
            return record
        if len(cells) != self._columns:
            raise ProtocolError("a row of COPY does not have the columns that were announced")
        out: list[bytes] = []
        at = 0
        for index in sorted(self._cells):
            start, end = cells[index][0] - offset, cells[index][1] - offset
            if index == self._columns - 1 and end > start and record[end - 1] == 0x0D:
                end -= 1  # the end of the line is CR LF on some servers
            out += (record[at:start], self._cell(record[start:end], self._cells[index]))
            at = end
        out.append(record[at:])
        return b"".join(out)

    def _cell(self, cell: bytes, action: Action) -> bytes:
        quote, null = self._options.quote, self._options.null
        quoted = len(cell) >= 2 and cell.startswith(quote) and cell.endswith(quote)
        if isinstance(action, Always):
            value = action.value
        elif not quoted and cell == null:
            return cell
        else:
            plain = self._unquoted(cell[1:-1]) if quoted else cell
            value = action(plain) if callable(action) else action
        if value is None:
            return null
        if (
            quoted
            or value in (null, b"\\.")
            or any(x in value for x in (quote, self._options.delimiter, b"\n", b"\r"))
        ):
            return quote + self._quoted(value) + quote
        return value

    def _unquoted(self, inside: bytes) -> bytes:
        quote, escape = self._options.quote, self._options.escape
        if escape == quote:
            return inside.replace(quote + quote, quote)
        pattern = re.compile(re.escape(escape) + b"(" + re.escape(quote) + b"|" + re.escape(escape) + b")")
        return pattern.sub(lambda match: match[1], inside)

    def _quoted(self, value: bytes) -> bytes:
        quote, escape = self._options.quote, self._options.escape
        if escape != quote:
            value = value.replace(escape, escape + escape)
        return value.replace(quote, escape + quote)
