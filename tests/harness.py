"""A gateway in the test's own process, before a fresh database of a real server, and its clients."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psycopg

from gatekeeper.identity.devissuer import DevIssuer
from gatekeeper.recording.reader import open_records
from gatekeeper.recording.views import RecordView
from gatekeeper.runtime import Runtime, start_runtime
from tests.servers import Database, psql

CLAIMS: Mapping[str, Any] = {"sub": "repo:acme/shop", "repository": "acme/shop", "run_id": "4711"}

RULES = """
[gateway]
listen = "127.0.0.1:0"
store = "recordings.db"
control = "gatekeeper.sock"
login_timeout = "3s"

[policy]
dynamic_sql = "approve"
opaque_function = "approve"
approval_timeout = "30s"

[[issuer]]
name = "local"
issuer = "https://issuer.gatekeeper.localhost"
audience = "gatekeeper"
jwks = "issuer/jwks.json"
algorithms = ["ES256"]

[[database]]
name = "app"
dsn = "{dsn}"
password = "file:password"

[[grant]]
name = "ci"
issuer = "local"
claims = {{ repository = "acme/*" }}
databases = ["app"]
classes = ["READ", "WRITE", "FUNCTION", "DDL", "MISC"]
run = ["run_id"]

[[grant]]
name = "analyst"
issuer = "local"
claims = {{ repository = "acme/*" }}
databases = ["app"]
classes = ["READ"]

[[grant]]
name = "dba"
issuer = "local"
claims = {{ repository = "acme/*" }}
databases = ["app"]
classes = ["READ", "WRITE", "FUNCTION", "ROLE", "DDL", "MISC", "SERVER"]

[[guard]]
name = "no-drop-database"
statements = ["DROP DATABASE", "TRUNCATE TABLE"]
action = "block"
message = "Drop databases by ticket only."

[[guard]]
name = "unbounded-write"
statements = ["UPDATE", "DELETE"]
where = "missing"
action = "approve"
timeout = "20s"

[[mask]]
name = "pii"
columns = ["public.customers.ssn", "*.*.card_number"]
method = "redact"
except_grants = ["dba"]
predicates = "block"
"""

SAMPLE = """
create table customers (
    id int primary key, name text, email text, ssn text, card_number bigint, city text, born date
);
insert into customers values
    (1, 'Ada', 'ada@example.org', '111-22-3333', 4111111111111111, 'Lisbon', '1990-01-02'),
    (2, 'Bob', 'bob@example.org', '222-33-4444', 4222222222222222, 'Oslo', '1991-02-03'),
    (3, 'Cyd', 'cyd@example.org', null, null, 'Lisbon', null);
create table orders (id int primary key, customer_id int references customers, total numeric(10,2));
insert into orders select i, 1 + i % 3, i * 1.5 from generate_series(1, 20) i;
"""

REDACTED = "[REDACTED]"
ENDED = (
    asyncpg.AdminShutdownError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InterfaceError,
    ConnectionError,
)
"""What asyncpg may raise once its session was ended, by when it notices."""


@dataclass
class Gate:
    """A running gateway as its users see it."""

    directory: Path
    runtime: Runtime
    issuer: DevIssuer
    database: Database

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return self.runtime.gateway.port

    @property
    def rules_file(self) -> Path:
        return self.directory / "rules.toml"

    def token(self, ttl_s: float = 600, **claims: Any) -> str:
        return new_token(self.issuer, ttl_s, **claims)

    def environment(self, grant: str = "ci", token: str | None = None) -> dict[str, str]:
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": grant,
            "PGPASSWORD": token or self.token(),
            "PGDATABASE": "app",
            "PGSSLMODE": "disable",
        }

    async def psql(
        self,
        *arguments: str,
        grant: str = "ci",
        stdin: str | None = None,
        token: str | None = None,
        **env: str,
    ) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment(grant, token), **env}
        return await asyncio.to_thread(psql, environment, *arguments, stdin=stdin)

    async def sql(self, text: str, grant: str = "ci") -> str:
        """Output of one psql -c, unaligned and without headers; stderr where there is any."""
        done = await self.psql("-Atc", text, grant=grant)
        return (done.stdout + done.stderr).strip()

    async def asyncpg(self, grant: str = "ci", **options: Any) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(
            host=self.host, port=self.port, user=grant, password=self.token(), database="app", ssl=False,
            **options,
        )  # fmt: skip

    async def psycopg(self, grant: str = "ci", **options: Any) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            host=self.host, port=self.port, user=grant, password=self.token(), dbname="app",
            sslmode="disable", **options,
        )  # fmt: skip

    async def records(self, kind: str = "statement") -> list[RecordView]:
        """All records of that kind in the recordings, in order."""
        await asyncio.sleep(0.1)  # outcomes may be committed a little later than they are sent
        records = open_records(self.directory / "recordings.db")
        try:
            return sorted((r for r in records.all_records() if r.kind == kind), key=lambda r: r.seq)
        finally:
            records.close()

    def change_rules(self, old: str, new: str) -> None:
        text = self.rules_file.read_text()
        assert old in text
        self.rules_file.write_text(text.replace(old, new))

    async def waiting(self, count: int = 1) -> list[Any]:
        """Approvals that wait, once there are that many."""
        for _ in range(200):
            snapshot = await self.runtime.operator.snapshot()
            found = [a for a in snapshot.approvals if a.state == "waiting"]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)
        raise AssertionError("nothing waits")


def dsn_of(database: Database) -> str:
    """The address of a database as the rules have it: without its password."""
    server = database.server
    host = str(server.host)
    if host.startswith("/"):
        return f"postgresql://{server.user}@/{database.name}?host={host}&port={server.port}"
    tls = f"sslmode=verify-full&sslrootcert={server.ca_file}"
    return f"postgresql://{server.user}@{host}:{server.port}/{database.name}?{tls}"


def new_token(issuer: DevIssuer, ttl_s: float = 600, **claims: Any) -> str:
    """A token that the rules above let in, unless the claims say otherwise."""
    now = time.time()
    return issuer.sign({**CLAIMS, "exp": int(now + ttl_s), **claims}, ttl_s, now)


@contextlib.asynccontextmanager
async def open_gate(directory: Path, database: Database, rules: str = RULES) -> AsyncIterator[Gate]:
    """Start a gateway before `database`; `rules` may use {dsn}."""
    server = database.server
    (directory / "password").write_text(server.password.reveal())
    (directory / "rules.toml").write_text(rules.format(dsn=dsn_of(database)))
    issuer = DevIssuer(directory / "issuer")
    async with start_runtime(directory / "rules.toml") as runtime:
        yield Gate(directory, runtime, issuer, database)


def fields(error: Exception) -> tuple[str | None, str]:
    """SQLSTATE and message of an asyncpg or psycopg error."""
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate, error.args[0]
    assert isinstance(error, psycopg.Error)
    return error.sqlstate, error.diag.message_primary or str(error)
