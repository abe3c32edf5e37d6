"""Client encodings that can be judged: those in which no byte of a character can look like ASCII.

In the others a backslash or a quote may be half of a character, and text reads otherwise to whoever does not
know the encoding (PostgreSQL 18, 23.3.1: "client encodings").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_CODECS: Final[Mapping[str, str]] = {
    "UTF8": "utf-8",
    # Bytes pass as they are in a UTF8 database; text that is not UTF-8 is refused.
    "SQL_ASCII": "utf-8",
    "LATIN1": "iso8859-1",
    "LATIN2": "iso8859-2",
    "LATIN3": "iso8859-3",
    "LATIN4": "iso8859-4",
    "LATIN5": "iso8859-9",
    "LATIN6": "iso8859-10",
    "LATIN7": "iso8859-13",
    "LATIN8": "iso8859-14",
    "LATIN9": "iso8859-15",
    "LATIN10": "iso8859-16",
    "ISO_8859_5": "iso8859-5",
    "ISO_8859_6": "iso8859-6",
    "ISO_8859_7": "iso8859-7",
    "ISO_8859_8": "iso8859-8",
    "WIN1250": "cp1250",
    "WIN1251": "cp1251",
    "WIN1252": "cp1252",
    "WIN1253": "cp1253",
    "WIN1254": "cp1254",
    "WIN1255": "cp1255",
    "WIN1256": "cp1256",
    "WIN1257": "cp1257",
    "WIN1258": "cp1258",
    "WIN866": "cp866",
    "WIN874": "cp874",
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
    "EUC_JP": "euc_jp",
    "EUC_KR": "euc_kr",
    "EUC_CN": "gb2312",
}


def codec_of(encoding: str) -> str | None:
    """Python's codec for a client_encoding as the server reports it; None where it cannot be judged."""
    return _CODECS.get(encoding.upper())
