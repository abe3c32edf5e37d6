"""A changed file holds within two seconds; one that is broken, empty or gone changes nothing."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gatekeeper.errors import ConfigError
from gatekeeper.events import RulesReloaded
from gatekeeper.rules.keeper import RulesKeeper
from gatekeeper.rules.load import load
from gatekeeper.rules.schema import Rules
from gatekeeper.rules.write import dump, write_text

LIMIT_S = 2.0


def text(name: str = "first", extra: str = "") -> str:
    return f'[[guard]]\nname = "{name}"\naction = "block"\n{extra}'


@asynccontextmanager
async def keeping(path: Path) -> AsyncIterator[tuple[RulesKeeper, list[RulesReloaded], list[Rules]]]:
    reports: list[RulesReloaded] = []
    seen: list[Rules] = []
    keeper = RulesKeeper(path, load(path), clock=time.time, report=reports.append)
    keeper.subscribe(seen.append)
    task = asyncio.create_task(keeper.run())
    await asyncio.sleep(0.3)
    try:
        yield keeper, reports, seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def within(limit_s: float, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "not within the time"
        await asyncio.sleep(0.02)


def guard(keeper: RulesKeeper) -> str:
    return keeper.current.guards[0].name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(text())
    return path


async def test_new_rules_hold_within_two_seconds(path: Path) -> None:
    async with keeping(path) as (keeper, reports, seen):
        path.write_text(text("second"))
        await within(LIMIT_S, lambda: guard(keeper) == "second")
        assert [rules.guards[0].name for rules in seen] == ["second"]
        assert [report.problems for report in reports] == [()]
        assert reports[0].version == keeper.current.version


def rename_over(path: Path) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text("second"))
    fresh.rename(path)


def rename_away_and_write(path: Path) -> None:
    path.rename(path.with_suffix(".bak"))
    path.write_text(text("second"))


def remove_and_write(path: Path) -> None:
    path.unlink()
    path.write_text(text("second"))


def replace_directory(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    path.write_text(text("second"))


@pytest.mark.parametrize(
    "save",
    [rename_over, rename_away_and_write, remove_and_write, replace_directory],
    ids=lambda f: f.__name__,
)
async def test_however_it_is_saved_the_change_is_seen(tmp_path: Path, save: Callable[[Path], None]) -> None:
    directory = tmp_path / "etc"
    directory.mkdir()
    path = directory / "rules.toml"
    path.write_text(text())
    async with keeping(path) as (keeper, reports, _):
        save(path)
        await within(LIMIT_S, lambda: guard(keeper) == "second")
        assert [report.problems for report in reports] == [()]
        path.write_text(text("third"))
        await within(LIMIT_S, lambda: guard(keeper) == "third")


async def test_a_mounted_configmap_is_swapped_by_a_symlink(tmp_path: Path) -> None:
    for version, name in (("v1", "first"), ("v2", "second")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "rules.toml").write_text(text(name))
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "rules.toml"
    path.symlink_to("..data/rules.toml")
    async with keeping(path) as (keeper, _, _):
        (tmp_path / "..tmp").symlink_to("v2")
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        await within(LIMIT_S, lambda: guard(keeper) == "second")


async def test_a_symlink_is_followed_into_another_directory(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "target.toml"
    target.parent.mkdir()
    target.write_text(text())
    path = tmp_path / "rules.toml"
    path.symlink_to(target)
    async with keeping(path) as (keeper, _, _):
        target.write_text(text("second"))
        await within(LIMIT_S, lambda: guard(keeper) == "second")


async def unchanged(path: Path, spoil: Callable[[], object], reason: str) -> None:
    async with keeping(path) as (keeper, reports, seen):
        before = keeper.current
        spoil()
        await within(LIMIT_S, lambda: bool(reports))
        assert keeper.current is before
        assert not seen
        assert len(reports) == 1
        assert reason in reports[0].problems[0]
        assert reports[0].version == before.version
        assert keeper.problems == reports[0].problems
        assert keeper.problems_at is not None
        path.write_text(text())
        await within(LIMIT_S, lambda: keeper.problems == ())
        assert keeper.problems_at is None
        assert guard(keeper) == "first"


async def test_a_broken_file_changes_nothing_and_says_why(path: Path) -> None:
    await unchanged(path, lambda: path.write_text(text("x", "colour = 1\n")), "colour: unknown key")


async def test_an_empty_file_changes_nothing(path: Path) -> None:
    await unchanged(path, lambda: path.write_text(""), "is empty")


async def test_a_file_that_is_gone_changes_nothing(path: Path) -> None:
    await unchanged(path, path.unlink, "no such file")


async def test_a_slow_writer_is_waited_for(path: Path) -> None:
    async with keeping(path) as (keeper, reports, _):
        whole = text("second", '[[guard]]\nname = "last"\naction = "block"\n')
        with path.open("w") as file:
            for line in whole.splitlines(keepends=True):
                file.write(line)
                file.flush()
                await asyncio.sleep(0.04)
        await within(LIMIT_S, lambda: guard(keeper) == "second")
        assert len(keeper.current.guards) == 2
        assert [report.problems for report in reports] == [()]


async def test_gateway_keys_stay_until_a_restart_and_are_named(path: Path) -> None:
    async with keeping(path) as (keeper, _, _):
        path.write_text(text("second", "[gateway]\nrecord_rows = 7\n"))
        await within(LIMIT_S, lambda: guard(keeper) == "second")
        assert keeper.restart_needed == ("record_rows",)
        assert keeper.current.gateway.record_rows == 100
        path.write_text(text("third"))
        await within(LIMIT_S, lambda: guard(keeper) == "third")
        assert keeper.restart_needed == ()


async def test_what_changed_before_the_watch_began_is_seen(path: Path) -> None:
    rules = load(path)
    path.write_text(text("second"))
    keeper = RulesKeeper(path, rules, clock=time.time, report=lambda _: None)
    task = asyncio.create_task(keeper.run())
    await within(LIMIT_S, lambda: guard(keeper) == "second")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_busy_directory_costs_no_reading(path: Path) -> None:
    async with keeping(path) as (keeper, reports, _):
        for number in range(50):
            (path.parent / "recordings.db-wal").write_text(str(number))
            await asyncio.sleep(0.01)
        assert reports == []
        assert guard(keeper) == "first"


def test_rules_are_written_whole_and_only_if_they_load(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    written = dump({"guard": [{"name": "a", "action": "block"}]}, path, comment="Of the demo.")
    assert load(path) == written
    assert path.read_text().startswith("# Of the demo.\n")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="blok"):
        dump({"guard": [{"name": "a", "action": "blok"}]}, path)
    assert load(path) == written
    assert [entry.name for entry in tmp_path.iterdir()] == ["rules.toml"]


def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_text("x", tmp_path / "none" / "rules.toml")
