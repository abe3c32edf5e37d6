"""The words of a PL/pgSQL body, as PostgreSQL's own lexer cuts them, and how to step through them."""

from __future__ import annotations

import ctypes
from typing import Final, NamedTuple

from postgast.native import lib
from postgast.pg_query_pb2 import ScanResult, Token

from gatekeeper.model import Refusal
from gatekeeper.sql.tree import UnreadableError

MAX_BYTES: Final = 1024 * 1024
END: Final = ";end"
"""Stands behind the last word."""
_QUIET: Final = frozenset({Token.SQL_COMMENT, Token.C_COMMENT})


class Word(NamedTuple):
    """A token; `text` is lower case for what is not quoted, and empty for quoted names and literals."""

    text: str
    start: int
    end: int


def scan(raw: bytes) -> list[Word]:
    """All words but comments. Raises UnreadableError."""
    result = lib.pg_query_scan(raw)
    try:
        if result.error:
            raise UnreadableError(Refusal("42601", "PL/pgSQL body cannot be read"))
        scanned = ScanResult.FromString(ctypes.string_at(result.pbuf.data, result.pbuf.len))
    finally:
        lib.pg_query_free_scan_result(result)
    words = []
    for token in scanned.tokens:
        if token.token in _QUIET:
            continue
        piece = raw[token.start : token.end]
        plain = (
            token.token == Token.IDENT
            or token.keyword_kind
            or not (piece[:1].isalnum() or piece[:1] in b"'\"$")
        )
        quoted = piece[:1] == b'"'
        words.append(
            Word(
                piece.lower().decode("utf-8", "replace") if plain and not quoted else "",
                token.start,
                token.end,
            )
        )
    return words


class Words:
    """Where a reader stands in a text."""

    def __init__(self, text: str) -> None:
        self.raw = text.encode("utf-8", "replace")
        if len(self.raw) > MAX_BYTES or b"\0" in self.raw:
            raise self.unclear()
        self.words = scan(self.raw)
        self.at = 0

    # --- tokens ---------------------------------------------------------------------------------------

    @staticmethod
    def unclear() -> UnreadableError:
        """What to raise where the text is not what was expected."""
        return UnreadableError(Refusal("42601", "PL/pgSQL body cannot be read"))

    def peek(self, ahead: int = 0) -> str:
        """The word here, or `ahead` of here, without stepping."""
        index = self.at + ahead
        return self.words[index].text if index < len(self.words) else END

    def take(self, *expected: str) -> bool:
        """Step over the word if it is one of these."""
        if self.peek() in expected:
            self.at += 1
            return True
        return False

    def need(self, *expected: str) -> None:
        """Step over one of these words, which must stand here."""
        if not self.take(*expected):
            raise self.unclear()

    def until(self, *ends: str) -> tuple[list[Word], str]:
        """The words up to one of `ends` outside of parentheses, which is stepped over."""
        first, level = self.at, 0
        while self.at < len(self.words):
            word = self.words[self.at].text
            if level == 0 and word in ends:
                self.at += 1
                return self.words[first : self.at - 1], word
            if word in ("(", "["):
                level += 1
            elif word in (")", "]"):
                level -= 1
                if level < 0:
                    raise self.unclear()
            elif word == ";" and level > 0:
                raise self.unclear()
            self.at += 1
        raise self.unclear()

    def text(self, words: list[Word]) -> str:
        """The text that the words stand in."""
        return self.raw[words[0].start : words[-1].end].decode("utf-8", "replace") if words else ""

    @staticmethod
    def split(words: list[Word], *at: str) -> list[list[Word]]:
        """Cut outside of parentheses."""
        pieces: list[list[Word]] = [[]]
        level = 0
        for word in words:
            level += (word.text in ("(", "[")) - (word.text in (")", "]"))
            if level == 0 and word.text in at:
                pieces.append([])
            else:
                pieces[-1].append(word)
        return pieces

    def names(self, words: list[Word], *also: str) -> None:
        """Nothing but names, literals, and these."""
        for word in words:
            first = self.raw[word.start : word.start + 1]
            if (
                word.text
                and word.text not in also
                and not (first.isalpha() or first == b"_" or first >= b"\x80")
            ):
                raise self.unclear()
