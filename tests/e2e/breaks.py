"""A gateway in which something breaks that has never been seen to break: what is named as the argument."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gatekeeper import process
from gatekeeper.console import app
from gatekeeper.console.crash import ConsoleError
from gatekeeper.rules.keeper import RulesKeeper


async def crashing(*_: Any, **__: Any) -> None:
    raise ConsoleError("the console stopped: KeyError at screens/live.py:7")


async def without_a_terminal(*_: Any, **__: Any) -> None:
    raise OSError(5, "secret")


_watch = RulesKeeper.run
_broken: list[bool] = []


async def broken_once(self: RulesKeeper) -> None:
    if not _broken:
        _broken.append(True)
        raise RuntimeError("secret")
    await _watch(self)


if __name__ == "__main__":
    match sys.argv[1]:
        case "console":
            app.show = crashing
        case "terminal":
            app.show = without_a_terminal
        case "watch":
            RulesKeeper.run = broken_once
            sys.exit(process.serve(Path("rules.toml")))
    sys.exit(process.run(Path("rules.toml")))
