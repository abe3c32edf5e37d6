"""Keeps the rules in force up to date with their file. A file that is broken, empty or gone changes nothing.

The file system's events make it fast; looking again twice a second makes it sure, since no watch follows a
symlink into another directory, a directory that is replaced, or a network mount.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import watchfiles

from gatekeeper.errors import ConfigError
from gatekeeper.events import RulesReloaded
from gatekeeper.rules.load import parse, read, restart_needed, version
from gatekeeper.rules.schema import GatewayRules, Rules

_LOOK_MS: Final = 500
_SETTLE_S: Final = 0.05
_SETTLES: Final = 2
_SETTLES_EMPTY: Final = 12
_SETTLE_LIMIT: Final = 20

Signature = tuple[int, int, int, int] | None


class RulesKeeper:
    """The rules in force, and why a changed file is not. Use it from one event loop.

    `clock` gives Unix time. `report` hears of every change of the file, in force or not, once. `[gateway]`
    of the rules in force stays as it was at the start: a change of it is only told, in `restart_needed`.
    """

    def __init__(
        self,
        path: Path,
        rules: Rules,
        *,
        clock: Callable[[], float],
        report: Callable[[RulesReloaded], None],
    ) -> None:
        self.path = path.absolute()
        self.current = rules
        self.loaded_at = clock()
        self.problems: tuple[str, ...] = ()
        """Why the file as it is now is not in force; empty where it is."""
        self.problems_at: float | None = None
        self.restart_needed: tuple[str, ...] = ()
        """Keys of `[gateway]` whose change waits for a restart."""
        self._gateway: GatewayRules = rules.gateway
        self._clock = clock
        self._report = report
        self._subscribers: list[Callable[[Rules], None]] = []
        self._signature: Signature = None
        self._seen: str | None = rules.version

    def subscribe(self, callback: Callable[[Rules], None]) -> None:
        """Call back with each new set of rules, right after it came into force."""
        self._subscribers.append(callback)

    async def run(self) -> None:
        """Watch the file until cancelled. New rules are in force within two seconds."""
        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # what changed is ours to report
        async for changed in self._wakes():
            signature = await asyncio.to_thread(_signature, self.path)
            if changed or signature != self._signature:
                self._signature = signature
                await self._look()

    async def _wakes(self) -> AsyncIterator[bool]:
        """True where the file changed, False twice a second: then its path may lead to another file.

        The file alone is watched, not its directory: recordings are often in the same one, and every write
        to them would wake us.
        """
        yield True  # the file may have changed between its first reading and now
        while True:
            try:
                async for changes in watchfiles.awatch(
                    self.path,
                    watch_filter=None,
                    debounce=100,
                    step=20,
                    rust_timeout=_LOOK_MS,
                    yield_on_timeout=True,
                    recursive=False,
                ):
                    yield bool(changes)
                    if changes:
                        break  # a file that was replaced by a rename has to be watched anew
            except (OSError, RuntimeError):  # the file is gone or cannot be watched: look all the same
                await asyncio.sleep(_LOOK_MS / 1000)
                yield False

    async def _look(self) -> None:
        text, problem = await self._settled()
        if problem is not None:
            self._refuse(f"\0{problem}", (problem,))
            return
        seen = version(text)
        if seen == self._seen:
            return
        try:
            rules = await asyncio.to_thread(parse, text, self.path)
        except ConfigError as error:
            self._refuse(seen, error.problems)
        else:
            self._accept(rules)

    async def _settled(self) -> tuple[str, str | None]:
        """The text once nobody is writing it any more, or why there is none.

        A file saved in place is empty, then part of itself, then whole: it counts when it stays the same
        for a moment, and as gone or empty when it stays so for longer.
        """
        last: tuple[str, str | None] = ("", "")
        same = 0
        for _ in range(_SETTLE_LIMIT):
            now = await asyncio.to_thread(_read, self.path)
            same = same + 1 if now == last else 0
            last = now
            if same >= (_SETTLES if now[1] is None else _SETTLES_EMPTY):
                break
            await asyncio.sleep(_SETTLE_S)
        return last

    def _accept(self, rules: Rules) -> None:
        self._seen = rules.version
        self.restart_needed = restart_needed(self._gateway, rules.gateway)
        self.problems, self.problems_at = (), None
        self.current = replace(rules, gateway=self._gateway)
        self.loaded_at = self._clock()
        for callback in tuple(self._subscribers):
            callback(self.current)
        self._report(RulesReloaded(at=self.loaded_at, version=rules.version))

    def _refuse(self, seen: str, problems: tuple[str, ...]) -> None:
        if seen == self._seen:
            return
        self._seen = seen
        self.problems, self.problems_at = problems, self._clock()
        self._report(RulesReloaded(at=self.problems_at, version=self.current.version, problems=problems))


def _read(path: Path) -> tuple[str, str | None]:
    try:
        text = read(path)
    except ConfigError as error:
        return "", error.problems[0]
    return text, None if text.strip() else f"{path}: is empty"


def _signature(path: Path) -> Signature:
    """What changes where the file does, through symlinks; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
