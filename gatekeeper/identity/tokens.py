"""A token is believed only where its issuer's key signed it by an allowed algorithm, for us, for now.

Pure: keys and the time are arguments. No token, nor a part of one that could be replayed, is in any error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import Key, OKPKey

from gatekeeper.errors import LoginRefusedError
from gatekeeper.identity.claims import shown
from gatekeeper.rules.schema import IssuerRules

MAX_TOKEN_BYTES: Final = 16 * 1024
LEEWAY_S: Final = 30.0

ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
"""The only algorithms that are ever verified, whatever an issuer's list says."""

_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_FORBIDDEN_HEADERS: Final = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "enc", "zip", "cty")
"""They bring keys along, change what is signed, or wrap another token (RFC 7515, 4.1; RFC 7797)."""
_KID: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
_TYPES: Final = frozenset({"jwt", "at+jwt"})
_MAX_DEPTH: Final = 32


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A well-formed token whose signature nobody has looked at yet."""

    text: str
    alg: str
    kid: str | None
    claims: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """A hash of what is signed. The signature is left out: it can often be written in several ways."""
        return hashlib.sha256(self.text.rpartition(".")[0].encode()).hexdigest()[:32]


def read(text: str) -> Token:
    """Take a token apart without believing it. Raises LoginRefusedError."""
    if not text:
        raise LoginRefusedError("no token was given")
    if len(text) > MAX_TOKEN_BYTES:
        raise LoginRefusedError(f"the token is longer than {MAX_TOKEN_BYTES} bytes")
    if not _COMPACT.fullmatch(text):
        raise LoginRefusedError("what was given is not a token")
    head, body, _ = text.split(".")
    header = _json_object(head, "header")
    for name in _FORBIDDEN_HEADERS:
        if name in header:
            raise LoginRefusedError(f"the token's header has {name}, which is not accepted")
    alg = header.get("alg")
    if not isinstance(alg, str):
        raise LoginRefusedError("the token's header has no alg")
    kid = header.get("kid")
    if kid is not None and not (isinstance(kid, str) and _KID.fullmatch(kid)):
        raise LoginRefusedError("the token's kid is not a short text")
    _check_type(header.get("typ"))
    return Token(text, alg, kid, _json_object(body, "claims"))


def check_algorithm(token: Token, issuer: IssuerRules) -> None:
    """Refuse what is not in the issuer's list, and symmetric algorithms and `none` in any case."""
    if token.alg not in issuer.algorithms or token.alg not in ASYMMETRIC:
        raise LoginRefusedError(f"algorithm {shown(token.alg)} is not allowed for issuer {issuer.name}")


def check_issuer(token: Token, issuer: IssuerRules) -> None:
    """Refuse a token of anyone but the grant's issuer; before any key is looked for."""
    claimed = token.claims.get("iss")
    if not isinstance(claimed, str):
        raise LoginRefusedError("the token's iss is not a text")
    if claimed != issuer.issuer:
        raise LoginRefusedError(f"the token is of issuer {shown(claimed)}, not {issuer.issuer}")


def check_signature(token: Token, keys: Iterable[Key], issuer: IssuerRules) -> None:
    """Refuse a token that none of these keys signed."""
    registry = jws.JWSRegistry(algorithms=[token.alg], strict_check_header=False)
    registry.max_header_length = MAX_TOKEN_BYTES
    registry.max_payload_length = MAX_TOKEN_BYTES
    registry.max_signature_length = MAX_TOKEN_BYTES
    for key in keys:
        try:
            with warnings.catch_warnings():
                # EdDSA is only renamed by RFC 9864; issuers go on using the old name.
                warnings.simplefilter("ignore", SecurityWarning)
                jws.deserialize_compact(token.text, key, registry=registry)
            return
        except (JoseError, ValueError):
            continue
    raise LoginRefusedError(f"no key of issuer {issuer.name} fits the token's signature")


