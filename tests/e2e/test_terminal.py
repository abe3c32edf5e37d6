"""The real program in a real terminal: tmux holds it, and what it shows is read back."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.programs import (
    GATEKEEPER,
    PATIENCE_S,
    demo,
    environment,
    free_port,
    left_behind,
    program,
    until,
    write_rules,
)

pytestmark = [
    pytest.mark.terminal,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed; `make test` installs it"),
]


@pytest.fixture
def here() -> Iterator[Path]:
    """Not pytest's own, which other users may not pass through: under root PostgreSQL is one of those."""
    with tempfile.TemporaryDirectory(prefix="gk-term-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


class Terminal:
    """A shell in a tmux of its own."""

    def __init__(self, directory: Path, columns: int, lines: int) -> None:
        self._name = f"gk-test-{os.getpid()}-{directory.name}"
        self._environment = environment(
            directory, TERM="xterm-256color", LANG="C.UTF-8", PATH=f"{GATEKEEPER.parent}:{os.environ['PATH']}"
        )
        self._environment.pop("TMUX", None)
        self._tmux(
            *("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(lines)),
            *("-c", str(directory), "env PS1='ready> ' sh"),
        )
        self.shows("ready>")

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-L", self._name, *arguments],
            env=self._environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S,
        ).stdout  # fmt: skip

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def shows(self, *texts: str) -> str:
        """Wait until all these are on the screen at once; the screen."""
        try:
            return str(until(lambda: self._showing(texts), str(texts)))
        except AssertionError:
            raise AssertionError(f"{texts} are not on the screen:\n{self.screen}") from None

    def _showing(self, texts: tuple[str, ...]) -> str:
        screen = self.screen
        return screen if all(text in screen for text in texts) else ""

    def press(self, *keys: str) -> None:
        """Keys by tmux's names."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Text as it is."""
        self._tmux("send-keys", "-l", text)

    def press_until(self, key: str, true: Callable[[], bool]) -> None:
        """Press a key again until it was taken: a prompt that has just popped up takes none yet."""
        for _ in range(20):
            time.sleep(1.5)
            self.press(key)
            with contextlib.suppress(AssertionError):
                until(true, key, patience_s=6)
                return
        raise AssertionError(f"{key} does nothing:\n{self.screen}")

    def says(self, command: str) -> None:
        """Give the shell a command."""
        self.type(command)
        self.press("Enter")

    def close(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._tmux("kill-server")


@pytest.fixture
def terminal(here: Path) -> Iterator[Terminal]:
    it = Terminal(here, 80, 24)
    yield it
    it.close()
    until(lambda: not left_behind(here), "all processes on the directory have ended")


def statement(here: Path, line: str, sql: str) -> subprocess.Popen[str]:
    """Run the line that the console shows in another process, as one would paste it in another terminal."""
    return subprocess.Popen(
        ["sh", "-c", f"{line} -Atc {shlex.quote(sql)}"],
        env=environment(here), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    return out.strip(), err.strip()


def sane(terminal: Terminal) -> None:
    """The shell has its terminal back as it was: echo, lines, and the cursor."""
    terminal.says("clear; stty -a | tr ';' '\\n' | grep -ow -- '-\\?\\(echo\\|icanon\\)' | xargs echo modes")
    terminal.shows("modes icanon echo", "ready>")
    modes = terminal._tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}")
    assert modes.split() == ["0", "1", "0"]


def test_the_demo_from_the_first_line_to_a_sane_terminal(here: Path, terminal: Terminal) -> None:
    terminal.says(f"gatekeeper demo --port {free_port()}; echo left with $?")
    shown = terminal.shows("Nobody is logged in yet.", "psql ci-migrations", "psql analyst", "psql dba")
    line = next(row.strip() for row in shown.splitlines() if row.endswith("psql ci-migrations"))
    assert all(len(row) <= 80 for row in shown.splitlines())

    out, err = ended(
        statement(here, line, "select id, name, ssn as harmless from customers order by id limit 2")
    )
    assert out.splitlines() == ["1|Grace Hopper|[REDACTED]", "2|Edsger Dijkstra|[REDACTED]"], err
    terminal.shows("select id, name, ssn")

    held = statement(here, line, "delete from orders")
    terminal.shows("delete from orders", "unbounded-write", "ci-migrations", "approve", "deny")
    terminal.press_until("a", lambda: held.poll() is not None)
    assert ended(held)[0] == "DELETE 6000"

    held = statement(here, line, "delete from orders")
    terminal.shows("delete from orders", "unbounded-write", "approve", "deny")
    terminal.press_until("d", lambda: "enter deny" in terminal.screen)
    terminal.type("not on a Friday")
    terminal.press("Enter")
    _, err = ended(held)
    assert "denied by" in err
    assert "DETAIL:  not on a Friday" in err

    terminal.press("3")
    terminal.shows("Recordings 3 sessions")
    terminal.press("End", "Enter")
    terminal.shows("speed")
    terminal.press("Right")
    terminal.shows("Grace Hopper", "[REDACTED]")
    terminal.press("Space")
    terminal.shows("3/3")  # played to its end
    terminal.press("Escape")
    terminal.shows("Recordings 3 sessions")

    terminal.press("q")
    terminal.shows("left with 0", "ready>")
    sane(terminal)
    assert [line for line in left_behind(here) if "postgres" in line or "gatekeeper demo" in line] == []
    assert not list(here.rglob("token-*"))


def test_leaving_asks_first_and_waits_for_what_runs_until_it_is_hurried(
    here: Path, terminal: Terminal
) -> None:
    terminal.says(f"gatekeeper demo --port {free_port()}; echo left with $?")
    terminal.shows("psql analyst")
    running = statement(
        here, str(here / "state" / "gatekeeper" / "demo" / "psql") + " analyst", "select pg_sleep(600)"
    )
    terminal.shows("Sessions 1", "pg_sleep")
    terminal.press("q")
    terminal.shows("The gateway stops too, and every session with it.", "y leave")
    terminal.press("n")
    terminal.shows("Statements following")
    assert running.poll() is None
    terminal.press("q")
    terminal.shows("y leave")
    terminal.press("y")
    terminal.shows("gatekeeper: waiting up to 15 s for 1 running statement; Ctrl-C stops at once")
    terminal.press("C-c")
    terminal.shows("left with 0")
    assert "terminating connection because the gateway is stopping" in ended(running)[1]
    sane(terminal)


def test_a_terminal_that_is_closed_stops_everything(here: Path, terminal: Terminal) -> None:
    terminal.says(f"gatekeeper demo --port {free_port()}")
    terminal.shows("psql analyst")
    assert any("postgres" in line for line in left_behind(here))
    terminal.close()
    until(lambda: not left_behind(here), "all processes on the directory have ended")


def test_a_console_attached_to_a_gateway_that_runs_elsewhere(here: Path, terminal: Terminal) -> None:
    with demo(here) as (_, line):
        terminal.says(f"gatekeeper console --control {line['control']}; echo left with $?")
        terminal.shows(f"127.0.0.1:{line['port']}", "psql analyst")
        held = statement(here, str(Path(line["data_dir"]) / "psql") + " ci-migrations", "delete from orders")
        terminal.shows("delete from orders", "unbounded-write")
        terminal.press_until("a", lambda: held.poll() is not None)
        assert ended(held)[0] == "DELETE 6000"
        terminal.press("q")
        terminal.shows("left with 0")
        sane(terminal)
        out, _ = ended(statement(here, str(Path(line["data_dir"]) / "psql") + " analyst", "select 1"))
        assert out == "1"


def test_recordings_replay_without_a_gateway(here: Path, terminal: Terminal) -> None:
    with demo(here) as (_, line):
        psql_line = str(Path(line["data_dir"]) / "psql") + " analyst"
        assert ended(statement(here, psql_line, "select name, ssn from customers order by id limit 1"))[0]
    store = Path(line["data_dir"]) / "recordings.db"
    listed = subprocess.run(
        [GATEKEEPER, "audit", "list", "--store", store, "--json"], capture_output=True, text=True, check=True
    )
    (session,) = json.loads(listed.stdout)
    terminal.says(f"gatekeeper replay {session['id']} --store {store}; echo left with $?")
    terminal.shows("speed")
    terminal.press("Right")
    terminal.shows("Grace Hopper", "[REDACTED]")
    terminal.press("q")
    terminal.shows("left with 0")
    sane(terminal)


@pytest.mark.parametrize("command", ["run", "console --control gatekeeper.sock"])
def test_a_signal_gives_the_terminal_back(here: Path, terminal: Terminal, command: str) -> None:
    write_rules(here, dsn="postgresql://app@127.0.0.1:1/app")
    with contextlib.ExitStack() as stack:
        if command != "run":
            stack.enter_context(program(here, "serve")).says("listening on")
        terminal.says(f"gatekeeper {command} & echo the process is $!; fg >/dev/null; echo left with $?")
        terminal.shows("Live", "Approvals", "Recordings", "Rules")
        number = terminal._tmux("display-message", "-p", "#{pane_pid}").strip()
        children = subprocess.run(["pgrep", "-P", number], capture_output=True, text=True, check=True)
        subprocess.run(["kill", "-TERM", *children.stdout.split()], check=True)
        terminal.shows("left with 0")
        sane(terminal)
