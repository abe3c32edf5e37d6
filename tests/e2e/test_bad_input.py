"""What is wrong at the start is one clear line, exit status 1, and nothing that was started goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from gatekeeper.identity.devissuer import DevIssuer
from tests.e2e import breaks
from tests.e2e.programs import (
    demo,
    free_port,
    left_behind,
    program,
    run,
    run_in_terminal,
    started,
    until,
    write_rules,
)

pytestmark = pytest.mark.server
DOWN = "postgresql://app@127.0.0.1:1/app"


@pytest.fixture
def here() -> Iterator[Path]:
    """Not pytest's own, which other users may not pass through: under root PostgreSQL is one of those."""
    with tempfile.TemporaryDirectory(prefix="gk-bad-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
        until(lambda: not left_behind(Path(directory)), "all processes on the directory have ended")


def fails(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit status 1, and one line that has these words."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("gatekeeper: ")
    for word in words:
        assert word in lines[0]


# --- the start fails --------------------------------------------------------------------------------------


def test_a_port_in_use_is_named_before_anything_is_started(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write_rules(here, port=port)
        fails(run(here, "serve"), f"127.0.0.1:{port} is in use")
        fails(run(here, "demo", "--headless", "--port", port), f"127.0.0.1:{port} is in use", "--port")
    assert not (here / ".gatekeeper").exists()


def test_a_metrics_port_in_use_is_named_and_the_bundled_server_stops(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write_rules(here, more=f'metrics = "127.0.0.1:{port}"')
        done = run(here, "serve")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"gatekeeper: [gateway] metrics: 127.0.0.1:{port} is in use"
    assert left_behind(here) == []


@pytest.mark.parametrize("store", ["no/such/place/r.db", "/proc/r.db", "issuer"])
def test_a_store_that_cannot_be_written_is_named(here: Path, store: str) -> None:
    write_rules(here, store=store)
    fails(run(here, "serve"), "cannot write recordings in", store)


def test_a_store_that_holds_something_else_is_left_as_it_is(here: Path) -> None:
    write_rules(here)
    (here / "recordings.db").write_text("a shopping list\n" * 100)
    fails(run(here, "serve"), "recordings.db")
    assert (here / "recordings.db").read_text() == "a shopping list\n" * 100


def test_a_second_gateway_finds_the_first(here: Path) -> None:
    rules = write_rules(here, dsn=DOWN)
    with program(here, "serve") as first:
        assert first.port
        fails(run(here, "serve"), "another gateway writes the recordings in", "recordings.db")
        rules.write_text(rules.read_text().replace('"recordings.db"', '"others.db"'))
        fails(run(here, "serve"), "gatekeeper.sock", "another gateway answers there")
        assert first.process.poll() is None
        assert run(here, "sessions", "--control", "gatekeeper.sock").stdout == "no live sessions\n"


def test_a_second_demo_finds_the_first_and_changes_nothing_of_it(here: Path) -> None:
    with demo(here) as (_, line):
        before = {path.name: path.read_bytes() for path in Path(line["data_dir"]).glob("[!r.]*[!k]")
                  if path.is_file()}  # fmt: skip
        fails(
            run(here, "demo", "--headless", "--port", 1234), "a demo runs in", "gatekeeper console --control"
        )
        after = {name: (Path(line["data_dir"]) / name).read_bytes() for name in before}
        assert after == before
        assert "token-analyst" in before


def test_a_demo_that_cannot_have_its_directory_says_so(here: Path) -> None:
    (here / "file").touch()
    fails(run(here, "demo", "--headless", "--directory", here / "file" / "x"), "cannot keep the demo in")
    deep = here / ("x" * 90)
    fails(run(here, "demo", "--headless", "--directory", deep), "a Unix socket's path has at most")


@pytest.mark.parametrize("command", ["serve", "check", "sessions", "audit list"])
def test_rules_that_are_missing_are_one_line(here: Path, command: str) -> None:
    fails(run(here, *command.split(), "--rules", "mine.toml"), "mine.toml")


def test_broken_rules_are_one_line_for_each_error(here: Path) -> None:
    rules = write_rules(here)
    rules.write_text(rules.read_text().replace("audience", "audiense").replace('["app"]', '["shop"]'))
    done = run(here, "serve")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert all(line.startswith("gatekeeper: ") for line in lines)
    assert any("audiense: unknown key; did you mean audience?" in line for line in lines)
    assert any('"shop"' in line for line in lines)
    rules.write_text("[gateway\n")
    fails(run(here, "serve"), "rules.toml", "line 1")


def test_keys_and_certificates_that_are_missing_are_named(here: Path) -> None:
    write_rules(here, dsn=DOWN, more='tls_cert = "none.crt"\ntls_key = "none.key"')
    fails(run(here, "serve"), "none.crt")


def test_a_bundled_server_that_cannot_start_is_one_line(here: Path) -> None:
    write_rules(here)
    data = here / ".gatekeeper" / "postgres" / "data"
    data.mkdir(parents=True)
    (data.parent / "password").write_text("x\n")
    (data / "PG_VERSION").write_text("9.6\n")
    done = run(here, "serve")
    assert done.returncode == 1
    assert "is of PostgreSQL 9.6, the bundled one is 18" in done.stderr.splitlines()[-1]


# --- the terminal -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["demo", "run", "replay --store r.db", "console --control here.sock"])
def test_without_a_terminal_there_is_one_line(here: Path, command: str) -> None:
    from gatekeeper.recording.store import open_store

    write_rules(here)
    open_store(str(here / "r.db")).close()
    fails(run(here, *command.split()), "the console needs a terminal")


@pytest.mark.parametrize("command", ["demo", "run", "replay --store r.db"])
def test_a_terminal_without_room_is_one_line(here: Path, command: str) -> None:
    from gatekeeper.recording.store import open_store

    write_rules(here)
    open_store(str(here / "r.db")).close()
    status, said = run_in_terminal(here, 59, 24, *command.split())
    assert status == 1
    assert said.startswith("gatekeeper: the console needs a terminal of 60×16, this one is 59×24; ")
    assert said.count("\n") == 1
    assert not (here / "recordings.db").exists()


def test_a_console_without_a_gateway_says_so(here: Path) -> None:
    status, said = run_in_terminal(here, 80, 24, "console", "--control", "here.sock")
    assert status == 1
    assert said.startswith("gatekeeper: no gateway answers at ")
    assert said.count("\n") == 1


# --- what goes on all the same ----------------------------------------------------------------------------


async def test_a_database_that_is_down_does_not_keep_the_gateway_from_starting(here: Path) -> None:
    write_rules(here, dsn=DOWN)
    token = DevIssuer(here / "issuer").sign({"sub": "ci"}, 60, time.time())
    with program(here, "serve") as gateway:
        port = gateway.port
        with pytest.raises(asyncpg.PostgresError) as caught:
            await asyncpg.connect(
                host="127.0.0.1", port=port, user="ci", password=token, database="app", ssl=False
            )
        assert caught.value.sqlstate == "08001"
        assert "127.0.0.1" not in str(caught.value)
        assert "app@" not in str(caught.value)
        gateway.says("database app: ")
        assert "logins to it are refused until it can be reached" in gateway.stderr
        assert gateway.stop(signal.SIGTERM) == 0


def test_a_gateway_is_found_by_a_rules_file_that_somebody_has_broken_meanwhile(here: Path) -> None:
    rules = write_rules(here, dsn=DOWN, control="its.sock")
    with program(here, "serve") as gateway:
        assert gateway.port
        for broken in ("name = [", "[[grant]]\nnmae = 1"):
            rules.write_text(rules.read_text() + broken + "\n")
            assert run(here, "check").returncode == 1
            assert run(here, "approvals").stdout == "nothing waits for a decision\n"
            assert run(here, "audit", "verify").returncode == 0


async def test_garbage_on_the_port_ends_its_own_connection_alone(here: Path) -> None:
    write_rules(here, dsn=DOWN)
    with program(here, "serve") as gateway:
        for garbage in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01" + b"\0" * 40,
            b"\0\0\0\0",
            os.urandom(500),
        ):
            with socket.create_connection(("127.0.0.1", gateway.port), 30) as line:
                line.sendall(garbage)
                line.shutdown(socket.SHUT_WR)
                while line.recv(4096):
                    pass
        assert gateway.process.poll() is None
        assert run(here, "sessions").returncode == 0


def test_a_console_that_breaks_leaves_the_gateway_at_work(here: Path) -> None:
    write_rules(here, port=free_port(), dsn=DOWN)
    with started(here, [sys.executable, breaks.__file__, "console"]) as gateway:
        gateway.says("gatekeeper: another console: gatekeeper console --control ")
        gateway.says(
            "gatekeeper: the console stopped: KeyError at screens/live.py:7; the gateway serves on at "
        )
        assert run(here, "sessions").stdout == "no live sessions\n"
        assert gateway.stop(signal.SIGTERM) == 0


def test_a_console_that_breaks_in_an_unforeseen_way_leaves_the_gateway_at_work_too(here: Path) -> None:
    write_rules(here, port=free_port(), dsn=DOWN)
    with started(here, [sys.executable, breaks.__file__, "terminal"]) as gateway:
        gateway.says("gatekeeper: the console stopped: OSError")
        assert "Traceback" not in gateway.stderr
        assert run(here, "sessions").returncode == 0
        assert gateway.stop(signal.SIGINT) == 0


def test_a_watch_on_the_rules_that_breaks_begins_anew(here: Path) -> None:
    rules = write_rules(here, dsn=DOWN)
    with started(here, [sys.executable, breaks.__file__, "watch"]) as gateway:
        assert gateway.port
        gateway.says("the watch on the rules broke off (RuntimeError) and begins anew")
        assert "secret" not in gateway.stderr
        until(lambda: run(here, "explain", "select 1", "--grant", "ci").returncode == 0, "explained")
        rules.write_text(rules.read_text().replace('"ci"', '"bots"'))
        rules.write_text(
            rules.read_text() + '\n[[guard]]\nname = "g"\nstatements = ["NONE"]\naction = "warn"\n'
        )
        gateway.says("rules: ")
        assert gateway.stop(signal.SIGTERM) == 0


# --- signals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_stops_everything(here: Path, number: int) -> None:
    write_rules(here)
    with program(here, "serve") as gateway:
        assert gateway.port
        assert any("postgres" in line for line in left_behind(here))
        assert gateway.stop(number) == 0
        assert left_behind(here) == []
        assert not (here / "gatekeeper.sock").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_stops_what_has_started(here: Path, number: int) -> None:
    write_rules(here)
    with program(here, "serve") as gateway:
        gateway.says("starting the bundled PostgreSQL")
        status = gateway.stop(number)
        assert status == (0 if number == signal.SIGTERM else 130)
        assert "Traceback" not in gateway.stderr
        assert "listening" not in gateway.stderr
        assert left_behind(here) == []
