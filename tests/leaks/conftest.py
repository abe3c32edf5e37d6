"""A gateway before a database whose masked columns hold canaries, in two states of those columns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatekeeper.embedded import EmbeddedPostgres
from tests.harness import Gate, open_gate
from tests.leaks.attack import RULES
from tests.leaks.states import MASK_RULES, States
from tests.masking.probe import execute
from tests.masking.schema import SETUP
from tests.servers import create_database, drop_database


@pytest.fixture(scope="package")
async def leaky(pg18: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    """One gateway and one database for all attacks of this package."""
    database = await create_database(pg18)
    await execute(database, SETUP)
    directory: Path = tmp_path_factory.mktemp("leaky")
    async with open_gate(directory, database, RULES + MASK_RULES) as gate:
        yield gate
    await drop_database(database)


@pytest.fixture(scope="package")
async def states(leaky: Gate) -> AsyncIterator[States]:
    """The two states of the masked values, and the way back to the database as it was."""
    made = States(leaky)
    await made.open()
    yield made
    await made.close()
