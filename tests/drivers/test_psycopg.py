"""psycopg 3, blocking and not, does through the gateway what it does directly."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from tests.drivers.place import Place

Connection = psycopg.Connection[Any]


def arguments(place: Place, grant: str = "postgres", **options: Any) -> dict[str, Any]:
    env = place.through(grant)
    return {
        "host": env["PGHOST"], "port": env["PGPORT"], "user": env["PGUSER"], "password": env["PGPASSWORD"],
        "dbname": env["PGDATABASE"], "sslmode": "disable", **options,
    }  # fmt: skip


@pytest.fixture
def connection(place: Place) -> Iterator[Connection]:
    with psycopg.connect(**arguments(place), autocommit=True) as connection:
        yield connection


def test_prepared_statements_in_text_and_binary(connection: Connection) -> None:
    connection.prepare_threshold = 0
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        for i in range(5):
            found = cursor.execute("select %s::int, %s::text, %s::numeric, %s::date", (i, "é", 1.5, None))
            assert found.fetchone() == (i, "é", 1.5, None)
    connection.execute("deallocate all")
    assert connection.execute("select 1").fetchone() == (1,)


def test_a_pipeline_with_an_error_in_it(connection: Connection) -> None:
    connection.execute("create temp table t (id int primary key)")
    with connection.pipeline() as pipeline:
        first = connection.execute("insert into t values (1) returning id")
        pipeline.sync()
        assert first.fetchone() == (1,)
        with pytest.raises(errors.UniqueViolation):
            connection.execute("insert into t values (1)")
            connection.execute("insert into t values (2)")
            pipeline.sync()
        assert connection.execute("select count(*) from t").fetchone() == (1,)


def test_executemany_uses_a_pipeline(connection: Connection) -> None:
    connection.execute("create temp table t (id int, name text)")
    cursor = connection.cursor()
    rows = [(i, f"name {i}") for i in range(1000)]
    cursor.executemany("insert into t values (%s, %s) returning id", rows, returning=True)
    assert cursor.fetchone() == (0,)
    assert connection.execute("select count(*), max(id) from t").fetchone() == (1000, 999)


@pytest.mark.parametrize("options", ["", " (format binary)", " (format csv, header)"])
def test_copy_both_ways(connection: Connection, options: str) -> None:
    connection.execute("create temp table t (id int4, name text)")
    connection.execute("insert into t select i, 'name ' || i from generate_series(1, 5000) i")
    cursor = connection.cursor()
    with cursor.copy(f"copy t to stdout{options}") as copy:
        data = b"".join(copy)
    with cursor.copy(f"copy t from stdin{options}") as copy:
        for at in range(0, len(data), 1000):
            copy.write(data[at : at + 1000])
    assert connection.execute("select count(*), count(distinct id) from t").fetchone() == (10_000, 5000)


def test_a_copy_that_its_client_gives_up(connection: Connection) -> None:
    connection.execute("create temp table t (id int)")
    with pytest.raises(ZeroDivisionError), connection.cursor().copy("copy t from stdin") as copy:
        copy.write(b"1\n")
        raise ZeroDivisionError
    assert connection.execute("select count(*) from t").fetchone() == (0,)


def test_server_side_cursors(connection: Connection) -> None:
    with connection.transaction(), connection.cursor("named", scrollable=True) as cursor:
        cursor.execute("select generate_series(1, 1000)")
        assert cursor.fetchmany(3) == [(1,), (2,), (3,)]
        cursor.scroll(100)
        assert cursor.fetchone() == (104,)
        cursor.scroll(0, mode="absolute")
        assert sum(1 for _ in cursor) == 1000
    with connection.cursor() as cursor:
        assert len(list(cursor.stream("select generate_series(1, 1000)"))) == 1000


def test_transactions_and_savepoints(connection: Connection) -> None:
    connection.execute("create temp table t (id int primary key)")
    with connection.transaction():
        connection.execute("insert into t values (1)")
        with pytest.raises(errors.UniqueViolation), connection.transaction():
            connection.execute("insert into t values (1)")
        connection.execute("insert into t values (2)")
    with pytest.raises(errors.InFailedSqlTransaction), connection.transaction():
        with pytest.raises(errors.DivisionByZero):
            connection.execute("select 1/0")
        connection.execute("select 1")
    assert connection.execute("select count(*) from t").fetchone() == (2,)


def test_cancel_and_timeout(connection: Connection) -> None:
    timer = threading.Timer(0.3, connection.cancel_safe)
    timer.start()
    began = time.monotonic()
    with pytest.raises(errors.QueryCanceled, match="user request"):
        connection.execute("select pg_sleep(30)")
    assert time.monotonic() - began < 5
    timer.join()
    connection.execute("set statement_timeout = '50ms'")
    with pytest.raises(errors.QueryCanceled, match="statement timeout"):
        connection.execute("select pg_sleep(30)")
    assert connection.execute("select 1").fetchone() == (1,)


def test_notifications_and_notices(place: Place, connection: Connection) -> None:
    notices: list[str | None] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    connection.execute("do $$ begin raise notice 'hear %', 1; end $$")
    connection.execute("listen news")
    with psycopg.connect(**arguments(place), autocommit=True) as other:
        other.execute("select pg_notify('news', 'one')")
    [notify] = connection.notifies(timeout=5, stop_after=1)
    assert (notify.channel, notify.payload, notices) == ("news", "one", ["hear 1"])


def test_errors_have_all_their_fields(connection: Connection) -> None:
    connection.execute("create table checked (id int primary key, n int constraint positive check (n > 0))")
    with pytest.raises(errors.CheckViolation) as caught:
        connection.execute("insert into checked values (1, -1)")
    connection.execute("drop table checked")
    told = caught.value.diag
    assert (told.constraint_name, told.table_name, told.severity) == ("positive", "checked", "ERROR")
    assert told.message_detail == "Failing row contains (1, -1)."
    with pytest.raises(errors.UndefinedColumn) as caught_column:
        connection.execute("select nothing_such from pg_class")
    assert caught_column.value.diag.statement_position == "8"


def test_composed_sql_and_types(connection: Connection) -> None:
    query = sql.SQL("select {} as {}").format(sql.Literal("it's"), sql.Identifier("a name"))
    cursor = connection.execute(query)
    assert cursor.description is not None
    assert (cursor.description[0].name, cursor.fetchone()) == ("a name", ("it's",))
    found = connection.execute("select %s::int[], %s::jsonb, %s::interval", ([1, 2], '{"a": 1}', "1 day"))
    assert found.fetchone()[0:2] == ([1, 2], {"a": 1})  # type: ignore[index]


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_tls_is_verified_in_full(place: Place, negotiation: str) -> None:
    secure = {"sslmode": "verify-full", "sslrootcert": str(place.ca_file), "host": "localhost"}
    if negotiation == "direct":
        if psycopg.pq.version() < 170000:
            pytest.skip("direct TLS came with libpq 17")
        secure["sslnegotiation"] = "direct"
    with psycopg.connect(**arguments(place, **secure)) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("select repeat('x', 1000000)").fetchone() == ("x" * 1_000_000,)
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        psycopg.connect(**arguments(place, **{**secure, "sslrootcert": "system"}))


def test_tls_with_the_newest_protocol(place: Place) -> None:
    if psycopg.pq.version() < 180000:
        pytest.skip("protocol 3.2 came with libpq 18")
    with psycopg.connect(**arguments(place, max_protocol_version="latest"), autocommit=True) as connection:
        timer = threading.Timer(0.3, connection.cancel_safe)
        timer.start()
        with pytest.raises(errors.QueryCanceled):
            connection.execute("select pg_sleep(30)")


async def test_many_at_once_without_blocking(place: Place) -> None:
    async def work(n: int) -> int:
        total = 0
        async with await psycopg.AsyncConnection.connect(**arguments(place)) as connection:
            for i in range(20):
                cursor = await connection.execute("select %s::int + %s::int", (n, i))
                total += (await cursor.fetchone() or (0,))[0]
        return total

    assert await asyncio.gather(*(work(n) for n in range(20))) == [20 * n + 190 for n in range(20)]


async def test_a_cancelled_task_cancels_its_query(place: Place) -> None:
    async with await psycopg.AsyncConnection.connect(**arguments(place), autocommit=True) as connection:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await connection.execute("select pg_sleep(30)")
        assert await (await connection.execute("select 1")).fetchone() == (1,)


def test_a_refusal_is_an_ordinary_error(place: Place) -> None:
    with psycopg.connect(**arguments(place, "reader")) as connection:
        with pytest.raises(errors.InsufficientPrivilege, match="does not allow WRITE"):
            connection.execute("delete from masked_people")
        with pytest.raises(errors.InFailedSqlTransaction):
            connection.execute("select 1")
        connection.rollback()
        assert connection.execute("select ssn from masked_people").fetchone() == ("[REDACTED]",)
