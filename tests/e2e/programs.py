"""The real program in processes of its own, on a directory of its own, as its users start it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import psutil

BIN: Final = Path(sys.executable).parent
GATEKEEPER: Final = BIN / "gatekeeper"
PATIENCE_S: Final = 120.0
"""For what takes a second, and much longer on a machine that is busy with other tests."""


def until(true: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until something is so, and give what it gave."""
    deadline = time.monotonic() + patience_s
    while not (found := true()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(directory: Path, **more: str) -> dict[str, str]:
    """Ours without what would change the program, and with a state directory of the test's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "XDG_", "COLUMNS", "LINES"))}
    return {**kept, "XDG_STATE_HOME": str(directory / "state"), **more}


def run(directory: Path, *arguments: Any, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [GATEKEEPER, *map(str, arguments)],
        cwd=directory, env=environment(directory, **env), input=stdin,
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def run_in_terminal(directory: Path, columns: int, lines: int, *arguments: Any) -> tuple[int, str]:
    """Run a command in a terminal of that size: its exit status, and all that it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [GATEKEEPER, *map(str, arguments)],
        cwd=directory, env=environment(directory), stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # EIO: the last one at the other end has gone
        while piece := os.read(ours, 4096):
            written += piece
    os.close(ours)
    return process.wait(PATIENCE_S), written.decode()


class Program:
    """A gateway that runs beside the test."""

    def __init__(self, directory: Path, command: list[str], **env: str) -> None:
        self.directory = directory
        self.log = directory / f"stderr-{time.monotonic_ns()}"
        with self.log.open("w") as stderr:
            self.process = subprocess.Popen(
                command, cwd=directory, env=environment(directory, **env),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        self.stdout: IO[str] = self.process.stdout

    @property
    def stderr(self) -> str:
        return self.log.read_text()

    def says(self, text: str) -> str:
        """Wait until it has said that on stderr; all that it has said."""
        until(lambda: text in self.stderr or self.process.poll() is not None, f"{text!r} on stderr")
        assert text in self.stderr, self.stderr
        return self.stderr

    @property
    def port(self) -> int:
        said = self.says("gatekeeper: listening on ")
        return int(said.split("gatekeeper: listening on ", 1)[1].split()[0].rsplit(":", 1)[1])

    def stop(self, number: int) -> int:
        """Send a signal, and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def program(directory: Path, *arguments: Any, **env: str) -> Iterator[Program]:
    """Start a command that goes on; it is gone at the end, whatever became of the test."""
    with started(directory, [str(GATEKEEPER), *map(str, arguments)], **env) as it:
        yield it


@contextlib.contextmanager
def started(directory: Path, command: list[str], **env: str) -> Iterator[Program]:
    it = Program(directory, command, **env)
    try:
        yield it
    finally:
        it.process.terminate()
        try:
            it.process.wait(30)
        except subprocess.TimeoutExpired:
            it.process.kill()
            it.process.wait()
        it.stdout.close()


@contextlib.contextmanager
def demo(directory: Path, *arguments: Any) -> Iterator[tuple[Program, dict[str, Any]]]:
    """A headless demo on a port of its own, and its line."""
    with program(directory, "demo", "--headless", "--port", 0, *arguments) as it:
        line = it.stdout.readline()
        assert line, it.stderr
        yield it, json.loads(line)


def left_behind(directory: Path) -> list[str]:
    """Processes that still run on this directory."""
    found = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(directory) in line and process.info["pid"] != os.getpid():
            found.append(line)
    return found


RULES: Final = """
[gateway]
listen = "127.0.0.1:{port}"
store = "{store}"
control = "{control}"
{more}

[[issuer]]
name = "local"
issuer = "https://issuer.gatekeeper.localhost"
audience = "gatekeeper"
jwks = "issuer/jwks.json"
algorithms = ["ES256"]

[[database]]
name = "app"
dsn = "{dsn}"

[[grant]]
name = "ci"
issuer = "local"
claims = {{ sub = "ci" }}
databases = ["app"]
classes = ["READ", "WRITE", "DDL"]
"""


def write_rules(
    directory: Path,
    *,
    port: int = 0,
    store: str = "recordings.db",
    control: str = "gatekeeper.sock",
    dsn: str = "embedded",
    more: str = "",
) -> Path:
    """A small rules file, and the issuer that it names."""
    from gatekeeper.identity.devissuer import DevIssuer

    DevIssuer(directory / "issuer")
    path = directory / "rules.toml"
    path.write_text(RULES.format(port=port, store=store, control=control, dsn=dsn, more=more))
    return path
