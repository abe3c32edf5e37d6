"""The program with a command of its own that waits, or breaks, for tests to interrupt it."""

from __future__ import annotations

import sys
import time

import click

from gatekeeper.cli.entry import cli, main


@cli.command()
def wait() -> None:
    """Wait."""
    click.echo("waiting")
    time.sleep(30)


@cli.command()
def fault() -> None:
    """Break."""
    raise ValueError("select secret")


if __name__ == "__main__":
    main(sys.argv[1:] or ["wait"])
