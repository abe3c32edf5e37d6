"""The commands. Each says what it does in one line, or why not in one line, and never in a traceback."""

from gatekeeper.cli.main import main

__all__ = ["main"]
