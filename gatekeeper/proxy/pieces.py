"""What a session does with a message that is too long to be held in memory.

CopyData goes on as it comes. So does a Bind that is plainly allowed, but for its end, which waits for the
record with the parameters: the server acts on no message before its last byte. A Bind that people or the
planner decide on is collected up to a limit, since they have to see it. Everything else is refused unread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gatekeeper.model import Refusal, Verdict
from gatekeeper.proxy.wire.bind_pieces import BindPieces

if TYPE_CHECKING:
    from gatekeeper.proxy.judge import Judgement
    from gatekeeper.proxy.statements import Prepared

MAX_COLLECTED_BYTES: Final = 16_777_216
TOO_LONG: Final = Refusal("54000", "statement is too long to be judged", hint="Send it in smaller parts.")
TOO_LONG_TO_SHOW: Final = Refusal(
    "54000", "the parameters are too long to be shown to whoever decides on the statement"
)
RULES_CHANGED: Final = Refusal("57P01", "the rules changed while a long Bind was under way")


@dataclass(slots=True)
class Dropped:
    """Nothing of the message goes anywhere."""


@dataclass(slots=True)
class Copied:
    """CopyData, which goes on as it comes."""


@dataclass(slots=True)
class Collected:
    """A Bind that is read as a whole once it is all there."""

    data: bytearray


@dataclass(slots=True)
class Streamed:
    """A Bind that has gone on, but for its end."""

    prepared: Prepared
    bind: BindPieces


Pieces = Dropped | Copied | Collected | Streamed


def is_plain(judgement: Judgement) -> bool:
    """Whether nothing but the record stands between a statement and the server."""
    verdict = judgement.verdict
    return isinstance(verdict, Verdict) and verdict.refusal is None and verdict.hold is None


def length_of(head: bytes) -> int:
    """Bytes of the whole message, from its first piece."""
    return 1 + int.from_bytes(head[1:5], "big")
