"""Scripts for a session: bytes and answers in, bytes, events and requests out, and no socket.

A playbook is a function that plays and asserts. It is run with all bytes whole, then cut in two at every
place and in pieces of several sizes, on both sides, and must come to the same transcript each time.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from struct import pack
from typing import Any

from gatekeeper.events import Event, StatementClosed, StatementOpened
from gatekeeper.masking.rows import Field
from gatekeeper.model import Approval, Decision, SessionInfo
from gatekeeper.proxy import actions
from gatekeeper.proxy.judge import Judge
from gatekeeper.proxy.session import Session
from gatekeeper.proxy.wire import backend, frontend
from gatekeeper.proxy.wire.frontend import message
from gatekeeper.rules.load import parse
from gatekeeper.rules.schema import Rules
from gatekeeper.sql.catalog import Catalog, CatalogRelation, Column, Routine

HEAD = """
[[issuer]]
name = "i"
issuer = "https://i.example"
audience = "gatekeeper"
jwks = "jwks.json"

[[database]]
name = "app"
dsn = "postgresql://u@db/app"
password = "env:PW"

[[grant]]
name = "ci"
issuer = "i"
claims = { a = "b" }
databases = ["app"]
classes = ["READ", "WRITE", "FUNCTION", "DDL", "MISC"]
"""

RULES = """
[[guard]]
name = "no-truncate"
statements = ["TRUNCATE TABLE"]
action = "block"
message = "Not here."

[[guard]]
name = "unbounded"
statements = ["DELETE"]
where = "missing"
action = "approve"
timeout = "20s"

[[guard]]
name = "watch"
statements = ["UPDATE"]
action = "warn"
message = "Careful."

