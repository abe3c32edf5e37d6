"""Frozen values that all parts share. No behaviour but what follows from the value itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal


class Secret:
    """A text that no log, record or screen may show; `reveal()` is the one way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the secret itself, to hand it to the one who needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))


class StatementClass(StrEnum):
    """What a statement does, in pgaudit's classes, and SERVER for what reaches outside the database."""

    READ = "READ"
    WRITE = "WRITE"
    FUNCTION = "FUNCTION"
    ROLE = "ROLE"
    DDL = "DDL"
    MISC = "MISC"
    SERVER = "SERVER"


class Action(StrEnum):
    """What becomes of a statement, weakest first. REJECT: refused without a guard (class, syntax, mask)."""

    ALLOW = "allow"
    WARN = "warn"
    APPROVE = "approve"
    BLOCK = "block"
    REJECT = "reject"


STRICTNESS: Final[Mapping[Action, int]] = {action: rank for rank, action in enumerate(Action)}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The error that a refused statement gets in place of its result."""

    sqlstate: str
    message: str
    detail: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has logged in, and as what."""

    issuer: str
    """Name of the `[[issuer]]`, not its URL."""
    subject: str
    claims: Mapping[str, Any]
    grant: str
    run: str
    """Identifies one pipeline run within the grant; printed by `SHOW gatekeeper.run`."""
    token_expires_at: float
    """Unix time, seconds."""


# --- what a statement contains (sql → policy, masking, recording) ---------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class RelationRef:
    """A relation as a statement names it; `schema` is None where the name is unqualified."""

    schema: str | None
    name: str
    written: bool = False

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True, order=True)
class FunctionRef:
    """A function as a statement names it."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True)
class Effect:
    """One statement, on its own or nested in another: its command tag, and whether it lacks a WHERE."""

    tag: str
    where_missing: bool = False
    """True only for UPDATE and DELETE without WHERE."""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A session setting that a statement changes, by SET, RESET, set_config or ALTER."""

    name: str
    """Lower case. `*` for RESET ALL; `?` where it is computed at run time."""
    value: str | None
    """None for RESET, DEFAULT, or a value computed at run time (then `computed`)."""
    computed: bool = False
    local: bool = False


CopyDirection = Literal["in", "out"]


@dataclass(frozen=True, slots=True)
class StatementFacts:
    """All that one top-level statement would run, nested statements and readable bodies merged in."""

    tag: str
    text: str
    """The statement's own slice of the query, without its semicolon."""
    effects: tuple[Effect, ...]
    """Its own effect first, then those nested in it."""
    classes: frozenset[StatementClass]
    relations: frozenset[RelationRef] = frozenset()
    functions: frozenset[FunctionRef] = frozenset()
    settings: tuple[SettingChange, ...] = ()
    dynamic_sql: bool = False
    """SQL whose text is computed at run time."""
    opaque_functions: frozenset[FunctionRef] = frozenset()
    """User-defined functions whose bodies cannot be read."""
    transaction: str | None = None
    """BEGIN, COMMIT, ROLLBACK, SAVEPOINT, RELEASE, ROLLBACK TO, PREPARE TRANSACTION, … in upper case."""
    prepares: str | None = None
    executes: str | None = None
    declares: str | None = None
    fetches: str | None = None
    copy: CopyDirection | None = None
    """COPY … FROM STDIN or TO STDOUT."""
    changes_catalog: bool = False
    """True where names or shapes may differ afterwards: DDL, SELECT INTO, DO, unknown functions."""
    calls_end_run: bool = False
    """`CALL gatekeeper.end_run()`."""
    aliases: frozenset[tuple[str, RelationRef]] = frozenset()
    """What a relation's name may stand for besides, once this has run and no snapshot shows it: what a view
    reads, what was renamed, a new child. A schema's new name ends in a dot and stands for another schema."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The command tags of all effects, in order, each once."""
        return tuple(dict.fromkeys(effect.tag for effect in self.effects))


