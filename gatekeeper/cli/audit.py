"""Commands on the recordings: list, show, search, verify, export, prune. All but prune only read."""

from __future__ import annotations

import contextlib
import getpass
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from gatekeeper.cli.common import (
    DURATION,
    as_json,
    ask,
    one_line,
    plain,
    print_json,
    print_table,
    store_of,
    store_options,
    when,
)
from gatekeeper.control.summaries import span
from gatekeeper.errors import RecordingError

if TYPE_CHECKING:
    from gatekeeper.recording.reader import Records
    from gatekeeper.recording.views import RecordedSession, RecordView

_COLOURS: Final = {"allow": "green", "warn": "yellow", "approve": "yellow", "block": "red", "reject": "red"}


@click.group()
def audit() -> None:
    """Look at the recordings, check them, hand them on."""


@audit.command(name="list")
@click.option("--search", default="", help="Only sessions with this in SQL, subject, grant, run or database.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most so many.")
@store_options
@as_json
def list_(search: str, limit: int, store: str | None, rules_file: Path | None, as_json: bool) -> None:
    """List recorded sessions, newest first."""
    with _records(store, rules_file) as records:
        found = records.sessions(search, limit)
    if as_json:
        print_json(found)
    else:
        _print_sessions(found)


@audit.command()
@click.argument("session")
@click.option(
    "--rows", "with_rows", is_flag=True, help="The kept result rows too, masked as the client saw them."
)
@store_options
@as_json
def show(session: str, with_rows: bool, store: str | None, rules_file: Path | None, as_json: bool) -> None:
    """Show all records of a session.

    Its ID may be cut short where that is unambiguous.
    """
    from gatekeeper.recording.export import fields

    with _records(store, rules_file) as records:
        found = tuple(records.records(session))
    if as_json:
        print_json([fields(record) for record in found])
        return
    for record in found:
        _print_record(record, with_rows=with_rows)


@audit.command()
@click.argument("text")
@click.option("--grant", help="Only under this grant.")
@click.option("--subject", help="Only of this subject.")
@click.option("--relation", help="Only statements that name this relation.")
@click.option("--verdict", type=click.Choice([*_COLOURS]), help="Only statements that met this verdict.")
@click.option("--within", type=DURATION, help="Only what is no older, such as 7d.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1), help="At most so many records."
)
@store_options
@as_json
def search(
    text: str,
    grant: str | None,
    subject: str | None,
    relation: str | None,
    verdict: str | None,
    within: float | None,
    limit: int,
    store: str | None,
    rules_file: Path | None,
    as_json: bool,
) -> None:
    """Find records with TEXT in them, newest first.

    Looks in SQL, tags, relations and functions, and in who it was: subject, grant, run, database, session.
    """
    from gatekeeper.recording.export import fields
    from gatekeeper.recording.reader import Wanted

    since = None if within is None else time.time() - within
    wanted = Wanted(subject=subject, grant=grant, relation=relation, verdict=verdict, since=since)
    with _records(store, rules_file) as records:
        found = tuple(records.search(text, wanted, limit))
    if as_json:
        print_json([fields(record) for record in found])
        return
    columns = ("TIME", "SESSION", "GRANT", "SUBJECT", "KIND", "VERDICT", "OUTCOME", "SQL")
    rows = [
        (
            *(when(r.at), r.session, r.grant, r.subject, r.kind, r.verdict or "", r.outcome or ""),
            one_line(r.sql or r.detail or "", 60),
        )
        for r in found
    ]
    print_table(columns, rows, "nothing found")


@audit.command()
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="The key of the recordings.  [default: STORE.key]"
)
@store_options
@as_json
def verify(key_file: Path | None, store: str | None, rules_file: Path | None, as_json: bool) -> int:
    """Check that the records are as they were written.

    Exit status 1 and the first record that was changed, removed, reordered or cut off.
    """
    from gatekeeper.recording.chain import key_path, load_key
    from gatekeeper.recording.verify import verify as check

    with _records(store, rules_file) as records:
        found = check(records.connection, load_key(key_file or key_path(records.path)))
    if as_json:
        print_json({"valid": found.problem is None, **asdict(found)})
    if found.problem is not None:
        raise RecordingError(found.problem)
    if not as_json:
        pruned = f", after {found.pruned} pruned ones" if found.pruned else ""
        click.echo(f"{found.rows} events{pruned}: all as they were written")
        click.echo(f"the last is {found.last_seq} with hash {found.last_hash}")
    return 0


