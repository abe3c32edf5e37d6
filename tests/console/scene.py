"""A day at the gateway: what the snapshot tests and the pictures of the tests show."""

from __future__ import annotations

import random

import msgspec

from gatekeeper.control.operator import DecisionView, Metrics, RuleView
from gatekeeper.model import Impact, TableImpact
from gatekeeper.recording.views import RecordedSession, RecordView
from tests.console.scripted import NOW, SUBJECT, UPDATE, Clock, ScriptedOperator

IMPACT = Impact(
    tables=(
        TableImpact(
            "public.orders", 1_204_300, 356_515_840, "RowExclusiveLock", ("order_lines.order_id (CASCADE)",)
        ),
        TableImpact("public.customers", 84_120, 19_922_944, "AccessShareLock"),
    ),
    estimated_rows=41_870,
    plan=("Update on orders", "  ->  Hash Semi Join", "        ->  Seq Scan on orders"),
)

_STREAM = (
    ("ci", "BEGIN", "allow", "BEGIN", None, 0.11, ()),
    (
        "ci",
        "SELECT version, checksum FROM schema_migrations ORDER BY version",
        "allow",
        "SELECT 42",
        42,
        0.82,
        (),
    ),
    (
        "bot",
        "select id, name, email from customers where region = 'eu' order by created_at desc limit 20",
        "allow",
        "SELECT 20",
        20,
        3.4,
        ("public.customers.email",),
    ),
    ("ci", "ALTER TABLE orders ADD COLUMN void_reason text", "allow", "ALTER TABLE", None, 8.2, ()),
    ("lena", "select count(*) from orders where status = 'open'", "allow", "SELECT 1", 1, 12.6, ()),
    (
        "bot",
        "select ssn from customers where id = $1",
        "allow",
        "SELECT 1",
        1,
        0.6,
        ("public.customers.ssn",),
    ),
    ("bot", "SELECT * FROM customers WHERE ssn LIKE '123%'", "reject", "42501", None, 0.0, ()),
    ("lena", "TRUNCATE TABLE order_lines", "block", "42501", None, 0.0, ()),
    (
        "bot",
        "insert into notes (customer_id, body) values ($1, $2) returning id",
        "allow",
        "INSERT 0 1",
        1,
        1.1,
        (),
    ),
    (
        "lena",
        "update orders set note = 'checked' where id between 1200 and 1300",
        "warn",
        "UPDATE 101",
        101,
        4.8,
        (),
    ),
    (
        "bot",
        "select o.id, c.card_number from orders o join customers c on c.id = o.customer_id where total > 500",
        "allow",
        "SELECT 311",
        311,
        41.0,
        ("public.customers.card_number",),
    ),
    ("bot", "selec 1", "reject", "42601", None, 0.0, ()),
    (
        "lena",
        "delete from carts where touched_at < now() - interval '30 days'",
        "approve",
        "DELETE 2210",
        2210,
        184.0,
        (),
    ),
    ("bot", "select pg_sleep(5)", "allow", None, None, 0.0, ()),
)
_GUARDS = {"block": ("no-truncate",), "warn": ("office-hours",), "approve": ("big-write",)}


def empty(clock: Clock) -> ScriptedOperator:
    """A gateway that nobody has logged in to yet."""
    operator = ScriptedOperator(clock)
    operator.hints = (
        'psql "$(cat ~/.local/state/gatekeeper/demo/psql)"',
        'psql "$(cat ~/.local/state/gatekeeper/demo/psql-analyst)"',
    )
    return operator


