"""Point 1: a token is the password, and nothing else is."""

from __future__ import annotations

import asyncpg
import pytest

from gatekeeper.identity.devissuer import DevIssuer
from tests.harness import ENDED, Gate

pytestmark = pytest.mark.server

REFUSED = "FATAL:  login refused"


async def test_a_token_is_the_password(gate: Gate) -> None:
    done = await gate.psql("-Atc", "select 1")
    assert (done.returncode, done.stdout) == (0, "1\n")


@pytest.mark.parametrize(
    "what", ["nothing", "garbage", "foreign key", "unmatched claims", "unknown grant", "unknown database"]
)
async def test_a_wrong_token_is_refused_with_one_text_for_all(
    gate: Gate, what: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    grant, token, database = "ci", gate.token(), "app"
    match what:
        case "nothing":
            token = " "
        case "garbage":
            token = "not.a.token"
        case "foreign key":
            token = DevIssuer(tmp_path_factory.mktemp("foreign")).sign({"repository": "acme/shop"}, 60, 2e9)
        case "unmatched claims":
            token = gate.token(repository="evil/shop")
        case "unknown grant":
            grant = "nobody"
        case "unknown database":
            database = "other"
    done = await gate.psql("-c", "select 1", grant=grant, token=token, PGDATABASE=database)
    assert done.returncode == 2
    assert REFUSED in done.stderr
    [record] = await gate.records("login_failed")
    assert record.detail
    assert token.strip() == "" or token not in repr(record)


async def test_an_expired_token_says_so(gate: Gate) -> None:
    done = await gate.psql("-c", "select 1", token=gate.token(ttl_s=-3600))
    assert "FATAL:  token expired" in done.stderr
    done = await gate.psql("-c", "select 1", token=gate.token(nbf=4_000_000_000))
    assert "FATAL:  token not yet valid" in done.stderr


async def test_a_refused_login_has_sqlstate_28000(gate: Gate) -> None:
    done = await gate.psql("-v", "VERBOSITY=verbose", "-c", "select 1", token="x")
    assert "login refused" in done.stderr
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(
            host=gate.host, port=gate.port, user="ci", password="x", database="app", ssl=False
        )


async def test_the_session_knows_who_it_is(gate: Gate) -> None:
    connection = await gate.asyncpg(statement_cache_size=0)
    rows = [await connection.fetchval(f"show gatekeeper.{name}") for name in ("grant_name", "subject", "run")]
    assert rows == ["ci", "repo:acme/shop", "4711"]
    session = await connection.fetchval("show gatekeeper.session")
    await connection.execute("discard all")
    assert await connection.fetchval("show gatekeeper.session") == session
    [status] = gate.runtime.gateway.statuses()
    assert status.info.id == session
    await connection.close()


async def test_a_protected_setting_in_the_startup_options_is_refused(gate: Gate) -> None:
    done = await gate.psql("-c", "select 1", PGOPTIONS="-c session_replication_role=replica")
    assert done.returncode == 2
    assert "session_replication_role" in done.stderr


async def test_a_run_that_ended_itself_cannot_come_back(gate: Gate) -> None:
    other = await gate.asyncpg()
    done = await gate.psql("-c", "call gatekeeper.end_run()")
    assert (done.returncode, done.stdout.strip()) == (0, "CALL")
    done = await gate.psql("-c", "select 1")
    assert "FATAL:  the run has ended" in done.stderr
    with pytest.raises(ENDED):
        for _ in range(50):
            await other.fetchval("select pg_sleep(0.02)::text")
    done = await gate.psql("-Atc", "select 1", token=gate.token(run_id="4712"))
    assert done.stdout == "1\n"
