"""What a server's messages say, what ours look like, and that a message without sense is a ProtocolError."""

from __future__ import annotations

import contextlib
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.errors import ProtocolError
from gatekeeper.masking.rows import Field
from gatekeeper.model import Refusal
from gatekeeper.proxy.wire import backend

FIELDS = (Field("id", 16400, 1, 23, 0), Field("naïve", 0, 0, 25, 1), Field("", 4294967295, -1, 0, 0))


def row_description(fields: tuple[Field, ...], encoding: str = "utf-8") -> bytes:
    body = pack("!h", len(fields))
    for f in fields:
        body += f.name.encode(encoding) + b"\0"
        body += pack("!IhIhih", f.table_oid, f.attnum, f.type_oid, -1, -1, f.format)
    return body


@pytest.mark.parametrize("encoding", ["utf-8", "iso8859-1"])
def test_a_row_description_is_read_in_the_clients_encoding(encoding: str) -> None:
    assert backend.read_row_description(row_description(FIELDS, encoding), encoding) == FIELDS
    assert backend.read_row_description(row_description(())) == ()


def test_a_row_description_that_ends_early_or_late_is_a_protocol_error() -> None:
    whole = row_description(FIELDS)
    for end in range(len(whole)):
        with pytest.raises(ProtocolError):
            backend.read_row_description(whole[:end])
    with pytest.raises(ProtocolError):
        backend.read_row_description(whole + b"\0")
    with pytest.raises(ProtocolError):
        backend.read_row_description(pack("!h", -1))


def data_row(cells: list[bytes | None]) -> bytes:
    body = pack("!h", len(cells))
    for cell in cells:
        body += pack("!i", -1) if cell is None else pack("!i", len(cell)) + cell
    return body


@given(st.lists(st.none() | st.binary(max_size=9), max_size=6))
def test_cells_are_read_as_they_were_written(cells: list[bytes | None]) -> None:
    assert backend.read_cells(data_row(cells)) == cells


def test_a_row_that_ends_early_or_late_is_a_protocol_error() -> None:
    whole = data_row([b"abc", None, b"", b"x"])
    for end in range(len(whole)):
        with pytest.raises(ProtocolError):
            backend.read_cells(whole[:end])
    with pytest.raises(ProtocolError):
        backend.read_cells(whole + b"\0")


@given(st.binary(max_size=60))
def test_no_body_raises_anything_but_a_protocol_error(body: bytes) -> None:
    backend.read_fields(body)
    backend.read_parameter_status(body)
    for read in (backend.read_row_description, backend.read_cells):
        with contextlib.suppress(ProtocolError):
            read(body)


def test_a_refusal_becomes_an_error_response_with_all_its_fields() -> None:
    refusal = Refusal("42501", "no", detail="because", hint="ask")
    whole = backend.error_response(refusal)
    assert whole[:1] == b"E"
    assert int.from_bytes(whole[1:5], "big") == len(whole) - 1
    assert backend.read_fields(whole[5:]) == {
        "S": "ERROR", "V": "ERROR", "C": "42501", "M": "no", "D": "because", "H": "ask",
    }  # fmt: skip
    fatal = backend.read_fields(backend.error_response(Refusal("57P01", "x"), "FATAL")[5:])
    assert fatal == {"S": "FATAL", "V": "FATAL", "C": "57P01", "M": "x"}


def test_text_of_ours_is_sent_in_the_clients_encoding_and_never_ends_a_field_early() -> None:
    whole = backend.error_response(Refusal("42501", "é\0D→"), encoding="iso8859-1")
    assert backend.read_fields(whole[5:], "iso8859-1")["M"] == "éD?"
    assert set(backend.read_fields(whole[5:], "iso8859-1")) == {"S", "V", "C", "M"}


def test_a_notice_says_its_severity() -> None:
    assert backend.read_fields(backend.notice_response("hi", severity="WARNING", sqlstate="01000")[5:]) == {
        "S": "WARNING", "V": "WARNING", "C": "01000", "M": "hi",
    }  # fmt: skip


def test_small_messages_are_written_byte_for_byte() -> None:
    assert backend.parameter_status("a", "b") == b"S\0\0\0\x08a\0b\0"
    assert backend.backend_key_data(-2, b"abcd") == b"K\0\0\0\x0c\xff\xff\xff\xfeabcd"
    assert backend.negotiate_protocol_version(2, [b"_pq_.x"]) == (
        b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0"
    )  # fmt: skip
    assert backend.read_parameter_status(b"TimeZone\0UTC\0") == ("TimeZone", "UTC")
    assert backend.read_parameter_status(b"application_name\0\0") == ("application_name", "")


@pytest.mark.parametrize(
    ("tag", "rows"),
    [
        ("SELECT 3", 3),
        ("INSERT 0 12", 12),
        ("COPY 0", 0),
        ("CREATE TABLE", None),
        ("", None),
        ("BEGIN", None),
    ],
)
def test_rows_are_counted_by_the_command_tag(tag: str, rows: int | None) -> None:
    assert backend.rows_of_tag(tag) == rows
