"""A gateway's process: its loop, its log, its signals, and the console where it has one.

A failed start, a signal, a person who leaves and a console that breaks all end alike: what was started is
stopped in reverse, and only the process that is asked to stop stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

import uvloop

from gatekeeper.control.live import Live
from gatekeeper.proxy.server import DRAIN_S
from gatekeeper.runtime import Runtime, start_runtime

_log: Final = logging.getLogger(__name__)
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
INTERRUPTED: Final = 130
"""Exit status of a start that Ctrl-C broke off, as shells have it."""

Starting = contextlib.AbstractAsyncContextManager[Runtime]


class Stop:
    """What a signal to stop does: it breaks off the start, or ends the service; a second one hurries."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.by: int | None = None
        """The first signal."""
        self.runtime: Runtime | None = None
        """The gateway, once it is up."""
        self._starting = asyncio.current_task()

    def listen(self) -> None:
        """Take the signals over, but for those that whoever started us wants ignored (nohup)."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        if not self.asked.is_set():
            self.by = number
            self.asked.set()
            if self.runtime is None and self._starting is not None:
                self._starting.cancel()
        elif self.runtime is not None:
            self.runtime.gateway.hurry()


def in_loop(work: Callable[[Stop], Coroutine[Any, Any, int]]) -> int:
    """Run a command's work under uvloop, and give its exit status."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_stoppable(work))


async def _stoppable(work: Callable[[Stop], Coroutine[Any, Any, int]]) -> int:
    asyncio.get_running_loop().set_exception_handler(_unforeseen)
    stop = Stop()
    stop.listen()
    try:
        return await work(stop)
    except asyncio.CancelledError:
        if stop.by is None:
            raise
        return INTERRUPTED if stop.by == signal.SIGINT else 0


def _unforeseen(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """What no task has caught: its kind alone is logged, for its text and its locals may hold SQL."""
    error = context.get("exception")
    if os.environ.get("GATEKEEPER_TRACEBACK"):
        loop.default_exception_handler(dict(context))
    else:
        _log.error("%s: %s", context.get("message", "fault"), type(error).__name__ if error else "no error")


# --- the gateway alone ------------------------------------------------------------------------------------


def serve(path: Path) -> int:
    """`gatekeeper serve`: the gateway alone, until a signal."""
    log_to_stderr()
    return in_loop(lambda stop: serve_alone(start_runtime(path), stop))


async def serve_alone(
    starting: Starting, stop: Stop, ready: Callable[[Runtime], None] = lambda _: None
) -> int:
    """Start a gateway, say that it accepts logins, and stop it at a signal."""
    async with starting as runtime:
        stop.runtime = runtime
        ready(runtime)
        say(f"listening on {runtime.gateway.listen}")
        await stop.asked.wait()
    return 0


def log_to_stderr() -> None:
    """One line an event on stderr, for services."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def say(line: str) -> None:
    """One line on stderr, at once."""
    with contextlib.suppress(OSError):  # the terminal may be gone by now
        sys.stderr.write(f"gatekeeper: {line}\n")
        sys.stderr.flush()


# --- with the console -------------------------------------------------------------------------------------


def run(path: Path) -> int:
    """`gatekeeper run`: gateway and console in one process."""
    return in_loop(lambda stop: run_with_console(start_runtime(path), stop))


async def run_with_console(starting: Starting, stop: Stop) -> int:
    """Start a gateway, show the console, and stop both when it is left; one that breaks is done without."""
    plain = logging.StreamHandler(sys.stderr)
    plain.setFormatter(logging.Formatter("gatekeeper: %(message)s"))
    logging.getLogger("gatekeeper").setLevel(logging.INFO)
    root = logging.getLogger()
    root.addHandler(plain)
    try:
        async with starting as runtime:
            stop.runtime = runtime
            notices = _NoticeHandler(runtime.live, runtime.clock)
            root.removeHandler(plain)
            root.addHandler(notices)
            broken = await _show(runtime, stop)
            root.removeHandler(notices)
            root.addHandler(plain)
            if broken is not None and not stop.asked.is_set():
                _tell_broken(runtime, broken)
                await stop.asked.wait()
            _tell_draining(runtime)
            stop.asked.set()  # from here on a signal hurries
    finally:
        root.removeHandler(plain)
    return 0


async def _show(runtime: Runtime, stop: Stop) -> BaseException | None:
    """The console, until it is left or a signal asks to stop; what broke it, where something did."""
    from gatekeeper.console.app import show  # here, for `serve` does without all of it

    leave = "The gateway stops too, and every session with it."
    showing = asyncio.create_task(show(runtime.operator, confirm_quit=leave), name="console")
    asked = asyncio.create_task(stop.asked.wait(), name="signal to stop")
    await asyncio.wait({showing, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    showing.cancel()
    await asyncio.wait({showing})
    return None if showing.cancelled() else showing.exception()


def _tell_broken(runtime: Runtime, error: BaseException) -> None:
    from gatekeeper.console.crash import ConsoleError, place

    what = str(error) if isinstance(error, ConsoleError) else f"the console stopped: {place(error)}"
    say(f"{what}; the gateway serves on at {runtime.gateway.listen} until Ctrl-C or SIGTERM")
    say(f"another console: gatekeeper console --control {runtime.rules.gateway.control}")


def _tell_draining(runtime: Runtime) -> None:
    busy = sum(s.state == "active" for s in runtime.gateway.statuses())
    if busy:
        many = f"{busy} running statement{'' if busy == 1 else 's'}"
        say(f"waiting up to {DRAIN_S:g} s for {many}; Ctrl-C stops at once")


class _NoticeHandler(logging.Handler):
    """Warnings become notices of the console, which owns the terminal."""

    def __init__(self, live: Live, clock: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._live = live
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        """Show it, unless the runtime has told the console itself."""
        if record.name != start_runtime.__module__:
            level = "error" if record.levelno >= logging.ERROR else "warning"
            self._live.note(level, record.getMessage(), self._clock())  # type: ignore[arg-type]
