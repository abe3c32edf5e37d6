"""Columns in any width: a terminal that is resized has many for a moment."""

from __future__ import annotations

import pytest

from gatekeeper.console import columns
from gatekeeper.console.screens.recordings import Recordings


@pytest.mark.parametrize("width", [0, 1, 10, 40, 59, 80, 140])
def test_headings_are_drawn_in_any_width(width: int) -> None:
    assert "who" in "".join(text for text, _ in columns.session_heading(width))
    assert "who" in "".join(text for text, _ in Recordings._heading(Recordings(), width))
