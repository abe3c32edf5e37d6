"""What a session asks of the world around it; values, which the shell carries out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper.model import Facts, HoldRequest, Refusal


@dataclass(frozen=True, slots=True)
class Hold:
    """Ask people; the answer comes by `Session.decided`."""

    request: HoldRequest
    facts: Facts


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Nobody needs to decide any more: the requester cancelled or left."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Ask the planner for the rows of these statements; the answer comes by `Session.estimated`."""

    facts: Facts
    statements: Sequence[int]
    params: tuple[str | None, ...] | None


@dataclass(frozen=True, slots=True)
class RefreshCatalog:
    """The snapshot is stale; the answer comes by `Session.refreshed`."""


@dataclass(frozen=True, slots=True)
class CheckCatalog:
    """A statement names what the snapshot does not know: somebody else may have made it since.

    The answer comes by `Session.refreshed`.
    """


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """DDL of this session took effect: every session's snapshot of this database is stale."""


@dataclass(frozen=True, slots=True)
class EndRun:
    """`CALL gatekeeper.end_run()` has been answered."""


@dataclass(frozen=True, slots=True)
class Close:
    """The session is over: send what is left and close both sides. `reason` is for the recording."""

    reason: str
    refusal: Refusal | None = None
    """The FATAL error that the client was sent, where there was one."""
    running: bool = False
    """The server still works for this session."""


Request = Hold | Withdraw | Estimate | RefreshCatalog | CheckCatalog | CatalogChanged | EndRun | Close
