from __future__ import annotations

import struct
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.rows import tuple_row

from gatekeeper.sql import values
from gatekeeper.sql.values import as_text
from tests.servers import Database

VALUES: dict[str, list[str]] = {
    "bool": ["true", "false"],
    "int2": ["0", "-32768", "32767"],
    "int4": ["0", "-2147483648", "2147483647"],
    "int8": ["-9223372036854775808", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "xid": ["4294967295"],
    "xid8": ["18446744073709551615"],
    "cid": ["7"],
    "money": ["0", "-1234567.89", "12.3", "0.05", "-0.05"],
    "float4": [
        "0",
        "-0",
        "1",
        "1.5",
        "0.1",
        "3.4028235e38",
        "1e-45",
        "123456",
        "1234567",
        "100000",
        "999999",
        "0.0001",
        "0.00001",
        "1e15",
        "NaN",
        "Infinity",
        "-Infinity",
        "16777216",
        "9.99999e5",
        "1e6",
        "-2.5e-7",
    ],
    "float8": [
        "0",
        "-0",
        "1",
        "-1.5",
        "0.1",
        "1e308",
        "5e-324",
        "123456789012345",
        "1234567890123456",
        "1e15",
        "1e14",
        "999999999999999",
        "0.0001",
        "0.00001",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e-5",
        "3.141592653589793",
        "1e100",
        "123456.789",
    ],
    "numeric": [
        "0",
        "0.00",
        "1",
        "-1",
        "10000",
        "0.0001",
        "0.00001",
        "123456789.123456789",
        "-0.5",
        "1e30",
        "1e-30",
        "NaN",
        "Infinity",
        "-Infinity",
        "100",
        "12345678901234567890.12345678901234567890",
        "0.10",
        "10000.0000",
        "9999.9999",
        "-99999999",
    ],
    "text": ["", "a", "ü€😀", "it's", 'a"b\\c', "NULL", "{x}", "a,b", " a ", "a\nb", "\u00a0"],
    "varchar": ["abc", ""],
    "bpchar": ["abc  "],
    "name": ["abc"],
    '"char"': ["a", "", "\\377"],
    "bytea": ["\\x", "\\x00ff41"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "date": [
        *("2000-01-01", "1999-12-31", "2024-02-29", "0001-01-01", "0001-12-31 BC", "4713-01-01 BC"),
        *("12345-06-07", "infinity", "-infinity", "0044-03-15 BC", "5874897-12-31", "9999-12-31"),
    ],
    "time": ["00:00:00", "23:59:59.999999", "24:00:00", "12:34:56.7"],
    "timetz": ["12:34:56+00", "12:34:56.789-07:30", "00:00:00+05:45:10", "00:00+14", "01:02:03-00:30"],
    "timestamp": [
        *("2000-01-01 00:00:00", "1999-12-31 23:59:59.999999", "0001-01-01 00:00:00.5 BC", "infinity"),
        *("-infinity", "294276-12-31 23:59:59.999999", "4713-01-01 00:00:00 BC", "2024-02-29 12:00:00.1"),
    ],
    "timestamptz": [
        "2000-01-01 00:00:00+00",
        "2024-06-30 12:00:00+02",
        "0044-03-15 12:00:00+00 BC",
        "infinity",
    ],
    "interval": [
        *("0", "1 day", "-1 day", "1 year 2 mons 3 days 04:05:06.789", "-1 year -2 mons +3 days -04:05:06"),
        *("1 mon", "-00:00:00.5", "25:00:00", "1 day -1 second", "-1 mon +1 day", "100 years", "infinity"),
        *("-infinity", "-14 mons", "-1 day +01:00", "2 days", "1000000:00:00", "-1 year +1 day"),
    ],
    "inet": [
        *("10.0.0.1", "10.0.0.1/8", "::1", "::", "fe80::1/64", "::ffff:10.0.0.1", "::10.0.0.1", "0.0.0.0/0"),
        *("2001:db8::8:800:200c:417a", "1:0:0:2:0:0:0:3", "::1:2", "1:2:3:4:5:6:7:0", "::0.1.0.0"),
    ],
    "cidr": ["10.0.0.0/8", "10.0.0.1/32", "2001:db8::/32", "::/0", "::ffff:1.2.3.0/120"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "json": ['{"a" : [1,  null]}', "null"],
    "jsonb": ['{"a": [1, null, "ü"]}', "1"],
    "jsonpath": ['$."a"[*]'],
    "bit(5)": ["10101"],
    "varbit": ["", "1", "101010101"],
}


@pytest.fixture
async def connection(database: Database) -> Any:
    connection = await psycopg.AsyncConnection.connect(database.dsn(), autocommit=True)
    await connection.execute(
        "set datestyle = 'ISO'; set timezone = 'UTC'; set intervalstyle = 'postgres'; set lc_monetary = 'C'"
    )
    yield connection
    await connection.close()


async def both(connection: Any, query: str) -> tuple[int, list[bytes | None], list[bytes | None]]:
    """Type and values of the one column of a query, in text and in binary format."""
    found = []
    for binary in (False, True):
        await connection.execute("select setseed(0.5)")
        cursor = connection.cursor(binary=binary, row_factory=tuple_row)
        await cursor.execute(query)
        result = cursor.pgresult
        found.append((result.ftype(0), [result.get_value(row, 0) for row in range(result.ntuples)]))
    return found[0][0], found[0][1], found[1][1]


def rows(type_: str, wrap: str = "{}") -> str:
    literals = (wrap.format("'" + v.replace("'", "''") + "'::" + type_) for v in VALUES[type_])
    return " union all ".join(f"select {value}" for value in literals)


@pytest.mark.server
@pytest.mark.parametrize("type_", VALUES)
async def test_a_binary_value_is_shown_as_postgresql_prints_it(type_: str, connection: Any) -> None:
    oid, texts, binaries = await both(connection, rows(type_))
    for text, binary in zip(texts, binaries, strict=True):
        assert as_text(oid, 1, binary) == as_text(oid, 0, text)


@pytest.mark.server
@pytest.mark.parametrize("type_", VALUES)
async def test_an_array_is_shown_as_postgresql_prints_it(type_: str, connection: Any) -> None:
    wrap = "array[{0}, null, {0}]"
    queries = [
        rows(type_, wrap),
        f"select array(({rows(type_)}))",
        f"select '{{}}'::{type_}[]",
        f"select array[array(({rows(type_)})), array(({rows(type_)}))]",
        f"select ('[-1:0]={{' || quote_ident(v::text) || ',NULL}}')::{type_}[] from ({rows(type_)}) as t (v)"
        if type_ in ("int4", "uuid", "date")
        else "select '{1}'::int[]",
    ]
    for query in queries:
        oid, texts, binaries = await both(connection, query)
        for text, binary in zip(texts, binaries, strict=True):
            assert as_text(oid, 1, binary) == as_text(oid, 0, text)


@pytest.mark.server
async def test_numbers_and_moments_at_random_are_shown_as_postgresql_prints_them(connection: Any) -> None:
    for expression in (
        "(random() * 10 ^ (random() * 60 - 30)::int)::float8",
        "(random() * 10 ^ (random() * 60 - 30)::int)::float4",
        "((random() - 0.5) * 10 ^ (random() * 40 - 20)::int)::numeric * (random() * 1e9)::numeric",
        "timestamp '2000-01-01' + (random() - 0.5) * interval '12000 years'",
        "date '2000-01-01' + ((random() - 0.5) * 4000000)::int",
        "make_interval((random() * 9 - 4)::int, 0, 0, (random() * 9 - 4)::int, 0, 0, random() * 9 - 4)",
        "('::'::inet + (random() * 1e18)::int8) | ('::'::inet + (random() * 1e5)::int8)",
    ):
        oid, texts, binaries = await both(connection, f"select {expression} from generate_series(1, 2000)")
        for text, binary in zip(texts, binaries, strict=True):
            assert as_text(oid, 1, binary) == as_text(oid, 0, text), expression


@pytest.mark.server
async def test_the_array_types_are_those_of_the_server(connection: Any) -> None:
    cursor = await connection.execute("select typarray::int8, oid::int8 from pg_type where typarray <> 0")
    arrays = dict(await cursor.fetchall())
    assert {array: arrays.get(array) for array in values._ARRAYS} == values._ARRAYS
    assert set(values._ARRAYS.values()) <= set(values._DECODERS)


def test_null_and_unknown_types() -> None:
    assert as_text(23, 1, None) is None
    assert as_text(600, 1, struct.pack(">dd", 1, 2)) == "\\x3ff00000000000004000000000000000"
    assert as_text(23, 0, b"7") == "7"
    assert as_text(25, 0, b"\xff") == "\\xff"


@given(st.sampled_from([*values._DECODERS, *values._ARRAYS, 0, 99]), st.binary(max_size=60))
def test_no_bytes_make_it_fail(oid: int, value: bytes) -> None:
    assert isinstance(as_text(oid, 1, value), str)
