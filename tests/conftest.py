"""Fixtures that all tests share: real servers, started once for each worker, and a database for each test."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.embedded import EmbeddedPostgres
from tests.servers import (
    DEBIAN_15,
    UNSAFE_BUT_FAST,
    Database,
    DebianPostgres,
    Server,
    create_database,
    drop_database,
    open_to_others,
)

MakeDatabase = Callable[..., Awaitable[Database]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what starts a server, so that `make check` can leave it out, and leave out what is long."""
    for item in items:
        if {"pg18", "pg15"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("server")
    if "soak" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.fixture(scope="session")
async def pg18() -> AsyncIterator[EmbeddedPostgres]:
    """The bundled PostgreSQL 18, on a Unix socket."""
    with _server_directory("pg18") as directory:
        async with EmbeddedPostgres(directory, settings=UNSAFE_BUT_FAST) as server:
            yield server


@contextlib.contextmanager
def _server_directory(name: str) -> Iterator[Path]:
    """Not below pytest's own: it closes that to other users again at every start of another pytest."""
    with tempfile.TemporaryDirectory(prefix=f"gatekeeper-{name}-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
async def pg15() -> AsyncIterator[DebianPostgres]:
    """Debian's PostgreSQL 15, on 127.0.0.1 with SCRAM and TLS."""
    if not (DEBIAN_15 / "postgres").exists():
        pytest.skip("Debian's postgresql-15 is not installed; `make test` installs it")
    with _server_directory("pg15") as directory:
        open_to_others(directory)
        server = DebianPostgres(directory)
        await server.start()
        yield server
        await server.stop()


@pytest.fixture
async def make_database(pg18: EmbeddedPostgres) -> AsyncIterator[MakeDatabase]:
    """A function that makes a fresh database: `await make_database(template=…, server=…)`."""
    made: list[Database] = []

    async def make(template: str = "template1", server: Server = pg18) -> Database:
        made.append(await create_database(server, template))
        return made[-1]

    yield make
    for database in made:
        await drop_database(database)


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    """A fresh, empty database on PostgreSQL 18."""
    return await make_database()


@pytest.fixture
async def sample(make_database: MakeDatabase) -> Database:
    """A database with customers and orders, on PostgreSQL 18."""
    from tests.harness import SAMPLE

    database = await make_database()
    connection = await database.connect()
    await connection.execute(SAMPLE)
    await connection.close()
    return database


@pytest.fixture
async def gate(tmp_path: Path, sample: Database) -> AsyncIterator[Any]:
    """A gateway before the sample database."""
    from tests.harness import open_gate

    async with open_gate(tmp_path, sample) as gate:
        yield gate
