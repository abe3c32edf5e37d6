"""`gatekeeper demo`: everything on this machine, with sample data and tokens that are ready to use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
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
from gatekeeper.rules.write import write_text
from gatekeeper.runtime import (
    EMBEDDED_ROLE,
    Runtime,
    in_loop,
    log_to_stderr,
    run_with_console,
    start_runtime,
    wait_for_signal,
)

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
    port: int = PORT

    @property
    def rules(self) -> Path:
        """Its rules file, made on first start and then the person's own."""
        return self.directory / "rules.toml"

    @property
    def control(self) -> Path:
        """Its control socket."""
        return self.directory / "gatekeeper.sock"

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


def demo(*, headless: bool, directory: Path | None = None, port: int = PORT) -> int:
    """Start the demo; blocks until the console is left, or headless until a signal."""
    place = Demo((directory or state_directory()).absolute(), port)
    if headless:
        log_to_stderr()
        return in_loop(_headless(place))
    return in_loop(run_with_console(start_demo(place)))


async def _headless(place: Demo) -> int:
    async with start_demo(place) as runtime:
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
        await wait_for_signal(runtime, f"gatekeeper: listening on {runtime.gateway.listen}")
    return 0


@contextlib.asynccontextmanager
async def start_demo(place: Demo) -> AsyncIterator[Runtime]:
    """The demo's gateway, with its tokens kept fresh."""
    try:
        place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigError(f"cannot keep the demo in {place.directory}: {problem.strerror}") from None
    issuer = place.issuer()
    if not place.rules.exists():
        write_text(_rules(place.port), place.rules)
    elif place.port != PORT:
        _set_port(place)
    run_id = f"{int(time.time())}"
    _write_tokens(place, issuer, run_id)
    async with start_runtime(
        place.rules, hints=lambda: _hints(place, runtime_port), prepare=_fill
    ) as runtime:
        runtime_port = runtime.gateway.port
        renewing = asyncio.create_task(_renew(place, issuer, run_id), name="demo tokens")
        try:
            yield runtime
        finally:
            renewing.cancel()
            for grant in CLAIMS:
                place.token_file(grant).unlink(missing_ok=True)


def _rules(port: int) -> str:
    text = resources.files("gatekeeper").joinpath("demo.toml").read_text(encoding="utf-8")
    return text.replace("127.0.0.1:6432", f"{HOST}:{port}")


def _set_port(place: Demo) -> None:
    """A port that was asked for wins over the one in the file."""
    lines = place.rules.read_text().splitlines()
    for at, line in enumerate(lines):
        if line.startswith("listen = "):
            lines[at] = f'listen = "{HOST}:{place.port}"'
    write_text("\n".join(lines) + "\n", place.rules)


def _write_tokens(place: Demo, issuer: DevIssuer, run_id: str) -> None:
    for grant, claims in CLAIMS.items():
        token = issuer.sign(
            {**claims, "run_id": run_id, "jti": f"{grant}-{run_id}"}, TOKEN_TTL_S, time.time()
        )
        path = place.token_file(grant)
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(token + "\n")
        fresh.replace(path)


async def _renew(place: Demo, issuer: DevIssuer, run_id: str) -> None:
    while True:
        await asyncio.sleep(_RENEW_S)
        _write_tokens(place, issuer, run_id)


def _hints(place: Demo, port: int) -> tuple[str, ...]:
    """Lines for another terminal. The token stays in its file, so that no line of a screen holds it."""
    psql = "psql" if shutil.which("psql") else str(bin_dir() / "psql")
    home = str(Path.home())
    lines = []
    for grant in CLAIMS:
        path = str(place.token_file(grant))
        shown = path.replace(home, "~", 1) if path.startswith(home + "/") and " " not in path else f"'{path}'"
        lines.append(f"PGPASSWORD=$(cat {shown}) {psql} -h {HOST} -p {port} -U {grant} {DATABASE}")
    return tuple(lines)


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
