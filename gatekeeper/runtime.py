"""Builds the parts, starts them in order, and stops them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import getpass
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg

from gatekeeper import metrics
from gatekeeper.control.live import Live
from gatekeeper.control.local import LocalOperator
from gatekeeper.control.server import ControlServer
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.errors import ConfigError, UpstreamUnreachableError
from gatekeeper.events import Committed, Event, RulesReloaded
from gatekeeper.explain import explain, explain_estimated
from gatekeeper.identity.keys import KeyRing
from gatekeeper.identity.login import Authenticator
from gatekeeper.identity.runs import Runs
from gatekeeper.policy.approvals import Approvals
from gatekeeper.proxy.databases import Databases
from gatekeeper.proxy.dsn import Target, parse_dsn
from gatekeeper.proxy.server import Gateway
from gatekeeper.recording.places import store_path
from gatekeeper.recording.reader import open_reader
from gatekeeper.recording.store import Store, open_store
from gatekeeper.rules.keeper import RulesKeeper
from gatekeeper.rules.load import load
from gatekeeper.rules.schema import Rules

_log: Final = logging.getLogger(__name__)
EMBEDDED_ROLE: Final = "gatekeeper"
"""The role that the gateway logs in with on the bundled server: the databases' owner, no superuser."""
_ID_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""No letters that look like others: people read the ID of an approval aloud."""
_ID_LENGTH: Final = 5
_WATCH_AGAIN_S: Final = 1.0


class _Tee:
    """The recorder as the gateway sees it: the store, and the live view beside it."""

    def __init__(self, store: Store, live: Live) -> None:
        self._store = store
        self._live = live

    def submit(self, events: Sequence[Event], then: Committed | None = None) -> None:
        """Queue events for the store, and show them."""
        self._store.submit(events, then)
        self._live.feed(events)


class Bundled:
    """The bundled server of one rules file, started when a database first asks for it."""

    def __init__(
        self, directory: Path, prepare: Callable[[EmbeddedPostgres, str], Coroutine[Any, Any, None]]
    ) -> None:
        self.server = EmbeddedPostgres(directory)
        self._prepare = prepare
        self._lock = asyncio.Lock()
        self._ready: dict[str, Target] = {}

    async def target(self, database: str) -> Target:
        """Where a database on it is; makes server, role and database on first use."""
        async with self._lock:
            if database not in self._ready:
                _log.info("starting the bundled PostgreSQL in %s", self.server.directory)
                await self.server.start()
                await prepare_role(self.server)
                await self.server.ensure_database(database, EMBEDDED_ROLE)
                await self._prepare(self.server, database)
                dsn = self.server.dsn(database, EMBEDDED_ROLE)
                self._ready[database] = parse_dsn(dsn)
            return self._ready[database]

    async def stop(self) -> None:
        """Stop the server, if nobody else uses it."""
        await self.server.stop()


async def prepare_role(server: EmbeddedPostgres) -> None:
    """Make the gateway's role on the bundled server, with its password."""
    connection = await asyncpg.connect(server.dsn())
    try:
        known = await connection.fetchval("select 1 from pg_roles where rolname = $1", EMBEDDED_ROLE)
        verb = "alter" if known else "create"
        password = server.password_for(EMBEDDED_ROLE).reveal()
        await connection.execute(
            f"{verb} role {EMBEDDED_ROLE} login nosuperuser createrole password '{password}'"
        )
    finally:
        await connection.close()


async def _nothing_to_prepare(server: EmbeddedPostgres, database: str) -> None:
    """An embedded database of `run` and `serve` begins empty."""


class Runtime:
    """A whole gateway in this process; use it by `start_runtime`."""

    def __init__(self, rules: Rules, *, clock: Callable[[], float]) -> None:
        self.rules = rules
        self.clock = clock
        self.live: Live
        self.keeper: RulesKeeper
        self.gateway: Gateway
        self.operator: LocalOperator
        self.bundled: Bundled


