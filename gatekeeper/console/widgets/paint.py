"""Spans become the strips that a widget draws: roles get their colours from the theme, and from it alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from gatekeeper.console.text import ROLES, Span, fit_spans

if TYPE_CHECKING:
    from textual.app import App


@lru_cache(maxsize=16)
def _styles(variables: tuple[tuple[str, str], ...]) -> Mapping[str, Style]:
    values = dict(variables)
    return {
        role: Style.parse(" ".join(values[w[1:]] if w.startswith("$") else w for w in written.split()))
        for role, written in ROLES.items()
    }


def palette(app: App[object]) -> Mapping[str, Style]:
    """The style of each role in the theme of now."""
    wanted = tuple((k, v) for k, v in app.current_theme.variables.items() if k.startswith("gk-"))
    return _styles(wanted)


def strip(
    app: App[object], spans: Iterable[Span], width: int, base: Style, over: Style | None = None
) -> Strip:
    """Spans cut or padded to `width` cells, on the background of `base`; `over` is laid on top of all."""
    styles = palette(app)
    segments = []
    for text, role in fit_spans(spans, width):
        style = base + styles[role]
        segments.append(Segment(text, style + over if over else style))
    return Strip(segments, width)
