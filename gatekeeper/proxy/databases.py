"""The databases behind the gateway: how to reach each, what its names mean, what the planner says.

The gateway reads catalogs and asks for plans on a connection of its own, read-only, never on a client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg

from gatekeeper.errors import ConfigError, UpstreamUnreachableError
from gatekeeper.model import Facts, Impact, Secret
from gatekeeper.policy.estimate import estimates as find_estimates
from gatekeeper.policy.impact import impact as find_impact
from gatekeeper.proxy.dsn import Target, parse_dsn
from gatekeeper.rules.schema import DatabaseRules, MaskRules, PasswordSource, Rules
from gatekeeper.sql.catalog import EMPTY, Catalog
from gatekeeper.sql.snapshot import fingerprint, read_catalog

_log: Final = logging.getLogger(__name__)
_POLL_S: Final = 5.0
_REST_S: Final = 2.0
"""How long the gateway's own connection outlives the last session. DROP DATABASE, and CREATE DATABASE from a
template, wait 5 s for others to leave."""
_COMMAND_TIMEOUT_S: Final = 10.0
_READ_TIMEOUT_S: Final = 30.0
_READ_ATTEMPTS: Final = 4

Embedded = Callable[[str], Awaitable[Target]]
"""Gives the target of a database on the bundled server, by name; starts the server where it has to."""


@dataclass(frozen=True, slots=True)
class View:
    """How a session sees the database."""

    pid: int
    """Of its backend."""
    role: str | None = None
    search_path: str | None = None
    """None where the server does not report it (before PostgreSQL 18)."""


class Database:
    """One `[[database]]`. `catalog`, `stale` and `sticky` are what judges look at."""

    def __init__(self, rules: Callable[[], Rules], entry: DatabaseRules, embedded: Embedded) -> None:
        self._rules = rules
        self._entry = entry
        self._embedded = embedded
        self.catalog: Catalog = EMPTY
        self._changes = 1
        """How often the database's catalog is known to have changed."""
        self._read_changes = 0
        """Of these, how many the snapshot shows."""
        self.sticky: dict[tuple[int, int], MaskRules] = {}
        self._connection: asyncpg.Connection[Any] | None = None
        self._lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        self._fingerprint: str | None = None
        self._sessions = 0
        self._rest: asyncio.TimerHandle | None = None
        self._resting: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The name that clients ask for."""
        return self._entry.name

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self._rules()

    @property
    def stale(self) -> bool:
        """The snapshot is known to be behind the database, or there is none yet."""
        return self._read_changes < self._changes

    def changed(self) -> None:
        """The database's catalog has changed, or may have."""
        self._changes += 1

    async def target(self) -> Target:
        """Where it is, with its password as it is now. Raises ConfigError or UpstreamUnreachableError."""
        if self._entry.dsn == "embedded":
            return await self._embedded(self._entry.name)
        base = self._rules().path.parent
        source = self._entry.password
        password = await read_password(source, base) if source is not None else None
        return parse_dsn(self._entry.dsn, base=base, password=password)

    # --- the gateway's own connection -------------------------------------------------------------------

    async def _own(self) -> asyncpg.Connection[Any]:
        """The gateway's own connection; `_lock` is held."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self._connection = await connect_own(await self.target())
        self._rest_later()
        return self._connection

    def enters(self) -> None:
        """A session begins."""
        self._sessions += 1

    def leaves(self) -> None:
        """A session is over. Where nobody is left, neither are we: somebody may want to drop the database."""
        self._sessions -= 1
        self._rest_later()

    def _rest_later(self) -> None:
        if not self._sessions and self._rest is None:
            self._rest = asyncio.get_running_loop().call_later(_REST_S, self._rest_now)

    def _rest_now(self) -> None:
        self._rest = None
        if self._lock.locked():
            self._rest_later()
        elif not self._sessions:
            self._resting = asyncio.create_task(self._close_own(), name=f"rest of {self.name}")

    async def _close_own(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=2)

    async def look(self) -> None:
        """See to it that the catalog is as it is now, or was lately. Raises UpstreamUnreachableError."""
        if self._connection is None and not self.stale:
            await self._compare()
        if self.stale:
            await self.refresh()

    async def refresh(self) -> None:
        """Read the catalog anew; whoever asks meanwhile waits for the same reading.

        Raises UpstreamUnreachableError where it cannot be read.
        """
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh(), name=f"catalog of {self.name}")
            self._refreshing.add_done_callback(self._refreshed)
        await asyncio.shield(self._refreshing)

    def _refreshed(self, task: asyncio.Task[None]) -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # whoever waits has it; nobody has to

    async def _refresh(self) -> None:
        async with self._lock:
            changes = self._changes  # a DDL that ends while we read makes the snapshot stale again
            try:
                async with asyncio.timeout(_READ_TIMEOUT_S):
                    await self._read()
                    self._read_changes = changes
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
                self._drop()
                raise UpstreamUnreachableError(
                    f"the catalog of {self.name} cannot be read: {_reason(problem)}"
                ) from None

    async def _read(self) -> None:
        """Read the catalog; again, where something was dropped while it was read."""
        for attempt in range(_READ_ATTEMPTS):
            connection = await self._own()
            try:
                self._fingerprint = await fingerprint(connection)
                self.catalog = await read_catalog(connection, self.catalog.version + 1, self.catalog)
            except asyncpg.PostgresError as problem:
                if attempt == _READ_ATTEMPTS - 1 or isinstance(problem, asyncpg.PostgresConnectionError):
                    raise
            else:
                return

    async def poll(self) -> None:
        """See whether somebody else changed the catalog."""
        if not self.stale and self._connection is not None:
            await self._compare()

    async def check(self) -> None:
        """Read the catalog anew if somebody else has changed it. Raises UpstreamUnreachableError."""
        if not self.stale:
            await self._compare()
        if self.stale:
            await self.refresh()

    async def _compare(self) -> None:
        async with self._lock:
            try:
                async with asyncio.timeout(_COMMAND_TIMEOUT_S):
                    now = await fingerprint(await self._own())
            except (
                OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError,
                UpstreamUnreachableError, ConfigError,
            ) as problem:  # fmt: skip
                self._drop()
                _log.warning("database %s: its catalog cannot be watched: %s", self.name, _reason(problem))
                self.changed()
                return
        if now != self._fingerprint:
            self.changed()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def estimate(
        self,
        facts: Facts,
        statements: Sequence[int],
        params: tuple[str | None, ...] | None,
        view: View | None = None,
    ) -> Mapping[int, float | None]:
        """Rows that the planner expects for these statements; None where it cannot say."""
        view = view or View(0)
        found: dict[int, float | None] = dict.fromkeys(statements)
        async with self._lock:
            try:
                connection = await self._own()
                found.update(
                    await find_estimates(
                        connection,
                        facts,
                        statements,
                        params,
                        self.catalog,
                        role=view.role,
                        search_path=view.search_path,
                    )
                )
            except (
                OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError,
                UpstreamUnreachableError, ConfigError,
            ) as problem:  # fmt: skip
                self._drop()
                _log.warning("database %s: no estimate: %s", self.name, _reason(problem))
        return found

    async def impact(
        self, facts: Facts, sql: str, params: tuple[str | None, ...] | None, view: View
    ) -> Impact:
        """What a held statement would touch. Never fails: `problem` says what could not be found out."""
        async with self._lock:
            try:
                connection = await self._own()
            except (OSError, asyncpg.PostgresError, UpstreamUnreachableError, ConfigError) as problem:
                return Impact(problem=_reason(problem))
            return await find_impact(
                connection, facts, sql, params, self.catalog,
                role=view.role, search_path=view.search_path, own_pid=view.pid,
            )  # fmt: skip

    async def close(self) -> None:
        """Close the gateway's own connection."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        if self._rest is not None:
            self._rest.cancel()
        await self._close_own()