[[mask]]
name = "pii"
columns = ["public.customers.ssn"]
method = "redact"
predicates = "block"
"""

BLOCK_SELECT = """
[[guard]]
name = "no-reading"
statements = ["SELECT"]
action = "block"
"""

CUSTOMERS, ORDERS = 16400, 16500
CATALOG = Catalog(
    1,
    relations={
        CUSTOMERS: CatalogRelation(
            CUSTOMERS, "public", "customers", "r",
            (Column(1, "id", 23, 23), Column(2, "name", 25, 25), Column(3, "ssn", 25, 25)),
        ),
        ORDERS: CatalogRelation(
            ORDERS, "public", "orders", "r", (Column(1, "id", 23, 23), Column(2, "note", 25, 25))
        ),
    },
    routines={
        20: Routine(
            20, "public", "f", "sql", "f", "SELECT 1",
            "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS $x$SELECT 1$x$",
        ),
    },
    builtins=frozenset(("lower", "upper", "now", "count", "current_setting", "set_config", "pg_sleep")),
    builtin_oids={870: "lower"},
    type_names={23: "integer", 25: "text"},
    type_categories={23: "N", 25: "S"},
)  # fmt: skip

REFUSED = b"gatekeeper refused this statement"
REFUSED_QUERY = frontend.query(REFUSED)
REFUSED_PARSE = frontend.parse(b"gatekeeper_refused", REFUSED)
FLUSH, SYNC, TERMINATE = frontend.FLUSH, frontend.SYNC, frontend.TERMINATE
DESCRIBE_PORTAL_UNNAMED = frontend.describe("P", b"")
REDACTED = b"[REDACTED]"
NOW = 1_800_000_000.0

ID = Field("id", CUSTOMERS, 1, 23, 0)
NAME = Field("name", CUSTOMERS, 2, 25, 0)
SSN = Field("ssn", CUSTOMERS, 3, 25, 0)
NOTE = Field("note", ORDERS, 2, 25, 0)


# --- what a client says ----------------------------------------------------------------------------------

query = frontend.query
parse_ = frontend.parse
describe = frontend.describe


def sql(text: str) -> bytes:
    """A Query."""
    return frontend.query(text.encode())


def prepare(text: str, name: str = "", types: tuple[int, ...] = ()) -> bytes:
    return frontend.parse(name.encode(), text.encode(), types)


def bind(
    portal: str = "", name: str = "", values: Iterable[bytes | None] = (), results: tuple[int, ...] = ()
) -> bytes:
    values = tuple(values)
    body = portal.encode() + b"\0" + name.encode() + b"\0\0\0" + pack("!H", len(values))
    for value in values:
        body += pack("!i", -1) if value is None else pack("!i", len(value)) + value
    return message(b"B", body + pack(f"!H{len(results)}h", len(results), *results))


def execute(portal: str = "", limit: int = 0) -> bytes:
    return message(b"E", portal.encode() + b"\0" + pack("!i", limit))


def close(kind: bytes, name: str = "") -> bytes:
    return message(b"C", kind + name.encode() + b"\0")


def copy_data(data: bytes) -> bytes:
    return message(b"d", data)


COPY_DONE = message(b"c")


def copy_fail(why: str) -> bytes:
    return message(b"f", why.encode() + b"\0")


def function_call(oid: int) -> bytes:
    return message(b"F", pack("!IHHH", oid, 0, 0, 0))


# --- what a server says ----------------------------------------------------------------------------------

PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE = message(b"1"), message(b"2"), message(b"3")
NO_DATA, SUSPENDED, EMPTY = message(b"n"), message(b"s"), message(b"I")
COPY_DONE_BACK = message(b"c")


def ready(status: str = "I") -> bytes:
    return message(b"Z", status.encode())


def complete(tag: str) -> bytes:
    return message(b"C", tag.encode() + b"\0")


def row(*cells: bytes | None) -> bytes:
    body = pack("!h", len(cells))
    for cell in cells:
        body += pack("!i", -1) if cell is None else pack("!i", len(cell)) + cell
    return message(b"D", body)


def columns(*fields: Field) -> bytes:
    body = pack("!h", len(fields))
    for f in fields:
        body += f.name.encode() + b"\0" + pack("!IhIhih", f.table_oid, f.attnum, f.type_oid, -1, -1, f.format)
    return message(b"T", body)


def parameter_types(*oids: int) -> bytes:
    return message(b"t", pack(f"!H{len(oids)}I", len(oids), *oids))


def error(code: str, text: str = "no", severity: str = "ERROR", **more: str) -> bytes:
    return backend.fields_message(b"E", {"S": severity, "V": severity, "C": code, "M": text, **more})


SYNTAX = error("42601", 'syntax error at or near "gatekeeper"')


def notice(text: str) -> bytes:
    return backend.notice_response(text)


def setting(name: str, value: str) -> bytes:
    return backend.parameter_status(name, value)


def copy_response(kind: bytes, count: int = 3, code: int = 0) -> bytes:
    return message(kind, pack(f"!bh{count}h", code, count, *[code] * count))


def messages(data: bytes) -> list[tuple[str, bytes]]:
    """Type and body of each message."""
    found = []
    while data:
        end = 1 + int.from_bytes(data[1:5], "big")
        found.append((chr(data[0]), data[5:end]))
        data = data[end:]
    return found


def types(data: bytes) -> str:
    """The types of the messages, in a row."""
    return "".join(kind for kind, _ in messages(data))


def errors(data: bytes) -> list[dict[str, str]]:
    """Fields of the errors and notices among the messages."""
    return [backend.read_fields(body) for kind, body in messages(data) if kind in "EN"]


def cells(data: bytes) -> list[list[bytes | None]]:
    """The rows among the messages."""
    return [backend.read_cells(body) for kind, body in messages(data) if kind == "D"]


# --- the stage -------------------------------------------------------------------------------------------


@functools.cache
def rules(text: str) -> Rules:
    return parse(HEAD + text, Path("/tmp/rules.toml"))


class Sources:
    """What a judge looks at; tests change it."""

    def __init__(self, text: str) -> None:
        self.rules = rules(text)
        self.catalog = CATALOG
        self.stale = False
        self.sticky: dict[tuple[int, int], str] = {}


Cut = Callable[[bytes], Iterator[bytes]]


class Play:
    """A session and what came out of it."""

    def __init__(self, cut: Cut, text: str, record_rows: int = 100) -> None:
        self.sources = Sources(text)
        self.session = Session(
            SessionInfo("s1", "ci", "sub", "i", "run", "app"), Judge(self.sources, "ci", "app", b"k" * 32),
            now=NOW, record_rows=record_rows,
        )  # fmt: skip
        self._cut = cut
        self.now = NOW
        self.transcript: list[object] = []
        self.events: list[Event] = []
        self.requests: list[actions.Request] = []
        self._to_client = b""
        self._to_server = b""

    def _take(self) -> None:
        session = self.session
        self._to_client += b"".join(session.to_client)
        self._to_server += b"".join(session.to_server)
        for place, _ in session.gated:
            assert place < len(session.to_server)
            assert session.events, "what is gated has its record among the events"
        self.events += session.events
        self.requests += session.requests
        for box in (session.to_client, session.to_server, session.events, session.requests, session.gated):
            box.clear()

    def client(self, *data: bytes) -> Play:
        """The client says this."""
        for piece in self._cut(b"".join(data)):
            try:
                self.session.client_data(piece, self.now)
            finally:
                self._take()
        return self

    def server(self, *data: bytes) -> Play:
        """The server says this."""
        for piece in self._cut(b"".join(data)):
            try:
                self.session.server_data(piece, self.now)
            finally:
                self._take()
        return self

    def step(self, act: Callable[[], object]) -> Play:
        """Something else happens."""
        act()
        self._take()
        return self

    def decide(self, state: str, who: str = "ann", reason: str | None = None) -> Play:
        """The hold that was asked for ends."""
        request = self.take_request(actions.Hold).request
        decision = Decision(who, self.now, approved=state == "approved", reason=reason)
        decisions = (decision,) if state in ("approved", "denied") else ()
        approval = Approval("a1", request, self.now, self.now + 20, state, decisions)  # type: ignore[arg-type]
        return self.step(lambda: self.session.decided(approval, self.now))

    @property
    def to_client(self) -> bytes:
        """What the client got since this was last looked at."""
        found, self._to_client = self._to_client, b""
        self.transcript.append(("client", found))
        return found

    @property
    def to_server(self) -> bytes:
        """What the server got since this was last looked at."""
        found, self._to_server = self._to_server, b""
        self.transcript.append(("server", found))
        return found

    def take_request(self, kind: type[Any]) -> Any:
        """The oldest request, which is of that kind."""
        found = self.requests.pop(0)
        assert isinstance(found, kind), found
        self.transcript.append(("request", repr(found)))
        return found

    def use(self, text: str) -> Play:
        """The rules are reloaded."""
        self.sources.rules = rules(text)
        return self.step(lambda: self.session.rules_changed(self.now))

    @property
    def opened(self) -> list[StatementOpened]:
        return [e for e in self.events if isinstance(e, StatementOpened)]

    @property
    def outcomes(self) -> list[tuple[int, str, int | None]]:
        """Number, outcome and rows of all closed statements."""
        return [(e.n, e.outcome, e.rows) for e in self.events if isinstance(e, StatementClosed)]

    @property
    def closings(self) -> list[StatementClosed]:
        return [e for e in self.events if isinstance(e, StatementClosed)]

    def end(self) -> list[object]:
        """All that came out."""
        _ = self.to_client, self.to_server
        return [*self.transcript, *self.events, *map(repr, self.requests)]


def _whole(data: bytes) -> Iterator[bytes]:
    yield data


def _pieces(size: int) -> Cut:
    return lambda data: (data[i : i + size] for i in range(0, len(data), size))


def _two(at: int) -> Cut:
    def cut(data: bytes) -> Iterator[bytes]:
        place = min(at, len(data) - 1)
        if place > 0:
            yield data[:place]
        yield data[max(place, 0) :]

    return cut


CUTS: list[Cut] = [*map(_pieces, (1, 2, 3, 5, 7)), *map(_two, range(1, 160))]


def playbook(
    text: str = RULES, *, cuts: Iterable[Cut] = CUTS, record_rows: int = 100
) -> Callable[[Any], Any]:
    """Make a test of a script that takes a Play."""

    def wrap(script: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(script)
        def test(**arguments: Any) -> None:
            def run(cut: Cut) -> list[object]:
                play = Play(cut, text, record_rows)
                script(play, **arguments)
                return play.end()

            first = run(_whole)
            for cut in cuts:
                assert run(cut) == first

        parameters = list(inspect.signature(script).parameters.values())[1:]
        test.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return test

    return wrap
