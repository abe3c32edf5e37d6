"""Ends that nobody asked for: the database dies, the client dies, the gateway is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import errors

from tests.drivers.place import Place, open_place
from tests.drivers.test_psycopg import arguments
from tests.servers import open_to_others

ENDED = (psycopg.OperationalError,)


@pytest.fixture
def alone() -> Iterator[Place]:
    """A server and a gateway that a test may break."""
    with tempfile.TemporaryDirectory(prefix="gatekeeper-adversity-", ignore_cleanup_errors=True) as directory:
        open_to_others(Path(directory))
        with open_place(Path(directory)) as place:
            yield place


def wait_for(what: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def connect(place: Place, **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(**arguments(place, **options), autocommit=True)


def postmaster(place: Place) -> psutil.Process:
    pid = int((place.server.data_dir / "postmaster.pid").read_text().splitlines()[0])
    return psutil.Process(pid)


def start_again(place: Place) -> None:
    place.server._launch()


def running(place: Place, text: str) -> bool:
    query = f"select 1 from pg_stat_activity where query like '%{text}%' and pid <> pg_backend_pid()"
    return place.sql(f"{query} and state = 'active'") == "1"


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGINT,
        pytest.param(signal.SIGQUIT, marks=pytest.mark.soak),
        pytest.param(signal.SIGKILL, marks=pytest.mark.soak),
    ],
)
def test_a_database_that_stops_in_mid_result_ends_its_sessions_and_recovers(
    alone: Place, how: signal.Signals
) -> None:
    busy, idle = connect(alone), connect(alone)
    stream = busy.cursor().stream("select repeat('x', 1000) from generate_series(1, 10000000)")
    for _ in range(100):
        next(stream)
    server = postmaster(alone)
    victims = [server, *server.children()] if how == signal.SIGKILL else [server]
    for victim in victims:
        victim.send_signal(how)
    began = time.monotonic()
    with pytest.raises(ENDED):
        for _ in stream:
            pass
    with pytest.raises(ENDED):
        idle.execute("select 1")
    assert time.monotonic() - began < 10
    wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
    with pytest.raises(psycopg.OperationalError, match="cannot be reached"):
        connect(alone)
    (alone.server.data_dir / "postmaster.pid").unlink(missing_ok=True)
    start_again(alone)
    with connect(alone) as connection:
        assert connection.execute("select ssn from masked_people").fetchone() == ("[REDACTED]",)
    assert "Traceback" not in alone.log
    assert "ERROR" not in alone.log


def test_a_backend_that_is_terminated_tells_its_client_why(place: Place) -> None:
    with connect(place) as victim, connect(place) as other:
        other.execute("select pg_terminate_backend(%s)", (victim.info.backend_pid,))
        with pytest.raises(errors.AdminShutdown):
            victim.execute("select 1")


@pytest.mark.parametrize(
    "query", ["select pg_sleep(60)", "select count(*) from generate_series(1, 1000000000)"]
)
def test_a_client_that_is_killed_leaves_no_backend(place: Place, query: str) -> None:
    client = subprocess.Popen(
        ["psql", "-Xc", f"/* doomed */ {query}"], env={**os.environ, **place.through()},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: running(place, "doomed"))
    client.kill()
    client.wait()
    gone = "select count(*) from pg_stat_activity where query like '%doomed%' and pid <> pg_backend_pid()"
    wait_for(lambda: place.sql(gone) == "0", 5)


def test_a_client_that_is_killed_with_a_result_unread_leaves_no_backend(place: Place) -> None:
    query = "copy (select repeat('doomed', 1000) from generate_series(1, 10000000)) to stdout"
    client = subprocess.Popen(
        ["psql", "-Xc", query], env={**os.environ, **place.through()}, stdout=subprocess.PIPE
    )
    assert client.stdout is not None
    client.stdout.read(1000)
    client.send_signal(signal.SIGSTOP)
    time.sleep(1)
    client.kill()
    client.wait()
    gone = "select count(*) from pg_stat_activity where query like '%doomed%' and pid <> pg_backend_pid()"
    wait_for(lambda: place.sql(gone) == "0", 5)


def test_a_client_that_is_killed_in_its_copy_leaves_no_backend_and_no_rows(place: Place) -> None:
    place.sql("create table filled (line text)")
    client = subprocess.Popen(
        ["psql", "-Xc", "copy filled from stdin"],
        env={**os.environ, **place.through()},
        stdin=subprocess.PIPE,
    )
    assert client.stdin is not None
    client.stdin.write(b"some line\n" * 100_000)
    client.stdin.flush()
    client.kill()
    client.wait()
    gone = (
        "select count(*) from pg_stat_activity where query like '%copy filled%' and pid <> pg_backend_pid()"
    )
    wait_for(lambda: place.sql(gone) == "0", 5)
    assert place.sql("select count(*) from filled") == "0"
    place.sql("drop table filled")


def test_sigterm_lets_running_statements_finish(alone: Place) -> None:
    idle, busy = connect(alone), connect(alone)
    found: list[Any] = []
    worker = threading.Thread(target=lambda: found.append(busy.execute("select pg_sleep(2), 7").fetchone()))
    worker.start()
    wait_for(lambda: running(alone, "pg_sleep(2)"))
    began = time.monotonic()
    assert alone.process is not None
    alone.process.send_signal(signal.SIGTERM)
    with pytest.raises(errors.AdminShutdown, match="stopping"):
        wait_for(lambda: idle.execute("select 1") is None, 5)
    with pytest.raises(psycopg.OperationalError):
        connect(alone)
    worker.join()
    assert found == [("", 7)]
    assert alone.process.wait(10) == 0
    assert time.monotonic() - began < 5


def test_a_second_sigterm_does_not_wait(alone: Place) -> None:
    busy = connect(alone)
    failures: list[Exception] = []

    def work() -> None:
        try:
            busy.execute("select pg_sleep(60)")
        except psycopg.Error as problem:
            failures.append(problem)

    worker = threading.Thread(target=work)
    worker.start()
    wait_for(lambda: running(alone, "pg_sleep(60)"))
    assert alone.process is not None
    alone.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert alone.process.poll() is None
    alone.process.send_signal(signal.SIGTERM)
    assert alone.process.wait(10) == 0
    worker.join(5)
    assert isinstance(failures[0], errors.AdminShutdown)
    wait_for(lambda: not running(alone, "pg_sleep(60)"), 5)
