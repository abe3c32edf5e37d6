"""The three ways to the database that are compared: all over TCP on loopback, none with TLS."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from gatekeeper import sysuser
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.identity.devissuer import DevIssuer

DATABASE = "bench"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    # The disk is not what is measured, and would drown what is.
    "synchronous_commit": "off",
    "fsync": "off",
    "autovacuum": "off",
}
HOST = "127.0.0.1"


class BenchError(Exception):
    """The benchmark cannot be run; one line that says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """One way to the database, as PG* variables for pgbench."""

    name: str
    environment: Mapping[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def variables(port: int, user: str, password: str) -> dict[str, str]:
    return {
        "PGHOST": HOST,
        "PGPORT": str(port),
        "PGUSER": user,
        "PGPASSWORD": password,
        "PGDATABASE": DATABASE,
        "PGSSLMODE": "disable",
        "PGGSSENCMODE": "disable",
    }


@contextlib.asynccontextmanager
async def postgres(directory: Path) -> Any:
    """The bundled PostgreSQL, listening on a free port."""
    port = free_port()
    server = EmbeddedPostgres(directory, settings={**SETTINGS, "port": str(port)})
    async with server:
        yield Target("direct", variables(port, server.user, server.password.reveal()))


@contextlib.contextmanager
def pgbouncer(directory: Path, upstream: Mapping[str, str]) -> Iterator[Target]:
    """Debian's pgbouncer: session pooling, SCRAM on both sides, a server connection for every client."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise BenchError("pgbouncer is not installed: apt-get install pgbouncer")
    directory.mkdir(mode=0o700)
    port, user, password = free_port(), upstream["PGUSER"], upstream["PGPASSWORD"]
    users, config = directory / "users.txt", directory / "pgbouncer.ini"
    users.write_text(f'"{user}" "{password}"\n')
    config.write_text(
        f"""[databases]
{DATABASE} = host={upstream["PGHOST"]} port={upstream["PGPORT"]} dbname={DATABASE}
[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = session
max_client_conn = 200
default_pool_size = 100
server_tls_sslmode = disable
server_lifetime = 86400
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
log_stats = 0
"""
    )
    owner = sysuser.unprivileged()  # pgbouncer refuses to run as root, as PostgreSQL does
    if owner is not None:
        for path in (directory, users, config):
            os.chown(path, owner.uid, owner.gid)
        sysuser.let_in(users, owner)
    with _process([program, "-q", str(config)], port, {}, owner):
        yield Target("pgbouncer", variables(port, user, password))


@contextlib.contextmanager
def gatekeeper(directory: Path, upstream: Mapping[str, str], *, estimates: bool) -> Iterator[Target]:
    """`gatekeeper serve` with guards, a mask on another table, and recording on."""
    program = Path(sys.executable).with_name("gatekeeper")
    if not program.exists():
        raise BenchError(f"{program} is missing: make install")
    directory.mkdir(mode=0o700)
    issuer = DevIssuer(directory / "issuer")
    port = free_port()
    rules = directory / "rules.toml"
    rules.write_text(tomli_w.dumps(_rules(port, upstream, issuer, estimates=estimates)))
    token = issuer.sign({"sub": "bench", "purpose": "bench"}, 12 * 3600, time.time())
    environment = {"BENCH_PASSWORD": upstream["PGPASSWORD"]}
    with _process([str(program), "serve", "--rules", str(rules)], port, environment, None):
        yield Target("gatekeeper", variables(port, "bench", token))


def _rules(port: int, upstream: Mapping[str, str], issuer: DevIssuer, *, estimates: bool) -> dict[str, Any]:
    guards: list[dict[str, Any]] = [
        {"name": "no-drop", "statements": ["DROP *", "TRUNCATE TABLE"], "action": "block"},
        {
            "name": "unbounded-write",
            "statements": ["UPDATE", "DELETE"],
            "where": "missing",
            "action": "approve",
        },
        {"name": "orders", "relations": ["public.orders*"], "classes": ["WRITE"], "action": "block"},
        {"name": "secrets", "pattern": r"(?i)\bpg_authid\b", "action": "block"},
        {"name": "nights", "classes": ["DDL"], "hours": "Mon-Sun 00:00-06:00 UTC", "action": "block"},
    ]
    if estimates:
        guards.append({"name": "big-write", "classes": ["WRITE"], "min_rows": 10000, "action": "approve"})
    return {
        "gateway": {"listen": f"{HOST}:{port}", "store": "recordings.db", "control": "control.sock"},
        "issuer": [
            {
                "name": "dev",
                "issuer": issuer.issuer,
                "audience": issuer.audience,
                "jwks": str(issuer.jwks_file),
            }
        ],
        "database": [
            {
                "name": DATABASE,
                "dsn": f"postgresql://{upstream['PGUSER']}@{HOST}:{upstream['PGPORT']}/{DATABASE}?sslmode=disable",
                "password": "env:BENCH_PASSWORD",
            }
        ],
        "grant": [
            {
                "name": "bench",
                "issuer": "dev",
                "claims": {"purpose": "bench"},
                "databases": [DATABASE],
                "classes": ["READ", "WRITE"],
            }
        ],
        "guard": guards,
        "mask": [{"name": "ssn", "columns": ["public.customers.ssn"], "method": "redact"}],
    }


@contextlib.contextmanager
def _process(
    command: list[str], port: int, environment: Mapping[str, str], owner: sysuser.SystemUser | None
) -> Iterator[None]:
    """Run a server until the block is left; it counts as started when its port answers."""
    log = Path(command[-1]).with_name("log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            **sysuser.popen_arguments(owner),
        )
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").strip().splitlines()
                raise BenchError(
                    f"{Path(command[0]).name} does not start: {lines[-1] if lines else 'no word'}"
                )
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
