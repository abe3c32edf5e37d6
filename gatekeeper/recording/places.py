"""Where a store lies, that only one gateway writes it, and that it ends as it was left."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from gatekeeper.errors import ConfigError
from gatekeeper.recording.appender import end_row
from gatekeeper.recording.chain import ORIGIN, Chain


def store_path(store: str | Path) -> Path:
    """The file of a store; ConfigError for what is none."""
    if str(store).startswith(("postgresql://", "postgres://")):
        raise ConfigError("gateway.store: postgresql:// is not supported yet: name an SQLite file")
    return Path(store)


def lock(path: Path) -> int:
    """Only one gateway writes a file: two would fork the chain."""
    at = path.with_name(path.name + ".lock")
    try:
        held = os.open(at, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write recordings in {path}: {error.strerror}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise ConfigError(f"another gateway writes the recordings in {path}") from None
    return held


def end_of(connection: sqlite3.Connection, key: Chain, path: Path) -> tuple[int, bytes]:
    """Number and hash of the last event; ConfigError where the end is not what the last commit left."""
    end = connection.execute("select seq, kind, hash from log order by seq desc limit 1").fetchone()
    if end is None:
        return 0, ORIGIN
    before = connection.execute("select hash from log where seq = ?", (end[0] - 1,)).fetchone()
    if before is None:
        before = connection.execute("select hash from pruned where upto = ?", (end[0] - 1,)).fetchone()
    last = ORIGIN if before is None else before[0]
    expected = end_row(key, end[0] - 1, last)
    if (end[0], end[1], end[2]) != (expected[0], expected[2], expected[5]):
        raise ConfigError(
            f"the recordings in {path} do not end as they were left, or the key is another one:"
            " see gatekeeper audit verify, or move the file away to begin anew"
        )
    return end[0] - 1, last


def is_written(path: Path) -> bool:
    """True while a gateway has the store open."""
    try:
        held = lock(path)
    except ConfigError:
        return True
    os.close(held)
    return False
