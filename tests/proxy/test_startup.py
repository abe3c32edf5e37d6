"""The first packets of a connection: every kind, every order, cut at every byte, and what is refused."""

from __future__ import annotations

import contextlib
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.errors import ProtocolError
from gatekeeper.proxy.wire import frontend
from gatekeeper.proxy.wire.options import read_options, split_options
from gatekeeper.proxy.wire.startup import (
    CancelRequest,
    DirectTls,
    FirstPacket,
    GssencRequest,
    SslRequest,
    Startup,
    StartupReader,
)

SSL = pack("!ii", 8, 80877103)
GSS = pack("!ii", 8, 80877104)


def startup(body: bytes, protocol: int = 3 << 16) -> bytes:
    return pack("!ii", len(body) + 8, protocol) + body


HELLO = startup(b"user\0ci\0database\0app\0\0")


def read(*chunks: bytes) -> list[FirstPacket]:
    reader = StartupReader()
    found: list[FirstPacket] = []
    for chunk in chunks:
        reader.feed(chunk)
        while (packet := reader.next()) is not None:
            found.append(packet)
            if isinstance(packet, DirectTls | Startup | CancelRequest):
                return found
    return found


def refused(*chunks: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        read(*chunks)
    return str(caught.value)


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize(
    ("packet", "meaning"),
    [
        (SSL, SslRequest()),
        (GSS, GssencRequest()),
        (frontend.cancel_request(7, b"abcd"), CancelRequest(7, b"abcd")),
        (frontend.cancel_request(-7, bytes(range(32))), CancelRequest(-7, bytes(range(32)))),
        (frontend.cancel_request(7, b"k" * 256), CancelRequest(7, b"k" * 256)),
        (HELLO, Startup(0, {b"user": b"ci", b"database": b"app"})),
        (startup(b"\0"), Startup(0, {})),
        (startup(b"user\0\0\0"), Startup(0, {b"user": b""})),
        (startup(b"user\0a\0user\0b\0\0"), Startup(0, {b"user": b"b"})),
        (startup(b"user\0a\0\0", 3 << 16 | 2), Startup(2, {b"user": b"a"})),
        (startup(b"user\0a\0\0", 3 << 16 | 9999), Startup(9999, {b"user": b"a"})),
        (
            startup(b"user\0a\0_pq_.x\0on\0_pq_.y\0\0\0"),
            Startup(0, {b"user": b"a"}, (b"_pq_.x", b"_pq_.y")),
        ),
        (startup(b"user\0a\0replication\0on\0\0"), Startup(0, {b"user": b"a", b"replication": b"on"})),
    ],
)  # fmt: skip
def test_each_first_packet_is_read_whole_and_byte_by_byte(packet: bytes, meaning: FirstPacket) -> None:
    assert read(packet) == [meaning]
    assert read(*bytewise(packet)) == [meaning]
    for at in range(1, len(packet)):
        assert read(packet[:at]) == []
        assert read(packet[:at], packet[at:]) == [meaning]


@pytest.mark.parametrize("order", [(SSL, GSS), (GSS, SSL), (SSL,), (GSS,), ()])
def test_encryption_may_be_asked_for_once_in_either_order(order: tuple[bytes, ...]) -> None:
    kinds = [type(packet) for packet in read(*order, HELLO)]
    assert kinds == [SslRequest if packet == SSL else GssencRequest for packet in order] + [Startup]


@pytest.mark.parametrize(
    "chunks", [(SSL, SSL), (GSS, GSS), (SSL, GSS, SSL), (GSS, SSL, GSS), (SSL, GSS, GSS)]
)
def test_encryption_may_not_be_asked_for_twice(chunks: tuple[bytes, ...]) -> None:
    assert "second" in refused(*chunks)


@pytest.mark.parametrize("request_", [SSL, GSS])
@pytest.mark.parametrize("stuffed", [b"\0", HELLO, SSL, b"\x16\x03\x01"])
def test_bytes_stuffed_behind_a_request_for_encryption_are_refused(request_: bytes, stuffed: bytes) -> None:
    assert "unencrypted data" in refused(request_ + stuffed)
    assert "unencrypted data" in refused(request_[:5], request_[5:] + stuffed)


def test_a_tls_handshake_is_seen_by_its_first_byte_and_only_at_the_beginning() -> None:
    assert read(b"\x16") == [DirectTls()]
    reader = StartupReader()
    reader.feed(b"\x16\x03\x01\x02")
    assert reader.next() == DirectTls()
    assert reader.take_rest() == b"\x16\x03\x01\x02"
    for before in (SSL, GSS):
        assert "length" in refused(before, b"\x16\x03\x01")


@pytest.mark.parametrize("length", [7, 4, 0, -1, -(2**31), 10_001, 2**31 - 1])
def test_a_length_that_cannot_be_is_refused(length: int) -> None:
    lie = pack("!ii", length, 3 << 16)
    assert "length" in refused(lie)
    assert "length" in refused(*bytewise(lie))


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n", b"\x80", b"\xff" * 8, b"SSH-2.0-x", b"\x15\x03"])
def test_other_protocols_are_refused_by_their_first_byte(garbage: bytes) -> None:
    assert "length" in refused(garbage[:1])
    assert "length" in refused(garbage)


@pytest.mark.parametrize("protocol", [2 << 16, 1 << 16, 4 << 16, 0, 9999 << 16, -1, 1234 << 16 | 9999])
def test_other_major_versions_are_refused_by_name(protocol: int) -> None:
    assert "unsupported frontend protocol" in refused(pack("!ii", 9, protocol) + b"\0")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"user\0ci\0",  # no terminator
        b"user\0ci",
        b"user\0\0",  # a name without a value
        b"user\0ci\0database\0\0",
        b"\0\0",
        b"\0ci\0\0",
        b"user\0ci\0\0x",
        b"user\0ci\0\0x\0",
        b"user\0ci\0\0x\0y\0",
        b"user\0ci\0\0\0",
    ],
)
def test_a_layout_that_is_none_is_refused(body: bytes) -> None:
    assert "invalid startup packet layout" in refused(startup(body))


