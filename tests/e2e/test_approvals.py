"""Point 5: a statement that waits for a person, and what may end the wait."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import asyncpg
import pytest

from tests.harness import Gate, fields

pytestmark = pytest.mark.server


async def _held(gate: Gate, sql: str = "delete from orders") -> tuple[asyncio.Task[Any], Any]:
    task = asyncio.create_task(gate.psql("-c", sql))
    [approval] = await gate.waiting()
    return task, approval


async def test_an_approved_statement_runs(gate: Gate) -> None:
    task, approval = await _held(gate)
    assert approval.sql == "delete from orders"
    assert approval.guard == "unbounded-write"
    await gate.runtime.operator.decide(approval.id, approve=True)
    done = await task
    assert done.stdout == "DELETE 20\n"
    assert f'NOTICE:  waiting for approval {approval.id} (guard "unbounded-write"), up to 20 s' in done.stderr
    [record] = await gate.records()
    assert (record.verdict, record.outcome, record.rows) == ("approve", "DELETE 20", 20)
    assert record.approval is not None
    assert record.approval["decision"] == "approved"


async def test_a_denied_statement_says_who_and_why(gate: Gate) -> None:
    task, approval = await _held(gate)
    await gate.runtime.operator.decide(approval.id, approve=False, reason="not on a Friday")
    done = await task
    who = gate.runtime.operator.who
    assert f"ERROR:  denied by {who}\nDETAIL:  not on a Friday" in done.stderr
    assert await gate.sql("select count(*) from orders") == "20"


async def test_approve_and_deny_work_from_a_shell(gate: Gate) -> None:
    task, approval = await _held(gate)
    done = await asyncio.to_thread(_gatekeeper, gate, "approve", approval.id)
    assert done.returncode == 0, done.stderr
    assert (await task).stdout == "DELETE 20\n"
    task, approval = await _held(gate)
    done = await asyncio.to_thread(_gatekeeper, gate, "deny", approval.id, "--reason", "no")
    assert done.returncode == 0, done.stderr
    assert "denied by" in (await task).stderr
    done = await asyncio.to_thread(_gatekeeper, gate, "approve", approval.id)
    assert done.returncode == 1
    assert "denied" in done.stderr


def _gatekeeper(gate: Gate, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "gatekeeper",
        *arguments,
        "--control",
        str(gate.directory / "gatekeeper.sock"),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


async def test_nobody_answering_ends_in_57014(gate: Gate) -> None:
    gate.change_rules('timeout = "20s"', 'timeout = "1s"')
    await asyncio.sleep(2)
    connection = await gate.asyncpg()
    with pytest.raises(asyncpg.QueryCanceledError, match="timed out") as caught:
        await connection.execute("delete from orders")
    assert caught.value.sqlstate == "57014"
    assert await connection.fetchval("select count(*) from orders") == 20
    await connection.close()


async def test_a_cancel_withdraws_the_request(gate: Gate) -> None:
    connection = await gate.asyncpg()
    with pytest.raises(asyncio.TimeoutError):
        await connection.execute("delete from orders", timeout=1)
    assert await connection.fetchval("select count(*) from orders") == 20
    snapshot = await gate.runtime.operator.snapshot()
    assert [a.state for a in snapshot.approvals] == ["withdrawn"]
    await connection.close()


async def test_a_client_that_leaves_withdraws_the_request(gate: Gate) -> None:
    connection = await gate.asyncpg()
    task = asyncio.create_task(connection.execute("delete from orders"))
    await gate.waiting()
    connection.terminate()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await task
    for _ in range(100):
        snapshot = await gate.runtime.operator.snapshot()
        if [a.state for a in snapshot.approvals] == ["withdrawn"]:
            break
        await asyncio.sleep(0.02)
    assert [a.state for a in snapshot.approvals] == ["withdrawn"]
    assert await gate.sql("select count(*) from orders") == "20"


async def test_the_parameters_are_shown_and_each_execution_is_held(gate: Gate) -> None:
    gate.change_rules('where = "missing"\n', "")
    await asyncio.sleep(2)
    connection = await gate.asyncpg()
    prepared = await connection.prepare("delete from orders where id = $1")
    for number in (1, 2):
        task = asyncio.create_task(prepared.fetch(number))
        [approval] = await gate.waiting()
        assert approval.params == (str(number),)
        await gate.runtime.operator.decide(approval.id, approve=True)
        await task
    assert await connection.fetchval("select min(id) from orders") == 3
    await connection.close()


async def test_earlier_results_of_a_pipeline_arrive_while_a_later_statement_waits(gate: Gate) -> None:
    async with await gate.psycopg(autocommit=True) as connection:

        async def work() -> Any:
            async with connection.pipeline():
                first = await connection.execute("select 42")
                await connection.execute("delete from orders")
                return await first.fetchone()

        task = asyncio.create_task(work())
        [approval] = await gate.waiting()
        await gate.runtime.operator.decide(approval.id, approve=True)
        assert await task == (42,)


async def test_a_held_session_can_be_killed(gate: Gate) -> None:
    task, approval = await _held(gate)
    await gate.runtime.operator.kill_session(approval.session)
    done = await task
    assert "terminating connection" in done.stderr
    assert await gate.sql("select count(*) from orders") == "20"


async def test_rules_that_forbid_while_it_waits_end_the_wait(gate: Gate) -> None:
    connection = await gate.asyncpg()
    task = asyncio.create_task(connection.execute("delete from orders"))
    await gate.waiting()
    gate.change_rules('action = "approve"\ntimeout = "20s"', 'action = "block"')
    with pytest.raises(asyncpg.InsufficientPrivilegeError) as caught:
        await asyncio.wait_for(task, 10)
    assert fields(caught.value) == ("42501", 'blocked by guard "unbounded-write"')
    await connection.close()


async def test_the_approver_sees_what_it_would_touch(gate: Gate) -> None:
    task, approval = await _held(gate)
    for _ in range(100):
        [found] = await gate.waiting()
        if found.impact is not None:
            break
        await asyncio.sleep(0.05)
    assert found.impact is not None
    assert [t.name for t in found.impact.tables] == ["public.orders"]
    assert found.impact.tables[0].lock == "RowExclusiveLock"
    await gate.runtime.operator.decide(approval.id, approve=False)
    await task
