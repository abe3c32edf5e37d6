"""Who holds a grant now. What ended stays ended, after a restart too; time counts from the first login."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from gatekeeper.errors import OperatorError, SessionEndedError, TooManyError
from gatekeeper.model import Identity, RunStatus
from gatekeeper.rules.schema import GrantRules


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What is kept of a run across restarts; `(grant, run)` is its key. Times are Unix seconds."""

    run: str
    grant: str
    subject: str
    issuer: str
    started_at: float
    """Of its first login."""
    ends_at: float = math.inf
    """Infinity where the grant has no ttl."""
    ended_at: float | None = None
    """When it was ended before its time; None where it was not."""


class RunStore(Protocol):
    """Where runs are kept. Raises RecordingError where it cannot."""

    def load_runs(self) -> Iterable[StoredRun]:
        """All runs ever saved, each once, as last saved."""
        ...

    def save_run(self, run: StoredRun) -> None:
        """Keep a run, in place of what was kept under its `(grant, run)`."""
        ...


@dataclass(slots=True)
class _Live:
    stored: StoredRun
    sessions: set[str] = field(default_factory=set)
    token_expires_at: float = 0.0
    """The latest of its tokens; until then a run without a ttl can log in again."""


class Runs:
    """Admits sessions to runs, and ends runs. Not thread-safe: the loop alone calls it."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._runs = {(stored.grant, stored.run): _Live(stored) for stored in store.load_runs()}
        self._of_session: dict[str, _Live] = {}

    def admit(self, identity: Identity, grant: GrantRules, session_id: str, now: float) -> float:
        """Let a session into its run and say when the run ends: Unix seconds, infinity without a ttl.

        Raises SessionEndedError for a run that has ended or is over its ttl, TooManyError for one with
        `max_sessions` already, RecordingError where the run cannot be kept.
        """
        key = (grant.name, identity.run)
        live = self._runs.get(key)
        if live is None:
            first = StoredRun(identity.run, grant.name, identity.subject, identity.issuer, now)
            live = _Live(replace(first, ends_at=_end(first, grant)))
            self._store.save_run(live.stored)  # before anyone is let in: what cannot be kept cannot end
            self._runs[key] = live
        ends_at = _end(live.stored, grant)
        _still_on(live.stored, ends_at, now)
        if grant.max_sessions is not None and len(live.sessions) >= grant.max_sessions:
            raise TooManyError(f"too many sessions: the run has {len(live.sessions)} already")
        if ends_at != live.stored.ends_at:
            self._keep(live, replace(live.stored, ends_at=ends_at))
        live.sessions.add(session_id)
        live.token_expires_at = max(live.token_expires_at, identity.token_expires_at)
        self._of_session[session_id] = live
        return ends_at

    def leave(self, session_id: str) -> None:
        """A session is over; unknown ones are ignored."""
        live = self._of_session.pop(session_id, None)
        if live is not None:
            live.sessions.discard(session_id)

    def end(self, run: str, now: float, grant: str | None = None) -> tuple[str, ...]:
        """End a run, within one grant or wherever it holds one, and name the sessions that have to end.

        Raises OperatorError where there is no such run or it has ended already, RecordingError where its
        end cannot be kept: then it has not ended.
        """
        found = [live for (g, r), live in self._runs.items() if r == run and grant in (None, g)]
        if not found:
            raise OperatorError(f"no run {run}" + (f" of grant {grant}" if grant else ""))
        open_ones = [live for live in found if live.stored.ended_at is None]
        if not open_ones:
            raise OperatorError(f"run {run} has already ended")
        for live in open_ones:
            self._keep(live, replace(live.stored, ended_at=now))
        return tuple(sorted(session for live in open_ones for session in live.sessions))

    def ends_at(self, session_id: str, grant: GrantRules) -> float:
        """When a live session's run ends under the grant as it is now, such as after a reload."""
        live = self._of_session.get(session_id)
        return math.inf if live is None else _end(live.stored, grant)

    def sessions_of(self, grant: str) -> tuple[str, ...]:
        """Live sessions under a grant, such as one that was removed from the rules."""
        return tuple(
            sorted(s for (name, _), live in self._runs.items() if name == grant for s in live.sessions)
        )

    def statuses(self, now: float) -> tuple[RunStatus, ...]:
        """Runs that hold a grant now, oldest first: those with sessions, and those that can log in again."""
        holding = [live for live in self._runs.values() if _holds(live, now)]
        holding.sort(key=lambda live: live.stored.started_at)
        return tuple(
            RunStatus(
                run=live.stored.run,
                grant=live.stored.grant,
                subject=live.stored.subject,
                issuer=live.stored.issuer,
                started_at=live.stored.started_at,
                ends_at=live.stored.ends_at,
                sessions=len(live.sessions),
            )
            for live in holding
        )

    def _keep(self, live: _Live, stored: StoredRun) -> None:
        self._store.save_run(stored)
        live.stored = stored


def _end(stored: StoredRun, grant: GrantRules) -> float:
    return math.inf if grant.ttl_s is None else stored.started_at + grant.ttl_s


def _still_on(stored: StoredRun, ends_at: float, now: float) -> None:
    if stored.ended_at is not None:
        raise SessionEndedError("the run has ended")
    if now >= ends_at:
        raise SessionEndedError("the run's time is over")


def _holds(live: _Live, now: float) -> bool:
    if live.stored.ended_at is not None or now >= live.stored.ends_at:
        return False
    if live.sessions or math.isfinite(live.stored.ends_at):
        return True
    return now < live.token_expires_at
