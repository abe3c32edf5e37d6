"""The local development issuer: a key that only its user can read, for the demo and for tests."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gatekeeper.errors import ConfigError

ISSUER: Final = "https://issuer.gatekeeper.localhost"
AUDIENCE: Final = "gatekeeper"
ALGORITHM: Final = "ES256"


class DevIssuer:
    """Signs tokens with the key in `directory`, which is made where it does not exist.

    `key` (a private JWK, mode 0600) and `jwks.json` (for the rules' `jwks`) are made on first use. Raises
    ConfigError, one line.
    """

    issuer: Final = ISSUER
    audience: Final = AUDIENCE

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key_file = directory / "key"
        self.jwks_file = directory / "jwks.json"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.key_file.exists():
                _create(self.key_file, json.dumps(_new_key()))
            self._key = self._read_key()
            jwks = json.dumps(
                {"keys": [{**self._key.as_dict(private=False), "use": "sig", "alg": ALGORITHM}]}
            )
            if not self.jwks_file.exists() or self.jwks_file.read_text() != jwks:
                self.jwks_file.unlink(missing_ok=True)
                _create(self.jwks_file, jwks)
        except OSError as error:
            raise ConfigError(f"development issuer in {directory}: {error.strerror}") from None

    def sign(self, claims: Mapping[str, Any], ttl_s: float, now: float) -> str:
        """A token with these claims; `iss`, `aud`, `sub`, `jti`, `iat`, `nbf`, `exp` unless among them."""
        second = int(now)
        defaults: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": "local",
            "jti": secrets.token_hex(12),
            "iat": second,
            "nbf": second,
            "exp": second + max(1, round(ttl_s)),
        }
        header = {"alg": ALGORITHM, "typ": "JWT", "kid": self._key.kid}
        return jwt.encode(header, {**defaults, **claims}, self._key, algorithms=[ALGORITHM])

    def _read_key(self) -> ECKey:
        if self.key_file.stat().st_mode & 0o077:
            raise ConfigError(f"{self.key_file}: others can read this private key; set its mode to 0600")
        try:
            return ECKey.import_key(json.loads(self.key_file.read_text()))
        except (JoseError, ValueError, TypeError, KeyError):
            raise ConfigError(
                f"{self.key_file}: not a private key of ours; remove it for a new one"
            ) from None


def _new_key() -> Mapping[str, Any]:
    key = ECKey.generate_key("P-256", private=True, auto_kid=True)
    return key.as_dict(private=True)


def _create(path: Path, text: str) -> None:
    """Write a whole file or none; who comes first wins, so that two processes share one key."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