@audit.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "html", "asciicast"]),
    default="jsonl",
    show_default=True,
)
@click.option("--session", help="One session alone.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="A file.  [default: stdout]"
)
@store_options
def export(
    form: Any, session: str | None, output: Path | None, store: str | None, rules_file: Path | None
) -> None:
    """Write the recordings for other programs.

    In jsonl one record is one object, and one line.
    """
    from gatekeeper.recording.export import export as exported

    with _records(store, rules_file) as records, _output(output) as file:
        for piece in exported(records, form, session):
            file.write(piece)


@audit.command()
@click.option("--older-than", type=DURATION, required=True, help="Such as 90d.")
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="The key of the recordings.  [default: STORE.key]"
)
@store_options
def prune(older_than: float, key_file: Path | None, store: str | None, rules_file: Path | None) -> None:
    """Remove old recordings.

    What stays can still be verified, and says what was removed and by whom.
    """
    from gatekeeper.recording.places import is_written
    from gatekeeper.recording.prune import prune as remove

    where = store_of(store, rules_file)
    done = remove(where, older_than, time.time(), who=getpass.getuser(), key_file=key_file)
    click.echo(f"{done.removed} events removed")
    if store is None and is_written(Path(where)):
        # Beside a running gateway its chain is the gateway's to write, the record of a prune too.
        ask(None, rules_file, lambda operator: operator.pruned(span(older_than)))


@contextlib.contextmanager
def _records(store: str | None, rules_file: Path | None) -> Iterator[Records]:
    from gatekeeper.recording.reader import open_records

    records = open_records(store_of(store, rules_file))
    try:
        yield records
    finally:
        records.close()


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
    else:
        with path.open("w", encoding="utf-8") as file:
            yield file


def _print_sessions(found: tuple[RecordedSession, ...]) -> None:
    columns = ("SESSION", "STARTED", "GRANT", "SUBJECT", "RUN", "DATABASE", "STATEMENTS", "END")
    rows = [
        (
            *(s.id, when(s.started_at), s.grant, one_line(s.subject, 40), one_line(s.run, 24), s.database),
            _counts(s),
            s.end_reason or "" if s.ended_at is not None else "goes on",
        )
        for s in found
    ]
    print_table(columns, rows, "no sessions are recorded")


def _counts(session: RecordedSession) -> str:
    more = [f"{n} {name}" for n, name in ((session.refused, "refused"), (session.held, "held")) if n]
    return f"{session.statements}" + (f" ({', '.join(more)})" if more else "")


def _print_record(record: RecordView, *, with_rows: bool) -> None:
    head = click.style(f"{record.seq:>6}  {when(record.at)}  ", dim=True)
    if record.kind != "statement":
        who = f"  {record.grant} {record.subject}".rstrip() if record.kind.startswith("login") else ""
        click.echo(f"{head}{record.kind}{plain(who)}  {one_line(record.detail or '', 200)}".rstrip())
        return
    verdict = record.verdict or ""
    ended = [record.outcome or "no outcome"]
    if record.rows is not None:
        ended.append(f"{record.rows} row{'' if record.rows == 1 else 's'}")
    if record.duration_ms is not None:
        ended.append(f"{record.duration_ms:.1f} ms")
    click.echo(f"{head}{click.style(verdict, fg=_COLOURS.get(verdict))}  {plain(', '.join(ended))}")
    for line in plain(record.sql or "").splitlines():
        click.echo(f"        {line}")
    for label, text in _details(record):
        click.echo(f"          {label}: {plain(text)}")
    if with_rows and record.sample_columns:
        _print_rows(record)


def _details(record: RecordView) -> Iterator[tuple[str, str]]:
    if record.params:
        yield "parameters", ", ".join("NULL" if param is None else repr(param) for param in record.params)
    if record.guards:
        yield "guards", ", ".join(record.guards)
    if record.approval is not None:
        yield (
            "approval",
            f"{record.approval['id']} {record.approval['decision']} ({record.approval['guard']})",
        )
        for decision in record.approval["decisions"]:
            said = "approved" if decision["approved"] else "denied"
            why = f": {decision['reason']}" if decision.get("reason") else ""
            yield "decision", f"{said} by {decision['who']}{why}"
    if record.masked_columns:
        yield "masked", ", ".join(record.masked_columns)


def _print_rows(record: RecordView) -> None:
    cells = [
        tuple("NULL" if cell is None else one_line(cell, 30) for cell in row) for row in record.sample_rows
    ]
    print_table(record.sample_columns, cells, "          no rows")
