"""The same with psql, psycopg 3 and asyncpg, whose results, errors and notices hold no masked value."""

from __future__ import annotations

from typing import Any

import asyncpg
import psycopg
import pytest

from tests.leaks.states import States
from tests.masking.schema import leaks
from tests.servers import psql

pytestmark = pytest.mark.server

STATEMENTS = [
    "select * from customers",
    "select upper(ssn), salary, doc, tags, addr, span, ip, uid from customers",
    "select c, row_to_json(c) from customers c",
    "select ssn::int from customers",
    "insert into customers (id, name, ssn) values (8, 'x', (select ssn from customers where id = 1))",
    "update customers set name = null where id = 1",
    "select steal(), shout()",
    "select most_common_vals::text, histogram_bounds::text from pg_stats where tablename = 'customers'",
    "update customers set note = 'x' where id = 1 returning *",
    "select id from customers where ssn like 'K%'",
    "select * from people, people2, people_m, events, parent",
    "do $$ begin raise notice '%', (select ssn from customers where id = 1); end $$",
]


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_psql_shows_no_masked_value(states: States, statement: str) -> None:
    script = f"\\set VERBOSITY verbose\n\\x on\nbegin;\n{statement};\nrollback;\n\\gdesc\n"
    direct = psql(states.gate.database.environment(), "-e", stdin=script)
    through = await states.gate.psql("-e", stdin=script)
    echoed = statement.encode()
    assert leaks((direct.stdout + direct.stderr).encode()) or "where ssn" in statement or "stats" in statement
    assert not leaks((through.stdout + through.stderr).encode().replace(echoed, b""))


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_asyncpg_is_given_no_masked_value(states: States, statement: str) -> None:
    connection = await states.gate.asyncpg()
    heard: list[str] = []
    connection.add_log_listener(lambda _, message: heard.append(str(message.as_dict())))
    transaction = connection.transaction()
    await transaction.start()
    try:
        heard += [repr(tuple(row)) for row in await connection.fetch(statement)]
    except asyncpg.PostgresError as error:
        heard.append(str(error.as_dict()).replace(statement, ""))
    await transaction.rollback()
    await connection.close()
    assert heard
    assert not leaks("".join(heard).encode())


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("statement", STATEMENTS)
async def test_psycopg_is_given_no_masked_value(states: States, statement: str, binary: bool) -> None:
    connection: psycopg.AsyncConnection[Any] = await states.gate.psycopg()
    heard: list[str] = []
    connection.add_notice_handler(
        lambda d: heard.append(f"{d.message_primary} {d.message_detail} {d.context}")
    )
    async with connection.cursor(binary=binary) as cursor:
        try:
            await cursor.execute(statement.encode(), prepare=True)
            heard.append(repr(await cursor.fetchall()) if cursor.description else str(cursor.statusmessage))
        except psycopg.Error as error:
            d = error.diag
            heard.append(f"{error} {d.message_detail} {d.message_hint} {d.context} {d.internal_query}")
    await connection.rollback()
    await connection.close()
    assert heard
    assert not leaks("".join(heard).encode().replace(statement.encode(), b""))