@pytest.mark.parametrize("key_bytes", [0, 3, 257, 1000])
def test_a_cancel_request_with_a_key_of_no_possible_length_is_refused(key_bytes: int) -> None:
    assert "cancel" in refused(frontend.cancel_request(7, bytes(key_bytes)))


@pytest.mark.parametrize("request_", [80877103, 80877104])
def test_a_request_for_encryption_has_no_body(request_: int) -> None:
    refused(pack("!ii", 9, request_) + b"\0")


def test_what_comes_behind_the_startup_packet_is_kept() -> None:
    reader = StartupReader()
    reader.feed(HELLO + b"p\0\0\0\5\0")
    assert isinstance(reader.next(), Startup)
    assert reader.take_rest() == b"p\0\0\0\5\0"


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_no_garbage_raises_anything_but_a_protocol_error(chunks: list[bytes]) -> None:
    with contextlib.suppress(ProtocolError):
        read(*chunks)


@given(st.binary(max_size=60), st.sampled_from([3 << 16, 3 << 16 | 2, 80877102, 80877103, 80877104, 2 << 16]))
def test_no_body_raises_anything_but_a_protocol_error(body: bytes, code: int) -> None:
    with contextlib.suppress(ProtocolError):
        read(startup(body, code))


@given(st.dictionaries(st.binary(min_size=1, max_size=9), st.binary(max_size=9), max_size=5))
def test_what_is_written_is_read_back(parameters: dict[bytes, bytes]) -> None:
    clean: dict[Any, Any] = {
        b"n" + name.replace(b"\0", b"x"): value.replace(b"\0", b"x") for name, value in parameters.items()
    }
    assert read(frontend.startup(clean)) == [Startup(0, clean)]


# --- options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  \t\n ", []),
        ("-c a=b", ["-c", "a=b"]),
        (" -c\ta=b  --c=d ", ["-c", "a=b", "--c=d"]),
        (r"-c search_path=a\ b", ["-c", "search_path=a b"]),
        (r"-c x=a\\b", ["-c", r"x=a\b"]),
        (r"-c x=a\'b", ["-c", "x=a'b"]),
        ("-c x='a b'", ["-c", "x='a", "b'"]),
        ("a\\", ["a"]),
        ("\\", [""]),
    ],
)
def test_options_are_split_as_the_backend_splits_them(text: str, words: list[str]) -> None:
    assert split_options(text) == words


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("-c statement_timeout=5s", {"statement_timeout": "5s"}),
        ("-cstatement_timeout=5s", {"statement_timeout": "5s"}),
        ("--statement-timeout=5s", {"statement_timeout": "5s"}),
        ("--Statement-Timeout=5s", {"statement_timeout": "5s"}),
        ("-c a.b=x=y", {"a.b": "x=y"}),
        ("-c a=", {"a": ""}),
        ("-c a=1 -c A=2", {"a": "2"}),
    ],
)
def test_options_give_settings(text: str, settings: dict[str, str]) -> None:
    assert read_options(text) == settings


@pytest.mark.parametrize(
    "text", ["-c", "-c a", "--", "--a", "-c =x", "-d 5", "-r file", "-P", "--single", "x", "-e", "-W 9", "-"]
)
def test_other_switches_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        read_options(text)


@given(st.text(max_size=40))
def test_no_options_raise_anything_but_a_protocol_error(text: str) -> None:
    with contextlib.suppress(ProtocolError):
        read_options(text)
