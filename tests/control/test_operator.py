"""One operator interface, in the process and over the control socket alike."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatekeeper.control.client import RemoteOperator
from gatekeeper.control.messages import MAX_REQUEST
from gatekeeper.control.operator import Operator
from gatekeeper.control.server import ControlServer
from gatekeeper.errors import ConfigError, OperatorError, RecordingError
from gatekeeper.events import Login
from gatekeeper.model import Approval, Impact, TableImpact
from tests.control.parts import NOW, Parts, closed, opened, session


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gatekeeper.sock"


@pytest.fixture
async def server(parts: Parts, path: Path) -> AsyncIterator[ControlServer]:
    server = ControlServer(path, parts.operator)
    await server.start()
    yield server
    await server.close()


@pytest.fixture(params=["local", "remote"])
async def operator(
    request: pytest.FixtureRequest, parts: Parts, server: ControlServer
) -> AsyncIterator[Operator]:
    if request.param == "local":
        yield parts.operator.acting_as(getpass.getuser())
    else:
        async with RemoteOperator(server.path) as remote:
            yield remote


async def test_a_snapshot_shows_all(operator: Operator, parts: Parts) -> None:
    parts.admit("s1")
    parts.live.feed([Login(NOW, session()), opened(1), closed(1)])
    held = parts.hold()
    parts.approvals.set_impact(
        held.id, Impact((TableImpact("public.orders", 5, 8192, "RowExclusiveLock"),), 5)
    )
    snapshot = await operator.snapshot()
    assert (snapshot.listen, snapshot.store, snapshot.hints) == (
        "127.0.0.1:6432",
        "recordings.db",
        ("psql …",),
    )
    (one,) = snapshot.sessions
    assert (one.id, one.state, one.statements) == ("s1", "idle", 3)
    assert one.claims == session().claims
    assert [s.outcome for s in snapshot.statements] == ["SELECT 1"]
    (approval,) = snapshot.approvals
    assert (approval.id, approval.state, approval.needed) == (held.id, "waiting", 1)
    assert approval.impact == parts.approvals.waiting()[0].impact
    assert {rule.name for rule in snapshot.rules.rules} == {"no-drop", "big", "deploy", "pii"}
    assert snapshot.metrics.statements == 1
    assert (await operator.snapshot(snapshot.cursor)).statements == ()


async def test_a_decision_is_made_in_the_operators_name(operator: Operator, parts: Parts) -> None:
    seen: list[Approval] = []
    held = parts.hold(seen=seen)
    decided = await operator.decide(held.id, approve=False, reason="not today")
    assert decided.state == "denied"
    (ended,) = seen
    assert ended.decisions[0].who == getpass.getuser()
    assert ended.decisions[0].reason == "not today"
    (action,) = parts.actions
    assert (action.who, action.action, action.target) == (getpass.getuser(), "deny", held.id)
    assert action.reason == "not today"


async def test_a_decision_on_what_no_longer_waits_says_what_became_of_it(
    operator: Operator, parts: Parts
) -> None:
    held = parts.hold()
    await operator.decide(held.id, approve=True)
    with pytest.raises(OperatorError, match="was approved by"):
        await operator.decide(held.id, approve=False)
    with pytest.raises(OperatorError, match="no approval"):
        await operator.decide("zz", approve=False)
    assert len(parts.actions) == 1


async def test_a_session_is_killed_once(operator: Operator, parts: Parts) -> None:
    parts.admit("s1")
    await operator.kill_session("s1")
    with pytest.raises(OperatorError, match="no live session s1"):
        await operator.kill_session("s1")
    assert parts.told.killed == [("s1", "killed by an operator")]
    assert [(a.action, a.target) for a in parts.actions] == [("kill", "s1")]


async def test_a_run_ends_with_all_its_sessions(operator: Operator, parts: Parts) -> None:
    for ident in ("s1", "s2"):
        parts.admit(ident)
    parts.admit("s3", run="78.1")
    assert [(r.run, r.sessions, r.ends_at) for r in await operator.runs()] == [
        ("77.1", 2, NOW + 1800),
        ("78.1", 1, NOW + 1800),
    ]
    assert await operator.end_run("77.1") == 2
    assert {name for name, _ in parts.told.killed} == {"s1", "s2"}
    assert {reason for _, reason in parts.told.killed} == {"the run has ended"}
    with pytest.raises(OperatorError, match="already ended"):
        await operator.end_run("77.1")
    assert [r.run for r in await operator.runs()] == ["78.1"]


async def test_a_run_without_an_end_is_told_so(operator: Operator, parts: Parts) -> None:
    from dataclasses import replace

    grant = replace(parts.keeper.current.grants[0], ttl_s=None)
    parts.keeper.current = replace(parts.keeper.current, grants=(grant,))
    parts.admit("s1")
    assert [r.ends_at for r in await operator.runs()] == [float("inf")]


async def test_recordings_are_read(operator: Operator, parts: Parts) -> None:
    (one,) = await operator.sessions("acme", 1)
    assert one.subject == "acme"
    records = await operator.records("s1")
    assert len(records) == 1000
    assert records[-1].params == (None, "x")
    parts.recordings.broken = True
    with pytest.raises(RecordingError, match="disk I/O error"):
        await operator.sessions()


async def test_a_statement_is_explained(operator: Operator) -> None:
    assert await operator.explain("select 1", "deploy") == {
        "sql": "select 1",
        "grant": "deploy",
        "database": None,
    }
    with pytest.raises(OperatorError, match='no grant "x"'):
        await operator.explain("select 1", "x")


async def test_what_is_not_unicode_hides_nothing_else(operator: Operator, parts: Parts) -> None:
    parts.live.feed([Login(NOW, session()), opened(1, "select '\udcff'"), opened(2, "select 2")])
    assert [s.n for s in (await operator.snapshot()).statements] == [1, 2]


async def test_an_ended_approval_is_cut_short_and_a_waiting_one_is_whole(
    operator: Operator, parts: Parts
) -> None:
    long = "select '" + "x" * 5000 + "'"
    held = parts.hold(long)
    assert (await operator.snapshot()).approvals[0].sql == long
    await operator.decide(held.id, approve=True)
    assert len((await operator.snapshot()).approvals[0].sql) == 2000


async def test_the_socket_is_for_its_user_alone(server: ControlServer) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


async def test_the_socket_is_gone_after_the_gateway(parts: Parts, path: Path) -> None:
    server = ControlServer(path, parts.operator)
    await server.start()
    await server.close()
    assert not path.exists()


async def test_the_socket_of_a_dead_gateway_is_replaced(parts: Parts, path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    server = ControlServer(path, parts.operator)
    await server.start()
    async with RemoteOperator(path) as remote:
        assert await remote.runs() == ()
    await server.close()


async def test_a_second_gateway_is_refused_and_the_first_goes_on(server: ControlServer, parts: Parts) -> None:
    with pytest.raises(ConfigError, match=r"\[gateway\] control: .*another gateway answers there"):
        await ControlServer(server.path, parts.operator).start()
    async with RemoteOperator(server.path) as remote:
        assert await remote.runs() == ()


async def test_anything_but_a_socket_is_left_alone(parts: Parts, path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ConfigError, match="not a socket"):
        await ControlServer(path, parts.operator).start()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("made", ["long", "nowhere"])
async def test_a_path_that_cannot_be_is_one_clear_line(parts: Parts, tmp_path: Path, made: str) -> None:
    path = tmp_path / ("x" * 120 if made == "long" else "no/such/place")
    with pytest.raises(ConfigError, match=r"107 bytes|No such file") as caught:
        await ControlServer(path, parts.operator).start()
    assert len(caught.value.problems) == 1


def test_a_long_path_is_refused_by_the_client_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="107 bytes"):
        RemoteOperator(tmp_path / ("ä" * 60))


async def test_without_a_gateway_the_client_says_so(path: Path) -> None:
    async with RemoteOperator(path) as remote:
        with pytest.raises(OperatorError, match=f"no gateway answers at {path}: is it running"):
            await remote.snapshot()


async def test_the_client_finds_a_gateway_that_was_started_anew(parts: Parts, path: Path) -> None:
    async with RemoteOperator(path) as remote:
        for _ in range(2):
            server = ControlServer(path, parts.operator)
            await server.start()
            await remote.snapshot()
            await server.close()
        with pytest.raises(OperatorError, match="no gateway answers"):
            await remote.snapshot()


async def test_a_call_cut_short_does_not_confuse_the_next(server: ControlServer) -> None:
    async with RemoteOperator(server.path) as remote:
        for _ in range(20):
            call = asyncio.create_task(remote.records("s1"))
            await asyncio.sleep(0.001)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert await remote.runs() == ()


async def test_calls_at_once_take_turns(server: ControlServer) -> None:
    async with RemoteOperator(server.path) as remote:
        results = await asyncio.gather(*(remote.explain(str(n), "deploy") for n in range(50)))
    assert [result["sql"] for result in results] == [str(n) for n in range(50)]


async def test_a_silent_gateway_is_given_up(path: Path) -> None:
    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)
        writer.close()

    silent = await asyncio.start_unix_server(never, str(path))
    async with RemoteOperator(path, timeout_s=0.1) as remote:
        with pytest.raises(OperatorError, match="does not answer"):
            await remote.runs()
    silent.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"{}\n",
        b'{"id":77,"result":1}\n',
        b'{"id":1,"result":"x"}\n',
        b"\xff\n",
    ],
)
async def test_something_else_at_the_socket_is_one_clear_line(path: Path, answer: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(other, str(path))
    async with RemoteOperator(path) as remote:
        with pytest.raises(OperatorError, match=r"version"):
            await remote.runs()
    server.close()


async def raw(path: Path, data: bytes, *, end: bool = True) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    if end:
        writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


@pytest.mark.parametrize(
    "request_line",
    [
        b"garbage\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"id":1,"method":"__class__"}\n',
        b'{"id":1,"method":"snapshot","params":[]}\n',
        b'{"id":"1","method":"snapshot"}\n',
        b'{"id":1,"method":"snapshot","who":"root"}\n',
        b'{"id":1,"method":"decide","params":{"approval":"a1","approve":"yes"}}\n',
        b'{"id":1,"method":"decide","params":{"approval":"a1"}}\n',
        b'{"id":1,"method":"sessions","params":{"limit":"all"}}\n',
        b"[" * 5000 + b"\n",
    ],
)
async def test_a_broken_request_gets_an_error_and_disturbs_nobody(
    server: ControlServer, request_line: bytes
) -> None:
    reply: dict[str, Any] = json.loads(await raw(server.path, request_line))
    assert reply["error"]["message"]
    async with RemoteOperator(server.path) as remote:
        await remote.snapshot()


async def test_a_huge_request_is_cut_off(server: ControlServer) -> None:
    with contextlib.suppress(ConnectionError):  # closed before all of it was sent
        assert b"a request may have" in await raw(server.path, b"x" * (MAX_REQUEST + 200_000), end=False)
    async with RemoteOperator(server.path) as remote:
        with pytest.raises(OperatorError, match="longer than"):
            await remote.explain("x" * MAX_REQUEST, "deploy")
        await remote.snapshot()


async def test_clients_that_go_in_the_middle_disturb_nobody(server: ControlServer) -> None:
    for _ in range(100):
        _, writer = await asyncio.open_unix_connection(str(server.path))
        writer.write(b'{"id":1,"method":"records","params":{"session":"s1"}}\n{"id":2')
        writer.transport.abort()
    async with RemoteOperator(server.path) as remote:
        await remote.snapshot()
    for _ in range(100):
        if not server._clients:
            break
        await asyncio.sleep(0.01)
    assert not server._clients


async def test_too_many_clients_are_turned_away(server: ControlServer) -> None:
    writers = []
    for _ in range(80):
        _, writer = await asyncio.open_unix_connection(str(server.path))
        writers.append(writer)
    await asyncio.sleep(0.05)
    assert len(server._clients) == 64
    for writer in writers:
        writer.close()
    await asyncio.sleep(0.05)
    async with RemoteOperator(server.path) as remote:
        await remote.snapshot()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to come as")
async def test_another_user_may_not_enter_even_where_the_mode_would_let_it(server: ControlServer) -> None:
    server.path.chmod(0o666)
    server.path.parent.chmod(0o755)
    script = (
        "import os,socket,sys;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);os.setuid(65534)\n"
        "t=socket.socket(socket.AF_UNIX);fd=os.open('.',os.O_RDONLY)\n"
        "try: t.connect(sys.argv[1])\n"
        "except PermissionError: print('no way in'); sys.exit()\n"
        'try: t.sendall(b\'{"id":1,"method":"runs"}\\n\'); print(t.recv(100))\n'
        "except OSError: print(b'')"
    )
    process = await asyncio.create_subprocess_exec(
        "python3", "-c", script, str(server.path), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().strip() in ("b''", "no way in")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_on_the_socket_get_an_error_or_nothing(parts: Parts, line: bytes) -> None:
    from gatekeeper.control.server import _answer

    with asyncio.Runner() as runner:
        reply = json.loads(runner.run(_answer(parts.operator, line + b"\n")))
    assert reply["error"]["message"]
