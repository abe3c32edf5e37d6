"""From a token to a grant, or to a refusal that tells the client nothing and the log everything."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gatekeeper.errors import LoginRefusedError
from gatekeeper.identity import tokens
from gatekeeper.identity.claims import found, lookup, matches, scalar, shown
from gatekeeper.identity.keys import KeyRing, KeysUnavailableError
from gatekeeper.model import Identity
from gatekeeper.rules.schema import DatabaseRules, GrantRules, IssuerRules, Rules

_CACHED: Final = 4096
_MAX_NAME: Final = 63
_MAX_RUN: Final = 200


@dataclass(frozen=True, slots=True)
class Admitted:
    """A login that was let in, and as what."""

    identity: Identity
    grant: GrantRules
    database: DatabaseRules


@dataclass(frozen=True, slots=True)
class _Verified:
    """What a token said whose signature, issuer and audience were found right."""

    claims: Mapping[str, Any]
    fingerprint: str
    keys_version: int


class Authenticator:
    """Checks logins. A token seen before costs no second verification of its signature."""

    def __init__(self, keys: KeyRing, *, cached: int = _CACHED) -> None:
        self._keys = keys
        self._most = cached
        # Under a hash, so that no token stays in memory; the issuer's rules are part of the key, so that a
        # reload which changes them makes every token be looked at anew.
        self._cache: OrderedDict[tuple[bytes, IssuerRules], _Verified] = OrderedDict()
        self.verifications = 0
        """How many signatures were looked at since the start."""

    async def authenticate(self, rules: Rules, user: str, database: str, token: str, now: float) -> Admitted:
        """Let a login in as the grant named `user`, or raise LoginRefusedError. `now` is Unix seconds."""
        if len(token) > tokens.MAX_TOKEN_BYTES:
            raise LoginRefusedError(f"the token is longer than {tokens.MAX_TOKEN_BYTES} bytes")
        grant = rules.grant(user)
        if grant is None:
            raise LoginRefusedError(f"no grant {safe_name(user)}")
        issuer = rules.issuer(grant.issuer)
        if issuer is None:
            raise LoginRefusedError(f"grant {grant.name} has no issuer")
        verified = await self._verify(issuer, token)
        expires_at = tokens.check_times(verified.claims, now)
        mismatch = matches(grant.claims, verified.claims)
        if mismatch is not None:
            raise LoginRefusedError(f"grant {grant.name}: {mismatch}")
        wanted = rules.database(database)
        if wanted is None:
            raise LoginRefusedError(f"no database {safe_name(database)}")
        if wanted.name not in grant.databases:
            raise LoginRefusedError(f"grant {grant.name} does not open database {wanted.name}")
        identity = Identity(
            issuer=issuer.name,
            subject=verified.claims.get("sub", ""),
            claims=verified.claims,
            grant=grant.name,
            run=_run(grant, verified),
            token_expires_at=expires_at,
        )
        return Admitted(identity, grant, wanted)

    async def _verify(self, issuer: IssuerRules, text: str) -> _Verified:
        entry = (hashlib.sha256(text.encode(errors="replace")).digest(), issuer)
        known = self._cache.get(entry)
        if known is None:
            token = tokens.read(text)
            tokens.check_algorithm(token, issuer)
            tokens.check_issuer(token, issuer)
            kid = token.kid
        else:
            token, kid = None, None
        try:
            current = await self._keys.keys(issuer, kid)
        except KeysUnavailableError as error:
            raise LoginRefusedError(f"issuer {issuer.name}: {error}") from None
        if known is not None and known.keys_version == current.version:
            self._cache.move_to_end(entry)
            return known
        token = token or tokens.read(text)  # the keys have changed since: look again
        keys = tokens.candidates(token, current.keys)
        if not keys:
            raise LoginRefusedError(
                f"issuer {issuer.name} has no key {shown(token.kid)} for {shown(token.alg)}"
            )
        self.verifications += 1
        tokens.check_signature(token, keys, issuer)
        tokens.check_claims(token, issuer)
        verified = _Verified(token.claims, token.fingerprint, current.version)
        self._cache[entry] = verified
        self._cache.move_to_end(entry)
        while len(self._cache) > self._most:
            self._cache.popitem(last=False)
        return verified


def safe_name(name: str) -> str:
    """A name that a client gave, for the log; hidden where it may be a token put in the wrong place."""
    if len(name) > _MAX_NAME or name.startswith("eyJ"):
        return "(a long text, not shown)"
    return shown(name)


def _run(grant: GrantRules, verified: _Verified) -> str:
    """What tells this run from the next: the grant's `run` claims, else jti, else the token itself."""
    if not grant.run:
        return _short(verified.claims.get("jti") or verified.fingerprint)
    parts = []
    for name in grant.run:
        value = lookup(verified.claims, name)
        text = scalar(value) if found(value) else None
        if not text:
            raise LoginRefusedError(
                f"grant {grant.name}: claim {name}, which names the run, is missing or not one value"
            )
        parts.append(text)
    return _short(".".join(parts))


def _short(run: str) -> str:
    """The run as it is, or a hash of it where it could not be printed in one line."""
    if len(run) <= _MAX_RUN and run.isprintable():
        return run
    return hashlib.sha256(run.encode()).hexdigest()[:32]
