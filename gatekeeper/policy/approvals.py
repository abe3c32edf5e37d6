"""What waits for people, and what they said: a quorum of distinct people, one deadline, one end.

No I/O and no clock: time comes as an argument. A hold ends exactly once, by the last approval needed, the
first denial, its deadline, its withdrawal or the end of its session, and its `then` is called exactly once.
Whoever asked cannot approve, and a decision that comes late decides nothing.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from gatekeeper.errors import GatekeeperError, OperatorError
from gatekeeper.model import Approval, ApprovalState, Decision, HoldRequest, Impact

Then = Callable[[Approval], None]

_KEPT: Final = 50
_TRIES: Final = 100
_OWN_CLAIMS: Final = ("sub", "actor", "user_login", "email", "preferred_username")
"""Claims by which an identity provider names the person behind a token."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    approval: Approval
    then: Then


@dataclass(frozen=True, slots=True)
class _Ended:
    approval: Approval
    at: float


class Approvals:
    """Holds by ID. `make_id` gives short random texts; one that is taken is asked for again."""

    def __init__(self, make_id: Callable[[], str]) -> None:
        self._make_id = make_id
        self._waiting: dict[str, _Waiting] = {}
        self._ended: deque[_Ended] = deque(maxlen=_KEPT)

    def hold(self, request: HoldRequest, now: float, then: Then) -> Approval:
        """Begin to wait. `then` gets the ended approval, once, from whatever call ends it.

        GatekeeperError where `make_id` gives no ID that is free among waiting and recent ones.
        """
        approval = Approval(self._free_id(), request, now, now + request.hold.timeout_s)
        self._waiting[approval.id] = _Waiting(approval, then)
        return approval

    def decide(self, id: str, who: str, *, approve: bool, reason: str | None, now: float) -> Approval:  # noqa: A002
        """One person's decision; the approval as it is afterwards.

        OperatorError where it decides nothing: it no longer waits (the message says what became of it), the
        ID is unknown, `who` asked for it, or has approved it before.
        """
        who = who.strip()
        found = self._waiting.get(id)
        if found is not None and now >= found.approval.deadline_at:
            self._finish(found, "timed_out", now)
            found = None
        if found is None:
            raise OperatorError(self._what_became_of(id, now))
        if not who:
            raise OperatorError(f"a decision on approval {id} needs to say who decides")
        approval = found.approval
        if approve:
            self._check_approver(approval, who)
        decided = replace(approval, decisions=(*approval.decisions, Decision(who, now, approve, reason)))
        found = _Waiting(decided, found.then)
        if not approve:
            return self._finish(found, "denied", now)
        if len({_person(decision.who) for decision in decided.decisions}) >= decided.request.hold.approvals:
            return self._finish(found, "approved", now)
        self._waiting[id] = found
        return decided

    def withdraw(self, id: str, now: float) -> None:  # noqa: A002
        """The client has cancelled or gone. Nothing happens where the approval no longer waits."""
        self._leave(id, "withdrawn", now)

    def end(self, id: str, now: float) -> None:  # noqa: A002
        """The run, the session or the rules ended it. Nothing happens where it no longer waits."""
        self._leave(id, "ended", now)

    def expire(self, now: float) -> None:
        """End all whose deadline has come, the oldest deadline first."""
        while (found := self._first_due(now)) is not None:
            self._finish(found, "timed_out", now)

    def next_deadline(self) -> float | None:
        """When `expire` has to be called next."""
        return min((found.approval.deadline_at for found in self._waiting.values()), default=None)

    def set_impact(self, id: str, impact: Impact) -> None:  # noqa: A002
        """What the statement would touch has been found out. Too late does not matter."""
        if (found := self._waiting.get(id)) is not None:
            self._waiting[id] = _Waiting(replace(found.approval, impact=impact), found.then)

    def get(self, id: str) -> Approval | None:  # noqa: A002
        """The approval of that ID, waiting or recent."""
        if (found := self._waiting.get(id)) is not None:
            return found.approval
        ended = self._recent(id)
        return ended.approval if ended else None

    def waiting(self) -> tuple[Approval, ...]:
        """Those that wait, oldest first."""
        return tuple(found.approval for found in self._waiting.values())

    def ended(self) -> tuple[Approval, ...]:
        """The last fifty that ended, newest first."""
        return tuple(ended.approval for ended in self._ended)

    def _leave(self, id: str, state: ApprovalState, now: float) -> None:  # noqa: A002
        if (found := self._waiting.get(id)) is not None:
            self._finish(found, state, now)

    def _finish(self, found: _Waiting, state: ApprovalState, now: float) -> Approval:
        # All is in place before `then` is called: it may hold, decide or withdraw in its turn.
        ended = replace(found.approval, state=state)
        del self._waiting[ended.id]
        self._ended.appendleft(_Ended(ended, now))
        found.then(ended)
        return ended

    def _first_due(self, now: float) -> _Waiting | None:
        due = [found for found in self._waiting.values() if found.approval.deadline_at <= now]
        return min(due, key=lambda found: found.approval.deadline_at, default=None)

    def _check_approver(self, approval: Approval, who: str) -> None:
        person = _person(who)
        if person in set(_requesters(approval.request)):
            raise OperatorError(f"{who} asked for approval {approval.id} and cannot give it")
        if any(_person(decision.who) == person for decision in approval.decisions):
            missing = approval.request.hold.approvals - len(approval.decisions)
            raise OperatorError(
                f"{who} has approved {approval.id} already; {missing} more, of other people, "
                f"{'is' if missing == 1 else 'are'} needed"
            )

    def _free_id(self) -> str:
        taken = {*self._waiting, *(ended.approval.id for ended in self._ended)}
        for _ in range(_TRIES):
            if (made := self._make_id()) not in taken:
                return made
        raise GatekeeperError("no free approval ID was found")

    def _recent(self, id: str) -> _Ended | None:  # noqa: A002
        return next((ended for ended in self._ended if ended.approval.id == id), None)

    def _what_became_of(self, id: str, now: float) -> str:  # noqa: A002
        ended = self._recent(id)
        if ended is None:
            return f'no approval "{id}" is known'
        return f"approval {id} {_end_of(ended.approval)} {_ago(now - ended.at)}"


def _end_of(approval: Approval) -> str:
    match approval.state:
        case "approved":
            names = dict.fromkeys(decision.who for decision in approval.decisions if decision.approved)
            return f"was approved by {' and '.join(names)}"
        case "denied":
            return f"was denied by {approval.decisions[-1].who}"
        case "timed_out":
            return "timed out"
        case "withdrawn":
            return "was withdrawn by its client"
        case "waiting" | "ended":
            return "ended undecided"


def _ago(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"


def _person(name: str) -> str:
    """One spelling for each person: case and width of letters tell nobody apart."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _requesters(request: HoldRequest) -> Iterator[str]:
    """Every name of the one who asks, as a person is compared."""
    yield _person(request.session.subject)
    for claim in _OWN_CLAIMS:
        value = request.session.claims.get(claim)
        for name in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(name, str):
                yield _person(name)
