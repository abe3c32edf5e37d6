"""Commands on the rules file: init, check, explain."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from gatekeeper.cli.common import (
    DEFAULT_RULES,
    as_json,
    plain,
    print_json,
    rules_option,
    rules_path,
)
from gatekeeper.errors import ConfigError, OperatorError, UpstreamUnreachableError

_COLOURS: Final = {"allow": "green", "warn": "yellow", "approve": "yellow", "block": "red", "reject": "red"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_RULES)
def init(file: Path) -> None:
    """Write a commented starter rules file.

    FILE is rules.toml unless given. A file that is there already is left alone.
    """
    from gatekeeper.rules.starter import STARTER

    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(STARTER)
    except FileExistsError:
        raise ConfigError(f"{file}: exists already and is left as it is") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None
    click.echo(f"wrote {file}: put in your issuer, database and grants, then say `gatekeeper check {file}`")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@rules_option
@as_json
def check(file: Path | None, rules_file: Path | None, as_json: bool) -> int:
    """Validate a rules file.

    Every error is named by table, key and reason. FILE is rules.toml unless given.
    """
    from gatekeeper.rules.load import load, warnings

    path = file or rules_path(rules_file)
    try:
        rules = load(path)
    except ConfigError as error:
        if as_json:
            print_json({"file": str(path), "valid": False, "problems": error.problems})
        raise
    warned = warnings(rules)
    counts = {
        "issuers": len(rules.issuers),
        "databases": len(rules.databases),
        "grants": len(rules.grants),
        "guards": len(rules.guards),
        "masks": len(rules.masks),
    }
    if as_json:
        print_json(
            {
                "file": str(path),
                "valid": True,
                "problems": [],
                "warnings": warned,
                "version": rules.version,
                **counts,
            }
        )
    else:
        told = ", ".join(f"{n} {name if n != 1 else name[:-1]}" for name, n in counts.items())
        click.echo(f"{path}: valid: {told}")
        for warning in warned:
            click.echo(f"warning: {warning}", err=True)
    return 0


@click.command()
@click.argument("sql")
@click.option("--grant", required=True, help="The grant under which it would run.")
@click.option("--database", help="The database.  [default: the grant's first]")
@rules_option
@as_json
def explain(sql: str, grant: str, database: str | None, rules_file: Path | None, as_json: bool) -> int:
    """Say what would happen to a statement, and why.

    It is not run. Reads the rules file, and the database's catalog where it can be reached. SQL may be -
    to read it from standard input.
    """
    if sql == "-":
        sql = sys.stdin.read()
    found = asyncio.run(_explained(sql, grant, database, rules_path(rules_file)))
    if as_json:
        print_json(found)
    else:
        _print_explanation(found)
    return 0


async def _explained(sql: str, grant: str, database: str | None, file: Path) -> Mapping[str, Any]:
    from gatekeeper.explain import explain as explain_by
    from gatekeeper.explain import explain_estimated, names
    from gatekeeper.proxy.databases import Database
    from gatekeeper.rules.load import load

    rules = load(file)
    _, wanted = names(rules, grant, database)
    entry = rules.database(wanted)
    assert entry is not None
    if entry.dsn == "embedded":
        running = await _running(sql, grant, wanted, rules.gateway.control, rules.version)
        if running is not None:
            return running
    upstream = Database(lambda: rules, entry, _not_here)
    try:
        await upstream.refresh()
        return await explain_estimated(
            sql,
            grant,
            wanted,
            rules,
            upstream.catalog,
            time.time(),
            lambda facts, asked: upstream.estimate(facts, asked, None),
        )
    except (ConfigError, UpstreamUnreachableError) as error:
        problem = error.reason if isinstance(error, UpstreamUnreachableError) else str(error)
        return explain_by(sql, grant, wanted, rules, None, time.time(), catalog_problem=problem)
    finally:
        await upstream.close()


async def _running(
    sql: str, grant: str, database: str, control: Path, version: str
) -> Mapping[str, Any] | None:
    """What the gateway says that alone reaches its bundled database; None unless its rules are ours."""
    from gatekeeper.control.client import RemoteOperator

    try:
        async with RemoteOperator(control) as operator:
            found = await operator.explain(sql, grant, database)
    except (OperatorError, ConfigError):
        return None
    return found if found.get("rules") == version else None


async def _not_here(_: str) -> Any:
    raise UpstreamUnreachableError("the bundled database is only there while its gateway runs")


def _print_explanation(found: Mapping[str, Any]) -> None:
    verdict = str(found["verdict"])
    head = click.style(verdict.upper(), fg=_COLOURS.get(verdict), bold=True)
    click.echo(f"{head}  for grant {found['grant']} in database {found['database']}")
    for label, key in (("", "message"), ("detail", "detail"), ("hint", "hint")):
        if found[key]:
            click.echo(f"  {label + ': ' if label else ''}{plain(str(found[key]))}")
    if found["hold"]:
        hold = found["hold"]
        people = "1 approval" if hold["approvals"] == 1 else f"{hold['approvals']} approvals"
        click.echo(f"  waits for {people}, up to {hold['timeout_s']:g} s ({hold['guard']})")
    for warning in found["warnings"]:
        click.echo(f"  warning: {plain(warning)}")
    _line("guards", found["guards"])
    for statement in found["statements"]:
        _print_statement(statement)
    for mask in found["masks"]:
        what = mask.get("column") or "by content: " + ", ".join(mask["detect"])
        click.echo(f"  mask {mask['mask']}: {what} ({mask['method']})")
    if not found["catalog"]:
        problem = found["catalog_problem"] or "it was not read"
        click.echo(f"judged without the database's catalog, so by names alone: {plain(problem)}", err=True)


def _print_statement(statement: Mapping[str, Any]) -> None:
    from gatekeeper.sql.pretty import pretty

    click.echo()
    for line in pretty(statement["text"]).splitlines():
        click.secho(f"  {plain(line)}", bold=True)
    _line("tags", statement["tags"])
    _line("classes", statement["classes"] or ["none needed"])
    _line("relations", [r["name"] + (" (written)" if r["written"] else "") for r in statement["relations"]])
    _line("functions", statement["functions"])
    _line("cannot be read", statement["opaque_functions"])
    _line("settings", [f"{s['name']} = {s['value'] or '?'}" for s in statement["settings"]])
    notes = []
    if statement["dynamic_sql"]:
        notes.append("runs SQL that is computed at run time")
    if statement["where_missing"]:
        notes.append("has no WHERE")
    if statement["estimated_rows"] is not None:
        notes.append(f"about {statement['estimated_rows']:.0f} rows by the planner's estimate")
    _line("notes", notes)


def _line(label: str, values: list[str]) -> None:
    if values:
        click.echo(f"    {label + ':':16}{plain(', '.join(values))}")
