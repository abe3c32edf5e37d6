"""A console over the scripted operator, with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from gatekeeper.console.app import ConsoleApp
from tests.console import scene
from tests.console.driver import Console
from tests.console.scripted import Clock, ScriptedOperator

Opened = Callable[..., AbstractAsyncContextManager[Console]]


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def operator(clock: Clock) -> ScriptedOperator:
    return scene.busy(clock)


@pytest.fixture
def opened(clock: Clock) -> Opened:
    """`async with opened(operator) as console`: the app under Pilot, after its first snapshot."""

    @asynccontextmanager
    async def open_(
        operator: ScriptedOperator, size: tuple[int, int] = (80, 24), **options: Any
    ) -> AsyncIterator[Console]:
        monotonic = Clock(1_000.0)
        app = ConsoleApp(operator, clock=clock, monotonic=monotonic, poll_s=None, **options)
        async with app.run_test(size=size, notifications=True) as pilot:
            console = Console(app, pilot, operator, clock, monotonic)
            await console.poll()
            yield console

    return open_