@dataclass(frozen=True, slots=True)
class Facts:
    """What one query string contains; no statements for an empty query."""

    sql: str
    statements: tuple[StatementFacts, ...]
    syntax_error: Refusal | None = None
    """Set where the text cannot be parsed (42601) or is too deep or too long to be judged (54001, 54000)."""

    @property
    def classes(self) -> frozenset[StatementClass]:
        """Every class that any statement contains."""
        return frozenset().union(*(s.classes for s in self.statements))

    @property
    def tags(self) -> tuple[str, ...]:
        """The command tags of all statements, nested ones too, in order, each once."""
        return tuple(dict.fromkeys(tag for s in self.statements for tag in s.tags))

    @property
    def relations(self) -> tuple[str, ...]:
        """Names of all relations, sorted."""
        return tuple(sorted({str(r) for s in self.statements for r in s.relations}))

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of all functions, sorted."""
        return tuple(sorted({str(f) for s in self.statements for f in s.functions}))


# --- what was decided (policy → proxy, recording) -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hold:
    """A statement has to wait: for `approvals` distinct people, at most `timeout_s`."""

    guard: str
    """Name of the guard, or `policy.dynamic_sql` / `policy.opaque_function` / `mask NAME`."""
    approvals: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a query string, and why."""

    action: Action
    guards: tuple[str, ...] = ()
    """Every guard that matched, in the order of the file."""
    refusal: Refusal | None = None
    """Set for BLOCK and REJECT."""
    hold: Hold | None = None
    """Set for APPROVE."""
    warnings: tuple[str, ...] = ()
    """A line for each guard that only warns, sent to the client as WARNING."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """The rules cannot decide without the planner's estimate for these statements (indexes into Facts)."""

    statements: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TableImpact:
    """A table that a held statement would touch."""

    name: str
    rows: int | None
    """The catalog's estimate."""
    bytes: int | None
    lock: str
    """The strongest lock mode that the statement takes on it, such as `RowExclusiveLock`."""
    cascades: tuple[str, ...] = ()
    """Foreign keys that would carry the change on: `orders.customer_id (CASCADE)`."""
    conflicts: tuple[str, ...] = ()
    """Who holds or waits for conflicting locks now."""


@dataclass(frozen=True, slots=True)
class Impact:
    """What a held statement would touch; `problem` says what could not be found out."""

    tables: tuple[TableImpact, ...] = ()
    estimated_rows: int | None = None
    plan: tuple[str, ...] = ()
    problem: str | None = None


# --- what is recorded (proxy → recording → control, console) --------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What every record of a session repeats."""

    id: str
    grant: str
    subject: str
    issuer: str
    run: str
    database: str
    client: str = ""
    """Address of the client, `host:port`."""
    application: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's decision on a held statement."""

    who: str
    at: float
    approved: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """How a hold ended: `decision` is approved, denied, timed_out, withdrawn or ended."""

    id: str
    guard: str
    decision: str
    decisions: tuple[Decision, ...] = ()


# --- what is live (proxy, identity, policy → control) ---------------------------------------------------

SessionState = Literal["idle", "active", "in transaction", "failed transaction", "held"]


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A live session, at one moment. Times are Unix seconds."""

    info: SessionInfo
    state: SessionState
    started_at: float
    state_since: float
    statements: int
    refused: int
    current_sql: str | None = None
    transaction_started_at: float | None = None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run that holds a grant now. Times are Unix seconds."""

    run: str
    grant: str
    subject: str
    issuer: str
    started_at: float
    ends_at: float
    """Infinity where the grant has no ttl."""
    sessions: int


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """What a person is asked to decide: exactly these bytes and parameters."""

    session: SessionInfo
    n: int
    """The statement's number in its session, as in its records."""
    sql: str
    params: tuple[str | None, ...] | None
    tags: tuple[str, ...]
    guards: tuple[str, ...]
    hold: Hold
    reason: str | None = None
    """What the requester set as `gatekeeper.reason`."""
    transaction_started_at: float | None = None
    earlier_statements: int = 0
    """Statements of the open transaction before this one."""


ApprovalState = Literal["waiting", "approved", "denied", "timed_out", "withdrawn", "ended"]


@dataclass(frozen=True, slots=True)
class Approval:
    """A held statement and what became of it. Times are Unix seconds."""

    id: str
    request: HoldRequest
    created_at: float
    deadline_at: float
    state: ApprovalState = "waiting"
    decisions: tuple[Decision, ...] = ()
    impact: Impact | None = None
    """None while it is being found out."""

    @property
    def record(self) -> ApprovalRecord:
        """How it ended, for the recording."""
        return ApprovalRecord(self.id, self.request.hold.guard, self.state, self.decisions)
