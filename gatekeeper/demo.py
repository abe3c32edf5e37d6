"""`gatekeeper demo`: everything on this machine, with sample data and tokens that are ready to use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import asyncpg

from gatekeeper.embedded import EmbeddedPostgres, bin_dir
from gatekeeper.errors import ConfigError
from gatekeeper.identity.devissuer import DevIssuer
from gatekeeper.process import in_loop, log_to_stderr, run_with_console, serve_alone
from gatekeeper.recording.places import is_written
from gatekeeper.rules.write import write_text
from gatekeeper.runtime import EMBEDDED_ROLE, Runtime, start_runtime

HOST: Final = "127.0.0.1"
PORT: Final = 6432
DATABASE: Final = "app"
GRANT: Final = "ci-migrations"
TOKEN_TTL_S: Final = 12 * 3600.0
_RENEW_S: Final = 300.0

CLAIMS: Final[dict[str, dict[str, Any]]] = {
    "ci-migrations": {
        "sub": "repo:acme/shop:ref:refs/heads/main",
        "repository": "acme/shop",
        "repository_id": "1296269",
        "ref": "refs/heads/main",
        "environment": "demo",
        "event_name": "pull_request",
        "run_attempt": "1",
        "actor": "coding-agent",
    },
    "analyst": {"sub": "ana@acme.example", "email": "ana@acme.example", "groups": ["analysts"]},
    "dba": {"sub": "dora@acme.example", "email": "dora@acme.example", "groups": ["dba"]},
}
"""What the demo's tokens say, by grant; `run_id` is added, new at each start."""


@dataclass(frozen=True, slots=True)
class Demo:
    """Where the demo keeps what it has."""

    directory: Path
    port: int | None = None
    """Where it listens, if it was asked for; else as its rules file says."""

    @property
    def rules(self) -> Path:
        """Its rules file, made on first start and then the person's own."""
        return self.directory / "rules.toml"

    @property
    def control(self) -> Path:
        """Its control socket."""
        return self.directory / "gatekeeper.sock"

    @property
    def psql(self) -> Path:
        """A program of one's own: `psql GRANT` logs in with that grant's token."""
        return self.directory / "psql"

    def token_file(self, grant: str) -> Path:
        """Where a fresh token of a grant is kept, mode 0600."""
        return self.directory / f"token-{grant}"

    def issuer(self) -> DevIssuer:
        """The local development issuer."""
        return DevIssuer(self.directory / "issuer")


def state_directory() -> Path:
    """Where the demo lives unless told otherwise: the user's state directory."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "gatekeeper" / "demo"


def demo(*, headless: bool, directory: Path | None = None, port: int | None = None) -> int:
    """Start the demo; blocks until the console is left, or headless until a signal."""
    place = Demo((directory or state_directory()).expanduser().absolute(), port)
    if headless:
        log_to_stderr()
        return in_loop(lambda stop: serve_alone(start_demo(place), stop, lambda up: _print(place, up)))
    return in_loop(lambda stop: run_with_console(start_demo(place), stop))


def _print(place: Demo, runtime: Runtime) -> None:
    """Where everything is, for the program that started the demo."""
    line = {
        "host": HOST,
        "port": runtime.gateway.port,
        "database": DATABASE,
        "grant": GRANT,
        "token": place.token_file(GRANT).read_text().strip(),
        "data_dir": str(place.directory),
        "control": str(place.control),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


@contextlib.asynccontextmanager
async def start_demo(place: Demo) -> AsyncIterator[Runtime]:
    """The demo's gateway, with its tokens kept fresh. ConfigError, where one runs there already too."""
    try:
        place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigError(f"cannot keep the demo in {place.directory}: {problem.strerror}") from None
    if is_written(place.directory / "recordings.db"):
        raise ConfigError(
            f"a demo runs in {place.directory} already: see it by"
            f" gatekeeper console --control {_shown(place.control)}"
        )
    issuer = place.issuer()
    if not place.rules.exists():
        write_text(_rules(), place.rules)
    if place.port is not None:
        _set_port(place.rules, place.port)
    run_id = f"{int(time.time())}"
    try:
        async with start_runtime(place.rules, hints=lambda: _hints(place), prepare=_fill) as runtime:
            _write_tokens(place, issuer, run_id)
            _write_psql(place, runtime.gateway.port)
            renewing = asyncio.create_task(_renew(place, issuer, run_id), name="demo tokens")
            try:
                yield runtime
            finally:
                renewing.cancel()
                for grant in CLAIMS:
                    place.token_file(grant).unlink(missing_ok=True)
    except ConfigError as problem:
        if any("is in use" in line for line in problem.problems):
            raise ConfigError(f"{problem}: take another by gatekeeper demo --port") from None
        raise


def _rules() -> str:
    return resources.files("gatekeeper").joinpath("demo.toml").read_text(encoding="utf-8")


def _set_port(rules: Path, port: int) -> None:
    """A port that was asked for wins over the one in the file, and is kept there."""
    before = rules.read_text()
    listen = f'listen = "{HOST}:{port}"'
    after, found = re.subn(r"^listen\s*=.*$", listen, before, count=1, flags=re.MULTILINE)
    if not found:
        after = re.sub(r"^\[gateway\]", f"[gateway]\n{listen}", before, count=1, flags=re.MULTILINE)
    if after != before:
        write_text(after, rules)


