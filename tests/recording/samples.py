"""Events as a gateway submits them."""

from __future__ import annotations

from typing import Any

from gatekeeper.events import (
    Login,
    Sample,
    SessionEnded,
    StatementClosed,
    StatementOpened,
)
from gatekeeper.model import Action, SessionInfo

T0 = 1_750_000_000.0


def info(id_: str = "s1", **more: Any) -> SessionInfo:
    fields: dict[str, Any] = {
        "id": id_,
        "grant": "ci-migrations",
        "subject": "repo:acme/app:ref:refs/heads/main",
        "issuer": "github",
        "run": "771.1",
        "database": "app",
        "client": "127.0.0.1:50412",
        "application": "psql",
        "claims": {"ref": "refs/heads/main", "run_id": 771},
    }
    return SessionInfo(**{**fields, **more})


def login(id_: str = "s1", at: float = T0, **more: Any) -> Login:
    return Login(at, info(id_, **more))


def opened(n: int = 1, sql: str = "select 1", session: str = "s1", **more: Any) -> StatementOpened:
    fields: dict[str, Any] = {
        "at": T0 + n,
        "session": session,
        "n": n,
        "protocol": "simple",
        "sql": sql,
        "params": None,
        "tags": ("SELECT",),
        "classes": ("READ",),
        "relations": ("public.customers",),
        "functions": ("lower",),
        "verdict": Action.ALLOW,
        "guards": (),
    }
    return StatementOpened(**{**fields, **more})


def closed(n: int = 1, session: str = "s1", **more: Any) -> StatementClosed:
    fields: dict[str, Any] = {
        "at": T0 + n + 0.25,
        "session": session,
        "n": n,
        "outcome": "SELECT 1",
        "rows": 1,
        "duration_ms": 250.0,
    }
    return StatementClosed(**{**fields, **more})


def ended(session: str = "s1", at: float = T0 + 100) -> SessionEnded:
    return SessionEnded(at, session, "client disconnected")


SAMPLE = Sample(("id", "ssn"), (("1", "[REDACTED]"), ("2", None)))
