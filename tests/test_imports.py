"""The direction of imports is a law, and every module has its place in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "gatekeeper"

LEAVES = {"errors", "model", "events", "sysuser", "embedded"}
"""Shared values and leaf helpers: any part may import them."""
MAY_IMPORT: Mapping[str, set[str]] = {
    "errors": set(),
    "model": set(),
    "events": {"errors", "model"},
    "sysuser": {"errors"},
    "embedded": {"errors", "model", "sysuser"},
    "rules": LEAVES,
    "sql": LEAVES,
    "identity": LEAVES | {"rules"},
    "policy": LEAVES | {"rules", "sql"},
    "masking": LEAVES | {"rules", "sql"},
    "proxy": LEAVES | {"rules", "sql", "identity", "policy", "masking"},
    "recording": LEAVES | {"rules", "sql", "identity"},
    "control": LEAVES | {"rules", "sql", "identity", "policy", "masking", "recording"},
    "console": {"errors", "model", "control", "recording"},
    "explain": LEAVES | {"rules", "sql", "policy", "masking"},
    "metrics": LEAVES | {"control"},
    "runtime": LEAVES
    | {"rules", "sql", "identity", "policy", "masking", "proxy", "recording", "control", "console"}
    | {"explain", "metrics"},
    "process": LEAVES | {"proxy", "control", "console", "runtime"},
    "demo": LEAVES | {"rules", "sql", "identity", "recording", "control", "console", "runtime", "process"},
    "cli": LEAVES
    | {"rules", "sql", "identity", "policy", "masking", "proxy", "recording", "control", "console"}
    | {"explain", "runtime", "process", "demo"},
    "__main__": {"cli"},
}
"""Each part of the package, and the parts that it may import besides itself."""

AT_HOME = {"textual": "console", "click": "cli", "watchfiles": "rules", "joserfc": "identity"}
"""Libraries that live in one part and nowhere else."""


def modules() -> list[Path]:
    return sorted((ROOT / PACKAGE).rglob("*.py"))


def part_of(path: Path) -> str | None:
    """The part that a module belongs to; None for the package's own __init__."""
    first = path.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py")
    return None if first == "__init__" else first


def imports(path: Path) -> Iterator[str]:
    """The full names of all that a module imports, in functions and under TYPE_CHECKING too."""
    here = path.relative_to(ROOT).with_suffix("").parts
    package = here[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package[: len(package) - level + 1] if level else ()
                start = ".".join((*base, *((module,) if module else ())))
                # `from gatekeeper import rules` names a part as well
                yield from (f"{start}.{alias.name}" for alias in names)
            case _:
                pass


def test_every_module_has_a_place() -> None:
    homeless = sorted({str(part) for path in modules() if (part := part_of(path)) and part not in MAY_IMPORT})
    assert not homeless, f"give these a place in the law of imports: {', '.join(homeless)}"


def test_the_law_points_one_way() -> None:
    tuple(TopologicalSorter(MAY_IMPORT).static_order())
    assert {name for names in MAY_IMPORT.values() for name in names} <= MAY_IMPORT.keys()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_its_place_allows(path: Path) -> None:
    part = part_of(path)
    wrong = []
    for name in imports(path):
        first, *rest = name.split(".")
        if first == PACKAGE:
            other = rest[0] if rest else None
            if other in MAY_IMPORT and other != part and other not in MAY_IMPORT.get(part or "", set()):
                wrong.append(name)
        elif first in AT_HOME and part != AT_HOME[first]:
            wrong.append(name)
    assert not wrong, f"{path.relative_to(ROOT)} ({part}) may not import {', '.join(wrong)}"
