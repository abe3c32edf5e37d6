"""Messages too long to be held in memory: what becomes of each piece."""

from __future__ import annotations

from typing import Final, assert_never

from gatekeeper.errors import ProtocolError
from gatekeeper.model import Verdict
from gatekeeper.proxy.extended import Extended, params_of
from gatekeeper.proxy.judging import REFUSED_PARSE, REFUSED_QUERY
from gatekeeper.proxy.pending import BIND, FUNCTION, PARSE, QUERY, Entry
from gatekeeper.proxy.pieces import (
    MAX_COLLECTED_BYTES,
    TOO_LONG,
    TOO_LONG_TO_SHOW,
    Collected,
    Copied,
    Dropped,
    Streamed,
    is_plain,
    length_of,
)
from gatekeeper.proxy.wire import frontend
from gatekeeper.proxy.wire.bind_pieces import BindPieces

LAST_PIECE: Final = 0x300
"""Stands for the type of a message that has come in pieces, all of them."""


class LongMessages(Extended):
    """Handles messages that come in pieces."""

    def _too_long(self, head: bytes, now: float) -> None:
        """A Query, Parse or FunctionCall that nobody could judge."""
        self._pieces = Dropped()
        if head[0] != ord("P"):
            entry = Entry(QUERY if head[0] == ord("Q") else FUNCTION)
            self._refuse_unread(TOO_LONG, REFUSED_QUERY, entry)
            return
        name, _ = frontend.read_name(head, 5)
        self._refuse_unread(TOO_LONG, REFUSED_PARSE, self._forgets(self._key(name), Entry(PARSE)))

    def _copy_data(self, message: bytes, now: float) -> None:
        self.to_server.append(message)
        self.pending.copy_data_sent()

    def _long_copy_data(self, head: bytes, now: float) -> None:
        self._pieces = Copied()
        self._copy_data(head, now)

    def _long_bind(self, head: bytes, now: float) -> None:
        bind = BindPieces(head)
        self._pieces = Dropped()
        prepared = self._bound_statement(bind.statement)
        if prepared is None:
            return
        if self.pending.copy_in:
            raise ProtocolError("unexpected message during COPY from stdin")
        judgement = self._judge(prepared.sql, now, undecided=True)
        if is_plain(judgement):
            self._pieces = Streamed(prepared, bind)
            self.to_server.append(bind.feed(head))
            return
        verdict = judgement.verdict
        refusal = verdict.refusal if isinstance(verdict, Verdict) else None
        if refusal is None and length_of(head) <= MAX_COLLECTED_BYTES:
            self._pieces = Collected(bytearray(head))
            return
        run = self._run or self._open(prepared.sql, judgement, now, "extended")
        self._refuse(run, refusal or TOO_LONG_TO_SHOW, REFUSED_PARSE, Entry(BIND))

    def _more(self, piece: bytes, now: float) -> None:
        pieces, last = self._pieces, not self._frames.left
        match pieces:
            case Dropped():
                pass
            case Copied():
                self.to_server.append(piece)
            case Collected():
                pieces.data += piece
                if last:
                    message, self._pieces = bytes(pieces.data), Dropped()
                    self._message = ord("B"), message
                    self._bind(message, now)
            case Streamed():
                if passed := pieces.bind.feed(piece):
                    self.to_server.append(passed)
                if last:
                    self._message = LAST_PIECE, b""
                    self._long_bind_ends(b"", now)
            case _:
                assert_never(pieces)

    def _long_bind_ends(self, _: bytes, now: float) -> None:
        pieces = self._pieces
        assert isinstance(pieces, Streamed)
        bind, end = pieces.bind.end()
        sizes = {i: v for i, v in enumerate(pieces.bind.values) if isinstance(v, int)}
        texts = params_of(pieces.prepared, bind.formats, bind.values)
        params = tuple(
            f"({sizes[i]} bytes, not kept)" if i in sizes else text for i, text in enumerate(texts)
        )
        entry = Entry(BIND)
        entry.in_pieces = True
        self._bind_to(pieces.prepared, bind, params, end, entry, now)
