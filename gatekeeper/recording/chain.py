"""The keyed chain: each row's hash is an HMAC over the hash before it and its own bytes.

Who does not have the key can neither change, remove, swap nor add a row without being found out; who cuts
off the end would have to forge the END row, which covers the hash before it too.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

from gatekeeper.errors import ConfigError

ORIGIN: Final = bytes(32)
"""What the first row is chained to."""
_BLOCK: Final = 64
"""Bytes that SHA-256 takes at a time."""


class Chain:
    """Computes hashes under one key."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        # HMAC as RFC 2104 writes it, both halves with the key begun once: half the time of hmac.digest.
        block = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def link(self, before: bytes, content: bytes) -> bytes:
        """HMAC-SHA-256 of the hash before and the row's canonical bytes."""
        inner = self._inner.copy()
        inner.update(before + content)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def seal(self, purpose: bytes, content: bytes) -> bytes:
        """The same for what stands beside the chain."""
        return self.link(b"gatekeeper:" + purpose + b"\0", content)


def key_path(store: Path) -> Path:
    """Where the key of a store lies unless it is told otherwise."""
    return store.with_name(store.name + ".key")


def load_key(path: Path) -> bytes:
    """Read a key; ConfigError where it is missing, unreadable or not a key."""
    try:
        text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except FileNotFoundError:
        raise ConfigError(f"the key of the recordings is missing: {path}") from None
    except OSError as error:
        raise ConfigError(f"cannot read the key of the recordings: {path}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"not a key of recordings: {path}") from None
    if len(key) < 32:
        raise ConfigError(f"not a key of recordings: {path}: shorter than 32 bytes")
    return key


def make_key(path: Path) -> bytes:
    """Make a key of mode 0600, on disk before it is used; ConfigError where that fails."""
    key = secrets.token_bytes(32)
    aside = path.with_name(path.name + ".new")
    try:
        aside.unlink(missing_ok=True)
        file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(file, key.hex().encode() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        # A link, unlike a rename, does not replace a key that appeared meanwhile.
        os.link(aside, path)
        aside.unlink()
    except FileExistsError:
        aside.unlink(missing_ok=True)
        return load_key(path)
    except OSError as error:
        raise ConfigError(f"cannot write the key of the recordings: {path}: {error.strerror}") from None
    return key