def busy(clock: Clock) -> ScriptedOperator:
    """Sessions, a stream, decided approvals, rules, recordings; nothing waits."""
    operator = empty(clock)
    now = clock()
    operator.login("5f0c2a", state="idle", started_at=now - 252)
    operator.login(
        "9b417e",
        grant="support-bot",
        subject="service:helpdesk",
        run="jti-77aa01",
        state="active",
        state_since=now - 4,
        started_at=now - 3_900,
        application="helpdesk",
        client="10.0.0.9:40110",
    )
    operator.login(
        "c11d90",
        grant="oncall",
        subject="lena@acme.example",
        run="lena-0921",
        state="in transaction",
        state_since=now - 31,
        started_at=now - 1_260,
        transaction_started_at=now - 31,
        client="10.0.0.4:50321",
    )
    ids = {"ci": "5f0c2a", "bot": "9b417e", "lena": "c11d90"}
    start = now - 60
    end = now
    for place, (who, sql, verdict, outcome, rows, ms, masked) in enumerate(_STREAM * 3):
        clock.now = start + place * 60 / (len(_STREAM) * 3)
        seen = operator.judged(ids[who], sql, verdict, guards=_GUARDS.get(verdict, ()))
        if outcome is not None or place < len(_STREAM) * 2:
            operator.closed(seen, outcome or "SELECT 1", rows, ms, masked_columns=masked)
    clock.now = end
    rng = random.Random(7)
    per_second = tuple(int(40 + 25 * rng.random() + (60 if 30 < i < 38 else 0)) for i in range(60))
    operator.metrics = Metrics(
        started_at=now - 7_260,
        statements=128_412,
        refused=31,
        held=6,
        logins=42,
        logins_failed=3,
        p50_ms=0.42,
        p99_ms=18.3,
        per_second=per_second,
    )
    operator.says(
        "login refused: grant ci-migrations: claim ref is refs/heads/fix-1, not refs/heads/main (10.0.0.7)"
    )
    _decided(operator)
    _rules(operator)
    _recordings(operator)
    return operator


def waiting(clock: Clock) -> ScriptedOperator:
    """The same, and an approval that waits."""
    operator = busy(clock)
    operator.hold(
        "a7f3",
        "5f0c2a",
        impact=IMPACT,
        guards=("big-write", "office-hours"),
        reason="close abandoned orders, OPS-1423",
        transaction_started_at=clock() - 12,
        earlier_statements=3,
        params=("90",),
    )
    return operator


def _decided(operator: ScriptedOperator) -> None:
    now = operator.clock()
    three = operator.hold("0e7b", "5f0c2a", "drop table old_orders", guard="drops", guards=("drops",))
    operator.becomes(three.id, state="timed_out", created_at=now - 2_000, deadline_at=now - 1_880)
    two = operator.hold(
        "5d22",
        "9b417e",
        "update customers set note = null",
        guard="unbounded-write",
        guards=("unbounded-write",),
        needed=2,
    )
    operator.becomes(
        two.id,
        state="denied",
        decisions=(
            DecisionView("jon", now - 900, True),
            DecisionView("mia", now - 890, False, "where is the WHERE?"),
        ),
        created_at=now - 950,
        deadline_at=now - 830,
    )
    one = operator.hold(
        "91c0", "c11d90", "delete from carts where touched_at < now() - interval '30 days'", impact=IMPACT
    )
    operator.becomes(
        one.id,
        state="approved",
        decisions=(DecisionView("mia", now - 300, True, "agreed in standup"),),
        created_at=now - 320,
        deadline_at=now - 200,
    )
    for ident, state in (("5f0c2a", "idle"), ("9b417e", "active"), ("c11d90", "in transaction")):
        operator.sessions_now[ident] = msgspec.structs.replace(operator.sessions_now[ident], state=state)


def _rules(operator: ScriptedOperator) -> None:
    now = operator.clock()
    rules = (
        RuleView("guard", "no-truncate", "block", "statements DROP DATABASE, TRUNCATE TABLE", 3, now - 40),
        RuleView(
            "guard",
            "unbounded-write",
            "approve",
            "statements UPDATE, DELETE; where missing; 2 approvals within 2m",
            4,
            now - 900,
        ),
        RuleView("guard", "big-write", "approve", "classes WRITE; min_rows 10000", 6, now - 10),
        RuleView(
            "guard",
            "office-hours",
            "warn",
            "classes WRITE; hours Mon-Fri 17:00-09:00 Europe/Berlin",
            18,
            now - 20,
        ),
        RuleView(
            "grant",
            "ci-migrations",
            "READ WRITE DDL",
            "issuer github; repository_id 1296269; ref refs/heads/main; databases app; ttl 30m",
            12,
            now - 252,
        ),
        RuleView(
            "grant",
            "support-bot",
            "READ",
            "issuer internal; sub service:helpdesk; databases app",
            29,
            now - 3_900,
        ),
        RuleView(
            "grant",
            "oncall",
            "READ WRITE",
            "issuer sso; groups oncall; databases app, billing; idle 10m",
            5,
            now - 1_260,
        ),
        RuleView(
            "mask",
            "pii",
            "redact",
            "public.customers.ssn, *.*.card_number; except dba; predicates block",
            211,
            now - 2,
        ),
        RuleView("mask", "mail", "email", "*.*.email; predicates block", 1_840, now - 3),
        RuleView("mask", "found-in-text", "last4", "detect CREDIT_CARD, US_SSN, IBAN_CODE", 0, None),
    )
    operator.rules = msgspec.structs.replace(operator.rules, rules=rules)


