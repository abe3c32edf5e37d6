"""Commands as a shell runs them: arguments in, exit status and two streams out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.cli.entry import run as run_command
from gatekeeper.control.server import ControlServer
from tests.control.parts import Parts


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Done]
RunBeside = Callable[..., Awaitable[Done]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def do(*arguments: Any) -> Done:
        capsys.readouterr()
        status = run_command([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Done(status, out, err)

    return do


@pytest.fixture
def run_beside(run: Run) -> RunBeside:
    """The same while the test's loop goes on, for a gateway to answer."""

    async def do(*arguments: Any) -> Done:
        return await asyncio.to_thread(run, *arguments)

    return do


@pytest.fixture
def program(tmp_path: Path) -> RunBeside:
    """Runs the real program in a process of its own."""

    async def do(*arguments: Any, stdin: str = "") -> Done:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("gatekeeper")),
            *map(str, arguments),
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    return do


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


@pytest.fixture
async def control(parts: Parts, tmp_path: Path) -> AsyncIterator[Path]:
    """The control socket of a running gateway's operator side, which rules.toml names too."""
    from tests.control.parts import RULES

    (tmp_path / "rules.toml").write_text('[gateway]\ncontrol = "here.sock"\n' + RULES)
    server = ControlServer(tmp_path / "here.sock", parts.operator)
    await server.start()
    yield server.path
    await server.close()
