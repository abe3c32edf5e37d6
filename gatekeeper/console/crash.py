"""What a crash of the console may say: where it happened, and nothing of what it held in its hands.

An exception's text and a frame's locals can hold SQL, rows and tokens; the place in our own source cannot.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

from textual.worker import WorkerFailed

from gatekeeper.errors import GatekeeperError

_OURS: Final = Path(__file__).parent


class ConsoleError(GatekeeperError):
    """The console stopped by a fault of its own; the terminal is as it was before, the gateway goes on."""


def place(error: BaseException) -> str:
    """`KeyError at screens/live.py:120`: the innermost line of ours, else the innermost of all."""
    if isinstance(error, WorkerFailed):
        error = error.error
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_OURS)]
    name = type(error).__name__
    if ours:
        last = ours[-1]
        return f"{name} at {Path(last.filename).relative_to(_OURS)}:{last.lineno}"
    return f"{name} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else name
