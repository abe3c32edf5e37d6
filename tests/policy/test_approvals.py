"""Approvals: a quorum of distinct people, one deadline, one end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from gatekeeper.errors import GatekeeperError, OperatorError
from gatekeeper.model import Approval, Hold, HoldRequest, Impact, SessionInfo
from gatekeeper.policy.approvals import Approvals


def request(approvals: int = 1, timeout_s: float = 60.0, **session: Any) -> HoldRequest:
    info = SessionInfo(
        id="s1", grant="ci", issuer="github", run="1", database="app", **{"subject": "repo:app", **session}
    )
    return HoldRequest(
        info, 1, "delete from orders", None, ("DELETE",), ("g",), Hold("g", approvals, timeout_s)
    )


class Desk:
    """Approvals with IDs a1, a2, … and a list of what ended."""

    def __init__(self, make_id: Callable[[], str] | None = None) -> None:
        numbers = count(1)
        self.approvals = Approvals(make_id or (lambda: f"a{next(numbers)}"))
        self.ended: list[Approval] = []

    def hold(self, now: float = 0.0, **kwargs: Any) -> Approval:
        return self.approvals.hold(request(**kwargs), now, self.ended.append)

    def approve(self, held: str, who: str, now: float = 1.0) -> Approval:
        return self.approvals.decide(held, who, approve=True, reason=None, now=now)

    def deny(self, held: str, who: str, now: float = 1.0, reason: str | None = None) -> Approval:
        return self.approvals.decide(held, who, approve=False, reason=reason, now=now)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_one_approval_lets_a_statement_run(desk: Desk) -> None:
    held = desk.hold()
    assert held.state == "waiting"
    assert held.deadline_at == 60.0
    assert desk.approvals.waiting() == (held,)
    approved = desk.approve(held.id, "alice", now=3.0)
    assert approved.state == "approved"
    assert [(d.who, d.at, d.approved) for d in approved.decisions] == [("alice", 3.0, True)]
    assert desk.ended == [approved]
    assert desk.approvals.waiting() == ()
    assert desk.approvals.ended() == (approved,)
    assert desk.approvals.get(held.id) == approved


def test_a_quorum_needs_distinct_people(desk: Desk) -> None:
    held = desk.hold(approvals=2)
    assert desk.approve(held.id, "alice").state == "waiting"
    for same in ("alice", "ALICE", " Alice ", "\uff41\uff4c\uff49\uff43\uff45"):
        with pytest.raises(OperatorError, match="approved a1 already; 1 more, of other people, is needed"):
            desk.approve(held.id, same)
    assert desk.ended == []
    assert desk.approve(held.id, "bob").state == "approved"
    assert len(desk.ended) == 1


def test_a_denial_ends_it_at_once_whatever_was_approved(desk: Desk) -> None:
    held = desk.hold(approvals=3)
    desk.approve(held.id, "alice")
    denied = desk.deny(held.id, "bob", reason="not on a Friday")
    assert denied.state == "denied"
    assert denied.decisions[-1].reason == "not on a Friday"
    assert desk.ended == [denied]


def test_one_who_approved_may_still_deny(desk: Desk) -> None:
    held = desk.hold(approvals=2)
    desk.approve(held.id, "alice")
    assert desk.deny(held.id, "alice").state == "denied"


@pytest.mark.parametrize(
    ("session", "who"),
    [
        ({"subject": "alice"}, "alice"),
        ({"subject": "alice"}, "Alice"),
        ({"subject": "repo:x", "claims": {"actor": "Octocat"}}, "octocat"),
        ({"claims": {"user_login": "bob"}}, "BOB"),
        ({"claims": {"email": "Bob@Example.org"}}, "bob@example.org"),
        ({"claims": {"actor": ["one", "two"]}}, "two"),
    ],
)
def test_a_requester_cannot_approve_itself(desk: Desk, session: dict[str, Any], who: str) -> None:
    held = desk.hold(**session)
    with pytest.raises(OperatorError, match="asked for approval a1 and cannot give it"):
        desk.approve(held.id, who)
    assert desk.approvals.waiting() == (held,)
    assert desk.ended == []


def test_a_requester_may_deny_itself(desk: Desk) -> None:
    held = desk.hold(subject="alice")
    assert desk.deny(held.id, "alice").state == "denied"


def test_claims_of_other_types_are_nobody(desk: Desk) -> None:
    held = desk.hold(claims={"actor": 7, "email": None, "user_login": {"a": 1}})
    assert desk.approve(held.id, "7").state == "approved"


@pytest.mark.parametrize("late", [60.0, 60.001, 1e9])
@pytest.mark.parametrize("approve", [True, False])
def test_a_decision_at_or_after_the_deadline_fails(desk: Desk, late: float, approve: bool) -> None:
    held = desk.hold()
    with pytest.raises(OperatorError, match="approval a1 timed out"):
        desk.approvals.decide(held.id, "alice", approve=approve, reason=None, now=late)
    assert [(a.state, a.decisions) for a in desk.ended] == [("timed_out", ())]
    desk.approvals.expire(late)
    assert len(desk.ended) == 1


def test_nobody_deciding_ends_it_at_its_deadline(desk: Desk) -> None:
    slow, fast = desk.hold(timeout_s=90.0), desk.hold(timeout_s=30.0)
    assert desk.approvals.next_deadline() == 30.0
    desk.approvals.expire(29.999)
    assert desk.ended == []
    desk.approvals.expire(30.0)
    assert [(a.id, a.state) for a in desk.ended] == [(fast.id, "timed_out")]
    assert desk.approvals.next_deadline() == 90.0
    desk.approvals.expire(1000.0)
    assert [a.id for a in desk.ended] == [fast.id, slow.id]
    assert desk.approvals.next_deadline() is None


def test_a_callback_that_fails_does_not_keep_others_waiting(desk: Desk) -> None:
    def fail(_: Approval) -> None:
        raise RuntimeError("session is gone")

    desk.approvals.hold(request(timeout_s=1.0), 0.0, fail)
    desk.hold(timeout_s=2.0)
    with pytest.raises(RuntimeError):
        desk.approvals.expire(10.0)
    desk.approvals.expire(10.0)
    assert [a.state for a in desk.ended] == ["timed_out"]
    assert desk.approvals.waiting() == ()


def test_a_callback_may_hold_the_next_statement(desk: Desk) -> None:
    again: list[Approval] = []
    held = desk.approvals.hold(request(), 0.0, lambda _: again.append(desk.hold(now=1.0)))
    desk.approve(held.id, "alice")
    assert desk.approvals.waiting() == tuple(again)
    assert again[0].id == "a2"


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (lambda d, i: d.approve(i, "alice", now=8.0), "approval a1 was approved by alice 12 s ago"),
        (lambda d, i: d.deny(i, "bob", now=8.0), "approval a1 was denied by bob 12 s ago"),
        (lambda d, i: d.approvals.withdraw(i, 8.0), "approval a1 was withdrawn by its client 12 s ago"),
        (lambda d, i: d.approvals.end(i, 8.0), "approval a1 ended undecided 12 s ago"),
    ],
)
def test_a_decision_on_what_no_longer_waits_says_what_became_of_it(
    desk: Desk, end: Callable[[Desk, str], object], says: str
) -> None:
    held = desk.hold()
    end(desk, held.id)
    for decide in (desk.approve, desk.deny):
        with pytest.raises(OperatorError) as raised:
            decide(held.id, "carol", now=20.0)
        assert str(raised.value) == says
    assert len(desk.ended) == 1


def test_all_who_approved_are_named(desk: Desk) -> None:
    held = desk.hold(approvals=2, timeout_s=9000)
    desk.approve(held.id, "alice")
    desk.approve(held.id, "bob")
    with pytest.raises(OperatorError, match="a1 was approved by alice and bob 3 min ago"):
        desk.deny(held.id, "carol", now=181.0)
    with pytest.raises(OperatorError, match="a1 was approved by alice and bob 2 h ago"):
        desk.deny(held.id, "carol", now=7300.0)


def test_an_unknown_id_is_said_to_be_unknown(desk: Desk) -> None:
    with pytest.raises(OperatorError) as raised:
        desk.approve("zz", "alice")
    assert str(raised.value) == 'no approval "zz" is known'


def test_a_decision_names_a_person(desk: Desk) -> None:
    held = desk.hold()
    for nobody in ("", "  "):
        with pytest.raises(OperatorError, match="who decides"):
            desk.approve(held.id, nobody)
    assert desk.approvals.waiting() == (held,)


def test_withdrawing_what_has_ended_changes_nothing(desk: Desk) -> None:
    held = desk.hold()
    desk.approve(held.id, "alice")
    desk.approvals.withdraw(held.id, 2.0)
    desk.approvals.end(held.id, 2.0)
    desk.approvals.withdraw("nobody", 2.0)
    assert [a.state for a in desk.ended] == ["approved"]


def test_the_impact_is_shown_when_it_is_known(desk: Desk) -> None:
    held = desk.hold(approvals=2)
    desk.approve(held.id, "alice")
    desk.approvals.set_impact(held.id, Impact(estimated_rows=7))
    (waiting,) = desk.approvals.waiting()
    assert waiting.impact == Impact(estimated_rows=7)
    assert len(waiting.decisions) == 1
    assert desk.approve(held.id, "bob").impact == Impact(estimated_rows=7)
    desk.approvals.set_impact(held.id, Impact(estimated_rows=8))
    desk.approvals.set_impact("nobody", Impact())
    assert desk.approvals.ended()[0].impact == Impact(estimated_rows=7)


def test_an_id_is_not_used_again_while_it_is_remembered() -> None:
    ids = iter(["a", "a", "b", "a", "b", "c"])
    desk = Desk(lambda: next(ids))
    first = desk.hold()
    assert desk.hold().id == "b"
    desk.approve(first.id, "alice")
    assert desk.hold().id == "c"


def test_without_a_free_id_nothing_is_held() -> None:
    desk = Desk(lambda: "same")
    desk.hold()
    with pytest.raises(GatekeeperError):
        desk.hold()
    assert len(desk.approvals.waiting()) == 1


def test_the_last_fifty_are_remembered_newest_first(desk: Desk) -> None:
    for _ in range(60):
        desk.deny(desk.hold().id, "alice")
    assert [a.id for a in desk.approvals.ended()] == [f"a{n}" for n in range(60, 10, -1)]


PEOPLE = st.sampled_from(["alice", "Alice", "bob", "carol", "dave", "requester"])


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: each hold ends once, and approved only by a true quorum in time."""

    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        numbers = count()
        self.now = 0.0
        self.approvals = Approvals(lambda: str(next(numbers) // 2 % 120))
        self.calls: dict[int, list[Approval]] = {}
        self.live: dict[str, int] = {}
        self.keys = count()

    @rule(target=holds, approvals=st.integers(1, 3), timeout=st.sampled_from([1.0, 5.0, 20.0]))
    def hold(self, approvals: int, timeout: float) -> Any:
        key = next(self.keys)
        self.calls[key] = []
        held = self.approvals.hold(
            request(approvals, timeout, subject="Requester"), self.now, self.calls[key].append
        )
        assert held.id not in self.live
        self.live[held.id] = key
        return (key, held)

    @rule(pair=holds, who=PEOPLE, approve=st.booleans())
    def decide(self, pair: tuple[int, Approval], who: str, approve: bool) -> None:
        key, held = pair
        ended_before = bool(self.calls[key])
        if ended_before and held.id in self.live:
            return  # the ID has been given to another
        try:
            after = self.approvals.decide(held.id, who, approve=approve, reason=None, now=self.now)
        except OperatorError as error:
            rightly = approve and ("cannot give it" in str(error) or "already" in str(error))
            if not (ended_before or rightly or self.now >= held.deadline_at):
                raise
        else:
            assert not ended_before
            assert self.now < held.deadline_at
            assert after.decisions[-1].who == who
            assert after.state == ("denied" if not approve else after.state)
        self._settle()

    @rule(pair=consumes(holds), how=st.sampled_from(["withdraw", "end"]))
    def leave(self, pair: tuple[int, Approval], how: str) -> None:
        key, held = pair
        if self.live.get(held.id) == key:
            getattr(self.approvals, how)(held.id, self.now)
        self._settle()

    @rule(seconds=st.sampled_from([0.5, 2.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        self.approvals.expire(self.now)
        self._settle()
        deadline = self.approvals.next_deadline()
        assert deadline is None or deadline > self.now

    def _settle(self) -> None:
        self.live = {name: key for name, key in self.live.items() if not self.calls[key]}

    @invariant()
    def each_ends_once_and_rightly(self) -> None:
        for calls in self.calls.values():
            assert len(calls) <= 1
            for ended in calls:
                yes = {d.who.casefold() for d in ended.decisions if d.approved}
                if ended.state == "approved":
                    assert len(yes) == ended.request.hold.approvals == len(ended.decisions)
                    assert "requester" not in yes
                    assert all(d.at < ended.deadline_at for d in ended.decisions)
                else:
                    assert len(yes) < ended.request.hold.approvals
                assert (ended.state == "denied") == any(not d.approved for d in ended.decisions)
        assert {a.id for a in self.approvals.waiting()} == set(self.live)


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
