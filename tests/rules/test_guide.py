"""The guide to the rules names every key, and its example is valid."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gatekeeper.rules import tables
from gatekeeper.rules.load import parse
from gatekeeper.rules.table import Table

GUIDE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
BASE = Path("/etc/gatekeeper")

READERS: dict[str, Callable[[Table], object]] = {
    "[gateway]": lambda table: tables.gateway(table, BASE),
    "[policy]": tables.policy,
    "[[issuer]]": lambda table: tables.issuer(table, BASE),
    "[[database]]": lambda table: tables.database(table, BASE),
    "[[grant]]": tables.grant,
    "[[guard]]": tables.guard,
    "[[mask]]": tables.mask,
}


def section(title: str) -> str:
    return re.split(r"^## ", GUIDE.split(f"## `{title}`\n")[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("title", READERS)
def test_the_guide_names_every_key(title: str) -> None:
    table = Table(title, {}, [])
    READERS[title](table)
    documented = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", section(title), re.MULTILINE)))
    )
    assert set(table._asked) <= documented


def test_the_example_in_the_guide_is_valid() -> None:
    examples = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    assert examples
    for example in examples:
        parse(example, BASE / "rules.toml")
