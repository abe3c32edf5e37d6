"""Drivers of other languages at real work; each fetches its packages into a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.drivers.place import Place

PROGRAMS = Path(__file__).parent / "programs"
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>test</groupId><artifactId>test</artifactId><version>1</version>
<dependencies><dependency><groupId>org.postgresql</groupId><artifactId>postgresql</artifactId>
<version>42.7.7</version></dependency></dependencies></project>"""
CARGO = """[package]
name = "test"
version = "0.1.0"
edition = "2021"
[[bin]]
name = "test"
path = "main.rs"
[dependencies]
bytes = "1"
futures-util = { version = "0.3", features = ["sink"] }
tokio = { version = "1", features = ["macros", "rt-multi-thread", "sync", "time"] }
tokio-postgres = "0.7"
"""


def prepare(directory: Path, *command: str) -> None:
    """Fetch or build; where that cannot be done, there is nothing to test."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=550)
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-300:]}")


def run(place: Place, directory: Path, *command: str) -> None:
    done = place.run(*command, env={**place.through(), "CA_FILE": str(place.ca_file)}, cwd=directory)
    assert done.stdout.endswith("done\n")


def test_node_postgres(place: Place, tmp_path: Path) -> None:
    shutil.copy(PROGRAMS / "node.mjs", tmp_path)
    prepare(tmp_path, "npm", "install", "--no-save", "pg@8", "pg-cursor@2", "pg-copy-streams@7")
    run(place, tmp_path, "node", "node.mjs")


@pytest.mark.soak
def test_pgx(place: Place, tmp_path: Path) -> None:
    shutil.copy(PROGRAMS / "main.go", tmp_path)
    prepare(tmp_path, "go", "mod", "init", "test")
    prepare(tmp_path, "go", "mod", "tidy")
    prepare(tmp_path, "go", "build", "-o", "program", ".")
    run(place, tmp_path, str(tmp_path / "program"))


@pytest.mark.soak
def test_pgjdbc(place: Place, tmp_path: Path) -> None:
    shutil.copy(PROGRAMS / "Main.java", tmp_path)
    (tmp_path / "pom.xml").write_text(POM)
    prepare(tmp_path, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars")
    path = os.pathsep.join(map(str, (tmp_path / "jars").glob("*.jar")))
    run(place, tmp_path, "java", "-cp", path, "Main.java")


@pytest.mark.soak
def test_tokio_postgres(place: Place, tmp_path: Path) -> None:
    shutil.copy(PROGRAMS / "main.rs", tmp_path)
    (tmp_path / "Cargo.toml").write_text(CARGO)
    prepare(tmp_path, "cargo", "build", "--quiet")
    run(place, tmp_path, str(tmp_path / "target/debug/test"))
