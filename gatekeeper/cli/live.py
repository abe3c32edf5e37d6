"""Commands that talk to a running gateway: sessions, approvals, approve, deny, grants."""

from __future__ import annotations

from pathlib import Path

import click

from gatekeeper.cli.common import (
    ago,
    as_json,
    ask,
    control_options,
    given,
    left,
    one_line,
    plain,
    print_json,
    print_table,
    when,
)
from gatekeeper.control.operator import ApprovalView


@click.group(invoke_without_command=True)
@control_options
@as_json
@click.pass_context
def sessions(context: click.Context, control: Path | None, rules_file: Path | None, as_json: bool) -> None:
    """List live sessions; `sessions kill ID` ends one."""
    if context.invoked_subcommand is not None:
        return
    found = ask(control, rules_file, lambda operator: operator.snapshot()).sessions
    if as_json:
        print_json(found)
        return
    columns = ("ID", "GRANT", "SUBJECT", "DATABASE", "CLIENT", "STATE", "SINCE", "STATEMENTS", "SQL")
    rows = [
        (
            *(session.id, session.grant, session.subject, session.database, session.client, session.state),
            ago(session.state_since),
            f"{session.statements}" + (f" ({session.refused} refused)" if session.refused else ""),
            one_line(session.current_sql or "", 40),
        )
        for session in found
    ]
    print_table(columns, rows, "no live sessions")


@sessions.command()
@click.argument("session", metavar="ID")
@control_options
def kill(session: str, control: Path | None, rules_file: Path | None) -> None:
    """End a session; its client sees 57P01."""
    ask(control, rules_file, lambda operator: operator.kill_session(session))
    click.echo(f"session {session} ends")


@click.command()
@click.option("--all", "ended_too", is_flag=True, help="Those that have ended lately, too.")
@control_options
@as_json
def approvals(ended_too: bool, control: Path | None, rules_file: Path | None, as_json: bool) -> None:
    """List the statements that wait for a decision."""
    found = ask(control, rules_file, lambda operator: operator.snapshot()).approvals
    shown = tuple(a for a in found if ended_too or a.state == "waiting")
    if as_json:
        print_json(shown)
        return
    columns = ("ID", "STATE", "LEFT", "GRANT", "SUBJECT", "GUARD", "REASON", "SQL")
    rows = [
        (
            *(a.id, _state(a), left(a.deadline_at) if a.state == "waiting" else "-", a.grant, a.subject),
            *(a.guard, a.reason or "", one_line(a.sql, 60)),
        )
        for a in shown
    ]
    print_table(columns, rows, "nothing waits for a decision")


@click.command()
@click.argument("approval", metavar="ID")
@click.option("--reason", help="For the recording.")
@control_options
def approve(approval: str, reason: str | None, control: Path | None, rules_file: Path | None) -> None:
    """Let a statement that waits run."""
    _decide(approval, reason, control, rules_file, approve=True)


@click.command()
@click.argument("approval", metavar="ID")
@click.option("--reason", help="For the recording and for the client, who sees it as DETAIL.")
@control_options
def deny(approval: str, reason: str | None, control: Path | None, rules_file: Path | None) -> None:
    """Refuse a statement that waits."""
    _decide(approval, reason, control, rules_file, approve=False)


@click.group(invoke_without_command=True)
@control_options
@as_json
@click.pass_context
def grants(context: click.Context, control: Path | None, rules_file: Path | None, as_json: bool) -> None:
    """List runs that hold a grant; `grants end RUN` ends one."""
    if context.invoked_subcommand is not None:
        return
    found = ask(control, rules_file, lambda operator: operator.runs())
    if as_json:
        print_json(found)
        return
    columns = ("RUN", "GRANT", "SUBJECT", "ISSUER", "SINCE", "LEFT", "SESSIONS")
    rows = [
        (r.run, r.grant, r.subject, r.issuer, when(r.started_at), left(r.ends_at), str(r.sessions))
        for r in found
    ]
    print_table(columns, rows, "no run holds a grant")


@grants.command()
@click.argument("run")
@control_options
def end(run: str, control: Path | None, rules_file: Path | None) -> None:
    """End a run: its sessions end with 57P01, and it cannot log in again."""
    ended = ask(control, rules_file, lambda operator: operator.end_run(run))
    click.echo(f"run {plain(run)} has ended, and with it {ended} session{'' if ended == 1 else 's'}")


def _decide(
    ident: str, reason: str | None, control: Path | None, rules_file: Path | None, *, approve: bool
) -> None:
    decided: ApprovalView = ask(
        given("control", control),
        rules_file,
        lambda operator: operator.decide(ident, approve=approve, reason=reason),
    )
    if decided.state == "waiting":
        click.echo(f"{decided.id}: {_state(decided)}; more people have to approve")
    else:
        click.echo(f"{decided.id}: {decided.state}")


def _state(approval: ApprovalView) -> str:
    if approval.state != "waiting" or approval.needed == 1:
        return approval.state
    given_by = len({decision.who for decision in approval.decisions if decision.approved})
    return f"{given_by} of {approval.needed}"
