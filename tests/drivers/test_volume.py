"""Large values, results and copies pass while the gateway stays small."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.drivers.memory import Watch
from tests.drivers.place import Place

MIB = 1 << 20


def connect(place: Place, **options: Any) -> psycopg.Connection[Any]:
    env = place.through()
    return psycopg.connect(
        host=env["PGHOST"], port=env["PGPORT"], user=env["PGUSER"], password=env["PGPASSWORD"],
        dbname=env["PGDATABASE"], **{"sslmode": "disable", "autocommit": True, **options},
    )  # fmt: skip


@pytest.mark.parametrize("sslmode", ["disable", "require"])
def test_a_large_value_passes_in_either_direction(place: Place, sslmode: str) -> None:
    value = os.urandom(MIB) * 40
    with Watch(place.gateway), connect(place, sslmode=sslmode) as connection:
        found = connection.execute("select %b::bytea, length(%b)", (value, value)).fetchone()
        assert found == (value, len(value))


def test_a_large_value_is_recorded_by_its_size(place: Place) -> None:
    with connect(place) as connection:
        connection.execute("select 'sized', %s, length(%b), %s", ("before", b"x" * (2 * MIB), "behind"))
    gatekeeper, store = Path(sys.executable).with_name("gatekeeper"), place.directory / "recordings.db"
    done = place.run(gatekeeper, "audit", "search", "sized", "--json", "--store", store, env={})
    assert "(2097152 bytes, not kept)" in done.stdout
    assert "behind" in done.stdout


def test_a_long_pipeline_without_a_sync_is_answered(place: Place) -> None:
    """What the gateway lets be in flight is more than a server keeps back."""
    with connect(place) as connection:
        wire = connection.pgconn
        wire.enter_pipeline_mode()
        for _ in range(20_000):
            wire.send_query_params(b"select 1", None)
        wire.pipeline_sync()
        results = 0
        ended = False
        while not ended:
            result = wire.get_result()
            if result is not None:
                results += result.status == psycopg.pq.ExecStatus.TUPLES_OK
                ended = result.status == psycopg.pq.ExecStatus.PIPELINE_SYNC
        assert results == 20_000
        wire.exit_pipeline_mode()


@pytest.mark.soak
def test_a_value_of_200_mb_passes_in_either_direction(place: Place) -> None:
    with Watch(place.gateway), connect(place) as connection:
        value = b"y" * (200 * MIB)
        assert connection.execute("select length(%b::bytea)", (value,)).fetchone() == (len(value),)
        [text] = connection.execute(f"select repeat('z', {200 * MIB})").fetchone() or [""]
        assert len(text) == 200 * MIB


@pytest.mark.soak
def test_a_copy_row_of_200_mb_passes(place: Place) -> None:
    with Watch(place.gateway), connect(place) as connection:
        connection.execute("create temp table t (line text)")
        with connection.cursor().copy("copy t from stdin") as copy:
            copy.write(b"w" * (200 * MIB))
            copy.write(b"\n")
        assert connection.execute("select length(line) from t").fetchone() == (200 * MIB,)


@pytest.mark.soak
def test_100_mb_are_copied_both_ways(place: Place, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_text(("x" * 99 + "\n") * 1_000_000)
    place.sql("create table copied (line text)")
    try:
        with Watch(place.gateway):
            place.run("psql", "-Xc", f"\\copy copied from '{there}'", env=place.through())
            place.run("psql", "-Xc", f"\\copy copied to '{back}'", env=place.through())
        assert back.read_bytes() == there.read_bytes()
    finally:
        place.sql("drop table copied")


@pytest.mark.soak
def test_a_reader_that_stops_in_a_large_result_stops_the_server(place: Place) -> None:
    query = "copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout"
    with Watch(place.gateway):
        reader = subprocess.Popen(
            ["psql", "-Xc", query], stdout=subprocess.PIPE, env={**os.environ, **place.through()}
        )
        assert reader.stdout is not None
        reader.stdout.read(1000)
        reader.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with connect(place) as other:
            for _ in range(200):
                other.execute("select 1")
        assert time.monotonic() - began < 10
        time.sleep(2)
        waits = place.sql("select count(*) from pg_stat_activity where wait_event = 'ClientWrite'")
        assert waits == "1"
        reader.kill()
        reader.wait()


@pytest.mark.soak
def test_a_pipeline_of_200000_statements_is_bounded(place: Place) -> None:
    with Watch(place.gateway), connect(place) as connection:
        connection.execute("create temp table t (i int)")
        with connection.pipeline():
            cursor = connection.cursor()
            for i in range(200_000):
                cursor.execute("insert into t values (%s)", (i,))
        assert connection.execute("select count(*) from t").fetchone() == (200_000,)
