"""Whether a screen can be drawn on: from when all of it is there until it goes."""

from __future__ import annotations


class Drawable:
    """Mixed into screens that are drawn from outside, at any moment."""

    drawable = False

    def on_mount(self) -> None:
        """All that the screen is composed of is there; called beside the screen's own handler."""
        self.drawable = True

    def on_unmount(self) -> None:
        """It goes."""
        self.drawable = False
