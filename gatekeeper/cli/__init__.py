"""The commands. Each says what it does in one line, or why not in one line, and never in a traceback."""

from gatekeeper.cli.entry import main

__all__ = ["main"]
