"""Frames in, messages out: whole, cut at every byte, and where they lie."""

from __future__ import annotations

import contextlib
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.errors import ProtocolError
from gatekeeper.proxy.wire.framing import (
    MAX_BEFORE_LOGIN_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_SMALL_MESSAGE_BYTES,
    SESSION_TYPES,
    BackendFrames,
    FrontendFrames,
)

SMALL = b"EDCSHXcf"
LARGE = b"QPBFd"


def frame(kind: int, body: bytes = b"") -> bytes:
    return bytes([kind]) + pack("!i", len(body) + 4) + body


def split(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def read(*chunks: bytes, types: frozenset[int] = SESSION_TYPES) -> list[tuple[int, bytes]]:
    frames = FrontendFrames(types=types)
    found = []
    for chunk in chunks:
        frames.feed(chunk)
        while (message := frames.next()) is not None:
            found.append(message)
    return found


STREAM = b"".join(frame(kind, bytes([i]) * i) for i, kind in enumerate(sorted(SESSION_TYPES)))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_every_message_type_arrives_whole_however_it_is_cut(size: int) -> None:
    found = read(*split(STREAM, size))
    assert [kind for kind, _ in found] == sorted(SESSION_TYPES)
    assert b"".join(message for _, message in found) == STREAM


@pytest.mark.parametrize("at", range(1, len(STREAM)))
def test_two_segments_cut_anywhere_give_the_same_messages(at: int) -> None:
    assert read(STREAM[:at], STREAM[at:]) == read(STREAM)


@pytest.mark.parametrize("length", [3, 0, -1, -(2**31), MAX_MESSAGE_BYTES + 1, 2**31 - 1])
@pytest.mark.parametrize("kind", LARGE)
def test_a_length_that_cannot_be_is_refused_before_its_body_comes(kind: int, length: int) -> None:
    lie = bytes([kind]) + pack("!i", length)
    with pytest.raises(ProtocolError, match="length"):
        read(*split(lie, 1))


@pytest.mark.parametrize("kind", SMALL)
def test_a_message_that_is_always_small_may_not_claim_to_be_large(kind: int) -> None:
    assert read(frame(kind, bytes(MAX_SMALL_MESSAGE_BYTES - 4)))
    with pytest.raises(ProtocolError, match="length"):
        read(bytes([kind]) + pack("!i", MAX_SMALL_MESSAGE_BYTES + 1))


@pytest.mark.parametrize("kind", sorted(set(range(256)) - SESSION_TYPES))
def test_an_unknown_type_is_refused_by_its_first_byte(kind: int) -> None:
    with pytest.raises(ProtocolError, match="type"):
        read(bytes([kind]))
    with pytest.raises(ProtocolError, match="type"):
        read(frame(kind))


def test_nothing_may_follow_on_a_lie() -> None:
    frames = FrontendFrames(types=SESSION_TYPES)
    frames.feed(frame(ord("S")) + b"\x00garbage")
    assert frames.next() == (ord("S"), frame(ord("S")))
    for _ in range(2):
        with pytest.raises(ProtocolError):
            frames.next()


def test_before_the_login_messages_are_short_and_passwords_alone() -> None:
    frames = FrontendFrames(max_bytes=MAX_BEFORE_LOGIN_BYTES, types=frozenset(b"p"))
    frames.feed(b"p" + pack("!i", MAX_BEFORE_LOGIN_BYTES + 1))
    with pytest.raises(ProtocolError):
        frames.next()
    with pytest.raises(ProtocolError):
        read(frame(ord("Q"), b"select 1\0"), types=frozenset(b"p"))


def test_what_is_left_can_be_taken_and_is_counted() -> None:
    frames = FrontendFrames(types=SESSION_TYPES)
    frames.feed(frame(ord("S")) + b"Qrest")
    assert frames.buffered_bytes == 10
    frames.next()
    assert frames.buffered_bytes == 5
    assert frames.take_rest() == b"Qrest"
    assert frames.buffered_bytes == 0
    assert frames.next() is None


@given(
    st.lists(st.tuples(st.sampled_from(sorted(SESSION_TYPES)), st.binary(max_size=40)), max_size=8), st.data()
)
def test_any_stream_cut_anywhere_is_the_same_stream(
    messages: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame(*m) for m in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*chunks) == [(kind, frame(kind, body)) for kind, body in messages]


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_no_garbage_raises_anything_but_a_protocol_error(chunks: list[bytes]) -> None:
    with contextlib.suppress(ProtocolError):
        read(*chunks)


# --- the server's side, during login ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4, 6, 100])
def test_a_servers_messages_arrive_whole_however_they_are_cut(size: int) -> None:
    stream = frame(ord("R"), bytes(4)) + frame(ord("S"), b"a\0b\0") + frame(ord("Z"), b"I") + b"T\0\0"
    frames = BackendFrames()
    found = []
    for chunk in split(stream, size):
        frames.feed(chunk)
        while (message := frames.next()) is not None:
            found.append(message)
    assert found == [(ord("R"), bytes(4)), (ord("S"), b"a\0b\0"), (ord("Z"), b"I")]
    assert frames.take_rest() == b"T\0\0"


@pytest.mark.parametrize("length", [3, 0, -1, -(2**31), MAX_BEFORE_LOGIN_BYTES + 1, 2**31 - 1])
def test_a_server_that_lies_about_a_length_is_not_believed(length: int) -> None:
    frames = BackendFrames()
    frames.feed(b"R" + pack("!i", length))
    with pytest.raises(ProtocolError):
        frames.next()
