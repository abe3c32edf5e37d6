"""Whatever is given as a token, the answer is a token or one refusal."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from gatekeeper.errors import LoginRefusedError
from gatekeeper.identity.tokens import (
    candidates,
    check_algorithm,
    check_claims,
    check_issuer,
    check_times,
    read,
)
from gatekeeper.rules.schema import IssuerRules
from tests.identity.issuers import ISSUER, KEYS, NOW, claims, sign

RULES = IssuerRules("ci", ISSUER, ("gatekeeper",))
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."


def judge(text: str) -> str:
    """Every check but the signature."""
    try:
        token = read(text)
        check_algorithm(token, RULES)
        check_issuer(token, RULES)
        candidates(token, list(KEYS.values()))
        check_claims(token, RULES)
        check_times(token.claims, NOW)
    except LoginRefusedError as error:
        refusal = error
    else:
        return "fine"
    assert "\n" not in refusal.reason
    assert len(refusal.reason) < 300
    return str(refusal)


@given(st.text(max_size=300) | st.text(alphabet=ALPHABET, max_size=300))
@example("..")
@example("eyJhbGciOiJFUzI1NiJ9.e30.")
def test_any_text_is_refused(text: str) -> None:
    assert judge(text) == "login refused"


def segment(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_in_the_parts_are_refused(header: bytes, body: bytes) -> None:
    assert judge(f"{segment(header)}.{segment(body)}.AAAA") == "login refused"


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["alg", "kid", "typ", "cty", "crit", "jku"]), values)
def test_any_value_of_a_header_gives_an_answer(name: str, value: Any) -> None:
    header = {"alg": "ES256", "kid": "ec", name: value}
    judge(f"{segment(json.dumps(header).encode())}.{segment(json.dumps(claims()).encode())}.AAAA")


@given(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "other"]), values)
def test_any_value_of_a_claim_gives_an_answer(name: str, value: Any) -> None:
    body = json.dumps({**claims(), name: value}).encode()
    judge(f"{segment(json.dumps({'alg': 'ES256', 'kid': 'ec'}).encode())}.{segment(body)}.AAAA")


def test_a_right_token_is_fine() -> None:
    assert judge(sign()) == "fine"


def test_a_platforms_longest_header_is_read() -> None:
    """Entra and GitHub send a certificate's thumbprint along, which is looked at by nobody."""
    assert judge(sign(x5t="z" * 43, **{"x5t#S256": "z" * 43})) == "fine"
    assert judge(sign(typ="at+jwt")) == "fine"
    assert judge(sign(typ=None)) == "fine"
