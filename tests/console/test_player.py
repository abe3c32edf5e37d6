from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.console.player import GAP_S, Player
from gatekeeper.recording.views import RecordView
from tests.console import scene


def record(seq: int, at: float, verdict: str = "allow", ms: float = 1.0) -> RecordView:
    return RecordView(
        seq=seq,
        kind="statement",
        at=at,
        session="s",
        hash="",
        sql="select 1",
        verdict=verdict,
        outcome="SELECT 1",
        duration_ms=ms,
    )


def test_the_timing_is_the_original_but_for_long_silence() -> None:
    player = Player([record(1, 100.0), record(2, 102.5), record(3, 400.0), record(4, 401.0)])
    assert [round(m.start_s, 3) for m in player.moments] == [0.0, 2.5, 2.5 + GAP_S, 3.5 + GAP_S]
    assert [m.skipped_s for m in player.moments] == [0.0, 0.0, 297.5 - GAP_S, 0.0]


def test_an_outcome_comes_when_it_came() -> None:
    player = Player([record(1, 0.0, ms=2_000), record(2, 3.0)])
    player.toggle()
    player.advance(1.0)
    assert player.running(player.moments[0])
    player.advance(1.5)
    assert not player.running(player.moments[0])
    assert player.index == 0


def test_it_stops_at_the_end_and_starts_over() -> None:
    player = Player([record(1, 0.0), record(2, 1.0)])
    player.toggle()
    player.advance(100)
    assert player.ended
    assert not player.playing
    assert player.index == 1
    player.toggle()
    assert player.playing
    assert player.index == 0


def test_records_of_one_instant_can_each_be_stood_on() -> None:
    player = Player([record(i, 5.0) for i in range(4)])
    for index in (1, 2, 3, 3):
        player.step(1)
        assert player.index == index
    for index in (2, 1, 0, 0):
        player.step(-1)
        assert player.index == index


def test_speed_has_ends() -> None:
    player = Player([record(1, 0.0), record(2, 4.0)])
    player.faster(-99)
    assert player.speed == 0.25
    player.faster(99)
    assert player.speed == 32
    player.toggle()
    player.advance(0.1)
    assert player.position_s == 3.2


def test_notable_records_are_found_both_ways() -> None:
    player = Player(scene.records("s", 0.0, "g", "s", "d"))
    assert player.next_notable(1)
    assert player.index == 3
    assert player.next_notable(1)
    assert player.index == 4
    assert not player.next_notable(1)
    assert player.next_notable(-1)
    assert player.index == 3


def test_nothing_recorded_is_no_trouble() -> None:
    player = Player(())
    player.toggle()
    player.advance(1)
    player.step(1)
    player.seek(0.5)
    assert player.current is None
    assert not player.playing
    assert not player.next_notable(1)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    st.lists(st.sampled_from(["step", "back", "seek", "play", "faster"]), max_size=30),
)
def test_the_player_is_always_somewhere(times: list[float], doings: list[str]) -> None:
    player = Player([record(i, at) for i, at in enumerate(sorted(times))])
    for doing in doings:
        match doing:
            case "step":
                player.step(1)
            case "back":
                player.step(-1)
            case "seek":
                player.seek(0.7)
            case "faster":
                player.faster(1)
            case _:
                player.toggle()
        player.advance(0.3)
        assert 0 <= player.position_s <= player.length_s
        assert player.current is player.moments[player.index]
