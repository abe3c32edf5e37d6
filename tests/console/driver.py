"""What a person does at the console, and what is on the screen then."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot

from gatekeeper.console.app import ConsoleApp
from gatekeeper.console.screens.prompt import Prompt
from tests.console.scripted import Clock, ScriptedOperator


def text_of(app: Any) -> str:
    """All that is on the screen, as text."""
    height = app.size.height
    lines = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in lines[:height])


class Console:
    def __init__(
        self, app: ConsoleApp, pilot: Pilot[int], operator: ScriptedOperator, clock: Clock, monotonic: Clock
    ) -> None:
        self.app, self.pilot, self.operator = app, pilot, operator
        self.clock, self.monotonic = clock, monotonic

    async def poll(self) -> None:
        await self.pilot.pause()
        await self.app.poll()
        await self.pilot.pause()
        await self.pilot.pause()

    async def wait(self, seconds: float) -> None:
        """Time goes by, and the console looks again."""
        self.clock.now += seconds
        self.monotonic.now += seconds
        await self.poll()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()
        await self.poll()

    async def type(self, text: str) -> None:
        await self.pilot.press(*({" ": "space", "-": "minus", "?": "question_mark"}.get(c, c) for c in text))
        await self.poll()

    @property
    def text(self) -> str:
        return text_of(self.app)

    @property
    def prompt(self) -> Prompt | None:
        return next((s for s in self.app.screen_stack if isinstance(s, Prompt)), None)

    def shows(self, *texts: str) -> bool:
        screen = " ".join(self.text.replace("▌", " ").split())
        return all(" ".join(t.split()) in screen for t in texts)
