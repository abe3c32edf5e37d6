"""What is recorded: the events of a session, in the order in which they happen.

One statement is several events with the same `(session, n)`: opened, before its first byte goes to the
database; bound and decided, where it has parameters or was held; closed, when its outcome is known. The
recording chains events and shows a statement as one record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gatekeeper.errors import RecordingError
from gatekeeper.model import Action, ApprovalRecord, SessionInfo

WireProtocol = Literal["simple", "extended", "function"]


@dataclass(frozen=True, slots=True)
class Login:
    """A session began."""

    at: float
    session: SessionInfo


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """A login was refused. `reason` is the true one, which the client does not see."""

    at: float
    session: SessionInfo
    """What was claimed, as far as it was read; empty texts where it was not."""
    sqlstate: str
    reason: str


@dataclass(frozen=True, slots=True)
class StatementOpened:
    """A statement was judged; committed before any of it goes to the database."""

    at: float
    session: str
    n: int
    """Counts the statements of the session from 1."""
    protocol: WireProtocol
    sql: str
    params: tuple[str | None, ...] | None
    """Bind parameters as text (binary ones decoded by type, else `\\x…`); None before Bind."""
    tags: tuple[str, ...]
    classes: tuple[str, ...]
    relations: tuple[str, ...]
    functions: tuple[str, ...]
    verdict: Action
    guards: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StatementBound:
    """The parameters of a statement that was opened at Parse."""

    at: float
    session: str
    n: int
    params: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class StatementDecided:
    """The wait of a held statement ended."""

    at: float
    session: str
    n: int
    approval: ApprovalRecord


@dataclass(frozen=True, slots=True)
class Sample:
    """The first rows of a result as the client saw them, masked; values as text, None for NULL."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True, slots=True)
class StatementClosed:
    """The outcome of a statement is known."""

    at: float
    session: str
    n: int
    outcome: str
    """Command tag, or SQLSTATE of the error."""
    rows: int | None
    duration_ms: float
    masked_columns: tuple[str, ...] = ()
    sample: Sample | None = None


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session is over."""

    at: float
    session: str
    reason: str


@dataclass(frozen=True, slots=True)
class RulesReloaded:
    """The rules file changed; `problems` is empty where the new rules took force."""

    at: float
    version: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OperatorAction:
    """An operator did something: approve, deny, kill, end_run, prune."""

    at: float
    who: str
    action: str
    target: str
    reason: str | None = None


Event = (
    Login
    | LoginFailed
    | StatementOpened
    | StatementBound
    | StatementDecided
    | StatementClosed
    | SessionEnded
    | RulesReloaded
    | OperatorAction
)

Committed = Callable[[RecordingError | None], None]


class Recorder(Protocol):
    """Where events go. Everything submitted in one turn of the loop is committed together."""

    def submit(self, events: Sequence[Event], then: Committed | None = None) -> None:
        """Queue events; `then` is called once after the turn's commit, with the error if it failed.

        `then` may be called before `submit` returns only never: always later, from the loop. Without
        `then` nobody waits for the commit, and a failure is the recorder's to retry and to report.
        """
        ...
