"""What ends a session and what keeps one out: ttl, idleness, an operator, too many; each says which."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from tests.harness import RULES, Gate, open_gate
from tests.servers import Database

pytestmark = pytest.mark.server


def limited(line: str) -> str:
    """The rules with one more line in the grant `ci`."""
    return RULES.replace('run = ["run_id"]', f'run = ["run_id"]\n{line}')


async def ended(connection: asyncpg.Connection, patience_s: float = 8) -> None:
    """Wait until a connection that does nothing is ended."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connection.add_termination_listener(lambda _: over.done() or over.set_result(None))
    await asyncio.wait_for(over, patience_s)


async def last_end(gate: Gate) -> str | None:
    return (await gate.records("session_end"))[-1].detail


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_who_is_idle_too_long_is_out_in_a_transaction_too(
    tmp_path: Path, sample: Database, in_transaction: bool
) -> None:
    async with open_gate(tmp_path, sample, limited('idle_timeout = "1s"')) as gate:
        connection = await gate.asyncpg()
        if in_transaction:
            await connection.execute("begin; insert into orders values (77, 1, 1)")
        await ended(connection)
        assert await last_end(gate) == "idle timeout"
        assert await gate.sql("select count(*) from orders where id = 77") == "0"


async def test_the_grants_time_counts_from_the_first_login_and_ends_in_mid_statement(
    tmp_path: Path, sample: Database
) -> None:
    async with open_gate(tmp_path, sample, limited('ttl = "2s"')) as gate:
        done = await gate.psql("-v", "VERBOSITY=verbose", "-c", "select pg_sleep(20)")
        assert "FATAL:  57P01: terminating connection: the grant's time is over" in done.stderr
        done = await gate.psql("-c", "select 1")
        assert "FATAL:  the run's time is over" in done.stderr
        done = await gate.psql("-Atc", "select 1", token=gate.token(run_id="another"))
        assert done.stdout == "1\n"


async def test_a_wait_for_approval_ends_with_the_grants_time(tmp_path: Path, sample: Database) -> None:
    async with open_gate(tmp_path, sample, limited('ttl = "3s"')) as gate:
        task = asyncio.create_task(gate.psql("-c", "delete from orders"))
        await gate.waiting()
        assert "terminating connection: the grant's time is over" in (await task).stderr
        direct = await sample.connect()
        assert await direct.fetchval("select count(*) from orders") == 20
        await direct.close()


async def test_a_run_has_no_more_sessions_than_its_grant_allows(tmp_path: Path, sample: Database) -> None:
    async with open_gate(tmp_path, sample, limited("max_sessions = 2")) as gate:
        connections = [await gate.asyncpg() for _ in range(2)]
        with pytest.raises(asyncpg.TooManyConnectionsError) as caught:
            await gate.asyncpg()
        assert caught.value.sqlstate == "53300"
        assert await gate.sql("select 1", grant="analyst") == "1"
        await connections.pop().close()
        await asyncio.sleep(0.3)
        connections.append(await gate.asyncpg())
        for connection in connections:
            await connection.close()


async def test_the_gateway_has_no_more_clients_than_it_should(tmp_path: Path, sample: Database) -> None:
    rules = RULES.replace("login_timeout =", "max_clients = 2\nlogin_timeout =")
    async with open_gate(tmp_path, sample, rules) as gate:
        connections = [await gate.asyncpg() for _ in range(2)]
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await gate.asyncpg()
        for connection in connections:
            await connection.close()


async def test_an_operator_ends_a_run_and_it_cannot_come_back(gate: Gate) -> None:
    task = asyncio.create_task(gate.psql("-v", "VERBOSITY=verbose", "-c", "select pg_sleep(20)"))
    while not any(s.state == "active" for s in gate.runtime.gateway.statuses()):
        await asyncio.sleep(0.02)
    assert await gate.runtime.operator.end_run("4711") == 1
    assert (
        "FATAL:  57P01: terminating connection: the run has ended" in (await asyncio.wait_for(task, 3)).stderr
    )
    assert "FATAL:  the run has ended" in (await gate.psql("-c", "select 1")).stderr
