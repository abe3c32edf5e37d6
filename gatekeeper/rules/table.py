"""One table of the file, read key by key.

What is wrong is noted and reading goes on, so that one run names every error; a default stands in for a bad
value only until the notes are raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from gatekeeper.rules.durations import parse_duration
from gatekeeper.rules.near import did_you_mean, one_of

T = TypeVar("T")
D = TypeVar("D")
L = TypeVar("L", bound=str)

_KINDS: Final[Sequence[tuple[type, str]]] = (
    (bool, "a boolean"),
    (str, "a string"),
    (int, "an integer"),
    (float, "a float"),
    (list, "a list"),
    (dict, "a table"),
)
_SHOWN: Final = 60


class Table:
    """Reads one table. Each method reads a key, notes what is wrong, and gives the value or the default."""

    def __init__(self, label: str, values: Mapping[str, object], problems: list[str]) -> None:
        """`label` goes before each key: `[gateway] ` or `[[guard]] "name": `."""
        self.label = label
        self._values = values
        self._problems = problems
        self._asked: list[str] = []

    def problem(self, key: str, reason: str) -> None:
        """Note what is wrong with a key."""
        self._problems.append(f"{self.label}{key}: {reason}")

    def has(self, key: str) -> bool:
        """True where the key is written down, rightly or not."""
        return key in self._values

    def close(self) -> None:
        """Note every key that nothing asked for."""
        for key in self._values:
            if key not in self._asked:
                self.problem(shown(key), f"unknown key{did_you_mean(key, self._asked)}")

    def any(self, key: str) -> object:
        """The value as it is, None where there is none (TOML has no null)."""
        self._asked.append(key)
        return self._values.get(key)

    def text(self, key: str, default: D) -> str | D:
        """A string that is not empty."""
        value = self.any(key)
        if value is None:
            return default
        if (reason := _not_a_text(value)) is not None:
            self.problem(key, reason)
            return default
        return str(value)

    def required(self, key: str) -> str:
        """A string that must be there; empty where it is not."""
        if not self.has(key):
            self.any(key)
            self.problem(key, "missing")
            return ""
        return self.text(key, "")

    def texts(self, key: str, default: D, *, alone: bool = False) -> tuple[str, ...] | D:
        """A list of strings, not empty; `alone`: a string alone is a list of one."""
        value = self.any(key)
        if value is None:
            return default
        if alone and isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            self.problem(
                key, f"must be a {'string or a ' if alone else ''}list of strings, not {kind(value)}"
            )
            return default
        if not value:
            self.problem(key, "must not be empty; leave it out instead")
            return default
        for place, item in enumerate(value, 1):
            if (reason := _not_a_text(item)) is not None:
                self.problem(key, f"item {place} {reason}")
                return default
        return tuple(dict.fromkeys(value))

    def number(self, key: str, default: D, *, least: int) -> int | D:
        """An integer, at least `least`."""
        value = self.any(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self.problem(key, f"must be an integer, not {kind(value)}")
        elif not least <= value < 2**63:
            self.problem(key, f"must be {least} or more" if value < least else "is too large")
        else:
            return value
        return default

    def flag(self, key: str, default: bool) -> bool:
        """A boolean."""
        value = self.any(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problem(key, f"must be true or false, not {kind(value)}")
        return default

    def choice(self, key: str, options: Sequence[L], default: D) -> L | D:
        """One of a few words."""
        value = self.any(key)
        if value is None:
            return default
        for option in options:
            if value == option:
                return option
        given = f'"{shown(value)}"' if isinstance(value, str) else kind(value)
        self.problem(key, f"must be {one_of(options)}, not {given}")
        return default

    def choices(self, key: str, options: Sequence[L], default: D) -> frozenset[L] | D:
        """A list of words out of a few."""
        values = self.texts(key, None)
        if values is None:
            return default
        for value in values:
            if value not in options:
                self.problem(
                    key, f'"{shown(value)}" is none of {", ".join(options)}{did_you_mean(value, options)}'
                )
        return frozenset(option for option in options if option in values)

    def parsed(self, key: str, parse: Callable[[str], T], default: D) -> T | D:
        """A string that `parse` understands; its ValueError is the reason where it does not."""
        value = self.text(key, None)
        if value is None:
            return default
        try:
            return parse(value)
        except ValueError as error:
            self.problem(key, str(error))
            return default

    def duration(self, key: str, default: D) -> float | D:
        """A duration, in seconds."""
        value = self.any(key)
        if value is not None and not isinstance(value, str):
            self.problem(key, f'must be a duration such as "30s", not {kind(value)}')
            return default
        return self.parsed(key, parse_duration, default)


def kind(value: object) -> str:
    """What sort of TOML value this is; never the value, which may be a secret in the wrong place."""
    return next((name for of, name in _KINDS if isinstance(value, of)), "a date or time")


def shown(text: str) -> str:
    """A name as it can stand in one line: no control characters, not endless."""
    clean = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[: _SHOWN + 1])
    return clean if len(text) <= _SHOWN else f"{clean[:_SHOWN]}…"


def _not_a_text(value: object) -> str | None:
    if not isinstance(value, str):
        return f"must be a string, not {kind(value)}"
    if not value.strip():
        return "must not be empty"
    if "\0" in value:
        return "must not contain a NUL"
    return None
