"""Exit status, streams and help of every command."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gatekeeper.cli import entry
from gatekeeper.cli.entry import cli
from tests.cli.conftest import Run, RunBeside


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


def test_all_commands_of_the_contract_are_there() -> None:
    assert {" ".join(path) for path in commands()} == {
        "demo", "run", "serve", "console", "replay", "init", "check", "explain", "sessions", "sessions kill",
        "approvals", "approve", "deny", "grants", "grants end", "audit", "audit list", "audit show",
        "audit search", "audit verify", "audit export", "audit prune", "token",
    }  # fmt: skip


@pytest.mark.parametrize("path", [(), *commands()], ids=" ".join)
def test_every_command_has_help(run: Run, path: tuple[str, ...]) -> None:
    done = run(*path, "--help")
    assert done.status == 0
    assert done.out.startswith("Usage: gatekeeper")
    assert done.err == ""
    assert "..." not in "".join(line for line in done.lines if not line.startswith("Usage"))


@pytest.mark.parametrize(
    "path",
    [
        "sessions",
        "approvals",
        "grants",
        "explain",
        "check",
        "audit list",
        "audit show",
        "audit search",
        "audit verify",
    ],
)
def test_reading_commands_have_json(run: Run, path: str) -> None:
    assert "--json" in run(*path.split(), "--help").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["sessions", "kill"],
        ["approve"],
        ["explain", "select 1"],
        ["check", "--nonsense"],
        ["audit", "export", "--format", "xml"],
        ["audit", "prune", "--older-than", "soon"],
        ["audit", "list", "--limit", "0"],
        ["token", "--claim", "novalue"],
        ["token", "--claim", "a=1", "--claim", "a=2"],
        ["token", "--ttl", "10 minutes"],
    ],
)
def test_wrong_usage_is_status_2_and_one_line(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("gatekeeper: ")
    assert len(done.err.splitlines()) == 1
    assert "--help" in done.err


@pytest.mark.parametrize("group", [[], ["audit"]])
def test_a_group_alone_shows_its_commands(run: Run, group: list[str]) -> None:
    done = run(*group)
    assert done.status == 2
    assert "Commands:" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["sessions"],
        ["approvals", "--control", "nowhere.sock"],
        ["approve", "x", "--control", "nowhere.sock"],
        ["grants", "--rules", "missing.toml"],
        ["sessions", "--control", "x" * 200],
        ["check"],
        ["check", "missing.toml"],
        ["check", "."],
        ["explain", "select 1", "--grant", "g"],
        ["serve", "--rules", "missing.toml"],
        ["console"],
        ["console", "--control", "nowhere.sock"],
        ["demo"],
        ["run"],
        ["replay"],
        ["replay", "--store", "missing.db"],
        ["audit", "list"],
        ["audit", "list", "--store", "missing.db"],
        ["audit", "list", "--store", "postgresql://db/x"],
        ["audit", "verify", "--store", "missing.db"],
        ["audit", "prune", "--older-than", "1d", "--store", "missing.db"],
        ["audit", "export", "--store", "missing.db"],
        ["init", "no/such/place/rules.toml"],
        ["token", "--issuer-dir", "/proc/nowhere"],
    ],
    ids=" ".join,
)
def test_failure_is_status_1_and_one_line(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.status == 1
    assert done.out == ""
    assert done.err.startswith("gatekeeper: ")
    assert len(done.err.splitlines()) == 1


async def test_the_real_program_keeps_it_so(program: RunBeside) -> None:
    done = await program("sessions", "--control", "nowhere.sock")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("gatekeeper: no gateway answers at ")
    assert done.err.endswith("nowhere.sock: is it running?\n")
    assert (await program("--version")).out.startswith("gatekeeper 0.")
    assert (await program("nonsense")).status == 2


async def test_a_reader_that_goes_away_is_no_error(program: RunBeside, tmp_path: Path) -> None:
    from gatekeeper.recording.store import open_store
    from tests.recording import samples

    store = open_store(str(tmp_path / "r.db"))
    store.submit([samples.login(), *(samples.opened(n, "select 1 -- " + "x" * 500) for n in range(1, 2000))])
    store.flush()
    store.close()
    process = subprocess.Popen(
        f"{Path(sys.executable).with_name('gatekeeper')} audit export --store {tmp_path}/r.db"
        " | head -n 1 >/dev/null; echo ${PIPESTATUS[0]}",
        shell=True, executable="/bin/bash", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = await asyncio.to_thread(process.communicate)
    assert err == ""
    assert out.strip() == "141"


async def test_an_interrupt_is_quiet(tmp_path: Path) -> None:
    from tests.cli import waits

    process = await asyncio.create_subprocess_exec(
        sys.executable, waits.__file__, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


async def test_a_fault_of_our_own_is_one_line_without_what_it_held() -> None:
    from tests.cli import waits

    process = await asyncio.create_subprocess_exec(
        sys.executable, waits.__file__, "fault", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode().splitlines() == [
        "gatekeeper: stopped by a fault of its own, ValueError; GATEKEEPER_TRACEBACK=1 shows where"
    ]


def test_main_exits_with_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(SystemExit) as caught:
        entry.main(["nonsense"])
    assert caught.value.code == 2
