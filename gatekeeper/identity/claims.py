"""Whether a token's claims are those that a grant requires. All must match; doubt is no match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gatekeeper.rules.globs import matcher

_MISSING: Final = object()
_MAX_SHOWN: Final = 80


def matches(required: Mapping[str, tuple[str, ...]], claims: Mapping[str, Any]) -> str | None:
    """None where every required claim matches, else which one does not and why, for the log.

    Each value of `required` is a choice of globs; a claim that is a list matches if one element does.
    Booleans match as `true` and `false`, integers by their digits, anything else never.
    """
    if not required:
        return "the grant requires no claims"
    for name, globs in required.items():
        value = lookup(claims, name)
        if value is _MISSING:
            return f"claim {name} is missing"
        fits = matcher(globs)
        if not any(fits(text) for text in _texts(value)):
            return f"claim {name} is {shown(value)}, not {' or '.join(globs)}"
    return None


def lookup(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its whole name, else by its dotted path; keys on the path may hold dots themselves.

    Of several ways to read the path the one with the longest first key counts. Gives a value of which
    `found` is False where there is none.
    """
    if name in claims:
        return claims[name]
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        inner = claims.get(".".join(parts[:cut]), _MISSING)
        if isinstance(inner, Mapping):
            value = lookup(inner, ".".join(parts[cut:]))
            if value is not _MISSING:
                return value
    return _MISSING


def found(value: Any) -> bool:
    """Whether `lookup` found something."""
    return value is not _MISSING


def scalar(value: Any) -> str | None:
    """The text of a claim that is one value; None for lists, objects, fractions and null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else None


def shown(value: Any) -> str:
    """A claim's value as the log may show it: quoted, without control characters, cut short."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in map(scalar, values) if text is not None]