def _write_tokens(place: Demo, issuer: DevIssuer, run_id: str) -> None:
    for grant, claims in CLAIMS.items():
        token = issuer.sign(
            {**claims, "run_id": run_id, "jti": f"{grant}-{run_id}"}, TOKEN_TTL_S, time.time()
        )
        _write(place.token_file(grant), token + "\n", 0o600)


async def _renew(place: Demo, issuer: DevIssuer, run_id: str) -> None:
    while True:
        await asyncio.sleep(_RENEW_S)
        _write_tokens(place, issuer, run_id)


def _write(path: Path, text: str, mode: int) -> None:
    """Put a file in place, whole and never more open than `mode`."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    fresh.replace(path)


# --- lines to paste ---------------------------------------------------------------------------------------

_PSQL: Final = """#!/bin/sh
# psql GRANT [what else psql takes]: log in to the demo with a fresh token as the password.
grant=${{1:-}}
if [ -z "$grant" ]; then
    echo "psql: which grant? One of: {grants}" >&2
    exit 2
fi
shift
if ! PGPASSWORD=$(cat {directory}/"token-$grant" 2>/dev/null); then
    echo "psql: no token for $grant: is the demo running, and is it one of {grants}?" >&2
    exit 1
fi
export PGPASSWORD
export PGHOST={host} PGPORT={port} PGUSER="$grant" PGDATABASE={database} PGSSLMODE=disable
exec {program} "$@"
"""
"""The token stays in its file, so that no line of a screen holds it, nor any list of processes."""


def _write_psql(place: Demo, port: int) -> None:
    """The machine's own psql where there is one: it can edit lines, which the bundled one cannot."""
    text = _PSQL.format(
        grants=", ".join(CLAIMS),
        directory=shlex.quote(str(place.directory)),
        host=HOST,
        port=port,
        database=DATABASE,
        program=shlex.quote(shutil.which("psql") or str(bin_dir() / "psql")),
    )
    _write(place.psql, text, 0o700)


def _hints(place: Demo) -> tuple[str, ...]:
    """Lines for another terminal, short enough for a narrow one."""
    return tuple(f"{_shown(place.psql)} {grant}" for grant in CLAIMS)


def _shown(path: Path) -> str:
    """A path as a shell takes it, with ~ for the home directory."""
    text, home = str(path), f"{Path.home()}/"
    return f"~/{shlex.quote(text.removeprefix(home))}" if text.startswith(home) else shlex.quote(text)


# --- sample data ----------------------------------------------------------------------------------------


async def _fill(server: EmbeddedPostgres, database: str) -> None:
    """Make the sample tables, as their owner, where they are missing."""
    connection = await asyncpg.connect(server.dsn(database, EMBEDDED_ROLE))
    try:
        if await connection.fetchval("select to_regclass('public.customers')") is None:
            async with connection.transaction():
                await connection.execute(_SAMPLE)
            await connection.execute("analyze public.customers; analyze public.orders")
    finally:
        await connection.close()


_SAMPLE: Final = """
create table public.customers (
    id integer generated always as identity primary key,
    name text not null,
    email text not null unique,
    ssn text not null,
    card_number text not null,
    city text not null,
    created_at timestamptz not null
);
create table public.orders (
    id integer generated always as identity primary key,
    customer_id integer not null references public.customers on delete cascade,
    total numeric(10, 2) not null,
    status text not null check (status in ('new', 'paid', 'shipped', 'cancelled')),
    note text,
    placed_at timestamptz not null
);
create index on public.orders (customer_id);
create view public.revenue as
    select c.city, count(*) as orders, sum(o.total) as total
    from public.customers c join public.orders o on o.customer_id = c.id
    where o.status <> 'cancelled' group by c.city;

insert into public.customers (name, email, ssn, card_number, city, created_at)
select first || ' ' || last,
       lower(first || '.' || last) || i || '@example.org',
       lpad((100 + i % 799)::text, 3, '0') || '-' || lpad((10 + i * 7 % 89)::text, 2, '0') || '-'
           || lpad((i * 37 % 9999)::text, 4, '0'),
       '4' || lpad((i * 48271 % 1000000007)::text, 15, '0'),
       (array['Lisbon', 'Oslo', 'Vienna', 'Turin', 'Ghent', 'Porto', 'Graz'])[1 + i % 7],
       timestamptz '2024-01-01 08:00+00' + i * interval '5 hours 13 minutes'
from generate_series(1, 2000) as i,
     lateral (select (array['Ada', 'Grace', 'Edsger', 'Barbara', 'Donald', 'Frances', 'Tony', 'Radia',
                            'Leslie', 'Margaret', 'Ken'])[1 + i % 11] as first,
                     (array['Lovelace', 'Hopper', 'Dijkstra', 'Liskov', 'Knuth', 'Allen', 'Hoare',
                            'Perlman', 'Lamport', 'Hamilton', 'Thompson', 'Codd', 'Gray'])[1 + i % 13]
                     as last) as names;

insert into public.orders (customer_id, total, status, note, placed_at)
select 1 + i * 13 % 2000,
       5 + (i * 7919 % 49500) / 100.0,
       (array['new', 'paid', 'paid', 'shipped', 'shipped', 'shipped', 'cancelled'])[1 + i % 7],
       case when i % 9 = 0 then 'Leave at the door' end,
       timestamptz '2025-01-01 06:00+00' + i * interval '47 minutes'
from generate_series(1, 6000) as i;
"""
