"""Each table of the rules file, from TOML's values to ours.

Nothing is guessed: what is not plainly right is noted as a problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, get_args

from gatekeeper.model import Action, StatementClass
from gatekeeper.rules import addresses, tags
from gatekeeper.rules.hours import parse_hours
from gatekeeper.rules.patterns import LinearPattern
from gatekeeper.rules.schema import (
    DatabaseRules,
    GatewayRules,
    GrantRules,
    GuardRules,
    IssuerRules,
    MaskMethod,
    MaskRules,
    Mode,
    PolicyRules,
    Predicates,
)
from gatekeeper.rules.table import Table, kind, shown

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
METHODS: Final[tuple[MaskMethod, ...]] = get_args(MaskMethod)
PREDICATES: Final[tuple[Predicates, ...]] = get_args(Predicates)
ACTIONS: Final = ("warn", "approve", "block")
CLASSES: Final[tuple[StatementClass, ...]] = tuple(StatementClass)
ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
DETECTORS: Final = ("CREDIT_CARD", "US_SSN", "EMAIL_ADDRESS", "IBAN_CODE", "PHONE_NUMBER", "IP_ADDRESS")


def gateway(table: Table, base: Path) -> GatewayRules:
    """`[gateway]`."""
    default = GatewayRules()
    listen = table.parsed("listen", addresses.parse_listen, None)
    metrics = table.parsed("metrics", addresses.parse_listen, None)
    certificate, key = table.text("tls_cert", None), table.text("tls_key", None)
    for name, value, other in (("tls_cert", certificate, "tls_key"), ("tls_key", key, "tls_cert")):
        if value is not None and not table.has(other):
            table.problem(name, f"needs {other} beside it")
    return GatewayRules(
        listen_host=listen.host if listen else default.listen_host,
        listen_port=listen.port if listen else default.listen_port,
        tls_cert=base / certificate if certificate else None,
        tls_key=base / key if key else None,
        store=table.parsed(
            "store", lambda text: addresses.parse_store(text, base), str(base / default.store)
        ),
        control=base / table.text("control", str(default.control)),
        metrics_host=metrics.host if metrics else None,
        metrics_port=metrics.port if metrics else None,
        login_timeout_s=table.duration("login_timeout", default.login_timeout_s),
        max_clients=table.number("max_clients", default.max_clients, least=1),
        record_rows=table.number("record_rows", default.record_rows, least=0),
    )


def policy(table: Table) -> PolicyRules:
    """`[policy]`."""
    default = PolicyRules()
    return PolicyRules(
        dynamic_sql=table.choice("dynamic_sql", MODES, default.dynamic_sql),
        opaque_function=table.choice("opaque_function", MODES, default.opaque_function),
        approval_timeout_s=table.duration("approval_timeout", default.approval_timeout_s),
    )


def issuer(table: Table, base: Path) -> IssuerRules:
    """`[[issuer]]`."""
    url = table.required("issuer")
    keys = table.parsed("jwks", lambda text: addresses.parse_keys(text, base), None)
    if url and not table.has("jwks"):
        try:
            addresses.parse_https(url)
        except ValueError as error:
            table.problem("issuer", f"{error}, or jwks must say where its keys are")
    if not table.has("audience"):
        table.problem("audience", "missing: any token of that issuer, for whatever service, would do")
    return IssuerRules(
        name=name(table),
        issuer=url,
        audience=table.texts("audience", (), alone=True),
        jwks=keys,
        algorithms=_algorithms(table),
    )


def _algorithms(table: Table) -> tuple[str, ...]:
    default = ("RS256", "PS256", "ES256", "EdDSA")
    algorithms = table.texts("algorithms", default)
    for algorithm in algorithms:
        if algorithm.upper().startswith("HS") or algorithm.lower() == "none":
            reason = (
                "anyone who knows the public key could sign"
                if algorithm.lower() != "none"
                else "no signature"
            )
            table.problem("algorithms", f'"{shown(algorithm)}" is never accepted: {reason}')
        elif algorithm not in ALGORITHMS:
            table.problem(
                "algorithms",
                f'"{shown(algorithm)}" is none of {", ".join(ALGORITHMS)}',
            )
    return algorithms


def database(table: Table, base: Path) -> DatabaseRules:
    """`[[database]]`."""
    if not table.has("dsn"):
        table.problem("dsn", "missing")
    dsn = table.parsed("dsn", lambda text: addresses.parse_dsn(text, base), "")
    password = table.parsed("password", lambda text: addresses.parse_password(text, base), None)
    if dsn == addresses.EMBEDDED and table.has("password"):
        table.problem("password", 'goes with a postgresql:// dsn; "embedded" has its own')
    return DatabaseRules(name=name(table), dsn=dsn, password=password)


def grant(table: Table) -> GrantRules:
    """`[[grant]]`."""
    role = table.text("role", None)
    if role is not None and role.lower() == "none":
        table.problem("role", "none is PostgreSQL's word for no role; leave the key out")
    if not table.has("databases"):
        table.problem("databases", "missing")
    return GrantRules(
        name=name(table),
        issuer=table.required("issuer"),
        claims=_claims(table),
        databases=table.texts("databases", ()),
        classes=table.choices("classes", CLASSES, frozenset({StatementClass.READ})),
        role=role,
        run=table.texts("run", ()),
        ttl_s=table.duration("ttl", None),
        idle_timeout_s=table.duration("idle_timeout", None),
        max_sessions=table.number("max_sessions", None, least=1),
        auth=table.choice("auth", ("token", "oauthbearer"), "token"),
        require_reason=table.flag("require_reason", default=False),
    )


def _claims(table: Table) -> Mapping[str, tuple[str, ...]]:
    value = table.any("claims")
    if value is None or value == {}:
        table.problem("claims", "missing: the grant would admit every token of its issuer")
        return {}
    if not isinstance(value, dict):
        table.problem("claims", f"must be a table, not {kind(value)}")
        return {}
    claims: dict[str, tuple[str, ...]] = {}
    for key, wanted in _flattened(value):
        wanted_list = wanted if isinstance(wanted, list) else [wanted]
        globs = [text for item in wanted_list if (text := _claim_glob(item)) is not None]
        if not wanted_list:
            table.problem(f"claims.{shown(key)}", "must not be empty: nothing could match it")
        elif len(globs) < len(wanted_list):
            table.problem(
                f"claims.{shown(key)}", "must be a string, a boolean, an integer or a list of them, not empty"
            )
        elif key in claims:
            table.problem(f"claims.{shown(key)}", "given twice")
        claims[key] = tuple(dict.fromkeys(globs))
    return claims


def _flattened(values: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    """A table in the table is TOML's own reading of a dotted key, and means the claim at that path."""
    waiting = [("", values)]
    while waiting:
        before, table = waiting.pop(0)
        for key, value in table.items():
            if isinstance(value, dict) and value:
                waiting.append((f"{before}{key}.", value))
            else:
                yield f"{before}{key}", value