class Databases:
    """All databases that somebody has asked for; one whose rules changed is a new one."""

    def __init__(self, rules: Callable[[], Rules], embedded: Embedded) -> None:
        self._rules = rules
        self._embedded = embedded
        self._known: dict[DatabaseRules, Database] = {}
        self._poller: asyncio.Task[None] | None = None

    def get(self, entry: DatabaseRules) -> Database:
        """The database of an entry in the rules."""
        found = self._known.get(entry)
        if found is None:
            found = self._known[entry] = Database(self._rules, entry, self._embedded)
        return found

    def named(self, name: str) -> Database | None:
        """The database of that name in the rules in force."""
        entry = self._rules().database(name)
        return self.get(entry) if entry is not None else None

    def start(self) -> None:
        """Begin to watch for DDL by others."""
        self._poller = asyncio.create_task(self._poll(), name="catalog poll")

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            for database in list(self._known.values()):
                await database.poll()

    async def close(self) -> None:
        """Stop watching and close all connections of ours."""
        if self._poller is not None:
            self._poller.cancel()
        for database in self._known.values():
            await database.close()


async def connect_own(target: Target) -> asyncpg.Connection[Any]:
    """A read-only connection of the gateway's own. Raises UpstreamUnreachableError without the address."""
    hosts = [host for host, _ in target.hosts]
    ports = [port for _, port in target.hosts]
    try:
        return await asyncpg.connect(
            host=hosts,
            port=ports,
            user=target.user,
            database=target.database,
            password=target.password.reveal() if target.password is not None else "",
            ssl=_ssl(target),
            timeout=target.connect_timeout_s,
            command_timeout=_COMMAND_TIMEOUT_S,
            server_settings={
                "application_name": "gatekeeper",
                "default_transaction_read_only": "on",
                "search_path": "pg_catalog",
            },
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
        raise UpstreamUnreachableError(_reason(problem)) from None


def _ssl(target: Target) -> ssl.SSLContext | Literal["prefer"] | bool:
    """TLS as asyncpg takes it: it has `prefer` of its own, and none on a Unix socket."""
    if target.hosts[0][0].startswith("/"):
        return False
    return "prefer" if target.sslmode == "prefer" else target.context() or False


async def read_password(source: PasswordSource, base: Path) -> Secret:
    """Read a password where the rules say. Raises ConfigError, which does not quote what was read."""
    match source.kind:
        case "env":
            value = os.environ.get(source.value)
            if value is None:
                raise ConfigError(f"the environment variable {source.value} is not set")
        case "file":
            try:
                value = (base / source.value).read_text()
            except (OSError, UnicodeDecodeError) as problem:
                raise ConfigError(f"password file {source.value}: {_reason(problem)}") from None
        case "cmd":
            value = await _run(source.value, base)
    lines = value.splitlines()
    if len(lines) != 1 or not lines[0]:
        raise ConfigError(f"the password from {source.kind}:{source.value} must be one line and not empty")
    return Secret(lines[0])


async def _run(command: str, base: Path) -> str:
    process = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=base,
    )
    try:
        async with asyncio.timeout(_COMMAND_TIMEOUT_S):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ConfigError(f"the password command did not end in {_COMMAND_TIMEOUT_S:g} s") from None
    if process.returncode != 0:
        raise ConfigError(f"the password command failed with exit status {process.returncode}")
    return out.decode(errors="replace")


def _reason(problem: BaseException) -> str:
    """One line for the log: what kind of problem, and the system's word for it."""
    if isinstance(problem, UpstreamUnreachableError):
        return problem.reason
    if isinstance(problem, ConfigError):
        return str(problem)
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    if isinstance(problem, asyncpg.PostgresError):
        return f"{problem.sqlstate}"
    return type(problem).__name__
