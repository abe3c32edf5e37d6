"""No masked value reaches the client by any statement, and nothing that it receives depends on one."""

from __future__ import annotations

import pytest

from tests.leaks.attack import How
from tests.leaks.attacks import ATTACKS
from tests.leaks.states import Answers, States
from tests.masking.schema import leaks

pytestmark = pytest.mark.server

SINGLE = [attack for attack in ATTACKS if ";" not in attack.replace(" ;; ", "")]
"""What the extended protocol takes: one statement in each query string."""
MODES: list[tuple[How, list[str]]] = [("simple", ATTACKS), ("text", SINGLE[::4]), ("binary", SINGLE)]
CASES = [pytest.param(how, attack, id=f"{how}: {attack}") for how, attacks in MODES for attack in attacks]


@pytest.fixture(scope="module")
async def answers(states: States) -> dict[tuple[How, str], Answers]:
    """All attacks, told in one go, since the two states take turns only once for each protocol."""
    return {
        (how, attack): told
        for how, attacks in MODES
        for attack, told in (await states.ask(attacks, how)).items()
    }


@pytest.mark.parametrize(("how", "attack"), CASES)
def test_a_masked_value_does_not_come_out(
    answers: dict[tuple[How, str], Answers], how: How, attack: str
) -> None:
    told = answers[how, attack]
    direct, through = told.direct, told.through
    assert leaks(direct[0].everything) or direct[0].comparable != direct[1].comparable, "proves nothing"
    for heard in through:
        assert not leaks(heard.everything)
    assert through[0].comparable == through[1].comparable
