"""A PostgreSQL and a gateway before it, as processes of their own: two ways in, directly and through."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.identity.devissuer import DevIssuer
from tests.servers import UNSAFE_BUT_FAST, free_port, write_certificate

CLASSES = '["READ", "WRITE", "FUNCTION", "ROLE", "DDL", "MISC", "SERVER"]'
USER = "postgres"
"""Both the superuser of the server and the name of the grant, so that one program fits both ways in."""

RULES = """
[gateway]
listen = "127.0.0.1:0"
store = "recordings.db"
control = "gatekeeper.sock"
{tls}

[policy]
dynamic_sql = "allow"
opaque_function = "allow"

[[issuer]]
name = "local"
issuer = "https://issuer.gatekeeper.localhost"
audience = "gatekeeper"
jwks = "issuer/jwks.json"
algorithms = ["ES256"]

[[grant]]
name = "postgres"
issuer = "local"
claims = {{ repository = "acme/*" }}
databases = {databases}
classes = {classes}

[[grant]]
name = "reader"
issuer = "local"
claims = {{ repository = "acme/*" }}
databases = {databases}
classes = ["READ"]

[[mask]]
name = "pii"
columns = ["public.masked_people.ssn"]
method = "redact"
"""

DATABASE = """
[[database]]
name = "{name}"
dsn = "postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=disable"
password = "file:password"
"""


@dataclass
class Place:
    """Where a program finds the database, directly and through the gateway."""

    directory: Path
    server: EmbeddedPostgres
    issuer: DevIssuer
    database: str
    port: int = 0
    """The gateway's."""
    process: subprocess.Popen[str] | None = None
    ca_file: Path | None = field(default=None)

    @property
    def token(self) -> str:
        now = time.time()
        claims = {"sub": "repo:acme/shop", "repository": "acme/shop", "run_id": "4711"}
        return self.issuer.sign({**claims, "exp": int(now + 7200)}, 7200, now)

    def direct(self) -> dict[str, str]:
        return _environment(self.server.port, USER, self.server.password.reveal(), self.database)

    def through(self, grant: str = USER) -> dict[str, str]:
        return _environment(self.port, grant, self.token, self.database)

    @property
    def gateway(self) -> psutil.Process:
        assert self.process is not None
        return psutil.Process(self.process.pid)

    @property
    def log(self) -> str:
        return (self.directory / "gateway.log").read_text()

    def run(
        self, *command: object, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 300,
        stdin: str | None = None, check: bool = True,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a program with these PG* variables; a failure shows what it printed."""
        done = subprocess.run(
            [str(part) for part in command], env={**_plain_environment(), **env}, cwd=cwd, timeout=timeout,
            input=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, (
            f"{command[0]}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
        return done

    def sql(self, text: str, *, env: Mapping[str, str] | None = None) -> str:
        """What psql prints for it, unaligned; directly, unless told."""
        psql = self.server.bin_dir / "psql"
        done = self.run(psql, "-XAtc", text, env=env or self.direct(), timeout=120)
        return done.stdout.strip()

    def start_gateway(self) -> None:
        log = self.directory / "gateway.log"
        with log.open("a") as file:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("gatekeeper"), "serve", "--rules", "rules.toml"],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=file, stderr=file, text=True,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.findall(r"gatekeeper: listening on \S+:(\d+)", self.log)
            if found:
                self.port = int(found[-1])
                return
            time.sleep(0.05)
        raise AssertionError(self.log)

    def stop_gateway(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(30)


def _plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _environment(port: int, user: str, password: str, database: str) -> dict[str, str]:
    return {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": user,
        "PGPASSWORD": password,
        "PGDATABASE": database,
        "PGSSLMODE": "disable",
        "PGCONNECT_TIMEOUT": "20",
    }


@contextlib.contextmanager
def open_place(
    directory: Path, *, absent: tuple[str, ...] = (), tls: bool = False, extra: str = "",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Place]:  # fmt: skip
    """Start both, with the database `postgres`. The gateway knows of `absent` ones, which do not exist."""
    databases = ("postgres", *absent)
    server = EmbeddedPostgres(directory / "pg", settings={
        **UNSAFE_BUT_FAST, "listen_addresses": "127.0.0.1", "port": str(free_port()),
        "max_connections": "100", **(settings or {}),
    })  # fmt: skip
    server.port = int(server._settings["port"])
    asyncio.run(server.start())
    place = Place(directory, server, DevIssuer(directory / "issuer"), "postgres")
    try:
        place.sql("create table if not exists masked_people (id int primary key, name text, ssn text)")
        place.sql("insert into masked_people values (1, 'Ada', '111-22-3333') on conflict do nothing")
        encryption = ""
        if tls:
            write_certificate(directory, "gateway")
            place.ca_file = directory / "ca.crt"
            encryption = 'tls_cert = "gateway.crt"\ntls_key = "gateway.key"'
        (directory / "password").write_text(server.password.reveal())
        rules = RULES.format(tls=encryption, databases=_toml(databases), classes=CLASSES)
        rules += "".join(DATABASE.format(name=name, port=server.port) for name in databases) + extra
        (directory / "rules.toml").write_text(rules)
        place.start_gateway()
        yield place
    finally:
        if place.process is not None and place.process.poll() is None:
            place.stop_gateway(signal.SIGKILL)
        asyncio.run(server.stop())


def _toml(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
