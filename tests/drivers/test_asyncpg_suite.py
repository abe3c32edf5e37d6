"""asyncpg's own tests, directly and through the gateway: what passes directly passes through it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import asyncpg
import pytest

from tests.drivers.place import Place, open_place
from tests.servers import open_to_others

pytestmark = pytest.mark.soak

NOT_THROUGH = {
    "tests.test_codecs.TestCodecs::test_relacl_array_type": "sets session_authorization, which is refused",
    "tests.test_introspection.TestIntrospection::test_introspection_on_large_db": "measures time",
}
"""Tests that pass directly and need not pass through the gateway, each with its reason."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests of the very version that is installed, away from the sources that are not built."""
    directory = tmp_path_factory.mktemp("asyncpg")
    fetched = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary=:all:",
         f"--dest={directory}", f"asyncpg=={asyncpg.__version__}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    archives = list(directory.glob("asyncpg-*.tar.gz"))
    if not archives:
        pytest.skip(f"asyncpg's source distribution cannot be had: {fetched.stderr.strip()[-200:]}")
    with tarfile.open(archives[0]) as archive:
        tests = [m for m in archive.getmembers() if m.name.split("/")[1:2] == ["tests"]]
        archive.extractall(directory, members=tests, filter="data")
    return directory / archives[0].name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server of its own: the tests make roles, databases and extensions."""
    directory = tmp_path_factory.mktemp("place")
    open_to_others(directory)
    absent = ("testdb", "asyncpg_intro_test")  # the tests make them and drop them
    with open_place(directory, absent=absent, settings={"jit": "off"}) as place:
        yield place


def outcomes(place: Place, suite: Path, name: str, env: dict[str, str]) -> dict[str, tuple[str, str]]:
    report = suite / f"{name}.xml"
    place.run(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir=.",
        f"--junitxml={report}", "tests", "--deselect=tests/test__sourcecode.py",
        env=env, cwd=suite, timeout=900, check=False,
    )  # fmt: skip
    found: dict[str, tuple[str, str]] = {}
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag: child.get("message") or "" for child in case}
        failed = kinds.get("failure", kinds.get("error"))
        state = "failed" if failed is not None else "skipped" if "skipped" in kinds else "passed"
        found[f"{case.get('classname')}::{case.get('name')}"] = (state, failed or "")
    return found


def test_what_passes_directly_passes_through_the_gateway(alone: Place, suite: Path) -> None:
    directly = outcomes(alone, suite, "directly", alone.direct())
    through = outcomes(alone, suite, "through", alone.through())
    passed = [name for name, (state, _) in directly.items() if state == "passed"]
    assert len(passed) > 250
    lost = [name for name in passed if through.get(name, ("missing",))[0] != "passed"]
    told = [f"{name}: {through.get(name)}" for name in lost if name not in NOT_THROUGH]
    assert not told, "\n".join(told)
    assert "Task exception" not in alone.log
    assert "ERROR" not in alone.log
