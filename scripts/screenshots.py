"""Pictures of the running program: the demo with its database, sessions at work, and the console over it.

Nothing is staged but the SQL. Each picture is Textual's own SVG of what the console draws at that moment,
and the same as PNG.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import cairosvg

from gatekeeper.console.app import ConsoleApp
from gatekeeper.demo import DATABASE, HOST, PORT, Demo, start_demo

SIZE = (124, 30)
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
)
ANALYST = (
    "select city, orders, total from revenue order by total desc",
    "select c.name, c.card_number, o.total from customers c join orders o on o.customer_id = c.id limit 20",
    "select name from customers where ssn like '1%'",
    "delete from customers where id = 3",
)
DBA = (
    "select relname, n_live_tup from pg_stat_user_tables order by 2 desc",
    "select id, name, ssn from customers where id < 4",
    "vacuum analyze orders",
)
HELD = "delete from orders"


class NotShownError(Exception):
    """What was to be seen did not appear."""


async def main() -> int:
    PICTURES.mkdir(exist_ok=True)
    with _fresh_directory() as directory:
        place = Demo(directory / "demo", _port())
        async with start_demo(place) as runtime, _sessions(place) as connections:
            app = ConsoleApp(runtime.operator)
            async with app.run_test(size=SIZE) as pilot:
                agent = connections["ci-migrations"]
                await _run(connections["dba"], DBA)
                await _run(connections["analyst"], ANALYST)
                await _run(agent, AGENT)

                async def shown(key: str, name: str, text: str) -> None:
                    await pilot.press(key)
                    await _until(lambda: text in _text(app), f"{text!r} on the screen {name}")
                    await pilot.pause(0.5)
                    _keep(app, name)

                await shown("1", "live", "ci-migrations")
                await agent.execute("set gatekeeper.reason = 'CHG-2291: empty the staging orders'")
                await agent.execute("begin")
                await agent.execute("update orders set status = 'cancelled' where id = 17")
                held = asyncio.create_task(agent.execute(HELD))
                await _until(lambda: app.screen.__class__.__name__ == "Prompt", "the prompt")
                await _until(lambda: app.feed.waiting[0].impact is not None, "the impact")
                await pilot.pause(1.2)
                _keep(app, "prompt")
                await pilot.press("escape")
                await shown("2", "approvals", HELD)
                await runtime.operator.decide(
                    app.feed.waiting[0].id, approve=False, reason="Not on a Friday."
                )
                with contextlib.suppress(asyncpg.PostgresError):
                    await held
                await agent.execute("rollback")
                await shown("3", "recordings", "analyst")
                await pilot.press("end", "enter")
                await _until(lambda: "speed" in _text(app), "the replay")
                await pilot.press("home", "right")
                await _until(lambda: "[REDACTED]" in _text(app), "the masked rows in the replay")
                _keep(app, "replay")
                await pilot.press("escape")
                await shown("4", "rules", "no-drop-database")
    return 0


@contextlib.asynccontextmanager
async def _sessions(place: Demo) -> AsyncIterator[dict[str, Any]]:
    names = {"ci-migrations": "migrate.py", "analyst": "psql", "dba": "psql"}
    connections = {}
    for grant, application in names.items():
        connections[grant] = await asyncpg.connect(
            host=HOST,
            port=place.port,
            user=grant,
            database=DATABASE,
            password=place.token_file(grant).read_text().strip(),
            ssl=False,
            server_settings={"application_name": application},
        )
    try:
        yield connections
    finally:
        for connection in connections.values():
            connection.terminate()


async def _run(connection: Any, statements: tuple[str, ...]) -> None:
    for sql in statements:
        with contextlib.suppress(asyncpg.PostgresError):  # refusals are what the pictures are to show
            await connection.fetch(sql)
        await asyncio.sleep(0.15)


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


def _keep(app: ConsoleApp, name: str) -> None:
    svg = app.export_screenshot(title="gatekeeper")
    (PICTURES / f"{name}.svg").write_text(svg)
    local = svg.replace("Fira Code", FONT)
    cairosvg.svg2png(bytestring=local.encode(), write_to=str(PICTURES / f"{name}.png"))
    print(f"screenshots/{name}.svg")


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
