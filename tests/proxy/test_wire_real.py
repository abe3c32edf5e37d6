"""The wire on real sockets: whatever comes, and beside what PostgreSQL itself says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatekeeper.proxy.wire import backend, frontend
from tests.conftest import MakeDatabase
from tests.harness import RULES, SAMPLE, Gate, open_gate
from tests.proxy.playbook import DESCRIBE_PORTAL_UNNAMED, SYNC, bind, execute, prepare
from tests.proxy.wire import Message, Wire, connect
from tests.servers import Database, DebianPostgres, write_certificate

SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"


def place(gate: Gate) -> tuple[str, int]:
    return gate.host, gate.port


async def serves(gate: Gate) -> None:
    """A login and a query work."""
    async with connect(place(gate)) as wire:
        await wire.login("ci", "app", gate.token())
        assert "".join(kind for kind, _ in await wire.run("select 1")) == "TDCZ"


def errors(messages: list[Message]) -> list[dict[str, str]]:
    return [backend.read_fields(body) for kind, body in messages if kind == "E"]


# --- what is no client -----------------------------------------------------------------------------------

GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\xff" * 100,
    b"\0" * 100,
    b"\0\0\0\7\0\3\0\0",
    b"\x7f\xff\xff\xff\0\3\0\0",
    b"\0\0\0\x08\0\2\0\0",
    b"\0\0\0\x09\0\2\0\0\0",
    b"\0\0\0\x0c\0\3\0\0user",
    SSL_REQUEST + b"\0",
    frontend.cancel_request(1, b"abcd"),
    frontend.cancel_request(1, b""),
    b"\x16\x03\x01\x02\x00\x01\x00",
    frontend.startup({b"user": b"ci"}) + b"Q\0\0\0\x0dselect 1\0",
    frontend.startup({b"user": b"ci"}) + b"p\0\1\0\1",
    frontend.startup({b"user": b"\xff\xfe", b"database": b"\xff"}) + b"p\0\0\0\5\0",
    frontend.startup({b"database": b"app"}),
    frontend.startup({b"user": b"ci", b"replication": b"database"}),
    b"",
]


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_on_the_port_closes_the_connection_and_nothing_else(gate: Gate, garbage: bytes) -> None:
    async with connect(place(gate)) as wire:
        await wire.send(garbage)
        if not garbage:
            wire.writer.write_eof()
        assert len(await wire.rest()) < 300
    await serves(gate)


@pytest.mark.parametrize(
    "garbage",
    [b"\0", b"Z\0\0\0\5I", b"Q\0\0\0\3", b"Q\xff\xff\xff\xff", b"Q\0\0\0\6ab", b"P\0\0\0\5\0", b"S\0\0\x75\0",
     b"p\0\0\0\5\0", b"B\0\0\0\4", b"D\0\0\0\6X\0", b"E\0\0\0\5\0", b"F\0\0\0\4"],
)  # fmt: skip
async def test_a_malformed_message_after_the_login_is_fatal(gate: Gate, garbage: bytes) -> None:
    async with connect(place(gate)) as wire:
        await wire.login("ci", "app", gate.token())
        await wire.send(garbage)
        [fields] = errors(await wire.until_ready())
        assert (fields["V"], fields["C"]) == ("FATAL", "08P01")
    await serves(gate)


async def test_a_flood_of_bytes_is_not_kept(gate: Gate) -> None:
    async with connect(place(gate)) as wire:
        await wire.send(frontend.startup({b"user": b"ci", b"database": b"app"}))
        with pytest.raises(ConnectionError):
            for _ in range(2000):
                await wire.send(b"p\0\0\xff\xff" + b"x" * 65_531)
                await asyncio.sleep(0)
    await serves(gate)


async def test_logins_that_never_end_are_ended(gate: Gate) -> None:
    beginnings = [
        b"",
        b"\0",
        SSL_REQUEST,
        frontend.startup({b"user": b"ci"})[:-1],
        frontend.startup({b"user": b"c"}),
    ]
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def wait(beginning: bytes) -> float:
        async with connect(place(gate)) as wire:
            await wire.send(beginning)
            await wire.rest()
            return loop.time() - begun

    waited = await asyncio.gather(*map(wait, beginnings))
    assert all(2 < seconds < 6 for seconds in waited), waited
    await serves(gate)


# --- logins ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minor", "key_bytes"), [(0, 4), (2, 32), (9999, 32)])
async def test_every_minor_version_logs_in(gate: Gate, minor: int, key_bytes: int) -> None:
    async with connect(place(gate)) as wire:
        found = await wire.login("ci", "app", gate.token(), minor)
        assert ("v" in [kind for kind, _ in found]) is (minor > 2)
        assert found[-1] == ("Z", b"I")
        assert len(wire.key) == key_bytes
        [row] = [body for kind, body in await wire.run("select pg_backend_pid()") if kind == "D"]
        assert backend.read_cells(row) == [str(wire.pid).encode()]


async def test_a_client_may_send_on_before_it_has_its_answer(gate: Gate) -> None:
    async with connect(place(gate)) as wire:
        hello = frontend.startup({b"user": b"ci", b"database": b"app"})
        password = frontend.message(b"p", gate.token().encode() + b"\0")
        await wire.send(hello, password, frontend.query(b"select 1"), frontend.query(b"truncate orders"))
        found = await wire.until_ready(3)
        assert [fields["C"] for fields in errors(found)] == ["42501"]


async def test_a_login_sent_byte_by_byte_logs_in(gate: Gate) -> None:
    async with connect(place(gate)) as wire:
        whole = frontend.startup({b"user": b"ci", b"database": b"app"})
        for i in range(len(whole)):
            await wire.send(whole[i : i + 1])
        assert await wire.receive() == ("R", b"\0\0\0\3")


# --- cancel ----------------------------------------------------------------------------------------------


async def cancelled(gate: Gate, wire: Wire, pid: int, key: bytes) -> bool:
    await wire.send(frontend.query(b"select pg_sleep(1.5)"))
    await asyncio.sleep(0.3)
    async with connect(place(gate)) as other:
        await other.send(frontend.cancel_request(pid, key))
        assert await other.rest() == b""
    return [fields["C"] for fields in errors(await wire.until_ready())] == ["57014"]


async def test_only_the_right_key_cancels(gate: Gate) -> None:
    async with connect(place(gate)) as wire:
        await wire.login("ci", "app", gate.token(), 2)
        assert not await cancelled(gate, wire, wire.pid, bytes(32))
        assert not await cancelled(gate, wire, wire.pid + 1, wire.key)
        assert not await cancelled(gate, wire, wire.pid, wire.key[:4])
        assert await cancelled(gate, wire, wire.pid, wire.key)
        assert "".join(kind for kind, _ in await wire.run("select 1")) == "TDCZ"


async def test_a_cancel_counts_though_its_sender_hangs_up_at_once(gate: Gate) -> None:
    async with connect(place(gate)) as wire:
        await wire.login("ci", "app", gate.token())
        await wire.send(frontend.query(b"select pg_sleep(5)"))
        await asyncio.sleep(0.3)
        async with connect(place(gate)) as other:
            other.writer.write(frontend.cancel_request(wire.pid, wire.key))
        assert [fields["C"] for fields in errors(await wire.until_ready())] == ["57014"]


# --- beside PostgreSQL -----------------------------------------------------------------------------------

REFUSED = "truncate orders"
SYNTAX, TABLE = "selec 1", "select from no_such_table"
"""What PostgreSQL refuses at the same place: as it parses, as a refusal is made, and as it analyses."""


def q(text: str) -> bytes:
    return frontend.query(text.encode())


def extended(text: str) -> bytes:
    return prepare(text) + bind() + DESCRIBE_PORTAL_UNNAMED + execute() + SYNC


FINE = "select id from orders where id = 1"
CONVERSATIONS: dict[str, tuple[list[bytes], int]] = {
    "simple": ([q("{}")], 1),
    "simple twice": ([q("{}"), q(FINE)], 2),
    "several": ([q(FINE + "; {}; " + FINE)], 1),
    "simple in a transaction": ([q("begin"), q(FINE), q("{}"), q(FINE), q("rollback"), q(FINE)], 6),
    "simple in a failed transaction": ([q("begin"), q("select 1/0"), q("{}"), q("rollback")], 4),
    "after a savepoint": (
        [q("begin"), q("savepoint a"), q("{}"), q("rollback to a"), q(FINE), q("commit")], 6
    ),
    "parse": ([prepare("{}"), SYNC], 1),
    "extended": ([extended("{}"), extended(FINE)], 2),
    "extended in a transaction": (
        [q("begin"), extended("{}"), extended(FINE), q("rollback"), extended(FINE)], 5
    ),
    "extended in a failed transaction": ([q("begin"), q("select 1/0"), extended("{}"), q("commit")], 4),
    "pipeline": ([extended(FINE)[:-5], extended("{}")[:-5], extended(FINE)], 1),
    "pipeline of syncs": ([extended(FINE), extended("{}"), extended(FINE)], 3),
    "named": ([prepare("{}", "s"), SYNC, prepare(FINE, "s"), bind("", "s"), execute(), SYNC], 2),
    "flush": ([prepare("{}"), frontend.FLUSH, bind(), execute(), SYNC, q(FINE)], 2),
}  # fmt: skip


def shape(messages: list[Message]) -> list[str]:
    """Types, the tags, SQLSTATE of errors that are not the refusal, and the status of each ReadyForQuery."""
    found = []
    for kind, body in messages:
        if kind == "Z":
            kind += body.decode()
        elif kind == "C":
            kind += body[:-1].decode()
        elif kind == "E":
            fields = backend.read_fields(body)
            code = fields["C"] if fields["C"] not in ("42501", "42601", "42P01") else "refused"
            kind += f"{fields['S']} {fields['V']} {code}"
        if kind[0] != "N":
            found.append(kind)
    return found


async def converse(wire: Wire, text: str, conversation: list[bytes], count: int) -> list[str]:
    await wire.send(*(_filled(part, text) for part in conversation))
    return shape(await wire.until_ready(count))


def _filled(part: bytes, text: str) -> bytes:
    """The messages with the text put in, and their lengths made right."""
    found = b""
    while part:
        end = 1 + int.from_bytes(part[1:5], "big")
        found += frontend.message(part[:1], part[5:end].replace(b"{}", text.encode()))
        part = part[end:]
    return found


BY_PARSER = {"several", "simple in a failed transaction", "extended in a failed transaction"}
"""There an error of the analysis comes later than a refusal, or not at all."""


@pytest.mark.parametrize(
    ("name", "error"),
    [(n, SYNTAX) for n in CONVERSATIONS] + [(n, TABLE) for n in CONVERSATIONS if n not in BY_PARSER],
)
async def test_a_refusal_looks_as_postgresqls_own_error_at_that_place(
    gate: Gate, name: str, error: str
) -> None:
    conversation, count = CONVERSATIONS[name]
    server = gate.database.server
    async with connect(Path(str(server.host)) / f".s.PGSQL.{server.port}") as direct:
        await direct.login_direct(gate.database)
        expected = await converse(direct, error, conversation, count)
    async with connect(place(gate)) as wire:
        await wire.login("ci", "app", gate.token())
        assert await converse(wire, REFUSED, conversation, count) == expected
        assert await converse(wire, REFUSED, [q(FINE)], 1) == ["T", "D", "CSELECT 1", "ZI"]
    assert any("refused" in part for part in expected)


@pytest.mark.parametrize(("size", "expected"), [(10_000, ["26000"]), (10_001, [])])
async def test_a_small_message_may_be_as_large_as_postgresql_has_it(
    gate: Gate, size: int, expected: list[str]
) -> None:
    """Where PostgreSQL only closes the connection, the gateway says why."""
    server = gate.database.server
    message = frontend.message(b"D", b"S" + b"x" * (size - 6) + b"\0")
    async with connect(Path(str(server.host)) / f".s.PGSQL.{server.port}") as direct:
        await direct.login_direct(gate.database)
        await direct.send(message, SYNC)
        assert [fields["C"] for fields in errors(await direct.until_ready())] == expected
    async with connect(place(gate)) as wire:
        await wire.login("ci", "app", gate.token())
        await wire.send(message, SYNC)
        assert [fields["C"] for fields in errors(await wire.until_ready())] == (expected or ["08P01"])


async def test_search_path_cannot_move_a_masked_column_from_under_its_description(gate: Gate) -> None:
    async with connect(place(gate)) as wire:
        await wire.login("ci", "app", gate.token())
        await wire.run("create schema mine; create table mine.customers (ssn text)")
        await wire.run("set search_path = mine, public")
        await wire.send(prepare("select ssn from customers", "s"), frontend.describe("S", b"s"), SYNC)
        await wire.until_ready()
        await wire.run("set search_path = public")
        await wire.send(bind("", "s"), execute(), SYNC)
        found = b"".join(body for _, body in await wire.until_ready())
        assert b"111-22-3333" not in found


async def test_a_client_that_leaves_behind_its_query_still_gets_the_result(gate: Gate) -> None:
    async with connect(place(gate)) as wire:
        await wire.login("ci", "app", gate.token())
        await wire.send(q("select pg_sleep(0.2); select 'done'"), frontend.TERMINATE)
        assert b"done" in await wire.rest()
    assert (await gate.records())[-1].outcome == "SELECT 1; SELECT 1"


# --- TLS -------------------------------------------------------------------------------------------------


@pytest.fixture
async def tls_gate(tmp_path: Path, sample: Database) -> AsyncIterator[Gate]:
    write_certificate(tmp_path, "gateway")
    rules = RULES.replace("[gateway]", '[gateway]\ntls_cert = "gateway.crt"\ntls_key = "gateway.key"', 1)
    async with open_gate(tmp_path, sample, rules) as gate:
        yield gate


def client_context(gate: Gate, alpn: list[str] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(gate.directory / "ca.crt"))
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


async def test_tls_is_started_by_a_request(tls_gate: Gate) -> None:
    async with connect(place(tls_gate)) as wire:
        await wire.send(SSL_REQUEST)
        assert await wire.reader.readexactly(1) == b"S"
        await wire.writer.start_tls(client_context(tls_gate), server_hostname="localhost")
        assert (await wire.login("ci", "app", tls_gate.token()))[-1] == ("Z", b"I")
        assert "".join(kind for kind, _ in await wire.run("select 1")) == "TDCZ"


async def test_direct_tls_needs_alpn(tls_gate: Gate) -> None:
    context = client_context(tls_gate, ["postgresql"])
    async with connect(place(tls_gate), context, server_hostname="localhost") as wire:
        assert (await wire.login("ci", "app", tls_gate.token()))[-1] == ("Z", b"I")
    for alpn in (None, ["http/1.1"]):
        with pytest.raises((ConnectionError, ssl.SSLError, AssertionError)):
            async with connect(
                place(tls_gate), client_context(tls_gate, alpn), server_hostname="localhost"
            ) as wire:
                assert await wire.login("ci", "app", tls_gate.token())


@pytest.mark.parametrize(
    "stuffed", [b"\0", frontend.startup({b"user": b"ci", b"database": b"app"}), SSL_REQUEST]
)
async def test_plain_bytes_behind_a_request_for_tls_are_refused(tls_gate: Gate, stuffed: bytes) -> None:
    async with connect(place(tls_gate)) as wire:
        await wire.send(SSL_REQUEST + stuffed)
        assert await wire.rest() in (b"", b"S")
    async with connect(place(tls_gate)) as wire:
        await wire.send(SSL_REQUEST)
        assert await wire.reader.readexactly(1) == b"S"
        await wire.send(stuffed)
        assert b"R\0\0\0" not in await wire.rest()


@pytest.mark.parametrize("inside", [SSL_REQUEST, b"\x16\x03\x01"])
async def test_tls_inside_tls_is_refused(tls_gate: Gate, inside: bytes) -> None:
    async with connect(place(tls_gate)) as wire:
        await wire.send(SSL_REQUEST)
        await wire.reader.readexactly(1)
        await wire.writer.start_tls(client_context(tls_gate), server_hostname="localhost")
        await wire.send(inside)
        assert await wire.rest() == b""


async def test_upstream_tls_is_verified_and_its_channel_bound(
    tmp_path: Path, pg15: DebianPostgres, make_database: MakeDatabase
) -> None:
    database = await make_database(server=pg15)
    connection = await database.connect()
    await connection.execute(SAMPLE)
    await connection.close()
    async with open_gate(tmp_path, database) as gate, connect(place(gate)) as wire:
        assert (await wire.login("ci", "app", gate.token()))[-1] == ("Z", b"I")
        found = await wire.run("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
        assert [backend.read_cells(body) for kind, body in found if kind == "D"] == [[b"t"]]
        assert await cancelled(gate, wire, wire.pid, wire.key)


async def test_an_upstream_certificate_that_is_not_trusted_is_refused(
    tmp_path: Path, pg15: DebianPostgres, make_database: MakeDatabase
) -> None:
    database = await make_database(server=pg15)
    write_certificate(tmp_path, "other", "elsewhere")
    rules = RULES.replace("dsn =", "# dsn =").replace(
        'password = "file:password"',
        f'dsn = "postgresql://{pg15.user}@127.0.0.1:{pg15.port}/{database.name}?sslmode=verify-full&sslrootcert=elsewhere.crt"\n'
        'password = "file:password"',
    )  # fmt: skip
    async with open_gate(tmp_path, database, rules) as gate, connect(place(gate)) as wire:
        [fields] = errors(await wire.login("ci", "app", gate.token()))
        assert (fields["C"], fields["M"]) == ("08001", "the database cannot be reached")
