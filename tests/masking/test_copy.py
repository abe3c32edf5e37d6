"""COPY out is masked while it streams, however it is cut, and stays readable by PostgreSQL."""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

import csv
import io
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.errors import ProtocolError
from gatekeeper.masking.copy import CopyOptions, copy_masker
from gatekeeper.masking.maskers import ALWAYS_NULL, last4
from tests.masking.probe import Probe
from tests.masking.schema import leaks

CELLS = {1: b"[REDACTED]"}


def masked(
    data: bytes, options: CopyOptions, *, columns: int = 3, cut: int | None = None, cells=None
) -> bytes:
    masker = copy_masker(("x",), columns, cells or CELLS, options)
    chunks = [data] if cut is None else [data[i : i + cut] for i in range(0, len(data), cut)]
    return b"".join(map(masker.feed, chunks)) + masker.finish()


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        (b"1\tx\t3\n", CopyOptions(), b"1\t[REDACTED]\t3\n"),
        (b"1\t\\N\t3\n", CopyOptions(), b"1\t\\N\t3\n"),
        (b"1\ta\\\tb\\\\\t3\n", CopyOptions(), b"1\t[REDACTED]\t3\n"),
        (b"1\ta\\nb\t\\.\n2\t\\\\N\t\n", CopyOptions(), b"1\t[REDACTED]\t\\.\n2\t[REDACTED]\t\n"),
        (b"a\tb\tc\n1\tx\t3\n", CopyOptions(header=True), b"a\tb\tc\n1\t[REDACTED]\t3\n"),
        (b"1|x\\|y|3\n", CopyOptions(delimiter=b"|"), b"1|[REDACTED]|3\n"),
        (b"1RxR3\n", CopyOptions(delimiter=b"R"), b"1R[\\REDACTED]R3\n"),
        (b"1\tNIL\t3\n", CopyOptions(null=b"NIL"), b"1\tNIL\t3\n"),
        (b"1,x,3\n", CopyOptions(csv=True, delimiter=b",", null=b""), b"1,[REDACTED],3\n"),
        (b"1,,3\n", CopyOptions(csv=True, delimiter=b",", null=b""), b"1,,3\n"),
        (b'1,"",3\n', CopyOptions(csv=True, delimiter=b",", null=b""), b'1,"[REDACTED]",3\n'),
        (b'1,"a,""b""\nc",3\n', CopyOptions(csv=True, delimiter=b",", null=b""), b'1,"[REDACTED]",3\n'),
        (
            b"1,'a,\\'b\\\\',3\n",
            CopyOptions(csv=True, delimiter=b",", null=b"", quote=b"'", escape=b"\\"),
            b"1,'[REDACTED]',3\n",
        ),
        (b'"a\nb",c,d\n1,x,3\n', CopyOptions(csv=True, delimiter=b",", null=b"", header=True),
         b'"a\nb",c,d\n1,[REDACTED],3\n'),
        (b"1;x;3\n", CopyOptions(csv=True, delimiter=b";", null=b"[REDACTED]"), b'1;"[REDACTED]";3\n'),
        (b"1[x[3\n", CopyOptions(csv=True, delimiter=b"[", null=b""), b'1["[REDACTED]"[3\n'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cut", [None, 1, 2, 3, 5])
def test_every_option_shapes_the_masked_cell(
    data: bytes, options: CopyOptions, expected: bytes, cut: int | None
) -> None:
    assert masked(data, options, cut=cut) == expected


def test_a_function_sees_the_cell_as_it_is_and_its_result_is_written_back() -> None:
    cells = {1: last4}
    assert masked(b"1\ta\\tbcd\\\\f\t3\n", CopyOptions(), cells=cells) == b"1\t***cd\\\\f\t3\n".replace(
        b"***c", b"***c"
    )
    options = CopyOptions(csv=True, delimiter=b",", null=b"")
    assert masked(b'1,"ab""c,d",3\n', options, cells=cells) == b'1,"**""c,d"\x2c3\n'


def test_a_cell_that_must_not_tell_even_whether_it_is_null() -> None:
    assert masked(b"1\tx\t3\n2\t\\N\t3\n", CopyOptions(), cells={1: ALWAYS_NULL}) == b"1\t\\N\t3\n2\t\\N\t3\n"


@pytest.mark.parametrize("data", [b"1\t2\n", b"1\t2\t3\t4\n", b"\n"])
def test_a_row_of_another_shape_ends_the_copy(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        masked(data, CopyOptions())


def test_a_csv_record_that_is_cut_off_ends_the_copy() -> None:
    with pytest.raises(ProtocolError):
        masked(b'1,"x', CopyOptions(csv=True, delimiter=b",", null=b""))


OPTIONS = [
    "", "(header)", "(delimiter '|')", "(null 'NIL', delimiter ',')", "(format csv)", "(format csv, header)",
    "(format csv, force_quote *)", "(format csv, quote '''', escape '\\')", "(format csv, null 'x', delimiter ';')",
    "(format csv, force_quote (ssn, id), header true)", "with csv header quote '\"'", "with delimiter as '~' null as ''",
    "(format binary)", "with binary", "(format csv, encoding 'UTF8')", "(format csv, quote '~')",
]  # fmt: skip


@pytest.mark.server
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "source", ["customers", "customers (name, ssn, doc, id)", "(select id, ssn, salary, note from customers)"]
)
def test_postgresql_reads_back_what_was_masked(probe: Probe, source: str, options: str) -> None:
    outcome = probe.run(f"copy {source} to stdout {options}")
    if outcome.direct.errors:
        pytest.skip(outcome.direct.errors[0]["M"])
    through = outcome.through.copied
    assert leaks(outcome.direct.copied)
    assert not leaks(through)
    options = options.replace("force_quote *", "force_null (id)").replace(
        "force_quote (ssn, id)", "force_null (id)"
    )
    columns = {"customers": "customers", "customers (name, ssn, doc, id)": "t (name, ssn, doc, id)"}.get(
        source, "t (id, ssn, salary, note)"
    )
    connection = probe.connection
    with connection.cursor() as cursor:
        cursor.execute("begin")
        try:
            if columns == "customers":
                cursor.execute(
                    "create temp table t (id int, name text, ssn text, email text, card varchar(40), salary int, "
                    "score numeric, born date, uid uuid, doc jsonb, tags text[], raw bytea, seen timestamptz, "
                    "addr address, level grade, ip inet, span int4range, code bpchar(20), note text)"
                )
                columns = "t"
            else:
                cursor.execute(
                    "create temp table t (id int, name text, ssn text, doc jsonb, salary int, note text)"
                )
            with cursor.copy(
                f"copy {columns} from stdin {options}".replace("force_null (id)", "force_null (id)")
            ) as copy:
                copy.write(through)
            cursor.execute("select id, ssn from t order by id")
            assert cursor.fetchall() == [(1, "[REDACTED]"), (2, None)]
        finally:
            cursor.execute("rollback")


@pytest.mark.server
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_binary_copy_may_be_cut_anywhere(probe: Probe, size: int) -> None:
    sql = "copy customers to stdout (format binary)"
    outcome = probe.run(sql)
    masker = outcome.plan.copy(0, [1] * 19)
    assert masker is not None
    data = outcome.direct.copied
    pieces = [masker.feed(data[i : i + size]) for i in range(0, len(data), size)]
    assert b"".join(pieces) + masker.finish() == outcome.through.copied


@pytest.mark.server
def test_an_encoding_whose_bytes_look_like_ascii_is_refused(probe: Probe) -> None:
    assert probe.plan("copy customers to stdout (encoding 'SJIS')").refusal is not None
    assert probe.plan("copy orders to stdout (encoding 'SJIS')").refusal is None


cell = st.one_of(
    st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=6), st.data())