def candidates(token: Token, keys: Sequence[Key]) -> list[Key]:
    """The keys that may have signed it: of its kid where it has one, and made for its algorithm."""
    fitting = [key for key in keys if _made_for(key, token.alg)]
    if token.kid is not None:
        return [key for key in fitting if key.kid == token.kid]
    return fitting if len(fitting) == 1 else []  # several and no kid: guessing is not ours


def check_claims(token: Token, issuer: IssuerRules) -> None:
    """Refuse another audience, and registered claims that are not of their type (RFC 7519, 4.1)."""
    audience = token.claims.get("aud")
    meant = [audience] if isinstance(audience, str) else audience
    if not isinstance(meant, list) or not meant or not all(isinstance(one, str) for one in meant):
        raise LoginRefusedError("the token's aud is neither a text nor a list of texts")
    if not set(meant) & set(issuer.audience):
        raise LoginRefusedError(f"the token is for {shown(audience)}, not {' or '.join(issuer.audience)}")
    for name in ("sub", "jti"):
        if not isinstance(token.claims.get(name, ""), str):
            raise LoginRefusedError(f"the token's {name} is not a text")
    if _time(token.claims, "exp") is None:
        raise LoginRefusedError("the token has no exp")
    _time(token.claims, "nbf")
    _time(token.claims, "iat")


def check_times(claims: Mapping[str, Any], now: float) -> float:
    """The time at which the token expires; raises LoginRefusedError where that is over or not yet begun.

    The messages tell so, and may: the signature was looked at before.
    """
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise LoginRefusedError("the token has no exp")
    if now >= expires_at + LEEWAY_S:
        raise LoginRefusedError(f"the token expired {now - expires_at:.0f} s ago", "token expired")
    for name in ("nbf", "iat"):
        begins_at = _time(claims, name)
        if begins_at is not None and now < begins_at - LEEWAY_S:
            reason = f"the token's {name} is {begins_at - now:.0f} s ahead"
            raise LoginRefusedError(reason, "token not yet valid")
    return expires_at


def _check_type(typ: object) -> None:
    if typ is None:
        return
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in _TYPES:
        raise LoginRefusedError(f"the token's typ is {shown(typ)}, not JWT")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise LoginRefusedError(f"the token's {name} is not a time")
    return float(value)


def _made_for(key: Key, alg: str) -> bool:
    if alg not in ASYMMETRIC or key.get("use", "sig") != "sig" or key.get("alg", alg) != alg:
        return False
    if isinstance(key, OKPKey) and key.curve_name not in ("Ed25519", "Ed448"):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            jws.JWSRegistry(algorithms=[alg]).get_alg(alg).check_key(key)
    except JoseError:
        return False
    return True


def _json_object(segment: str, what: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
        value = strict_json(raw)
    except (ValueError, binascii.Error) as error:
        problem = str(error) if isinstance(error, _UnacceptableJsonError) else "not readable"
        raise LoginRefusedError(f"the token's {what}: {problem}") from None
    if not isinstance(value, dict):
        raise LoginRefusedError(f"the token's {what}: not a JSON object")
    return value


class _UnacceptableJsonError(ValueError):
    """JSON that two readers could read differently; its text quotes none of it."""


def strict_json(raw: bytes) -> Any:
    """Read JSON that has one meaning only: no name twice, no NaN, no text outside Unicode, no NUL.

    Raises ValueError.
    """
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise _UnacceptableJsonError("nested too deep") from None
    _check(value, 0)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _UnacceptableJsonError("a name occurs twice")
    return members


def _no_constant(_: str) -> None:
    raise _UnacceptableJsonError("not JSON")


def _check(value: Any, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise _UnacceptableJsonError("nested too deep")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise _UnacceptableJsonError("a text that PostgreSQL could not hold")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _UnacceptableJsonError("a number without bounds")
    elif isinstance(value, dict):
        for name, member in value.items():
            _check(name, depth)
            _check(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, depth + 1)
