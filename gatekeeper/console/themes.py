"""The colours. Calm: one accent, and warm hues only for what wants a person. Text has 4.5 to 1 at least."""

from __future__ import annotations

from typing import Final

from textual.theme import Theme


def _theme(name: str, *, dark: bool, base: dict[str, str], gk: dict[str, str]) -> Theme:
    variables = {f"gk-{key}": value for key, value in gk.items()}
    variables |= {
        "block-cursor-background": gk["cursor"],
        "block-cursor-foreground": base["foreground"],
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": gk["cursor"],
        "block-cursor-blurred-foreground": base["foreground"],
        "block-hover-background": gk["cursor"],
        "border": gk["line"],
        "border-blurred": gk["line"],
        "footer-background": base["background"],
        "footer-foreground": gk["dim"],
        "footer-key-foreground": gk["accent"],
        "footer-description-foreground": gk["dim"],
        "footer-item-background": base["background"],
        "input-cursor-background": base["foreground"],
        "input-cursor-foreground": base["background"],
        "input-selection-background": f"{gk['accent']} 35%",
        "scrollbar": gk["line"],
        "scrollbar-hover": gk["faint"],
        "scrollbar-active": gk["accent"],
        "scrollbar-background": base["background"],
        "scrollbar-background-hover": base["background"],
        "scrollbar-background-active": base["background"],
        "scrollbar-corner-color": base["background"],
    }
    return Theme(
        name=name,
        dark=dark,
        primary=gk["accent"],
        secondary=gk["dim"],
        accent=gk["accent"],
        warning=gk["warn"],
        error=gk["bad"],
        success=gk["ok"],
        variables=variables,
        foreground=base["foreground"],
        background=base["background"],
        surface=base["surface"],
        panel=base["panel"],
    )


DARK: Final = _theme(
    "gatekeeper-dark",
    dark=True,
    base={"foreground": "#d0d7e2", "background": "#11151c", "surface": "#171c25", "panel": "#1d2430"},
    gk={
        "accent": "#7fb0e0",
        "dim": "#8f9bad",
        "faint": "#5c687a",
        "line": "#2b3442",
        "cursor": "#233044",
        "ok": "#86b98e",
        "warn": "#d9b36c",
        "held": "#f0b75c",
        "bad": "#ec7f86",
        "mask": "#b79bd9",
        "sql-keyword": "#8fb5e6",
        "sql-string": "#a9c48e",
        "sql-number": "#d7ab8b",
        "sql-comment": "#8f9cb0",
        "sql-function": "#8ec7c2",
    },
)

LIGHT: Final = _theme(
    "gatekeeper-light",
    dark=False,
    base={"foreground": "#1f2733", "background": "#fbfbfa", "surface": "#f3f4f4", "panel": "#e9ebed"},
    gk={
        "accent": "#1f5fa3",
        "dim": "#566172",
        "faint": "#838d9b",
        "line": "#d4d9df",
        "cursor": "#dbe7f5",
        "ok": "#1f6f3a",
        "warn": "#855300",
        "held": "#8f4f00",
        "bad": "#b3242f",
        "mask": "#6b3fa0",
        "sql-keyword": "#1b4f9c",
        "sql-string": "#3b6b1d",
        "sql-number": "#8a4416",
        "sql-comment": "#586473",
        "sql-function": "#0f6a68",
    },
)

CONTRAST: Final = _theme(
    "gatekeeper-contrast",
    dark=True,
    base={"foreground": "#ffffff", "background": "#000000", "surface": "#000000", "panel": "#141414"},
    gk={
        "accent": "#6fd3ff",
        "dim": "#d6d6d6",
        "faint": "#a8a8a8",
        "line": "#8c8c8c",
        "cursor": "#003f73",
        "ok": "#6dff8f",
        "warn": "#ffe14d",
        "held": "#ffd000",
        "bad": "#ff8c8c",
        "mask": "#e2b6ff",
        "sql-keyword": "#8fd8ff",
        "sql-string": "#a8ff8f",
        "sql-number": "#ffc48f",
        "sql-comment": "#c8c8c8",
        "sql-function": "#7ffff2",
    },
)

THEMES: Final = (DARK, LIGHT, CONTRAST)