def test_csv_keeps_all_other_cells(rows: list[tuple[str | None, ...]], data: st.DataObject) -> None:
    def write(value: str | None) -> str:
        if value is None:
            return ""
        quoted = value == "" or any(c in value for c in ',"\n') or data.draw(st.booleans())
        return '"' + value.replace('"', '""') + '"' if quoted else value

    text = "".join(",".join(map(write, row)) + "\n" for row in rows).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    masker = copy_masker(("x",), 3, CELLS, CopyOptions(csv=True, delimiter=b",", null=b""))
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    result = b"".join(map(masker.feed, pieces)) + masker.finish()
    read = list(csv.reader(io.StringIO(result.decode(), newline=""), strict=True))
    assert [tuple(row) for row in read] == [
        (a or "", "" if b is None else "[REDACTED]", c or "") for a, b, c in rows
    ]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=6), st.data())
def test_text_keeps_all_other_cells(rows: list[tuple[str | None, ...]], data: st.DataObject) -> None:
    def write(value: str | None) -> str:
        if value is None:
            return "\\N"
        escaped = value.replace("\\", "\\\\").replace("\t", "\\t")
        return escaped.replace("\n", data.draw(st.sampled_from(["\\n", "\\\n"])))

    text = "".join("\t".join(map(write, row)) + "\n" for row in rows).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    masker = copy_masker(("x",), 3, CELLS, CopyOptions())
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    result = b"".join(map(masker.feed, pieces)) + masker.finish()
    expected = b""
    for whole, row in zip(_lines(text), rows, strict=True):
        first, middle, last = _cells(whole)
        expected += first + b"\t" + (middle if row[1] is None else b"[REDACTED]") + b"\t" + last
    assert result == expected


def _lines(text: bytes) -> list[bytes]:
    import re

    return re.findall(rb"(?:\\.|[^\\\n])*\n", text, re.DOTALL)


def _cells(line: bytes) -> tuple[bytes, bytes, bytes]:
    first, middle, last = line.split(b"\t")
    return first, middle, last
