"""The SQLite file: its tables, its migrations, and how it is opened to write and to read."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

import sqlite_utils

from gatekeeper.errors import ConfigError, RecordingError

VERSION_PRAGMA: Final = "user_version"
APPLICATION_ID: Final = 0x67_61_74_65  # "gate"
PAGE_BYTES: Final = 1024
"""A commit writes whole pages to the WAL: small ones make small commits (measured: 1.6 KB and 12 µs at
1024, 4.5 KB and 13 µs at 4096, without an index)."""


class WrongFileError(ConfigError):
    """The file holds no recordings that this version can use. `str()` says why, without its name."""


def _version_1(db: sqlite_utils.Database) -> None:
    db.table("log").create(
        {"seq": int, "sid": int, "kind": int, "sql": str, "entry": bytes, "hash": bytes},
        pk="seq",
        not_null={"sid", "kind", "entry", "hash"},
    )
    db.table("sessions").create(
        {
            "sid": int,
            "id": str,
            "grant": str,
            "subject": str,
            "issuer": str,
            "run": str,
            "database": str,
            "client": str,
            "started_at": float,
            "ended_at": float,
            "end_reason": str,
            "statements": int,
            "refused": int,
            "held": int,
            "upto": int,
        },
        pk="sid",
        not_null={"id", "started_at", "statements", "refused", "held", "upto"},
    )
    db.table("sessions").create_index(["id"])
    db.execute("create table spans (sid integer, block integer, primary key (sid, block)) without rowid")
    # What a prune kept of the rows that it removed, and the seal over it.
    db.table("kept").create(
        {"seq": int, "sid": int, "kind": int, "sql": str, "entry": bytes, "hash": bytes, "shown": int},
        pk="seq",
    )
    db.table("pruned").create(
        {"id": int, "upto": int, "hash": bytes, "at": float, "removed": int, "who": str, "seal": bytes},
        pk="id",
    )
    db.table("runs").create({"grant": str, "run": str, "entry": bytes}, pk=("grant", "run"))
    # `floor`: a prune is about to remove the rows up to it; `seen`: the gateway names none of them any more.
    keeper = db.table("keeper").create({"id": int, "turns": int, "floor": int, "seen": int}, pk="id")
    keeper.insert({"id": 1, "turns": 0, "floor": 0, "seen": 0})


MIGRATIONS: Final[tuple[Callable[[sqlite_utils.Database], None], ...]] = (_version_1,)
"""The n-th brings a file from version n to n + 1. Never change one that was released."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the present version, each step in one transaction."""
    found = _version(connection)
    for number in range(found, len(MIGRATIONS)):
        connection.execute("begin immediate")
        try:
            MIGRATIONS[number](sqlite_utils.Database(connection, execute_plugins=False))
            connection.execute(f"pragma {VERSION_PRAGMA} = {number + 1}")
            connection.execute(f"pragma application_id = {APPLICATION_ID}")
            connection.execute("commit")
        finally:
            if connection.in_transaction:
                connection.execute("rollback")


def _version(connection: sqlite3.Connection) -> int:
    found = int(connection.execute(f"pragma {VERSION_PRAGMA}").fetchone()[0])
    mark = int(connection.execute("pragma application_id").fetchone()[0])
    tables = int(connection.execute("select count(*) from sqlite_schema").fetchone()[0])
    if mark != APPLICATION_ID and (tables or found):
        raise WrongFileError("it is an SQLite file, but not one of recordings")
    if found > len(MIGRATIONS):
        raise WrongFileError(f"it was written by a newer Gatekeeper (version {found} of the file)")
    return found


def _refuse_older(found: int) -> None:
    if found < len(MIGRATIONS):
        old = "it is of an older version: start the gateway on it once"
        raise WrongFileError(old if found else "nothing is recorded in it")


def connect_writer(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """Open a file for writing and make it where it is missing; sqlite3.Error and OSError where it fails."""
    # Made here, so that nobody else can read it; SQLite gives -wal and -shm the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(
        path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        connection.execute(f"pragma page_size = {PAGE_BYTES}")
        connection.execute("pragma journal_mode = wal")
        # A killed process loses nothing at NORMAL: its writes are in the system's cache. A power cut loses
        # the last commits, since the WAL is synced at checkpoints only; the file stays sound.
        connection.execute("pragma synchronous = normal")
        connection.execute("pragma wal_autocheckpoint = 0")
        connection.execute("pragma cache_size = -16384")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a file that a gateway may be writing, to read only; RecordingError where that fails."""
    if not path.exists():
        raise RecordingError(f"no recordings in {path}")
    address = f"{path.resolve().as_uri()}?mode=ro"
    if not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists():
        address += "&immutable=1"  # a WAL file on a medium that cannot be written
    connection = None
    try:
        connection = sqlite3.connect(
            address, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        connection.execute("pragma query_only = on")
        connection.execute("pragma cache_size = -8192")
        _refuse_older(_version(connection))
    except (sqlite3.Error, WrongFileError) as error:
        if connection is not None:
            connection.close()
        raise RecordingError(f"cannot read the recordings in {path}: {error}") from None
    return connection