@contextlib.asynccontextmanager
async def start_runtime(
    path: Path,
    *,
    hints: Callable[[], tuple[str, ...]] = tuple,
    prepare: Callable[[EmbeddedPostgres, str], Coroutine[Any, Any, None]] = _nothing_to_prepare,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Runtime]:
    """Start all parts of a gateway under the rules at `path`; stop them in reverse. Raises ConfigError."""
    async with contextlib.AsyncExitStack() as stack:
        path = Path.cwd() / path
        rules = await asyncio.to_thread(load, path)
        runtime = Runtime(rules, clock=clock)
        live = runtime.live = Live(clock())

        def store_told(problem: str | None) -> None:
            if problem is None:
                live.note("info", "recordings can be written again", clock())
            else:
                live.note("error", f"recordings cannot be written: {problem}", clock())

        store = open_store(rules.gateway.store, clock=clock, report=store_told)
        stack.callback(store.close)
        recorder = _Tee(store, live)

        def reloaded(event: RulesReloaded) -> None:
            for problem in event.problems:
                _log.warning("rules: %s", problem)
            recorder.submit([event])

        keeper = runtime.keeper = RulesKeeper(path, rules, clock=clock, report=reloaded)
        keys = KeyRing()
        await keys.start(rules.issuers)
        stack.push_async_callback(keys.close)
        runs = Runs(store)
        approvals = Approvals(_approval_id)
        runtime.bundled = Bundled(path.parent / ".gatekeeper" / "postgres", prepare)
        stack.push_async_callback(runtime.bundled.stop)
        databases = Databases(lambda: keeper.current, runtime.bundled.target)
        gateway = runtime.gateway = Gateway(
            lambda: keeper.current,
            authenticator=Authenticator(keys),
            runs=runs,
            approvals=approvals,
            databases=databases,
            recorder=recorder,
            hash_key=mask_key(rules),
            clock=clock,
        )

        async def explained(sql: str, grant: str, database: str | None) -> Any:
            return await explain_live(keeper.current, databases, sql, grant, database, clock())

        operator = runtime.operator = LocalOperator(
            live=live,
            approvals=approvals,
            runs=runs,
            keeper=keeper,
            reader=open_reader(rules.gateway.store),
            sessions=gateway,
            explain=explained,
            record=lambda event: recorder.submit([event]),
            clock=clock,
            who=getpass.getuser(),
            listen=gateway.listen,
            store=rules.gateway.store,
            hints=hints,
        )
        control = ControlServer(rules.gateway.control, operator)
        await control.start()
        stack.push_async_callback(control.close)
        _look_at_port(rules)
        for entry in rules.databases:
            if entry.dsn == "embedded":
                await runtime.bundled.target(entry.name)
        await gateway.start()
        stack.push_async_callback(gateway.stop)  # first of all: while it drains, operators can still ask
        operator.listening_at(gateway.listen)
        keeper.subscribe(lambda new: keys.use(new.issuers))
        keeper.subscribe(gateway.rules_changed)
        if rules.gateway.metrics_host is not None:
            exporter = await metrics.serve(
                rules.gateway.metrics_host, rules.gateway.metrics_port or 0, operator
            )
            stack.push_async_callback(metrics.close, exporter)
        # What is there now stays: the collector need not look at it again at every full collection.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        for name, beside in (
            ("rules watch", _watch(keeper, live, clock)),
            ("first look", _first_look(databases, rules, live, clock)),
        ):
            stack.callback(asyncio.create_task(beside, name=name).cancel)
        yield runtime


def _look_at_port(rules: Rules) -> None:
    """Say that the port is taken before the bundled server is started for nothing. ConfigError."""
    host, port = rules.gateway.listen_host, rules.gateway.listen_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:  # whatever else is wrong, the gateway tells at its start
                raise ConfigError(f"[gateway] listen: {host}:{port} is in use") from None


async def _watch(keeper: RulesKeeper, live: Live, clock: Callable[[], float]) -> None:
    """Keep the rules up to date for as long as the gateway runs, whatever becomes of one watch."""
    while True:
        watch = asyncio.create_task(keeper.run(), name="rules watch, once")
        try:
            await asyncio.wait({watch})
        finally:
            watch.cancel()
        error = None if watch.cancelled() else watch.exception()
        why = type(error).__name__ if error is not None else "it ended"  # its text may be anything
        what = f"the watch on the rules broke off ({why}) and begins anew"
        _log.error("%s", what)
        live.note("error", what, clock())
        await asyncio.sleep(_WATCH_AGAIN_S)


async def _first_look(databases: Databases, rules: Rules, live: Live, clock: Callable[[], float]) -> None:
    """Read each catalog before the first login needs it, and tell what cannot be reached.

    The gateway serves all the same: a database may come later, and till then a login to it gets 08001.
    """
    for entry in rules.databases:
        try:
            await databases.get(entry).refresh()
        except (UpstreamUnreachableError, ConfigError) as problem:
            why = problem.reason if isinstance(problem, UpstreamUnreachableError) else str(problem)
            what = f"database {entry.name}: {why}; logins to it are refused until it can be reached"
            _log.warning("%s", what)
            live.note("warning", what, clock())


async def explain_live(
    rules: Rules, databases: Databases, sql: str, grant: str, database: str | None, now: float
) -> Any:
    """What would happen to a statement under the rules and the catalog in force."""
    name = database or next(iter(g.databases[0] for g in rules.grants if g.name == grant), "")
    found = databases.named(name)
    if found is None:
        return explain(sql, grant, database, rules, None, now)
    if found.stale:
        try:
            await found.refresh()
        except (UpstreamUnreachableError, ConfigError):
            problem = "the database cannot be reached"
            return explain(sql, grant, database, rules, None, now, catalog_problem=problem)
    return await explain_estimated(
        sql, grant, database, rules, found.catalog, now,
        lambda facts, asked: found.estimate(facts, asked, None),
    )  # fmt: skip


def _approval_id() -> str:
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def mask_key(rules: Rules) -> bytes:
    """The key of `hash` masks: beside the recordings, made on first start, so that hashes stay the same."""
    path = store_path(rules.gateway.store).with_suffix(".mask-key")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) < 16:
            raise ConfigError(f"{path} is too short for a key: remove it to make a new one") from None
        return key
    except OSError as problem:
        raise ConfigError(f"{path} cannot be written: {problem.strerror}") from None
    key = secrets.token_bytes(32)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
    return key
