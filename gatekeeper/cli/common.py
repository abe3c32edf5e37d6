"""What commands share: where the gateway and the store are, and how results are printed."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import msgspec

from gatekeeper.errors import ConfigError

if TYPE_CHECKING:
    from gatekeeper.rules.schema import GatewayRules

DEFAULT_RULES: Final = Path("rules.toml")
_WIDE: Final = 70
_GATEWAY: Final = re.compile(r"^\[gateway\].*?(?=^\s*\[|\Z)", re.MULTILINE | re.DOTALL)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class DurationType(click.ParamType[float]):
    """`30s`, `5m`, `2h`, `90d` in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds of a duration's text."""
        from gatekeeper.rules.durations import parse_duration

        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


DURATION: Final = DurationType()

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for other programs.")


def rules_option(command: F) -> F:
    """`--rules FILE`."""
    return click.option(
        "--rules",
        "rules_file",
        type=click.Path(path_type=Path),
        help="The rules file.  [default: rules.toml]",
    )(command)


def control_options(command: F) -> F:
    """`--control PATH` and `--rules FILE`, for what talks to a running gateway."""
    control = click.option(
        "--control", type=click.Path(path_type=Path), help="The running gateway's control socket."
    )
    return control(rules_option(command))


def store_options(command: F) -> F:
    """`--store STORE` and `--rules FILE`, for what reads recordings."""
    return click.option("--store", help="The recordings: an SQLite file.")(rules_option(command))


def given(name: str, value: T | None) -> T | None:
    """An option's value, else that of the group before: `sessions --control X kill ID` is as good."""
    context = click.get_current_context()
    while value is None and context.parent is not None:
        context = context.parent
        value = context.params.get(name)
    return value


def rules_path(rules_file: Path | None) -> Path:
    """The rules file that was named, else the default."""
    return given("rules_file", rules_file) or DEFAULT_RULES


def control_path(control: Path | None, rules_file: Path | None) -> Path:
    """Where the running gateway listens for operators. ConfigError."""
    control, rules_file = given("control", control), given("rules_file", rules_file)
    if control is not None:
        return control
    if rules_file is None and not DEFAULT_RULES.exists():
        raise ConfigError("no rules.toml here: name the gateway by --control PATH or --rules FILE")
    return gateway_of(rules_path(rules_file)).control


def store_of(store: str | None, rules_file: Path | None) -> str:
    """Where the recordings are. ConfigError."""
    store, rules_file = given("store", store), given("rules_file", rules_file)
    if store is not None:
        return store
    if rules_file is None and not DEFAULT_RULES.exists():
        raise ConfigError("no rules.toml here: name the recordings by --store FILE or --rules FILE")
    return gateway_of(rules_path(rules_file)).store


def gateway_of(path: Path) -> GatewayRules:
    """The `[gateway]` table of a rules file. ConfigError.

    A file that is being edited may be broken while its gateway goes on: whoever has to decide must find it.
    """
    from gatekeeper.rules.load import load, parse, read

    try:
        return load(path).gateway
    except ConfigError as problem:
        try:
            table = _GATEWAY.search(read(path))
            return parse(table[0] if table else "", path).gateway
        except ConfigError:
            raise problem from None


def ask(control: Path | None, rules_file: Path | None, question: Callable[[Any], Awaitable[T]]) -> T:
    """Put a question to the running gateway. OperatorError where none answers."""
    from gatekeeper.control.client import RemoteOperator

    path = control_path(control, rules_file)

    async def asking() -> T:
        async with RemoteOperator(path) as operator:
            return await question(operator)

    return asyncio.run(asking())


def print_json(value: Any) -> None:
    """One JSON document; infinity is null."""
    click.echo(json.dumps(_finite(msgspec.to_builtins(value)), ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """A table with a heading; `empty` where there are no rows. Each cell is one line without controls."""
    lines = [[one_line(cell) for cell in row] for row in rows]
    if not lines:
        click.echo(empty)
        return
    widths = [max(len(column), *(len(line[n]) for line in lines)) for n, column in enumerate(columns)]
    heading = "  ".join(name.ljust(width) for name, width in zip(columns, widths, strict=True))
    click.secho(heading.rstrip(), bold=True)
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def plain(text: str) -> str:
    """A text that others wrote, so that the terminal shows it and never obeys it; lines stay lines."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def one_line(text: str, wide: int = _WIDE) -> str:
    """The same in one line, cut where it is long."""
    line = plain(" ".join(text.split()))
    return line if len(line) <= wide else line[: wide - 1] + "…"


def when(at: float | None) -> str:
    """A moment in local time, to the second."""
    if at is None or not math.isfinite(at):
        return "-"
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def left(at: float) -> str:
    """How long it is until a moment."""
    if not math.isfinite(at):
        return "-"
    return ago(2 * time.time() - at)


def ago(at: float) -> str:
    """How long ago a moment was, in its largest unit."""
    seconds = max(time.time() - at, 0.0)
    for unit, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f}{letter}"
    return f"{seconds:.0f}s"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(member) for name, member in value.items()}
    return [_finite(member) for member in value] if isinstance(value, list | tuple) else value
