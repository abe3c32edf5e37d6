"""The rules as values: what `rules.toml` says, validated, with defaults filled in.

Immutable, so that a reload is one assignment and a session can hold on to what it was judged by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from gatekeeper.model import Action, StatementClass

Mode = Literal["allow", "warn", "approve", "block"]
MaskMethod = Literal["redact", "null", "hash", "last4", "email"]
Predicates = Literal["allow", "approve", "block"]


class TextPattern(Protocol):
    """A compiled regular expression; `re.Pattern[str]` is one as well."""

    @property
    def pattern(self) -> str:
        """The expression as it was written."""
        ...

    def search(self, text: str, /) -> object:
        """Something true where the expression is found anywhere in the text."""
        ...


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """`[gateway]`; a change needs a restart."""

    listen_host: str = "127.0.0.1"
    listen_port: int = 6432
    tls_cert: Path | None = None
    tls_key: Path | None = None
    store: str = "recordings.db"
    """An absolute path of an SQLite file, or a postgresql:// URL."""
    control: Path = Path("gatekeeper.sock")
    metrics_host: str | None = None
    metrics_port: int | None = None
    login_timeout_s: float = 15.0
    max_clients: int = 500
    record_rows: int = 100


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """`[policy]`."""

    dynamic_sql: Mode = "approve"
    opaque_function: Mode = "approve"
    approval_timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class IssuerRules:
    """`[[issuer]]`."""

    name: str
    issuer: str
    audience: tuple[str, ...]
    jwks: str | None = None
    """An absolute path or a URL; None: OIDC discovery."""
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")


@dataclass(frozen=True, slots=True)
class PasswordSource:
    """Where a database password comes from; read again for each new connection."""

    kind: Literal["env", "file", "cmd"]
    value: str


@dataclass(frozen=True, slots=True)
class DatabaseRules:
    """`[[database]]`."""

    name: str
    dsn: str
    """`embedded`, or a postgresql:// URL without a password."""
    password: PasswordSource | None = None


@dataclass(frozen=True, slots=True)
class GrantRules:
    """`[[grant]]`."""

    name: str
    issuer: str
    claims: Mapping[str, tuple[str, ...]]
    """Claim name to globs, any of which may match; booleans are `"true"` and `"false"`."""
    databases: tuple[str, ...]
    classes: frozenset[StatementClass] = frozenset({StatementClass.READ})
    role: str | None = None
    run: tuple[str, ...] = ()
    ttl_s: float | None = None
    idle_timeout_s: float | None = None
    max_sessions: int | None = None
    auth: Literal["token", "oauthbearer"] = "token"
    require_reason: bool = False


@dataclass(frozen=True, slots=True)
class Hours:
    """`hours = "Mon-Fri 09:00-17:00 Europe/Berlin"`; `end` before `start` crosses midnight."""

    days: frozenset[int]
    """0 is Monday."""
    start: time
    end: time
    zone: ZoneInfo
    text: str


@dataclass(frozen=True, slots=True)
class GuardRules:
    """`[[guard]]`. None stands for a condition that is not there."""

    name: str
    action: Action
    """WARN, APPROVE or BLOCK."""
    statements: tuple[str, ...] | None = None
    """Globs on command tags, in upper case."""
    classes: frozenset[StatementClass] | None = None
    relations: tuple[str, ...] | None = None
    functions: tuple[str, ...] | None = None
    where_missing: bool = False
    min_rows: int | None = None
    dynamic: bool = False
    pattern: TextPattern | None = None
    databases: tuple[str, ...] | None = None
    grants: tuple[str, ...] | None = None
    except_grants: tuple[str, ...] = ()
    hours: Hours | None = None
    message: str | None = None
    approvals: int = 1
    timeout_s: float | None = None
    """None: `[policy] approval_timeout`."""


@dataclass(frozen=True, slots=True)
class MaskRules:
    """`[[mask]]`: by column, or by content where `detect` is set."""

    name: str
    columns: tuple[str, ...] = ()
    """Globs `schema.table.column`."""
    detect: tuple[str, ...] = ()
    method: MaskMethod = "redact"
    grants: tuple[str, ...] | None = None
    except_grants: tuple[str, ...] = ()
    databases: tuple[str, ...] | None = None
    predicates: Predicates = "block"


@dataclass(frozen=True, slots=True)
class Rules:
    """A whole rules file. `version` is a short hash of its text."""

    path: Path
    version: str
    gateway: GatewayRules = field(default_factory=GatewayRules)
    policy: PolicyRules = field(default_factory=PolicyRules)
    issuers: tuple[IssuerRules, ...] = ()
    databases: tuple[DatabaseRules, ...] = ()
    grants: tuple[GrantRules, ...] = ()
    guards: tuple[GuardRules, ...] = ()
    masks: tuple[MaskRules, ...] = ()

    def grant(self, name: str) -> GrantRules | None:
        """The grant of that name."""
        return next((g for g in self.grants if g.name == name), None)

    def database(self, name: str) -> DatabaseRules | None:
        """The database of that name."""
        return next((d for d in self.databases if d.name == name), None)

    def issuer(self, name: str) -> IssuerRules | None:
        """The issuer of that name."""
        return next((i for i in self.issuers if i.name == name), None)
