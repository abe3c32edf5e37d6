"""A list that draws only the rows in sight. It keeps its cursor on the same thing when others come and go."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from gatekeeper.console.text import Span
from gatekeeper.console.widgets.paint import strip

if TYPE_CHECKING:
    from textual import events
    from textual.app import App

T = TypeVar("T")

_MOST_KEPT = 500

Draw = Callable[[T, int], Sequence[Sequence[Span]]]
"""An item and a width in cells → its lines, as many as the list gives to each row."""


class Rows(ScrollView, Generic[T], can_focus=True):
    """A list of items with a cursor, a heading that stays, and the keys of every list."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--cursor", "rows--cursor-blurred", "rows--heading"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "edge(0)", "First", show=False),
        Binding("end", "edge(1)", "Last", show=False),
        Binding("enter", "choose", "Open", show=False),
    ]
    DEFAULT_CSS = """
    Rows {
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .rows--cursor { background: $gk-cursor; }
        & > .rows--cursor-blurred { background: $surface; }
        & > .rows--heading { color: $gk-dim; }
    }
    """

    class Moved(Message):
        """The cursor is on another item."""

        def __init__(self, rows: Rows[Any]) -> None:
            super().__init__()
            self.rows = rows

        @property
        def control(self) -> Rows[Any]:
            """The list."""
            return self.rows

    class Chosen(Message):
        """Enter or a double click on the item under the cursor."""

        def __init__(self, rows: Rows[Any]) -> None:
            super().__init__()
            self.rows = rows

        @property
        def control(self) -> Rows[Any]:
            """The list."""
            return self.rows

    def __init__(
        self,
        *,
        key: Callable[[T], Hashable],
        draw: Draw[T],
        heading: Callable[[int], Sequence[Span]] | None = None,
        height: int = 1,
        skip: Callable[[T], bool] | None = None,
        empty: Sequence[Span] = (),
        depends: Callable[[T], Hashable] | None = None,
        id: str | None = None,  # noqa: A002
    ) -> None:
        """`depends` says on what a row depends besides its item and the width; with it, rows are kept."""
        super().__init__(id=id)
        self._depends = depends
        self._kept: dict[tuple[Hashable, ...], tuple[T, list[Strip]]] = {}
        self._base: Style | None = None
        self.items: Sequence[T] = ()
        self.cursor = 0
        self.following = False
        """Whether the cursor goes along with the last item."""
        self.row_height = height
        self._key, self._draw, self._heading = key, draw, heading
        self._skip = skip or (lambda _item: False)
        self._empty = empty

    def set_heading(self, heading: Callable[[int], Sequence[Span]] | None) -> None:
        """Another first line, or none."""
        if heading != self._heading:
            self._heading = heading
            self._measure()
            self.refresh()

    @property
    def current(self) -> T | None:
        """The item under the cursor."""
        return self.items[self.cursor] if 0 <= self.cursor < len(self.items) else None

    @property
    def _top(self) -> int:
        return 0 if self._heading is None else 1

    @property
    def _in_sight(self) -> int:
        return max(1, (self.size.height - self._top) // self.row_height)

    def show(self, items: Sequence[T], *, height: int | None = None) -> None:
        """Show these items. The cursor stays on its item, or near where it was."""
        before = self.current
        offset = self.cursor - int(self.scroll_offset.y) // self.row_height
        self.items = items
        self.row_height = height or self.row_height
        self._measure()
        if self.following:
            self._set(len(items) - 1, settle=True)
        else:
            index = self._find(before)
            self._set(self.cursor if index is None else index, settle=True)
            if index is not None and int(self.scroll_offset.y) > 0:
                self.scroll_to(y=max(0, index - offset) * self.row_height, animate=False, force=True)
        if (self.current is None) != (before is None) or (
            self.current is not None and before is not None and self._key(self.current) != self._key(before)
        ):
            self.post_message(self.Moved(self))
        self.refresh()

    def _find(self, item: T | None) -> int | None:
        if item is None:
            return None
        wanted = self._key(item)
        if 0 <= self.cursor < len(self.items) and self._key(self.items[self.cursor]) == wanted:
            return self.cursor
        return next((i for i, other in enumerate(self.items) if self._key(other) == wanted), None)

    def select(self, key: Hashable) -> None:
        """Put the cursor on the item of that key, if it is there."""
        index = next((i for i, item in enumerate(self.items) if self._key(item) == key), None)
        if index is not None:
            self.move_to(index)

    def move_to(self, index: int) -> None:
        """Put the cursor on an item by its place."""
        before = self.cursor
        self._set(index)
        if self.cursor != before:
            self.post_message(self.Moved(self))
        self.refresh()

    def _set(self, index: int, *, settle: bool = False) -> None:
        last = len(self.items) - 1
        index = max(0, min(index, last))
        step = 1 if index >= self.cursor or settle else -1
        probe = index
        while 0 <= probe <= last and self._skip(self.items[probe]):
            probe += step
        if not 0 <= probe <= last:
            probe = index
            while 0 <= probe <= last and self._skip(self.items[probe]):
                probe -= step
        self.cursor = max(0, min(probe, last))
        self._reveal()

    def _reveal(self) -> None:
        first = int(self.scroll_offset.y) // self.row_height
        sight = self._in_sight
        target = first
        if self.cursor < first:
            target = self.cursor
            while target > 0 and self._skip(self.items[target - 1]):
                target -= 1
        elif self.cursor >= first + sight:
            target = self.cursor - sight + 1
        if target != first:
            self.scroll_to(y=target * self.row_height, animate=False, force=True)

    def _measure(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.items) * self.row_height + self._top)

    def on_resize(self) -> None:
        """Fit to the new size."""
        self._measure()
        self._reveal()

    def on_focus(self) -> None:
        """Show where the keys go."""
        self.refresh()

    def on_blur(self) -> None:
        """Show where the keys no longer go."""
        self.refresh()

    def action_move(self, by: int) -> None:
        """Go up or down."""
        self.following = False
        self.move_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        """Go up or down by what is in sight."""
        self.following = False
        self.move_to(self.cursor + by * max(1, self._in_sight - 1))

    def action_edge(self, end: int) -> None:
        """Go to the first or last item."""
        self.following = False
        self.move_to(len(self.items) - 1 if end else 0)

    def action_choose(self) -> None:
        """Open the item under the cursor."""
        if self.current is not None:
            self.post_message(self.Chosen(self))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is; a second click opens."""
        line = event.y - self._top
        if line < 0:
            return
        index = (line + int(self.scroll_offset.y)) // self.row_height
        if not 0 <= index < len(self.items) or self._skip(self.items[index]):
            return
        self.following = False
        self.move_to(index)
        if event.chain == 2:
            self.action_choose()

    def notify_style_update(self) -> None:
        """Other colours: nothing that was kept holds."""
        super().notify_style_update()
        self._base = None
        self._kept.clear()

    def _strips(self, item: T, width: int, base: Style) -> list[Strip]:
        if self._depends is None:
            return [strip(self.app, line, width, base) for line in self._draw(item, width)]
        key = (self._key(item), width, self._depends(item))
        kept = self._kept.get(key)
        if kept is not None and kept[0] is item:
            return kept[1]
        if len(self._kept) > _MOST_KEPT:
            self._kept.clear()
        strips = [strip(self.app, line, width, base) for line in self._draw(item, width)]
        self._kept[key] = (item, strips)
        return strips

    def render_line(self, y: int) -> Strip:
        """Draw one line of what is in sight."""
        width = self.scrollable_content_region.width
        base = self._base = self._base or self.rich_style
        app: App[object] = self.app
        if self._heading is not None and y == 0:
            return strip(app, self._heading(width), width, base)
        line = y - self._top
        if not self.items:
            return strip(app, self._empty if line == 0 else (), width, base)
        index, part = divmod(line + int(self.scroll_offset.y), self.row_height)
        if index >= len(self.items):
            return Strip.blank(width, base)
        if index != self.cursor or self._skip(self.items[index]):
            strips = self._strips(self.items[index], width, base)
            return strips[part] if part < len(strips) else Strip.blank(width, base)
        lines = self._draw(self.items[index], width)
        spans = lines[part] if part < len(lines) else ()
        if app.no_color:
            over = Style(reverse=True) if self.has_focus else None
            return strip(app, spans, width, base, over)
        name = "rows--cursor" if self.has_focus else "rows--cursor-blurred"
        under = self.get_component_rich_style(name)
        return strip(app, spans, width, base + Style(bgcolor=under.bgcolor))
