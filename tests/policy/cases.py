"""Rules, grants and catalogs for tests of the decision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatekeeper.model import Action, StatementClass, Undecided, Verdict
from gatekeeper.policy.decide import decide
from gatekeeper.rules.load import parse
from gatekeeper.rules.schema import GrantRules, Rules
from gatekeeper.sql.catalog import Catalog, CatalogRelation, Column, Routine
from gatekeeper.sql.facts import extract

HEAD = """
[[issuer]]
name = "i"
issuer = "https://i.example"
audience = "gatekeeper"
jwks = "jwks.json"

[[database]]
name = "app"
dsn = "postgresql://u@db/app"
password = "env:PW"

[[database]]
name = "other"
dsn = "postgresql://u@db/other"
password = "env:PW"

[[grant]]
name = "ci"
issuer = "i"
claims = { a = "b" }
databases = ["app", "other"]
classes = ["READ", "WRITE", "DDL", "FUNCTION", "MISC", "ROLE", "SERVER"]

[[grant]]
name = "reader"
issuer = "i"
claims = { a = "b" }
databases = ["app"]

[[grant]]
name = "migrator"
issuer = "i"
claims = { a = "b" }
databases = ["app"]
classes = ["READ", "WRITE", "DDL"]
role = "app_migrator"
"""


def rules(text: str = "") -> Rules:
    """Rules with the head above, checked as `gatekeeper check` would."""
    return parse(HEAD + text, Path("/tmp/rules.toml"))


def grant(name: str = "ci", **changes: Any) -> GrantRules:
    from dataclasses import replace

    found = rules().grant(name)
    assert found is not None
    return replace(found, **changes)


def guard(**keys: Any) -> str:
    """A `[[guard]]` named g that blocks, if nothing else is said."""
    lines = ["[[guard]]"]
    for key, value in {"name": "g", "action": "block", **keys}.items():
        text = str(value).lower() if isinstance(value, bool) else repr(value)
        lines.append(f"{key} = {text}")
    return "\n".join(lines) + "\n"


def relation(
    oid: int, schema: str, name: str, kind: Any = "r", parents: tuple[int, ...] = (), **more: Any
) -> CatalogRelation:
    return CatalogRelation(oid, schema, name, kind, (Column(1, "id", 23, 23),), parents=parents, **more)


def routine(oid: int, schema: str, name: str, body: str, *, language: str = "sql", **more: Any) -> Routine:
    returns = "trigger" if more.get("returns_trigger") else "void"
    definition = f"CREATE FUNCTION {schema}.{name}() RETURNS {returns} LANGUAGE {language} AS $gk${body}$gk$"
    return Routine(oid, schema, name, language, "f", body, definition, **more)


CATALOG = Catalog(
    1,
    relations={
        r.oid: r
        for r in (
            relation(1, "public", "orders", "p"),
            relation(2, "archive", "orders_2019", parents=(1,)),
            relation(3, "public", "customers"),
            relation(4, "audit", "log"),
            relation(5, "tenant_a", "items"),
            relation(6, "tenant_b", "items"),
            relation(7, "public", "watched", triggers=(23,)),
            relation(8, "public", "v", "v", definition="SELECT id FROM customers"),
        )
    },
    routines={
        r.oid: r
        for r in (
            routine(20, "public", "purge", "DELETE FROM customers"),
            routine(21, "public", "careful", "DELETE FROM customers WHERE id = 1"),
            routine(22, "public", "sealed", "...", language="plpython3u"),
            routine(
                23, "public", "on_watched", "BEGIN RETURN NEW; END", language="plpgsql", returns_trigger=True
            ),
            routine(24, "public", "builder", "BEGIN EXECUTE x; END", language="plpgsql"),
        )
    },
)

NOON = 1_764_158_400.0
"""Wednesday 26 November 2025, 12:00 UTC."""


def judge(
    sql: str,
    text: str = "",
    *,
    by: GrantRules | str = "ci",
    database: str = "app",
    now: float = NOON,
    catalog: Catalog = CATALOG,
    estimates: Mapping[int, float | None] | None = None,
    reason: str | None = None,
) -> Verdict | Undecided:
    """What `decide` says of a statement under HEAD and `text`."""
    who = grant(by) if isinstance(by, str) else by
    return decide(
        extract(sql, catalog), who, database, rules(text), catalog, now, estimates=estimates, reason=reason
    )


def verdict(sql: str, text: str = "", **more: Any) -> Verdict:
    found = judge(sql, text, **more)
    assert isinstance(found, Verdict)
    return found


def action(sql: str, text: str = "", **more: Any) -> Action:
    return verdict(sql, text, **more).action


def message(sql: str, text: str = "", **more: Any) -> str:
    refusal = verdict(sql, text, **more).refusal
    assert refusal is not None
    assert refusal.sqlstate == "42501"
    return refusal.message


ALL = frozenset(StatementClass)