def _recordings(operator: ScriptedOperator) -> None:
    now = operator.clock()
    rng = random.Random(3)
    people = (
        ("ci-migrations", SUBJECT, "app"),
        ("support-bot", "service:helpdesk", "app"),
        ("oncall", "lena@acme.example", "billing"),
    )
    for place in range(24):
        grant, subject, database = people[place % 3]
        started = now - 252 - place * 5_400 - rng.randrange(900)
        ident = f"{rng.getrandbits(24):06x}"
        live = place < 2
        operator.recordings[ident] = RecordedSession(
            id=ident,
            grant=grant,
            subject=subject,
            issuer="github",
            run=f"{8812 - place}.1",
            database=database,
            client="10.0.0.7:51012",
            started_at=started,
            ended_at=None if live else started + rng.randrange(20, 4_000),
            end_reason=None if live else "client left" if place % 4 else "idle too long",
            statements=rng.randrange(3, 400),
            refused=rng.choice((0, 0, 0, 2)),
            held=rng.choice((0, 0, 1)),
        )
        operator.record_rows[ident] = records(ident, started, grant, subject, database)


def records(ident: str, started: float, grant: str, subject: str, database: str) -> list[RecordView]:
    """What one session did: with a silence of four minutes, a refusal, a held statement and masked rows."""
    common = {
        "session": ident,
        "grant": grant,
        "subject": subject,
        "issuer": "github",
        "run": "8812.1",
        "database": database,
        "hash": "0" * 64,
    }

    def one(
        seq: int,
        after: float,
        sql: str,
        verdict: str,
        outcome: str,
        rows: int | None,
        ms: float,
        **more: object,
    ) -> RecordView:
        return RecordView(
            seq=seq,
            kind="statement",
            at=started + after,
            sql=sql,
            protocol="simple",
            verdict=verdict,
            outcome=outcome,
            rows=rows,
            duration_ms=ms,
            tags=(sql.split()[0].upper(),),
            classes=("READ",),
            **common,
            **more,  # type: ignore[arg-type]
        )

    return [
        RecordView(seq=100, kind="login", at=started, detail="from 10.0.0.7:51012", **common),  # type: ignore[arg-type]
        one(
            101,
            0.8,
            "SELECT version FROM schema_migrations ORDER BY version DESC LIMIT 1",
            "allow",
            "SELECT 1",
            1,
            0.8,
            relations=("public.schema_migrations",),
            sample_columns=("version",),
            sample_rows=(("2026.09.18",),),
        ),
        one(
            102,
            3.1,
            "SELECT id, name, ssn, email, region, created_at FROM customers "
            "WHERE region = $1 ORDER BY id LIMIT 5",
            "allow",
            "SELECT 5",
            5,
            2.1,
            params=("eu",),
            relations=("public.customers",),
            masked_columns=("public.customers.ssn", "public.customers.email"),
            sample_columns=("id", "name", "ssn", "email", "region", "created_at"),
            sample_rows=tuple(
                (str(i), name, "[REDACTED]", f"****@{host}", "eu", f"2026-0{i}-11 09:30:00")
                for i, (name, host) in enumerate(
                    (
                        ("Ada Byron", "example.org"),
                        ("Grace Hopper", "navy.example"),
                        ("Łukasz Żak", "przykład.example"),
                        ("Mary Jackson", "example.org"),
                        ("Anita Borg", "example.net"),
                    ),
                    start=1,
                )
            ),
        ),
        one(
            103,
            7.4,
            "SELECT * FROM customers WHERE ssn LIKE '123%'",
            "reject",
            "42501",
            None,
            0.0,
            relations=("public.customers",),
        ),
        one(
            104,
            260.0,
            UPDATE,
            "approve",
            "UPDATE 41870",
            41_870,
            2_810.0,
            relations=("public.customers", "public.orders"),
            guards=("big-write",),
            approval={
                "id": "a7f3",
                "guard": "big-write",
                "decision": "approved",
                "decisions": [
                    {"who": "mia", "at": started + 300, "approved": True, "reason": "as in OPS-1423"}
                ],
            },
        ),
        one(105, 301.5, "COMMIT", "allow", "COMMIT", None, 4.4),
        RecordView(seq=106, kind="session_end", at=started + 303.0, detail="client left", **common),  # type: ignore[arg-type]
    ]


assert NOW
