"""How much memory a process takes while something happens."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil

MOST_BYTES = 200_000_000


class Watch:
    """Looks at a process every 20 ms."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.peak_bytes = 0

    def _look(self) -> None:
        while not self._done.wait(0.02):
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if kind is None:
            assert self.peak_bytes < MOST_BYTES, f"{self.peak_bytes / 1e6:.0f} MB"
