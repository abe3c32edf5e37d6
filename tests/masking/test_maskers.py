"""What a cell becomes under each method, in rows of any shape."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.errors import ProtocolError
from gatekeeper.masking.maskers import ALWAYS_NULL, ALWAYS_REDACTED, cell_mask, email, keyed_hash, last4
from gatekeeper.masking.rows import row_masker
from tests.masking.probe import decode, encode


@pytest.mark.parametrize(
    ("value", "masked"),
    [("123-45-6789", "*******6789"), ("ÄÖÜßäöü", "***ßäöü"), ("12345", "*2345"), ("1234", "****"), ("", "")],
)
def test_last4_keeps_the_last_four_characters_of_a_longer_value(value: str, masked: str) -> None:
    assert last4(value.encode()).decode() == masked


def test_last4_redacts_what_it_cannot_read() -> None:
    assert last4(b"\xff\xfe12345") == b"[REDACTED]"


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ("ada@example.org", "****@example.org"),
        ('"a@b"@example.org', "****@example.org"),
        ("no address", "****"),
        ("x@not a domain 123-45-6789", "****"),
        ("x@", "****"),
        ("a@example.org\n", "****"),
    ],
)
def test_email_keeps_the_domain_alone(value: str, masked: str) -> None:
    assert email(value.encode()).decode() == masked


def test_hash_is_equal_for_equal_values_within_one_key() -> None:
    one, other = keyed_hash(b"one"), keyed_hash(b"other")
    assert one(b"x") == one(b"x") != one(b"y")
    assert one(b"x") != other(b"x")
    assert len(one(b"x") or b"") == 16


@pytest.mark.parametrize("method", ["hash", "last4", "email", "redact"])
def test_what_was_computed_from_a_masked_column_keeps_no_part_of_it(method: str) -> None:
    assert cell_mask(method, b"k", textual=True, derived=True) == b"[REDACTED]"  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["hash", "last4", "email", "redact", "null"])
def test_a_type_that_is_not_textual_becomes_null(method: str) -> None:
    assert cell_mask(method, b"k", textual=False, derived=False) is None  # type: ignore[arg-type]


cells = st.lists(st.one_of(st.none(), st.binary(max_size=12)), min_size=1, max_size=9).map(tuple)
actions = st.sampled_from(
    [b"[REDACTED]", None, ALWAYS_NULL, ALWAYS_REDACTED, lambda v: v[::-1], lambda v: None]
)


@given(cells, st.dictionaries(st.integers(0, 8), actions, min_size=1))
def test_only_masked_cells_change(row: tuple[bytes | None, ...], chosen: dict[int, object]) -> None:
    chosen = {index: action for index, action in chosen.items() if index < len(row)}
    masker = row_masker(("x",), len(row), chosen)  # type: ignore[arg-type]
    body = encode(row)
    result = decode(masker.apply(body))
    for index, (was, now) in enumerate(zip(row, result, strict=True)):
        if index not in chosen:
            assert now == was
            continue
        action = chosen[index]
        if action in (ALWAYS_NULL, ALWAYS_REDACTED):
            assert now == action.value  # type: ignore[attr-defined]
        elif was is None:
            assert now is None
        else:
            assert now == (action(was) if callable(action) else action)
    framed = b"D" + struct.pack("!i", len(body) + 4) + body
    assert (
        masker.apply_all(framed * 3)
        == (b"D" + struct.pack("!i", len(masker.apply(body)) + 4) + masker.apply(body)) * 3
    )


@given(cells, st.integers(0, 40))
def test_a_row_that_is_cut_off_is_never_passed_on_as_it_is(row: tuple[bytes | None, ...], cut: int) -> None:
    masker = row_masker(("x",), len(row), {len(row) - 1: b"[REDACTED]"})
    body = encode(row)
    if cut < len(body):
        with pytest.raises(ProtocolError):
            masker.apply(body[:cut])


def test_a_row_with_another_number_of_columns_is_refused() -> None:
    masker = row_masker(("x",), 2, {0: b"x"})
    with pytest.raises(ProtocolError):
        masker.apply(encode((b"1",)))
    with pytest.raises(ProtocolError):
        masker.apply_all(b"C\0\0\0\4")
