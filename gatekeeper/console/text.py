"""Text from outside becomes text for the screen. Nothing in it can move, hide or reorder what is drawn.

Control characters, escape sequences, bidirectional overrides, zero-width and unassigned characters are
spelled out; markup never applies, because only spans of (text, role) reach the widgets.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from rich.cells import cell_len, set_cell_size
from textual.content import Content

Span = tuple[str, str]
"""A piece of safe text and its role; the roles are the keys of ROLES."""

ROLES: Final[Mapping[str, str]] = {
    "": "",
    "strong": "bold",
    "dim": "$gk-dim",
    "faint": "$gk-faint",
    "accent": "$gk-accent",
    "key": "bold $gk-accent",
    "ok": "$gk-ok",
    "warn": "$gk-warn",
    "held": "bold $gk-held",
    "bad": "bold $gk-bad",
    "mask": "$gk-mask",
    "sql.keyword": "bold $gk-sql-keyword",
    "sql.string": "$gk-sql-string",
    "sql.number": "$gk-sql-number",
    "sql.comment": "italic $gk-sql-comment",
    "sql.function": "$gk-sql-function",
    "sql.name": "",
    "sql.other": "$gk-dim",
}

VERDICTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "allow": ("✓", "allow", "ok"),
    "warn": ("!", "warn", "warn"),
    "approve": ("◆", "held", "held"),
    "block": ("✗", "block", "bad"),
    "reject": ("⊘", "reject", "bad"),
}
"""Glyph, word and role of each verdict: never the colour alone."""

STATES: Final[Mapping[str, tuple[str, str, str]]] = {
    "waiting": ("◆", "waiting", "held"),
    "approved": ("✓", "approved", "ok"),
    "denied": ("✗", "denied", "bad"),
    "timed_out": ("◷", "timed out", "warn"),
    "withdrawn": ("↩", "withdrawn", "dim"),
    "ended": ("■", "ended", "dim"),
}
"""Glyph, word and role of each state of an approval."""

_KEEP_CATEGORIES: Final = frozenset(
    (
        "Lu",
        "Ll",
        "Lt",
        "Lm",
        "Lo",
        "Nd",
        "Nl",
        "No",
        "Pc",
        "Pd",
        "Ps",
        "Pe",
        "Pi",
        "Pf",
        "Po",
        "Sm",
        "Sc",
        "Sk",
        "So",
    )
)
_MOST_COMBINING = 2
"""More marks on one letter would paint over the lines above and below."""
_BLANK_LETTERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")


def _spell(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"<U+{code:04X}>"


@lru_cache(maxsize=4096)
def safe(text: str, *, lines: bool = False) -> str:
    """Spell out whatever could change the screen. `lines` keeps line breaks, and widens tabs."""
    if text.isascii() and text.isprintable():
        return text
    out: list[str] = []
    marks = 0
    for char in text.replace("\r\n", "\n") if lines else text:
        if " " <= char <= "~":
            marks = 0
            out.append(char)
        elif char == "\n" and lines:
            out.append(char)
        elif char == "\t" and lines:
            out.append("    ")
        elif (
            unicodedata.category(char) in {"Mn", "Mc"}
            and not "\ufe00" <= char <= "\ufe0f"
            and cell_len(char) == 0
        ):
            marks += 1
            out.append(char if out and marks <= _MOST_COMBINING else _spell(char))
        elif unicodedata.category(char) in _KEEP_CATEGORIES and char not in _BLANK_LETTERS:
            marks = 0
            out.append(char)
        else:
            out.append(_spell(char))
    return "".join(out)


def content(spans: Iterable[Span]) -> Content:
    """Spans as what Static shows; their text is taken literally."""
    return Content.assemble(*((text, ROLES[role]) for text, role in spans if text))


def fit(text: str, width: int) -> str:
    """Exactly `width` cells: padded, or cut with an ellipsis."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length == width:
        return text
    if length < width:
        return text + " " * (width - length)
    return set_cell_size(text, width - 1) + "…"


def fit_spans(spans: Iterable[Span], width: int, *, right: bool = False) -> list[Span]:
    """Spans cut or padded to exactly `width` cells."""
    out: list[Span] = []
    left = width
    for text, role in spans:
        if left <= 0:
            break
        length = cell_len(text)
        if length > left:
            out.append((fit(text, left), role))
            left = 0
            break
        out.append((text, role))
        left -= length
    if left > 0:
        out.insert(0, (" " * left, "")) if right else out.append((" " * left, ""))
    return out


