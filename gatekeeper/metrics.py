"""Prometheus metrics and health of a running gateway over HTTP; `[gateway] metrics`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gatekeeper.control.operator import Operator, Snapshot
from gatekeeper.errors import ConfigError, GatekeeperError

_MAX_REQUEST_BYTES: Final = 8192
_TIMEOUT_S: Final = 5.0
_TEXT: Final = "text/plain; charset=utf-8"
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


class _FromSnapshot(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        snapshot, counted = self._snapshot, self._snapshot.metrics
        counters = {
            "statements": ("Statements judged", counted.statements),
            "statements_refused": ("Statements refused", counted.refused),
            "statements_held": ("Statements held for approval", counted.held),
            "logins": ("Logins that were let in", counted.logins),
            "logins_failed": ("Logins that were refused", counted.logins_failed),
        }
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(f"gatekeeper_{name}", text, value=value)
        yield GaugeMetricFamily("gatekeeper_sessions", "Live sessions", value=len(snapshot.sessions))
        waiting = sum(a.state == "waiting" for a in snapshot.approvals)
        yield GaugeMetricFamily("gatekeeper_approvals_waiting", "Statements that wait", value=waiting)
        durations = GaugeMetricFamily(
            "gatekeeper_statement_seconds", "Recent statements' duration", labels=["quantile"]
        )
        for quantile, value_ms in (("0.5", counted.p50_ms), ("0.99", counted.p99_ms)):
            if value_ms is not None:
                durations.add_metric([quantile], value_ms / 1000)
        yield durations
        hits = CounterMetricFamily("gatekeeper_rule_hits", "Hits of a rule", labels=["kind", "name"])
        for rule in snapshot.rules.rules:
            hits.add_metric([rule.kind, rule.name], rule.hits)
        yield hits
        bad = 1 if snapshot.rules.problems else 0
        yield GaugeMetricFamily(
            "gatekeeper_rules_broken", "1 while the rules file is not in force", value=bad
        )


async def serve(host: str, port: int, operator: Operator) -> asyncio.Server:
    """Answer `/metrics`, `/healthz` and `/readyz`. Raises ConfigError where the address cannot be had."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(_TIMEOUT_S):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _respond(request, operator))
                await writer.drain()
        writer.close()

    try:
        return await asyncio.start_server(answer, host, port, limit=_MAX_REQUEST_BYTES)
    except OSError as problem:
        why = "is in use" if problem.errno == errno.EADDRINUSE else problem.strerror or "cannot be had"
        raise ConfigError(f"[gateway] metrics: {host}:{port} {why}") from None


async def close(server: asyncio.Server) -> None:
    """Stop answering."""
    server.close()
    await server.wait_closed()


async def _respond(request: bytes, operator: Operator) -> bytes:
    parts = request.split(b" ", 2)
    if len(parts) < 3 or parts[0] not in (b"GET", b"HEAD"):
        return _response("405 Method Not Allowed", _TEXT, b"only GET\n")
    match parts[1].split(b"?")[0]:
        case b"/healthz":
            return _response("200 OK", _TEXT, b"ok\n")
        case b"/readyz" | b"/metrics" as path:
            try:
                snapshot = await operator.snapshot(2**62)
            except GatekeeperError as problem:
                return _response("503 Service Unavailable", _TEXT, f"{problem}\n".encode())
            if path == b"/readyz":
                return _response("200 OK", _TEXT, b"ready\n")
            registry = CollectorRegistry(auto_describe=False)
            registry.register(_FromSnapshot(snapshot))
            return _response("200 OK", _PROMETHEUS, generate_latest(registry))
        case _:
            return _response("404 Not Found", _TEXT, b"try /metrics, /healthz or /readyz\n")


def _response(status: str, kind: str, body: bytes) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "Connection: close", "", "")).encode() + body
