"""Floating-point numbers as PostgreSQL prints them: the fewest digits that lead back to the same number."""

from __future__ import annotations

import math
import struct
from fractions import Fraction


def float8(value: bytes) -> str:
    """Text of the eight bytes of a double precision."""
    (number,) = struct.unpack(">d", value)
    text = repr(number)
    if math.isfinite(number) and len(text) > 15:
        shown = abs(number)
        below, above = shown - math.nextafter(shown, 0), math.ulp(shown)
        near = (t for t in (repr(shown), f"{shown:.15e}") if _strictly_within(t, shown, below, above))
        text = ("-" if number < 0 else "") + next(near, f"{shown:.16e}")
    return _shortest(number, text, 15)


def float4(value: bytes) -> str:
    """Text of the four bytes of a real."""
    (number,) = struct.unpack(">f", value)
    text = repr(number)
    if math.isfinite(number) and number:
        (bits,) = struct.unpack(">I", value)
        magnitude = bits & 0x7FFF_FFFF
        (smaller,) = struct.unpack(">f", struct.pack(">I", magnitude - 1))
        below = abs(number) - smaller
        above = below * 2 if not magnitude & 0x7F_FFFF and magnitude > 0x80_0000 else below
        shown = abs(number)
        for digits in range(1, 10):
            text = f"{shown:.{digits}g}"
            if _strictly_within(text, shown, below, above):
                break
        text = "-" + text if number < 0 else text
    return _shortest(number, text, 6)


def _strictly_within(text: str, number: float, below: float, above: float) -> bool:
    """True where the text is nearer to the number than to its neighbours, at those distances.

    Halfway does not do for PostgreSQL (d2s.c, acceptBounds), though it would be read as the same number.
    """
    off = Fraction(text) - Fraction(number)
    return -Fraction(below) < 2 * off < Fraction(above)


def _shortest(number: float, text: str, digits: int) -> str:
    """PostgreSQL's form of the shortest digits: an exponent below -4, and from `digits` on."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "-0" if math.copysign(1, number) < 0 else "0"
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = text.lstrip("-").lower().partition("e")
    whole, _, part = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    significant = (whole + part).lstrip("0")
    point -= len(whole + part) - len(significant)
    significant = significant.rstrip("0")
    power = point - 1
    if -4 <= power < digits:
        if point <= 0:
            return f"{sign}0.{'0' * -point}{significant}"
        if point >= len(significant):
            return sign + significant + "0" * (point - len(significant))
        return f"{sign}{significant[:point]}.{significant[point:]}"
    tail = f".{significant[1:]}" if len(significant) > 1 else ""
    return f"{sign}{significant[0]}{tail}e{'-' if power < 0 else '+'}{abs(power):02d}"
