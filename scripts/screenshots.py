"""Pictures of the running program: the demo with its database, sessions at work, and the console over it.

Nothing is staged but the SQL. Each picture is Textual's own SVG of what the console draws at that moment, and
the same as PNG: in a large terminal, and as NAME-80x24 in the smallest usual one.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import cairosvg
from textual.pilot import Pilot

from gatekeeper.console.app import ConsoleApp
from gatekeeper.demo import CLAIMS, DATABASE, HOST, PORT, Demo, start_demo

SIZES = {"": (140, 40), "-80x24": (80, 24)}
PICTURES = Path(__file__).parents[1] / "screenshots"
PATIENCE_S = 20.0
FONT = "DejaVu Sans Mono"
"""Of the PNGs; a browser that shows the SVGs takes its own."""

AGENT = (
    "select id, name, email, ssn from customers order by id limit 5",
    "alter table orders add column if not exists refunded_at timestamptz",
    "update orders set note = 'checked by pipeline' where id between 100 and 140",
    "select status, count(*) from orders group by status",
    "truncate customers",
    "insert into orders (customer_id, total, status, placed_at) values (7, 12.50, 'new', now())",
    "explain analyze select * from revenue",
    "select id, total from orders where note = 'checked by pipeline' order by total desc limit 20",
    "create index if not exists orders_placed_at on orders (placed_at)",
)
RELEASE = (
    "create table if not exists refunds (id integer primary key, order_id integer references orders)",
    "select count(*) from orders where refunded_at is not null",
    "drop database app",
    "with gone as (delete from refunds where order_id < 10 returning id) select count(*) from gone",
)
ANALYST = (
    "select city, orders, total from revenue order by total desc",
    "select c.name, c.card_number, o.total from customers c join orders o on o.customer_id = c.id limit 20",
    "select name from customers where ssn like '1%'",
    "select date_trunc('month', placed_at) as month, sum(total) from orders group by 1 order by 1",
    "delete from customers where id = 3",
    "select to_jsonb(c) from customers c where city = 'Oslo' limit 3",
)
DBA = (
    "select relname, n_live_tup from pg_stat_user_tables order by 2 desc",
    "select id, name, ssn from customers where id < 4",
    "vacuum analyze orders",
)
HELD = "delete from orders"
TARGETS = {
    # name: grant, application, what its token says besides
    "dba": ("dba", "psql", {}),
    "analyst": ("analyst", "metabase", {}),
    "release": (
        "ci-migrations",
        "alembic",
        {"run_id": "9412", "run_attempt": "2", "ref": "refs/heads/release/4.2", "event_name": "push",
         "sub": "repo:acme/shop:ref:refs/heads/release/4.2", "actor": "mira"},
    ),
    "agent": ("ci-migrations", "migrate.py", {"run_id": "9417"}),
}  # fmt: skip


class NotShownError(Exception):
    """What was to be seen did not appear."""


async def main() -> int:
    PICTURES.mkdir(exist_ok=True)
    for old in (*PICTURES.glob("*.svg"), *PICTURES.glob("*.png")):
        old.unlink()
    with _fresh_directory() as directory:
        place = Demo(directory / "demo", _port())
        async with start_demo(place) as runtime, _sessions(place, runtime.gateway.port) as sessions:
            app = ConsoleApp(runtime.operator)
            async with app.run_test(size=SIZES[""]) as pilot:
                await _activity(sessions)
                await _decided_before(app, sessions["release"])
                await _pictures(app, pilot, sessions)
    return 0


async def _activity(sessions: dict[str, Any]) -> None:
    await _run(sessions["dba"], DBA)
    await asyncio.gather(
        _run(sessions["analyst"], ANALYST), _run(sessions["release"], RELEASE), _run(sessions["agent"], AGENT)
    )


async def _decided_before(app: ConsoleApp, release: Any) -> None:
    """What the list of decided approvals has to show."""
    await release.execute("set gatekeeper.reason = 'CHG-2288: clean up after 4.1'")
    for sql, approve, reason in (
        ("drop table refunds", True, "Agreed in the review."),
        ("update orders set status = 'cancelled'", False, "Only those of the test customers, please."),
    ):
        held = asyncio.create_task(release.execute(sql))
        await _until(lambda: bool(app.feed.waiting), "a statement that waits")
        await app.operator.decide(app.feed.waiting[0].id, approve=approve, reason=reason)
        with contextlib.suppress(asyncpg.PostgresError):
            await held
        await _until(lambda: not app.feed.waiting, "the decision")
    await _until(lambda: app.screen.__class__.__name__ == "Live", "the screen below the prompt")


async def _pictures(app: ConsoleApp, pilot: Pilot[int], sessions: dict[str, Any]) -> None:
    agent = sessions["agent"]

    async def shown(key: str, name: str, text: str) -> None:
        await pilot.press(key)
        await _until(lambda: text in _text(app), f"{text!r} on the screen {name}")
        await _keep(app, pilot, name)

    await agent.execute("set gatekeeper.reason = 'CHG-2291: empty the staging orders'")
    await agent.execute("begin")
    await agent.execute("update orders set status = 'cancelled' where id = 17")
    await shown("1", "live", "ci-migrations")
    held = asyncio.create_task(agent.execute(HELD))
    await _until(lambda: app.screen.__class__.__name__ == "Prompt", "the prompt")
    await _until(lambda: app.feed.waiting[0].impact is not None, "the impact")
    await _keep(app, pilot, "prompt")
    await pilot.press("escape")
    await _until(lambda: app.screen.__class__.__name__ == "Live", "the screen below the prompt")
    await shown("2", "approvals", HELD)
    await app.operator.decide(app.feed.waiting[0].id, approve=False, reason="Not on a Friday.")
    with contextlib.suppress(asyncpg.PostgresError):
        await held
    await agent.execute("rollback")
    for name in ("dba", "release"):
        await sessions[name].close()
    await shown("3", "recordings", "analyst")
    await pilot.press("home", "enter")  # the newest: the agent's
    await _until(lambda: "speed" in _text(app), "the replay")
    await pilot.press("home", "right")
    await _until(lambda: "[REDACTED]" in _text(app), "the masked rows in the replay")
    await _keep(app, pilot, "replay")
    await pilot.press("escape")
    await shown("4", "rules", "no-drop-database")


@contextlib.asynccontextmanager
async def _sessions(place: Demo, port: int) -> AsyncIterator[dict[str, Any]]:
    """Sessions at work, each with a token of its own; the last to log in is the agent's."""
    connections = {}
    for name, (grant, application, more) in TARGETS.items():
        claims = {**CLAIMS[grant], "run_id": "9388", "jti": f"{name}-7f3a", **more}
        connections[name] = await asyncpg.connect(
            host=HOST,
            port=port,
            user=grant,
            database=DATABASE,
            password=place.issuer().sign(claims, 600, time.time()),
            ssl=False,
            server_settings={"application_name": application},
        )
        await asyncio.sleep(1.1)
    try:
        yield connections
    finally:
        for connection in connections.values():
            connection.terminate()