def _claim_glob(value: object) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str() if value:
            return value
        case _:
            return None


def guard(table: Table) -> GuardRules:
    """`[[guard]]`."""
    if not table.has("action"):
        table.problem("action", "missing")
    return GuardRules(
        name=name(table),
        action=Action(table.choice("action", ACTIONS, "block")),
        statements=_statements(table),
        classes=table.choices("classes", CLASSES, None),
        relations=_dotted_globs(table, "relations", "schema.table"),
        functions=table.texts("functions", None),
        where_missing=table.choice("where", ("missing",), None) is not None,
        min_rows=table.number("min_rows", None, least=0),
        dynamic=_only_true(table, "dynamic"),
        pattern=table.parsed("pattern", LinearPattern, None),
        databases=table.texts("databases", None),
        grants=table.texts("grants", None),
        except_grants=table.texts("except_grants", ()),
        hours=table.parsed("hours", parse_hours, None),
        message=table.text("message", None),
        approvals=table.number("approvals", 1, least=1),
        timeout_s=table.duration("timeout", None),
    )


def _only_true(table: Table, key: str) -> bool:
    value = table.flag(key, default=False)
    if table.any(key) is False:
        table.problem(key, "must be true, or left out where it does not matter")
    return value


def _statements(table: Table) -> tuple[str, ...] | None:
    globs = table.texts("statements", None)
    for glob in globs or ():
        if not tags.matching(glob):
            table.problem(
                "statements",
                f'"{shown(glob)}" is no statement of PostgreSQL; the nearest is "{tags.nearest(glob)}"',
            )
    return globs


def _dotted_globs(table: Table, key: str, form: str) -> tuple[str, ...] | None:
    """Globs that can match names of the form at all: a bare `customers` would silently match nothing."""
    globs = table.texts(key, None)
    dots = form.count(".")
    for glob in globs or ():
        if glob.count(".") < dots and not glob.startswith("*"):
            better = "*." * (dots - glob.count(".")) + glob
            table.problem(key, f'"{shown(glob)}" must be {form}, such as "{shown(better)}"')
    return globs


def mask(table: Table) -> MaskRules:
    """`[[mask]]`."""
    if table.has("columns") == table.has("detect"):
        table.problem("columns", "or detect must be there, and not both")
    if table.has("detect") and table.has("predicates"):
        table.problem("predicates", "goes with columns; what is only detected in results cannot be foreseen")
    detect = table.choices("detect", DETECTORS, frozenset[str]())
    return MaskRules(
        name=name(table),
        columns=_dotted_globs(table, "columns", "schema.table.column") or (),
        detect=tuple(kind_of for kind_of in DETECTORS if kind_of in detect),
        method=table.choice("method", METHODS, "redact"),
        grants=table.texts("grants", None),
        except_grants=table.texts("except_grants", ()),
        databases=table.texts("databases", None),
        predicates=table.choice("predicates", PREDICATES, "block"),
    )


def name(table: Table) -> str:
    """The name of an entry: one line that can be printed."""
    text = table.required("name")
    if not text.isprintable() or len(text) > 128:
        table.problem("name", "must be printable and at most 128 characters")
    return text