def duration(seconds: float) -> str:
    """A span of time in at most two units: `42s`, `3m 10s`, `2h 05m`, `4d 3h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def clock_span(seconds: float) -> str:
    """`1:42` or `1:02:03`, for players and countdowns."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def millis(value: float | None) -> str:
    """`0.42 ms`, `18 ms`, `2.4 s`; a dash where it is not known."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.2f} ms"
    if value < 1000:
        return f"{value:.0f} ms"
    return f"{value / 1000:.1f} s" if value < 60_000 else duration(value / 1000)


def count(value: int | None) -> str:
    """`950`, `12.4k`, `3.1M`; a dash where it is not known."""
    if value is None:
        return "–"
    if value < 10_000:
        return f"{value:,}".replace(",", " ")
    for limit, unit in ((1e6, "k"), (1e9, "M"), (1e12, "G")):
        if value < limit:
            scaled = value / (limit / 1000)
            return f"{scaled:.1f}{unit}" if scaled < 100 else f"{scaled:.0f}{unit}"
    return f"{value / 1e12:.0f}T"


def size(value: int | None) -> str:
    """`8 kB`, `14 MB`; a dash where it is not known."""
    if value is None:
        return "–"
    scaled = float(value)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if scaled < 1000 or unit == "TB":
            return f"{scaled:.0f} {unit}" if scaled >= 10 or unit == "B" else f"{scaled:.1f} {unit}"
        scaled /= 1024
    return "–"


_BARS: Final = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[int], width: int) -> str:
    """The last `width` values as bars; a second without statements is a low line."""
    shown = list(values[-width:])
    top = max(shown, default=0) or 1
    bars = "".join(_BARS[min(7, (v * 7 + top - 1) // top)] for v in shown)
    return bars.rjust(width, _BARS[0])


NBSP: Final = "\u00a0"
"""Ours alone: in text from outside it is spelled out."""

_FIRST_CLAIMS: Final = ("repository", "ref", "environment", "workflow", "actor", "email", "name")
_DULL_CLAIMS: Final = frozenset(("iss", "aud", "exp", "nbf", "iat", "jti", "sub"))


def claim_pairs(claims: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Claims worth reading, those that say most first; those that every token has are left out."""
    rank = {name: place for place, name in enumerate(_FIRST_CLAIMS)}
    names = sorted((n for n in claims if n not in _DULL_CLAIMS), key=lambda n: (rank.get(n, 99), n))
    return [(safe(str(name)), safe(_claim(claims[name]))) for name in names]


def _claim(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return ", ".join(_claim(v) for v in value)
        case _:
            return str(value)


def claim_spans(claims: Mapping[str, Any]) -> list[Span]:
    """`repository acme/shop  ref refs/heads/main`."""
    out: list[Span] = []
    for name, value in claim_pairs(claims):
        out += [("  " if out else "", ""), (f"{name}{NBSP}", "dim"), (value, "")]
    return out


def verdict_spans(verdict: str, outcome: str | None = None) -> list[Span]:
    """Glyph and word, such as `✓ allow`; a statement that was held and ran reads `approve`."""
    glyph, word, role = VERDICTS.get(verdict, ("?", verdict, "warn"))
    if verdict == "approve" and outcome is not None:
        word, role = "approve", "warn"
    return [(f"{glyph} ", role), (word, role)]


_PIECES: Final = re.compile(r"\n| +|[^ \n]+")


def wrap(spans: Iterable[Span], width: int, *, hang: int = 0) -> list[list[Span]]:
    """Lines of at most `width` cells; what goes on in the next line is indented by `hang` cells.

    Lines break at blanks, and inside a word only where the word is longer than a line.
    """
    width = max(width, hang + 8)
    margin: list[Span] = [(" " * hang, "")] if hang else []
    lines: list[list[Span]] = [[]]
    used = 0
    for word in _words(spans):
        length = sum(cell_len(text) for text, _ in word)
        if word[0][0] == "\n":
            lines.append([])
            used = 0
            continue
        if word[0][0].isspace():
            # Blanks that do not fit end the line; the next one does not begin with them.
            fitting = min(length, width - used)
            lines[-1].append((" " * fitting, word[0][1]))
            used += fitting
            continue
        if used + length > width and used > hang:
            lines.append(list(margin))
            used = hang
        for text, role in word:
            rest = text.replace(NBSP, " ")
            while used + cell_len(rest) > width:
                head, rest = _cut(rest, width - used)
                if head:
                    lines[-1].append((head, role))
                lines.append(list(margin))
                used = hang
            if rest:
                lines[-1].append((rest, role))
                used += cell_len(rest)
    return lines


def _words(spans: Iterable[Span]) -> Iterable[list[Span]]:
    """Line breaks, blanks, and words, which may go on over several spans."""
    word: list[Span] = []
    for text, role in spans:
        for piece in _PIECES.findall(text):
            if piece[0] in "\n ":
                if word:
                    yield word
                    word = []
                yield [(piece, role)]
            else:
                word.append((piece, role))
    if word:
        yield word


def _cut(text: str, cells: int) -> tuple[str, str]:
    """The head of a text that fills at most `cells` cells, and the rest."""
    taken = used = 0
    for char in text:
        used += cell_len(char)
        if used > cells:
            break
        taken += 1
    return text[:taken], text[taken:]


def joined(lines: Iterable[Sequence[Span]]) -> list[Span]:
    """Lines as spans with line breaks."""
    out: list[Span] = []
    for place, line in enumerate(lines):
        if place:
            out.append(("\n", ""))
        out += line
    return out


def labelled(label: str, value: Sequence[Span], width: int, indent: int = 10) -> list[list[Span]]:
    """A dim label in its own column, then a value that wraps beside it."""
    return wrap([(f"{label:<{indent}}", "dim"), *value], width, hang=indent)


def time_of_day(at: float) -> str:
    """`14:03:07`, where the reader is."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def date_time(at: float) -> str:
    """`24 Nov 14:03`, where the reader is."""
    return time.strftime("%d %b %H:%M", time.localtime(at))


def is_sqlstate(outcome: str) -> bool:
    """Whether an outcome is an error's SQLSTATE and not a command tag, none of which looks like one."""
    return len(outcome) == 5 and outcome.isalnum() and any(c.isdigit() for c in outcome)


def headings(line: str) -> list[Span]:
    """The names of columns, each a span of its own, so that a picture sets each in its place."""
    return [(piece, "" if piece.isspace() else "faint") for piece in re.findall(r" +|[^ ]+", line)]


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 row`, `2 rows`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"
