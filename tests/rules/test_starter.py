"""The rules files that we hand out are valid ones."""

from __future__ import annotations

from pathlib import Path

from gatekeeper.model import Action
from gatekeeper.rules.load import load, parse
from gatekeeper.rules.starter import STARTER

ROOT = Path(__file__).parents[2]


def test_the_starter_file_loads_as_it_is(tmp_path: Path) -> None:
    rules = parse(STARTER, tmp_path / "rules.toml")
    assert rules.grant("ci-read") is not None
    assert rules.databases[0].password is not None
    assert {guard.action for guard in rules.guards} == {Action.WARN, Action.APPROVE, Action.BLOCK}


def test_the_starter_file_lets_no_grant_reach_outside_the_database(tmp_path: Path) -> None:
    rules = parse(STARTER, tmp_path / "rules.toml")
    assert all("SERVER" not in grant.classes for grant in rules.grants)


def test_the_example_in_the_repository_is_valid() -> None:
    rules = load(ROOT / "rules.toml")
    assert [grant.name for grant in rules.grants] == ["ci-migrations", "analyst", "dba"]
    assert rules.database("app") is not None
    assert rules.gateway.control == ROOT / "gatekeeper.sock"
