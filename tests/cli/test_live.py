"""Commands that talk to a running gateway."""

from __future__ import annotations

import json
from pathlib import Path

from gatekeeper.events import Login
from gatekeeper.model import Approval
from tests.cli.conftest import RunBeside
from tests.control.parts import NOW, Parts, session


async def test_sessions_are_listed_and_killed(run_beside: RunBeside, control: Path, parts: Parts) -> None:
    assert (await run_beside("sessions")).out == "no live sessions\n"
    parts.admit("s1")
    parts.admit("s2")
    done = await run_beside("sessions", "--control", control)
    assert done.lines[0].split()[:2] == ["ID", "GRANT"]
    assert done.lines[1].split()[:3] == ["s1", "deploy", "repo:acme"]
    (one, two) = json.loads((await run_beside("sessions", "--json")).out)
    assert (one["id"], one["state"], two["id"]) == ("s1", "idle", "s2")
    assert (await run_beside("sessions", "kill", "s1")).status == 0
    assert (await run_beside("sessions", "--control", control, "kill", "s2")).status == 0
    assert [name for name, _ in parts.told.killed] == ["s1", "s2"]
    gone = await run_beside("sessions", "kill", "s1", "--rules", "rules.toml")
    assert (gone.status, gone.err) == (1, "gatekeeper: no live session s1\n")


async def test_what_waits_is_listed_and_decided(run_beside: RunBeside, control: Path, parts: Parts) -> None:
    assert (await run_beside("approvals")).out == "nothing waits for a decision\n"
    seen: list[Approval] = []
    one, two = parts.hold("delete\n  from orders", seen), parts.hold(seen=seen, people=2)
    listed = await run_beside("approvals")
    assert [line.split()[0] for line in listed.lines] == ["ID", one.id, two.id]
    assert "delete from orders" in listed.out
    assert "0 of 2" in listed.out
    found = json.loads((await run_beside("approvals", "--json")).out)
    assert next((a["id"], a["sql"], a["params"]) for a in found) == (one.id, "delete\n  from orders", ["x"])
    assert (await run_beside("approve", one.id, "--reason", "ok")).out == f"{one.id}: approved\n"
    assert "more people have to approve" in (await run_beside("approve", two.id)).out
    assert (await run_beside("deny", two.id, "--reason", "no")).out == f"{two.id}: denied\n"
    assert [(a.state, a.decisions[-1].reason) for a in seen] == [("approved", "ok"), ("denied", "no")]
    late = await run_beside("approve", one.id)
    assert late.status == 1
    assert f"approval {one.id} was approved by" in late.err
    assert (await run_beside("approvals", "--json")).out.strip() == "[]"
    ended = json.loads((await run_beside("approvals", "--all", "--json")).out)
    assert {a["state"] for a in ended} == {"approved", "denied"}


async def test_runs_are_listed_and_ended(run_beside: RunBeside, control: Path, parts: Parts) -> None:
    assert (await run_beside("grants")).out == "no run holds a grant\n"
    parts.admit("s1")
    parts.admit("s2")
    parts.admit("s3", run="78.1")
    (one, _) = json.loads((await run_beside("grants", "--json")).out)
    assert (one["run"], one["grant"], one["sessions"], one["ends_at"]) == ("77.1", "deploy", 2, NOW + 1800)
    assert (await run_beside("grants", "end", "77.1")).out == "run 77.1 has ended, and with it 2 sessions\n"
    again = await run_beside("grants", "end", "77.1")
    assert (again.status, again.err) == (1, "gatekeeper: run 77.1 has already ended\n")
    assert len((await run_beside("grants")).lines) == 2


async def test_what_a_client_sent_cannot_drive_the_terminal(
    run_beside: RunBeside, control: Path, parts: Parts
) -> None:
    parts.live.feed([Login(NOW, session())])
    parts.hold("select '\x1b]0;owned\x07\x9b31m'")
    done = await run_beside("approvals")
    assert "\x1b" not in done.out
    assert "\x9b" not in done.out
    assert "\\x1b" in done.out


async def test_the_real_program_talks_to_a_gateway(program: RunBeside, control: Path, parts: Parts) -> None:
    held = parts.hold()
    assert held.id in (await program("approvals", "--control", control)).out
    assert (await program("approve", held.id)).status == 0
    assert parts.approvals.waiting() == ()
