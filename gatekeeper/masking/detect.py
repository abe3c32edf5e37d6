"""Sensitive values found by what they look like: a second net, with checks so that order numbers survive.

Every expression takes linear time: no piece of it can match the same text in two ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from gatekeeper.masking.maskers import REDACTED, CellMask, email, keyed_hash
from gatekeeper.rules.schema import MaskRules

_CARD = rb"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)"
_SSN = rb"(?<![\w-])(?!000|666|9)\d{3}([ -])(?!00)\d{2}\1(?!0000)\d{4}(?![\w-])"
_EMAIL = (
    rb"(?<![\w.+%-])[A-Za-z0-9_.+%-]{1,64}+@[A-Za-z0-9-]{1,63}"
    rb"(?:\.[A-Za-z0-9-]{1,63}){0,8}\.[A-Za-z]{2,24}(?![\w-])"
)
_IBAN = rb"(?<!\w)[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]){11,30}(?!\w)"
_PHONE = (
    rb"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}"
    rb"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?![\w-]|\.\d)"
)
_IP4 = rb"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w]|\.\d)"
_IP6 = rb"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"


def luhn(number: bytes) -> bool:
    """The check digit of card numbers."""
    digits = [byte - 48 for byte in number if 48 <= byte <= 57]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = (d * 2 - 9 if d > 4 else d * 2 for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban(text: bytes) -> bool:
    """The check digits of account numbers (ISO 13616, mod 97)."""
    plain = text.replace(b" ", b"").upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(chr(byte), 36)) for byte in plain[4:] + plain[:4])) % 97 == 1


def _phone(text: bytes) -> bool:
    return 10 <= sum(48 <= byte <= 57 for byte in text) <= 15


def _ip6(text: bytes) -> bool:
    groups = text.split(b":")
    if text.count(b"::") > 1 or b":::" in text or sum(bool(group) for group in groups) < 2:
        return False
    return len(groups) == 8 if b"::" not in text else len(groups) <= 8


def _always(_: bytes) -> bool:
    return True


ENTITIES: Final[dict[str, tuple[tuple[re.Pattern[bytes], Callable[[bytes], bool]], ...]]] = {
    "CREDIT_CARD": ((re.compile(_CARD), luhn),),
    "US_SSN": ((re.compile(_SSN), _always),),
    "EMAIL_ADDRESS": ((re.compile(_EMAIL), _always),),
    "IBAN_CODE": ((re.compile(_IBAN), iban),),
    "PHONE_NUMBER": ((re.compile(_PHONE), _phone),),
    "IP_ADDRESS": ((re.compile(_IP4), _always), (re.compile(_IP6), _ip6)),
}

_DIGIT_OR_AT: Final = re.compile(rb"[0-9@:]")


@lru_cache(maxsize=64)
def scanner(rules: tuple[MaskRules, ...], hash_key: bytes, *, whole: bool) -> CellMask:
    """Masks what is found in a cell: that part of it, or with `whole` all of it as NULL."""
    steps = [
        (pattern, check, _replacement(rule.method, hash_key))
        for rule in rules
        for entity in rule.detect
        for pattern, check in ENTITIES.get(entity, ())
    ]

    def mask(value: bytes) -> bytes | None:
        if not _DIGIT_OR_AT.search(value):
            return value
        for pattern, check, replacement in steps:
            found = pattern.search(value)
            if found is None:
                continue
            if whole or replacement is None:
                if any(check(match[0]) for match in pattern.finditer(value)):
                    return None
                continue
            value = pattern.sub(_substitute(check, replacement), value)
        return value

    return mask


def _substitute(
    check: Callable[[bytes], bool], replacement: Callable[[bytes], bytes]
) -> Callable[[re.Match[bytes]], bytes]:
    return lambda match: replacement(match[0]) if check(match[0]) else match[0]


def _replacement(method: str, hash_key: bytes) -> Callable[[bytes], bytes] | None:
    match method:
        case "null":
            return None
        case "hash":
            keyed = keyed_hash(hash_key)
            return lambda part: keyed(part) or REDACTED
        case "last4":
            return lambda part: b"*" * (len(part) - 4) + part[-4:]
        case "email":
            return email
    return lambda _: REDACTED


def clean_fields(fields: dict[str, str], rules: tuple[MaskRules, ...], hash_key: bytes) -> dict[str, str]:
    """The text fields of an error or notice with what is found in them masked."""
    if not rules:
        return fields
    mask = scanner(rules, hash_key, whole=False)

    def clean(text: str) -> str:
        found = mask(text.encode("utf-8", "surrogateescape"))
        return REDACTED.decode() if found is None else found.decode("utf-8", "surrogateescape")

    return {code: clean(text) if code in "MDHWq" else text for code, text in fields.items()}


def names_of(rules: Iterable[MaskRules]) -> tuple[str, ...]:
    """The entities that the rules look for."""
    return tuple(dict.fromkeys(entity for rule in rules for entity in rule.detect))
