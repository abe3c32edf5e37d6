"""Real PostgreSQL servers for tests: the bundled 18, and Debian's 15 with TLS on a loopback port."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gatekeeper.model import Secret

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")

UNSAFE_BUT_FAST: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}
"""For servers that are thrown away."""


class Server(Protocol):
    """What both servers offer to tests."""

    port: int
    user: str

    @property
    def host(self) -> str: ...
    @property
    def password(self) -> Secret: ...
    @property
    def bin_dir(self) -> Path: ...
    def password_for(self, role: str) -> Secret: ...
    def dsn(self, database: str = "postgres", user: str | None = None) -> str: ...
    def environment(self, database: str = "postgres", user: str | None = None) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a server, made for one test."""

    server: Any
    name: str

    def dsn(self, user: str | None = None) -> str:
        return str(self.server.dsn(self.name, user))

    def environment(self, user: str | None = None) -> dict[str, str]:
        """PG* variables for psql and other programs on libpq."""
        return dict(self.server.environment(self.name, user))

    async def connect(self, user: str | None = None) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(self.dsn(user))


async def create_database(server: Server, template: str = "template1") -> Database:
    """A fresh database, as a copy of `template`; nobody may be connected to that one."""
    name = f"t_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute(f'create database "{name}" template "{template}"')
    finally:
        await connection.close()
    return Database(server, name)


async def drop_database(database: Database) -> None:
    """Drop it, whoever is still connected."""
    connection = await asyncpg.connect(database.server.dsn())
    try:
        await connection.execute(f'drop database if exists "{database.name}" with (force)')
    finally:
        await connection.close()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class DebianPostgres:
    """Debian's PostgreSQL 15 on a free loopback port: SCRAM, TLS with a certificate of its own CA."""

    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    user: str = "postgres"
    host: str = "127.0.0.1"
    port: int = 0
    password: Secret = field(default_factory=lambda: Secret(secrets.token_urlsafe(12)))
    _process: subprocess.Popen[bytes] | None = None

    @property
    def bin_dir(self) -> Path:
        return DEBIAN_15

    @property
    def ca_file(self) -> Path:
        """The CA that signed the server's certificate, for `sslrootcert`."""
        return self.directory / "ca.crt"

    def password_for(self, role: str) -> Secret:
        return self.password

    def dsn(self, database: str = "postgres", user: str | None = None) -> str:
        name = quote(user or self.user, safe="")
        return (
            f"postgresql://{name}:{self.password.reveal()}@{self.host}:{self.port}/{quote(database)}"
            f"?sslmode=verify-full&sslrootcert={quote(str(self.ca_file))}"
        )

    def environment(self, database: str = "postgres", user: str | None = None) -> dict[str, str]:
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": user or self.user,
            "PGPASSWORD": self.password.reveal(),
            "PGDATABASE": database,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self.ca_file),
        }

    async def start(self) -> None:
        await asyncio.to_thread(self.start_now)

    async def stop(self) -> None:
        await asyncio.to_thread(self.stop_now)

    def start_now(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        data, socket_dir = self.directory / "data", self.directory / "socket"
        if not data.exists():
            data.mkdir(mode=0o700)
            socket_dir.mkdir(mode=0o700)
            password_file = self.directory / "password"
            password_file.write_text(self.password.reveal())
            _write_certificates(self.directory)
            self._own(data, socket_dir, password_file, self.directory / "server.key")
            self._run("initdb", "-D", data, "-U", self.user, "-A", "scram-sha-256", "-E", "UTF8",
                      "--locale=C.UTF-8", "--no-sync", f"--pwfile={password_file}")  # fmt: skip
        self.port = self.port or free_port()
        settings = {
            **UNSAFE_BUT_FAST,
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": str(self.directory / "server.crt"),
            "ssl_key_file": str(self.directory / "server.key"),
            **self.settings,
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [DEBIAN_15 / "postgres", "-D", data, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
                **self._as_postgres(),
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            lines = _lines(data / "postmaster.pid")
            if len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                return
            time.sleep(0.05)
        self.stop_now()
        raise RuntimeError((self.directory / "log").read_text()[-2000:])

    def stop_now(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is PostgreSQL's fast shutdown, SIGQUIT the immediate one."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [DEBIAN_15 / program, *map(str, arguments)],
            check=True, capture_output=True, cwd="/", **self._as_postgres(),
        )  # fmt: skip

    def _own(self, *paths: Path) -> None:
        if os.geteuid() == 0:
            for path in paths:
                shutil.chown(path, "postgres", "postgres")

    def _as_postgres(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        entry = pwd.getpwnam("postgres")
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def open_to_others(path: Path) -> None:
    """Let a system user pass through to `path`: pytest makes its directories for one user alone."""
    if os.geteuid() != 0:
        return
    for directory in (path, *path.parents):
        mode = directory.stat().st_mode
        if not mode & 0o001:
            directory.chmod(mode & 0o7777 | 0o011)


def psql(
    environment: Mapping[str, str], *arguments: str, stdin: str | None = None, program: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run psql without its startup file; the caller looks at its exit status, stdout and stderr."""
    return subprocess.run(
        [program or "psql", "-X", *arguments],
        input=stdin, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10", **environment},
    )  # fmt: skip


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def _write_certificates(directory: Path) -> None:
    """ca.crt, and server.crt with server.key for localhost and 127.0.0.1, signed by that CA."""
    write_certificate(directory, "server")


def write_certificate(directory: Path, name: str, ca: str = "ca") -> None:
    """`name`.crt and `name`.key for localhost and 127.0.0.1, signed by a new CA in `ca`.crt."""
    now = dt.datetime.now(dt.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]

    def builder(subject: x509.Name, public_key: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject).issuer_name(ca_name).public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=30))
        )  # fmt: skip

    ca_certificate = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    certificate = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    (directory / f"{ca}.crt").write_bytes(ca_certificate.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = directory / f"{name}.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def version(program: Path) -> int:
    """Major version of a PostgreSQL program."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"(\d+)", text)
    assert match is not None
    return int(match[1])