async def _run(connection: Any, statements: tuple[str, ...]) -> None:
    for sql in statements:
        with contextlib.suppress(asyncpg.PostgresError):  # refusals are what the pictures are to show
            await connection.fetch(sql)
        await asyncio.sleep(0.12 + len(sql) % 7 * 0.07)


async def _until(true: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not true():
        if asyncio.get_running_loop().time() > deadline:
            raise NotShownError(what)
        await asyncio.sleep(0.05)


def _text(app: ConsoleApp) -> str:
    """What is on the screen, without colours."""
    strips = app.screen._compositor.render_strips()  # noqa: SLF001
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


async def _keep(app: ConsoleApp, pilot: Pilot[int], name: str) -> None:
    """The screen as it is in each size."""
    for suffix, size in SIZES.items():
        await pilot.resize_terminal(*size)
        await pilot.pause(1.2)
        svg = app.export_screenshot(title="gatekeeper")
        (PICTURES / f"{name}{suffix}.svg").write_text(svg)
        local = svg.replace("Fira Code", FONT)
        cairosvg.svg2png(bytestring=local.encode(), write_to=str(PICTURES / f"{name}{suffix}.png"))
        print(f"screenshots/{name}{suffix}.svg")
    await pilot.resize_terminal(*SIZES[""])
    await pilot.pause(0.3)


@contextlib.contextmanager
def _fresh_directory() -> Iterator[Path]:
    """One that has the same name each time, since it is in the pictures."""
    directory = Path(tempfile.gettempdir()) / "gatekeeper"
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _port() -> int:
    """The gateway's own if it is free, else any."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, PORT))
        except OSError:
            probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except FileExistsError as problem:
        print(f"screenshots: {problem.filename} is in the way; remove it", file=sys.stderr)
        sys.exit(1)
    except NotShownError as missing:
        print(f"screenshots: {missing} did not appear", file=sys.stderr)
        sys.exit(1)
