"""A token lets in where all is right, and every attack meets one and the same refusal."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from gatekeeper.errors import LoginRefusedError
from gatekeeper.identity.keys import KeyRing
from gatekeeper.identity.login import Admitted, Authenticator
from gatekeeper.identity.tokens import MAX_TOKEN_BYTES, read
from gatekeeper.rules.schema import Rules
from tests.identity.issuers import ALGORITHMS, KEYS, NOW, OTHER, claims, jwks, rules, sign


class Door:
    def __init__(self, published: Path) -> None:
        self.file = published
        self.keys = KeyRing()
        self.authenticator = Authenticator(self.keys)
        self.rules = rules(published)

    async def login(
        self, token: str, now: float = NOW, user: str = "deploy", database: str = "app"
    ) -> Admitted:
        return await self.authenticator.authenticate(self.rules, user, database, token, now)

    async def refusal(self, token: str, **where: Any) -> LoginRefusedError:
        with pytest.raises(LoginRefusedError) as caught:
            await self.login(token, **where)
        error = caught.value
        for part in (token, *token.split(".")):
            if len(part) > 20:
                assert part not in f"{error} {error!r} {error.reason}"
        return error


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    published = tmp_path / "jwks.json"
    published.write_text(json.dumps(jwks()))
    door = Door(published)
    yield door
    await door.keys.close()


def b64(value: bytes | dict[str, Any]) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hmac_signed(alg: str, secret: bytes, **header: Any) -> str:
    signed = f"{b64({'alg': alg, 'kid': 'rsa', **header})}.{b64(claims())}"
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize("alg", ALGORITHMS)
async def test_a_right_token_is_admitted_as_its_grant(door: Door, alg: str) -> None:
    admitted = await door.login(sign(alg=alg))
    assert admitted.grant.name == "deploy"
    assert admitted.database.name == "app"
    assert admitted.identity.issuer == "ci"
    assert admitted.identity.subject == "repo:acme/shop:ref:refs/heads/main"
    assert admitted.identity.run == "token-1"
    assert admitted.identity.token_expires_at == NOW + 600


def attacks() -> dict[str, str]:
    rsa_pem = KEYS["RS256"].as_pem(private=False)
    rsa_json = json.dumps(KEYS["RS256"].as_dict(private=False)).encode()
    mine = ECKey.generate_key("P-256", {"kid": "mine"})
    good = sign()
    head, body, signature = good.split(".")
    twice = json.dumps(claims())[:-1] + ', "repository_id": "1296269"}'
    twice_deep = json.dumps(claims(extra={"a": 1})).replace('{"a": 1}', '{"a": 1, "a": 2}')
    doubled_header = b64(b'{"alg":"ES256","kid":"ec","alg":"ES256"}')
    return {
        "nothing": "",
        "a password": "hunter2",
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.{signature}",
        "five parts, an encrypted token": f"{head}.{body}.{signature}.{body}.{signature}",
        "padding": f"{head}.{body}.{signature}=",
        "a line break": good + "\n",
        "a space inside": f"{head}.{body} .{signature}",
        "not ASCII": good + "é",
        "a header that is a list": f"{b64(b'[]')}.{body}.{signature}",
        "a header that is not JSON": f"{b64(b'{alg}')}.{body}.{signature}",
        "claims that are a list": sign(b"[]"),
        "claims that are not UTF-8": sign(b'{"iss":"\xff"}'),
        "claims nested without end": sign(b'{"a":' * 3000),
        "claims with lists nested without end": sign(b"[" * 8000),
        "NaN in claims": sign(json.dumps(claims(exp=float("nan"))).encode()),
        "alg none": f"{b64({'alg': 'none'})}.{body}.",
        "alg none with a signature": f"{b64({'alg': 'none', 'kid': 'ec'})}.{body}.{signature}",
        "alg None": f"{b64({'alg': 'None', 'kid': 'ec'})}.{body}.{signature}",
        "alg missing": f"{b64({'kid': 'ec'})}.{body}.{signature}",
        "alg a list": f"{b64({'alg': ['ES256'], 'kid': 'ec'})}.{body}.{signature}",
        "HMAC with the public key's PEM": hmac_signed("HS256", rsa_pem),
        "HMAC with the public key's JSON": hmac_signed("HS256", rsa_json),
        "HMAC with nothing": hmac_signed("HS256", b""),
        "alg not in the list": sign(alg="RS512", key=KEYS["RS256"]),
        "alg of another key's kind": sign(alg="RS256", key=KEYS["RS256"], kid="ec"),
        "another key under a known kid": sign(key=OTHER),
        "an unknown kid": sign(key=mine),
        "no kid, and several keys": sign(kid=None, alg="PS256", key=KEYS["RS256"]),
        "a kid that climbs": sign(kid="../../../../dev/null"),
        "a kid that is SQL": sign(kid="ec' or '1'='1"),
        "an empty kid": sign(kid=""),
        "a kid that is a number": sign(kid=1),
        "a kid that is a list": sign(kid=["ec"]),
        "jku": sign(jku="https://evil.example/jwks"),
        "jwk": sign(key=mine, jwk=mine.as_dict(private=False), kid="ec"),
        "x5u": sign(x5u="https://evil.example/cert"),
        "x5c": sign(x5c=["MII"]),
        "crit": f"{b64({'alg': 'ES256', 'kid': 'ec', 'crit': ['exp']})}.{body}.{signature}",
        "b64": f"{b64({'alg': 'ES256', 'kid': 'ec', 'b64': False, 'crit': ['b64']})}.{body}.{signature}",
        "another type of token": sign(typ="logout+jwt"),
        "a nested token": sign(cty="JWT"),
        "a name twice in the header": f"{doubled_header}.{body}.{signature}",
        "a name twice in the claims": sign(twice.encode()),
        "a name twice inside a claim": sign(twice_deep.encode()),
        "no exp": sign(claims(exp=None)),
        "exp a text": sign(claims(exp=str(NOW + 600))),
        "exp true": sign(claims(exp=True)),
        "exp beyond all time": sign(claims(exp=1e300)),
        "exp negative": sign(claims(exp=-1)),
        "nbf a text": sign(claims(nbf="now")),
        "no aud": sign(claims(aud=None)),
        "another aud": sign(claims(aud="vault")),
        "an aud that only begins alike": sign(claims(aud="gatekeeper-2")),
        "an aud of no text": sign(claims(aud=[["gatekeeper"]])),
        "an aud with a number": sign(claims(aud=["gatekeeper", 1])),
        "an empty aud": sign(claims(aud=[])),
        "an aud that is an object": sign(claims(aud={"gatekeeper": 1})),
        "no iss": sign(claims(iss=None)),
        "another iss": sign(claims(iss="https://elsewhere.example")),
        "an iss with a slash more": sign(claims(iss="https://issuer.example/")),
        "an iss that is a list": sign(claims(iss=["https://issuer.example"])),
        "a sub that is a list": sign(claims(sub=["repo"])),
        "a jti that is a list": sign(claims(jti=["token-1"])),
        "a NUL in a claim": sign(claims(sub="a\0b")),
        "half a character in a claim": sign(json.dumps(claims()).replace("repo:", "\\ud800").encode()),
        "another repository": sign(claims(repository_id="1")),
        "no repository": sign(claims(repository_id=None)),
        "a repository that is an object": sign(claims(repository_id={"1296269": True})),
        "a signature cut short": good[:-8],
        "a signature of zeros": f"{head}.{body}.{b64(bytes(64))}",
        "a changed claim": f"{head}.{b64(claims(sub='root'))}.{signature}",
        "a token beyond the limit": sign(claims(pad="x" * MAX_TOKEN_BYTES)),
    }


@pytest.mark.parametrize(("name", "token"), attacks().items(), ids=list(attacks()))
async def test_an_attack_meets_the_one_refusal(door: Door, name: str, token: str) -> None:
    error = await door.refusal(token)
    assert str(error) == "login refused"
    assert error.sqlstate == "28000"
    assert error.reason
    assert "\n" not in error.reason


async def test_the_true_reason_is_told_to_the_log(door: Door) -> None:
    wrong = sign(claims(repository_id="1"))
    assert "claim repository_id is '1', not 1296269" in (await door.refusal(wrong)).reason
    assert "algorithm 'HS256' is not allowed" in (await door.refusal(hmac_signed("HS256", b"k"))).reason
    assert "kid" not in (await door.refusal(sign(claims(aud="vault")))).reason


async def test_no_token_is_ever_logged(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for token in attacks().values():
        await door.refusal(token)
    await door.login(sign())
    assert "eyJ" not in caplog.text
    assert "eyJ" not in repr(read(sign()))
    assert "eyJ" not in repr(door.authenticator._cache)


async def test_an_expired_token_is_told_so_only_if_its_signature_is_right(door: Door) -> None:
    old = claims(exp=NOW - 31)
    assert str(await door.refusal(sign(old))) == "token expired"
    assert str(await door.refusal(sign(old, key=OTHER))) == "login refused"
    assert str(await door.refusal(sign({**old, "aud": "vault"}))) == "login refused"


async def test_a_token_of_the_future_is_told_so_only_if_its_signature_is_right(door: Door) -> None:
    for early in (claims(nbf=NOW + 31), claims(iat=NOW + 31, nbf=None)):
        assert str(await door.refusal(sign(early))) == "token not yet valid"
        assert str(await door.refusal(sign(early, key=OTHER))) == "login refused"


async def test_clocks_may_differ_by_half_a_minute(door: Door) -> None:
    await door.login(sign(claims(exp=NOW - 29)))
    await door.login(sign(claims(nbf=NOW + 29, iat=NOW + 29)))


async def test_another_issuers_grant_does_not_open(door: Door) -> None:
    door.rules = replace(
        door.rules, issuers=tuple(replace(i, jwks=str(door.file)) for i in door.rules.issuers)
    )
    error = await door.refusal(sign(), user="foreign")
    assert "not https://elsewhere.example" in error.reason


async def test_unknown_names_are_refused_alike(door: Door) -> None:
    token = sign()
    for where in ({"user": "nobody"}, {"database": "nowhere"}, {"database": "other"}, {"user": ""}):
        assert str(await door.refusal(token, **where)) == "login refused"


async def test_a_token_in_the_user_name_is_not_repeated(door: Door) -> None:
    token = sign()
    for where in ({"user": token}, {"database": token}, {"user": token[:63]}):
        assert "eyJ" not in (await door.refusal(token, **where)).reason


async def test_the_second_login_with_a_token_verifies_no_signature(door: Door) -> None:
    token = sign(alg="RS256")
    for _ in range(50):
        await door.login(token)
    assert door.authenticator.verifications == 1


async def test_a_cached_token_still_expires(door: Door) -> None:
    token = sign()
    await door.login(token)
    assert str(await door.refusal(token, now=NOW + 700)) == "token expired"
    assert door.authenticator.verifications == 1


async def test_a_cached_token_meets_the_rules_of_the_moment(door: Door) -> None:
    token = sign()
    await door.login(token)
    before: Rules = door.rules
    door.rules = rules(door.file, claims={"repository_id": ("2",)})
    assert "repository_id" in (await door.refusal(token)).reason
    narrowed = tuple(replace(issuer, algorithms=("RS256",)) for issuer in before.issuers)
    door.rules = replace(before, issuers=narrowed)
    assert "not allowed" in (await door.refusal(token)).reason
    door.rules = replace(before, issuers=tuple(replace(i, audience=("else",)) for i in before.issuers))
    assert "is for" in (await door.refusal(token)).reason
    door.rules = before
    await door.login(token)


async def test_a_cached_token_falls_with_its_key(door: Door) -> None:
    token = sign()
    await door.login(token)
    door.file.write_text(json.dumps(jwks(KEYS["RS256"])))
    assert "has no key 'ec'" in (await door.refusal(token)).reason


async def test_the_cache_is_bounded(door: Door) -> None:
    door.authenticator = Authenticator(door.keys, cached=3)
    for n in range(10):
        await door.login(sign(claims(jti=str(n))))
    assert len(door.authenticator._cache) == 3


async def test_a_run_is_named_by_its_claims(door: Door) -> None:
    door.rules = rules(door.file, run=("run_id", "run_attempt"))
    assert (await door.login(sign())).identity.run == "77.1"
    assert (await door.login(sign(claims(run_id=78, run_attempt=2)))).identity.run == "78.2"
    for wrong in (None, "", ["77"], {"a": 1}, 1.5):
        assert "names the run" in (await door.refusal(sign(claims(run_id=wrong)))).reason


async def test_without_run_claims_and_jti_the_token_is_the_run(door: Door) -> None:
    one, two = sign(claims(jti=None)), sign(claims(jti=None, sub="else"))
    first = (await door.login(one)).identity.run
    assert first == (await door.login(one)).identity.run
    assert first != (await door.login(two)).identity.run
    assert first not in one


async def test_another_spelling_of_the_signature_is_the_same_run(door: Door) -> None:
    """An ECDSA signature (r, s) is as good as (r, n - s): a run that was ended must not come back so."""
    token = sign(claims(jti=None))
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    turned = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    other = f"{signed}.{b64(turned)}"
    assert other != token
    assert (await door.login(other)).identity.run == (await door.login(token)).identity.run


async def test_a_run_that_cannot_be_printed_is_hashed(door: Door) -> None:
    for odd in ("x" * 500, "two\nlines"):
        run = (await door.login(sign(claims(jti=odd)))).identity.run
        assert len(run) == 32
        assert run.isalnum()
