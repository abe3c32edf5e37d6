"""One server and one gateway with TLS for all drivers; each test makes and drops what it needs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.place import Place, open_place
from tests.servers import open_to_others


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("server")


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="gatekeeper-drivers-", ignore_cleanup_errors=True) as directory:
        open_to_others(Path(directory))
        with open_place(Path(directory), tls=True) as place:
            yield place
