"""Runs pgbench against all targets in turn, round after round, and prints medians and ratios.

Interleaved, because a shared machine drifts: what disturbs one target disturbs its neighbours too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.targets import DATABASE, BenchError, Target, gatekeeper, pgbouncer, postgres
from gatekeeper.embedded import bin_dir
from gatekeeper.errors import ConfigError

ROWS = 1_000_000
SCALE = ROWS // 100_000


@dataclass(frozen=True, slots=True)
class Workload:
    """A pgbench run; `unit` is what its number counts, higher is better."""

    name: str
    title: str
    arguments: tuple[str, ...]
    unit: str = "tps"


WORKLOADS = (
    Workload("simple-1", "select-only, simple, 1 client", ("-S", "-M", "simple", "-c", "1")),
    Workload("simple-16", "select-only, simple, 16 clients", ("-S", "-M", "simple", "-c", "16")),
    Workload("prepared-1", "select-only, prepared, 1 client", ("-S", "-M", "prepared", "-c", "1")),
    Workload("prepared-16", "select-only, prepared, 16 clients", ("-S", "-M", "prepared", "-c", "16")),
    Workload("tpcb-8", "TPC-B, simple, 8 clients", ("-M", "simple", "-c", "8")),
    Workload("read", "one read of a million rows", ("-M", "simple", "-c", "1", "-t", "1"), "rows/s"),
)


def main() -> int:
    """Exit status 0 where all was measured, 1 with one line where it was not."""
    options = _options()
    try:
        asyncio.run(_run(options))
    except (BenchError, ConfigError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _options() -> argparse.Namespace:
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each pgbench run but the read")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--targets", nargs="+", choices=["direct", "pgbouncer", "gatekeeper"],
        default=["direct", "pgbouncer", "gatekeeper"],
    )  # fmt: skip
    parser.add_argument("--estimates", action="store_true", help="with a min_rows guard: a plan per write")
    return parser.parse_args()


async def _run(options: argparse.Namespace) -> None:
    directory = Path(tempfile.mkdtemp(prefix="gatekeeper-bench-"))
    try:
        async with postgres(directory / "postgres") as direct:
            await _fill(direct)
            with contextlib.ExitStack() as stack:
                targets = [direct] if "direct" in options.targets else []
                if "pgbouncer" in options.targets:
                    targets.append(stack.enter_context(pgbouncer(directory / "bouncer", direct.environment)))
                if "gatekeeper" in options.targets:
                    targets.append(
                        stack.enter_context(
                            gatekeeper(
                                directory / "gatekeeper", direct.environment, estimates=options.estimates
                            )
                        )
                    )
                workloads = [workload for workload in WORKLOADS if workload.name in options.only]
                script = directory / "read.sql"
                script.write_text("select aid, bid, abalance, filler from pgbench_accounts;\n")
                script.chmod(0o644)
                results = _measure(targets, workloads, options.rounds, options.seconds, script)
        _print(results, targets, workloads, options)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _fill(direct: Target) -> None:
    """pgbench's own tables, and the table that the mask is on."""
    connection = await _connect(direct, "postgres")
    await connection.execute(f"create database {DATABASE}")
    await connection.close()
    _pgbench(direct, ["-i", "-q", "-s", str(SCALE), DATABASE])
    connection = await _connect(direct, DATABASE)
    await connection.execute("create table customers (id int primary key, name text, ssn text)")
    await connection.execute("vacuum analyze")
    await connection.close()


async def _connect(target: Target, database: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=target.environment["PGHOST"],
        port=int(target.environment["PGPORT"]),
        user=target.environment["PGUSER"],
        password=target.environment["PGPASSWORD"],
        database=database,
        ssl=False,
    )


def _measure(
    targets: Sequence[Target], workloads: Sequence[Workload], rounds: int, seconds: int, script: Path
) -> Mapping[tuple[str, str], list[float]]:
    results: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        for workload in workloads:
            for target in _rotated(targets, number):
                value = _once(target, workload, seconds, script)
                results.setdefault((workload.name, target.name), []).append(value)
                print(
                    f"round {number + 1}/{rounds}  {workload.title:36}{target.name:12}{value:12,.0f} "
                    f"{workload.unit}",
                    file=sys.stderr,
                    flush=True,
                )
    return results


def _rotated(targets: Sequence[Target], number: int) -> Iterator[Target]:
    """Another one goes first in each round."""
    for step in range(len(targets)):
        yield targets[(step + number) % len(targets)]


def _once(target: Target, workload: Workload, seconds: int, script: Path) -> float:
    if workload.name == "read":
        output = _pgbench(target, ["-n", *workload.arguments, "-f", str(script), DATABASE])
        latency = re.search(r"latency average = ([\d.]+) ms", output)
        if latency is not None:
            return ROWS / (float(latency[1]) / 1000)
    else:
        output = _pgbench(target, ["-n", *workload.arguments, "-j", "1", "-T", str(seconds), DATABASE])
        tps = re.search(r"tps = ([\d.]+) ", output)
        if tps is not None:
            return float(tps[1])
    raise BenchError(f"pgbench said nothing of use about {workload.name} on {target.name}")


def _pgbench(target: Target, arguments: Sequence[str]) -> str:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", **target.environment}
    done = subprocess.run(
        [bin_dir() / "pgbench", *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment, timeout=600,
    )  # fmt: skip
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise BenchError(f"pgbench on {target.name}: {lines[-1] if lines else 'failed without a word'}")
    return done.stdout


def _print(
    results: Mapping[tuple[str, str], list[float]],
    targets: Sequence[Target],
    workloads: Sequence[Workload],
    options: argparse.Namespace,
) -> None:
    names = [target.name for target in targets]
    ratios = [
        (name, base)
        for name, base in (("pgbouncer", "direct"), ("gatekeeper", "direct"), ("gatekeeper", "pgbouncer"))
        if name in names and base in names
    ]
    print(f"\nMedians of {options.rounds} interleaved rounds of {options.seconds} s, higher is better.")
    gateway = (
        f" Gatekeeper with guards{' (min_rows too)' if options.estimates else ''}, a mask on another table, "
        "recording on."
    )
    print(
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores for pgbench, PostgreSQL and the "
        f"proxy together.{gateway if 'gatekeeper' in names else ''}\n"
    )
    header = ["workload", "unit", *names, *(f"{name} / {base}" for name, base in ratios)]
    rows = []
    for workload in workloads:
        median = {name: statistics.median(results[workload.name, name]) for name in names}
        rows.append(
            [
                workload.title,
                workload.unit,
                *(f"{median[name]:,.0f}" for name in names),
                *(f"{median[name] / median[base]:.2f}" for name, base in ratios),
            ]
        )
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
