"""A run has its time from its first login, its sessions up to the limit, and one end."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest

from gatekeeper.errors import OperatorError, RecordingError, SessionEndedError, TooManyError
from gatekeeper.identity.runs import Runs, StoredRun
from gatekeeper.model import Identity
from gatekeeper.rules.schema import GrantRules

NOW = 1_800_000_000.0


class Memory:
    """A store in memory: what is asked of a store is one dictionary."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], StoredRun] = {}
        self.broken = False

    def load_runs(self) -> Iterable[StoredRun]:
        return list(self.kept.values())

    def save_run(self, run: StoredRun) -> None:
        if self.broken:
            raise RecordingError("disk full")
        self.kept[run.grant, run.run] = run


def identity(run: str = "77.1", grant: str = "deploy") -> Identity:
    return Identity("ci", "repo:acme", {}, grant, run, NOW + 600)


def grant(name: str = "deploy", **more: object) -> GrantRules:
    return GrantRules(name, "ci", {"sub": ("*",)}, ("app",), **more)  # type: ignore[arg-type]


def test_the_ttl_counts_from_the_first_login() -> None:
    runs = Runs(Memory())
    half_hour = grant(ttl_s=1800)
    assert runs.admit(identity(), half_hour, "s1", NOW) == NOW + 1800
    assert runs.admit(identity(), half_hour, "s2", NOW + 1799) == NOW + 1800
    with pytest.raises(SessionEndedError, match="time is over"):
        runs.admit(identity(), half_hour, "s3", NOW + 1800)


def test_the_ttl_counts_on_over_a_restart() -> None:
    store = Memory()
    Runs(store).admit(identity(), grant(ttl_s=1800), "s1", NOW)
    again = Runs(store)
    assert again.admit(identity(), grant(ttl_s=1800), "s2", NOW + 100) == NOW + 1800
    with pytest.raises(SessionEndedError):
        Runs(store).admit(identity(), grant(ttl_s=1800), "s3", NOW + 1801)


def test_without_a_ttl_a_run_has_no_end() -> None:
    assert Runs(Memory()).admit(identity(), grant(), "s1", NOW) == math.inf


def test_an_ended_run_names_its_sessions_and_cannot_come_back() -> None:
    store = Memory()
    runs = Runs(store)
    for session in ("s1", "s2"):
        runs.admit(identity(), grant(), session, NOW)
    runs.admit(identity("78.1"), grant(), "s3", NOW)
    assert runs.end("77.1", NOW + 1) == ("s1", "s2")
    for restarted in (runs, Runs(store)):
        with pytest.raises(SessionEndedError, match="has ended"):
            restarted.admit(identity(), grant(), "s4", NOW + 2)
    runs.admit(identity("78.1"), grant(), "s5", NOW + 2)


def test_ending_an_unknown_or_an_ended_run_says_so() -> None:
    runs = Runs(Memory())
    with pytest.raises(OperatorError, match=r"no run 77\.1"):
        runs.end("77.1", NOW)
    runs.admit(identity(), grant(), "s1", NOW)
    with pytest.raises(OperatorError, match="of grant other"):
        runs.end("77.1", NOW, "other")
    runs.end("77.1", NOW)
    with pytest.raises(OperatorError, match="already ended"):
        runs.end("77.1", NOW)


def test_a_run_of_one_grant_is_not_that_of_another() -> None:
    runs = Runs(Memory())
    runs.admit(identity(), grant(), "s1", NOW)
    runs.admit(identity(grant="read"), grant("read"), "s2", NOW)
    assert runs.end("77.1", NOW, "deploy") == ("s1",)
    runs.admit(identity(grant="read"), grant("read"), "s3", NOW)
    assert runs.end("77.1", NOW) == ("s2", "s3")


def test_sessions_are_counted_for_each_run() -> None:
    runs = Runs(Memory())
    two = grant(max_sessions=2)
    runs.admit(identity(), two, "s1", NOW)
    runs.admit(identity(), two, "s2", NOW)
    with pytest.raises(TooManyError):
        runs.admit(identity(), two, "s3", NOW)
    runs.admit(identity("78.1"), two, "s4", NOW)
    runs.leave("s1")
    runs.leave("s1")
    runs.admit(identity(), two, "s5", NOW)


def test_a_run_that_cannot_be_kept_is_not_begun_and_not_ended() -> None:
    store = Memory()
    runs = Runs(store)
    store.broken = True
    with pytest.raises(RecordingError):
        runs.admit(identity(), grant(), "s1", NOW)
    assert runs.statuses(NOW) == ()
    store.broken = False
    runs.admit(identity(), grant(), "s1", NOW)
    store.broken = True
    with pytest.raises(RecordingError):
        runs.end("77.1", NOW)
    assert len(runs.statuses(NOW)) == 1


def test_a_shorter_ttl_after_a_reload_holds_for_what_goes_on() -> None:
    runs = Runs(Memory())
    runs.admit(identity(), grant(ttl_s=1800), "s1", NOW)
    assert runs.ends_at("s1", grant(ttl_s=60)) == NOW + 60
    with pytest.raises(SessionEndedError):
        runs.admit(identity(), grant(ttl_s=60), "s2", NOW + 61)
    assert runs.sessions_of("deploy") == ("s1",)


def test_runs_are_listed_while_they_can_log_in() -> None:
    store = Memory()
    runs = Runs(store)
    runs.admit(identity("timed"), grant(ttl_s=60), "s1", NOW)
    runs.admit(identity("endless"), grant(), "s2", NOW + 1)
    listed = runs.statuses(NOW + 2)
    assert [(run.run, run.sessions, run.ends_at) for run in listed] == [
        ("timed", 1, NOW + 60),
        ("endless", 1, math.inf),
    ]
    runs.leave("s1")
    runs.leave("s2")
    assert [run.run for run in runs.statuses(NOW + 59)] == ["timed", "endless"]
    assert [run.run for run in runs.statuses(NOW + 61)] == ["endless"]
    assert runs.statuses(NOW + 601) == ()
    assert [run.run for run in Runs(store).statuses(NOW + 2)] == ["timed"]
