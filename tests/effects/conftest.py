"""A gateway whose guards keep one table, before a database in which much could write to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gatekeeper.embedded import EmbeddedPostgres
from tests.effects.stage import RULES, SETUP, Stage
from tests.harness import open_gate
from tests.masking.probe import execute
from tests.servers import create_database, drop_database


@pytest.fixture(scope="package")
async def stage(pg18: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One gateway and one database for all attacks of this package."""
    database = await create_database(pg18)
    await execute(database, SETUP)
    async with open_gate(tmp_path_factory.mktemp("effects"), database, RULES) as gate:
        connection = await database.connect()
        yield Stage(gate, connection)
        await connection.close()
    await drop_database(database)
