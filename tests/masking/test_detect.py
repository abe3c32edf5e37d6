"""Sensitive values are found by content, and what only looks similar survives."""

from __future__ import annotations

import time

import pytest

from gatekeeper.masking.detect import ENTITIES, clean_fields, scanner
from gatekeeper.rules.schema import MaskRules
from tests.masking.probe import KEY, Probe, rules_of

FOUND = {
    "CREDIT_CARD": ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"],
    "US_SSN": ["123-45-6789", "078 05 1120"],
    "EMAIL_ADDRESS": ["ada@example.org", "first.last+tag@sub.example.co.uk"],
    "IBAN_CODE": ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "nl91abna0417164300"],
    "PHONE_NUMBER": ["+49 30 1234567", "+1-212-555-0123", "(212) 555-0123", "212-555-0123"],
    "IP_ADDRESS": ["203.0.113.9", "2001:db8::1", "fe80:0:0:0:1:2:3:4"],
}
NOT_FOUND = {
    "CREDIT_CARD": ["4111111111111112", "order 1234567890123456", "1111111111111111", "12.4111111111111111"],
    "US_SSN": ["123-456-789", "000-12-3456", "666-12-3456", "2024-01-02", "1123-45-6789"],
    "EMAIL_ADDRESS": ["user@host", "@example.org", "a @ b.com"],
    "IBAN_CODE": ["DE89370400440532013001", "XX00", "AB12CD34EF56GH78IJ"],
    "PHONE_NUMBER": ["12345", "1234567890", "2024-01-02 03:04:05", "1.5"],
    "IP_ADDRESS": ["256.1.1.1", "1.2.3", "1.2.3.4.5", "12:34:56", "a::b::c", "std::vector"],
}


def only(entity: str, method: str = "redact") -> tuple[MaskRules, ...]:
    return (MaskRules("found", detect=(entity,), method=method),)  # type: ignore[arg-type]


@pytest.mark.parametrize(("entity", "value"), [(e, v) for e, values in FOUND.items() for v in values])
def test_it_is_found_alone_and_within_a_text(entity: str, value: str) -> None:
    mask = scanner(only(entity), KEY, whole=False)
    assert mask(value.encode()) == b"[REDACTED]"
    assert mask(f"see {value}, please".encode()) == b"see [REDACTED], please"
    assert scanner(only(entity), KEY, whole=True)(f'{{"a": "{value}"}}'.encode()) is None


@pytest.mark.parametrize(("entity", "value"), [(e, v) for e, values in NOT_FOUND.items() for v in values])
def test_what_only_looks_like_it_survives(entity: str, value: str) -> None:
    mask = scanner(only(entity), KEY, whole=False)
    assert mask(value.encode()) == value.encode()


@pytest.mark.parametrize(
    ("method", "expected"),
    [("last4", b"see *******6789"), ("null", None), ("email", b"see ****")],
)
def test_the_found_part_is_masked_by_the_method(method: str, expected: bytes | None) -> None:
    assert scanner(only("US_SSN", method), KEY, whole=False)(b"see 123-45-6789") == expected


@pytest.mark.parametrize("entity", list(ENTITIES))
@pytest.mark.parametrize(
    "piece", ["1", "1 ", "a", "a.", "a@", "1-", ":", "1.", "a@a.", "+1 ", "(1", "DE89 ", "::1"]
)
def test_finding_takes_linear_time(entity: str, piece: str) -> None:
    mask = scanner(only(entity), KEY, whole=False)

    def took(size: int) -> float:
        text = (piece * size)[:size].encode()
        start = time.perf_counter()
        mask(text)
        return time.perf_counter() - start

    took(2_000)
    assert took(400_000) < 2.0


def test_errors_and_notices_are_looked_at_too() -> None:
    fields = {"C": "22P02", "M": 'invalid input syntax for type integer: "123-45-6789"'}
    assert clean_fields(fields, only("US_SSN"), KEY)["M"].endswith('"[REDACTED]"')


@pytest.mark.server
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_every_textual_and_json_column_is_looked_at(probe: Probe, binary: bool) -> None:
    watching = Probe(probe.database, rules_of(MaskRules("found", detect=tuple(ENTITIES))))
    watching.catalog, watching.masks = probe.catalog, probe.masks
    from gatekeeper.masking.resolve import resolve

    watching.masks = resolve(watching.rules, watching.catalog, "ci", "app", hash_key=KEY)
    outcome = watching.run(
        "select 'card 4111111111111111'::text, 'x'::text, '123-45-6789'::varchar, "
        """'{"a": "ada@example.org"}'::jsonb, '{"a": 1}'::json, 42, '203.0.113.9'::inet""",
        binary=binary,
    )
    (row,), (was,) = outcome.through.rows, outcome.direct.rows
    assert row[:4] == (b"card [REDACTED]", b"x", b"[REDACTED]", None)
    assert row[4:] == was[4:]
    copied = watching.run("copy (select 'a 123-45-6789 b'::text, 7, 'plain'::text) to stdout").through.copied
    assert b"6789" not in copied
    assert b"plain" in copied
    assert b"7" in copied
    watching.close()
