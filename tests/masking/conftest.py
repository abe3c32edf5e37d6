"""A database with canaries, and a probe on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gatekeeper.embedded import EmbeddedPostgres
from tests.masking.probe import Probe, execute, rules_of
from tests.masking.schema import MASK, SETUP
from tests.servers import Database, create_database, drop_database


@pytest.fixture(scope="package")
async def canaries(pg18: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A database whose masked columns hold canaries."""
    database = await create_database(pg18)
    await execute(database, SETUP)
    yield database
    await drop_database(database)


@pytest.fixture(scope="package")
async def probe(canaries: Database) -> AsyncIterator[Probe]:
    """A session whose statements are planned with the mask `pii`; the rules hold SQL that cannot be read."""
    made = Probe(canaries, rules_of(MASK, dynamic="approve", opaque="approve"))
    await made.refresh()
    yield made
    made.close()


@pytest.fixture(scope="package")
async def strict(canaries: Database) -> AsyncIterator[Probe]:
    """The same where the rules allow all code, so that masking stands alone."""
    made = Probe(canaries, rules_of(MASK))
    await made.refresh()
    yield made
    made.close()
