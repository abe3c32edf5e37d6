"""Commands that start something: demo, run, serve, console, replay."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from gatekeeper.cli.common import (
    ask,
    control_options,
    control_path,
    rules_option,
    rules_path,
    store_of,
    store_options,
)
from gatekeeper.errors import ConfigError


@click.command()
@click.option("--headless", is_flag=True, help="No console: print one JSON line and serve until stopped.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Where to listen on 127.0.0.1; 0 takes any free port.  [default: 6432, then as last time]",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to keep it all.  [default: ~/.local/state/gatekeeper/demo]",
)
def demo(headless: bool, port: int | None, directory: Path | None) -> int:
    """Try it out: all that is needed, and the console.

    Starts a bundled PostgreSQL with sample data, a token issuer, the gateway and the console. Nothing else
    has to be installed or configured. Lines for psql, each with a fresh token, are shown to paste into
    another terminal. All of it is kept in one directory: remove that to begin anew. With --headless one JSON
    line on stdout has host, port, database, grant, token, data_dir and control.
    """
    if not headless:
        _need_terminal("gatekeeper demo --headless does without")
    from gatekeeper import demo as demonstration

    return demonstration.demo(headless=headless, directory=directory, port=port)


@click.command()
@rules_option
def run(rules_file: Path | None) -> int:
    """Run the gateway and the console in one process."""
    _need_terminal("gatekeeper serve does without")
    from gatekeeper import process

    return process.run(rules_path(rules_file))


@click.command()
@rules_option
def serve(rules_file: Path | None) -> int:
    """Run the gateway alone, for services and containers.

    Prints `gatekeeper: listening on HOST:PORT` on stderr when it accepts logins. SIGTERM stops it: no new
    logins, idle sessions end, and running statements have 15 s to finish.
    """
    from gatekeeper import process

    return process.serve(rules_path(rules_file))


@click.command()
@control_options
def console(control: Path | None, rules_file: Path | None) -> int:
    """Attach the console to a running gateway."""
    path = control_path(control, rules_file)
    _need_terminal("sessions, approvals, approve and deny do without")
    from gatekeeper.console.app import run_console
    from gatekeeper.control.client import RemoteOperator

    ask(path, None, lambda operator: operator.snapshot())  # says that none answers before the screen is taken
    return run_console(RemoteOperator(path))


@click.command()
@click.argument("session", required=False)
@store_options
def replay(session: str | None, store: str | None, rules_file: Path | None) -> int:
    """Look at recordings in the console, read-only.

    SESSION is replayed at once. The gateway need not run. SESSION may be cut short where that is unambiguous.
    """
    from gatekeeper.recording.reader import open_reader, open_records

    where = store_of(store, rules_file)
    records = open_records(where)
    if session is not None:
        records.sid(session)
    records.close()
    _need_terminal("audit show does without")
    from gatekeeper.console.app import run_replay

    return run_replay(open_reader(where), session)


def _need_terminal(instead: str) -> None:
    """ConfigError where there is no terminal, or one in which the console has no room."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(f"the console needs a terminal; {instead}")
    from gatekeeper.console.base import SMALLEST

    width, height = shutil.get_terminal_size()
    if width < SMALLEST[0] or height < SMALLEST[1]:
        raise ConfigError(
            f"the console needs a terminal of {SMALLEST[0]}×{SMALLEST[1]}, this one is {width}×{height};"
            f" make it larger, or: {instead}"
        )
