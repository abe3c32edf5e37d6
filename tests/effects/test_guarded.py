"""What a guard keeps is kept, however a statement comes at it; a grant that reads writes nothing."""

from __future__ import annotations

import pytest

from tests.effects.attacks import GUARDED, READ_ONLY
from tests.effects.stage import EVERYTHING, Stage
from tests.leaks.attack import How

pytestmark = pytest.mark.server

SINGLE = [attack for attack in GUARDED if ";" not in attack.replace(" ;; ", "")]
CASES: list[tuple[How, str]] = [
    *(("simple", attack) for attack in GUARDED),
    *(("text", attack) for attack in SINGLE[::3]),
]


@pytest.mark.parametrize(("how", "attack"), CASES, ids=[f"{how}: {attack}" for how, attack in CASES])
async def test_a_guarded_effect_does_not_happen(stage: Stage, how: How, attack: str) -> None:
    steps = attack.split(" ;; ")
    if how == "simple":
        assert (await stage.tell(steps, how, grant=None)).happened, "proves nothing"
    told = await stage.tell(steps, how)
    assert not told.happened
    assert "42501" in told.heard.codes


@pytest.mark.parametrize("attack", READ_ONLY)
async def test_a_grant_that_reads_is_refused_all_else(stage: Stage, attack: str) -> None:
    told = await stage.tell(attack.split(" ;; "), grant="analyst", state=EVERYTHING)
    assert not told.happened
    assert "42501" in told.heard.codes
