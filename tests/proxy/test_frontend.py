"""What a client's messages say: read back as written, truncated at every byte, and fuzzed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.errors import ProtocolError
from gatekeeper.proxy.wire import frontend
from gatekeeper.proxy.wire.frontend import Bind, Parse, Target, message

Reader = Callable[[bytes], Any]

READERS: dict[str, Reader] = {
    "Query": frontend.read_query,
    "Parse": frontend.read_parse,
    "Bind": frontend.read_bind,
    "Describe or Close": frontend.read_target,
    "Execute": frontend.read_execute,
    "Password": frontend.read_password,
}


def bind(
    portal: bytes = b"",
    statement: bytes = b"",
    formats: tuple[int, ...] = (),
    values: tuple[bytes | None, ...] = (),
    results: tuple[int, ...] = (),
) -> bytes:
    body = portal + b"\0" + statement + b"\0"
    body += pack(f"!H{len(formats)}h", len(formats), *formats) + pack("!H", len(values))
    for value in values:
        body += pack("!i", -1) if value is None else pack("!i", len(value)) + value
    return message(b"B", body + pack(f"!H{len(results)}h", len(results), *results))


VALID: list[tuple[Reader, bytes, Any]] = [
    (frontend.read_query, frontend.query(b"select 1"), b"select 1"),
    (frontend.read_query, frontend.query(b""), b""),
    (frontend.read_parse, frontend.parse(b"s", b"select $1", (23, 0)), Parse(b"s", b"select $1", (23, 0))),
    (frontend.read_parse, frontend.parse(b"", b"", (4294967295,)), Parse(b"", b"", (4294967295,))),
    (frontend.read_bind, bind(), Bind(b"", b"", (), (), ())),
    (
        frontend.read_bind,
        bind(b"p", b"s", (1,), (b"ab", None, b""), (0, 1)),
        Bind(b"p", b"s", (b"ab", None, b""), (1, 1, 1), (0, 1)),
    ),
    (
        frontend.read_bind,
        bind(b"p", b"s", (0, 1), (b"ab", None), (1,)),
        Bind(b"p", b"s", (b"ab", None), (0, 1), (1,)),
    ),
    (frontend.read_bind, bind(values=(b"x",) * 70), Bind(b"", b"", (b"x",) * 70, (0,) * 70, ())),
    (frontend.read_target, frontend.describe("S", b"s"), Target("S", b"s")),
    (frontend.read_target, frontend.describe("P", b""), Target("P", b"")),
    (frontend.read_execute, message(b"E", b"p\0" + pack("!i", 5)), (b"p", 5)),
    (frontend.read_execute, message(b"E", b"\0" + pack("!i", -1)), (b"", -1)),
    (frontend.read_password, message(b"p", b"secret\0"), b"secret"),
]  # fmt: skip


@pytest.mark.parametrize(("read", "whole", "meaning"), VALID)
def test_a_valid_message_is_read(read: Reader, whole: bytes, meaning: Any) -> None:
    assert read(whole) == meaning


@pytest.mark.parametrize(("read", "whole", "meaning"), VALID)
def test_a_message_that_ends_too_early_anywhere_is_a_protocol_error(
    read: Reader, whole: bytes, meaning: Any
) -> None:
    for end in range(5, len(whole)):
        with pytest.raises(ProtocolError):
            read(whole[:end])


@pytest.mark.parametrize(("read", "whole", "meaning"), VALID)
@pytest.mark.parametrize("more", [b"\0", b"x", b"\0\0\0\0\0"])
def test_a_message_with_more_than_its_fields_is_a_protocol_error(
    read: Reader, whole: bytes, meaning: Any, more: bytes
) -> None:
    with pytest.raises(ProtocolError):
        read(whole + more)


def test_a_query_with_a_nul_in_it_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        frontend.read_query(frontend.query(b"select 1\0; drop table t"))


@pytest.mark.parametrize("length", [-2, -(2**31), 5, 2**31 - 1])
def test_a_parameter_whose_length_lies_is_a_protocol_error(length: int) -> None:
    body = b"\0\0" + pack("!HHi", 0, 1, length) + b"abcd" + pack("!H", 0)
    with pytest.raises(ProtocolError):
        frontend.read_bind(message(b"B", body))


@pytest.mark.parametrize(("formats", "values"), [((0, 0), 1), ((0, 1, 0), 2), ((1, 1), 0), ((1,) * 4, 3)])
def test_a_bind_whose_formats_do_not_fit_is_a_protocol_error(formats: tuple[int, ...], values: int) -> None:
    with pytest.raises(ProtocolError, match="formats"):
        frontend.read_bind(bind(formats=formats, values=(b"x",) * values))


@pytest.mark.parametrize("code", [2, -1, 256])
def test_a_format_that_does_not_exist_is_a_protocol_error(code: int) -> None:
    for whole in (bind(formats=(code,), values=(b"x",)), bind(results=(code,))):
        with pytest.raises(ProtocolError, match="format"):
            frontend.read_bind(whole)


@pytest.mark.parametrize("kind", [b"", b"s", b"p", b"X", b"\0"])
def test_describe_and_close_know_statements_and_portals_alone(kind: bytes) -> None:
    with pytest.raises(ProtocolError):
        frontend.read_target(message(b"D", kind + b"name\0"))


def test_the_function_of_a_function_call_is_read_unsigned() -> None:
    assert frontend.read_function_call(message(b"F", pack("!IHHH", 4294967295, 0, 0, 0))) == 4294967295
    for size in range(4):
        with pytest.raises(ProtocolError):
            frontend.read_function_call(message(b"F", bytes(size)))


@pytest.mark.parametrize("read", [*READERS.values(), frontend.read_function_call])
@given(body=st.binary(max_size=80))
def test_no_body_raises_anything_but_a_protocol_error(read: Reader, body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        read(message(b"?", body))


@given(st.data())
def test_a_bind_with_one_byte_changed_raises_nothing_but_a_protocol_error(data: st.DataObject) -> None:
    whole = bytearray(bind(b"p", b"s", (0, 1), (b"ab", None), (1,)))
    place = data.draw(st.integers(5, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        frontend.read_bind(bytes(whole))


_name = st.binary(max_size=8).map(lambda raw: raw.replace(b"\0", b""))


@given(_name, _name, st.lists(st.none() | st.binary(max_size=6), max_size=6), st.data())
def test_a_bind_is_read_as_it_was_written(
    portal: bytes, statement: bytes, values: list[bytes | None], data: st.DataObject
) -> None:
    code = st.sampled_from([0, 1])
    each = st.lists(code, min_size=len(values), max_size=len(values))
    formats = tuple(data.draw(st.one_of(st.just([]), st.lists(code, min_size=1, max_size=1), each)))
    results = tuple(data.draw(st.lists(code, max_size=4)))
    expanded = formats if len(formats) == len(values) else (formats or (0,)) * len(values)
    found = frontend.read_bind(bind(portal, statement, formats, tuple(values), results))
    assert found == Bind(portal, statement, tuple(values), expanded, results)
