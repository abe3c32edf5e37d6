"""A rules file is right as a whole or refused with every reason: table, key and what is wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.errors import ConfigError
from gatekeeper.model import Action, StatementClass
from gatekeeper.rules.load import load, parse, restart_needed, warnings
from gatekeeper.rules.schema import GatewayRules, Rules

PATH = Path("/etc/gatekeeper/rules.toml")

BASIC = """
[[issuer]]
name = "github"
issuer = "https://token.actions.githubusercontent.com"
audience = "gatekeeper"

[[database]]
name = "app"
dsn = "embedded"

[[grant]]
name = "ci"
issuer = "github"
claims = { ref = "refs/heads/main" }
databases = ["app"]
"""


def rules(text: str = "") -> Rules:
    return parse(BASIC + text, PATH)


def problems(text: str, basic: str = BASIC) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(basic + text, PATH)
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


def test_what_is_left_out_has_the_contract_s_defaults() -> None:
    loaded = rules()
    assert loaded.gateway == GatewayRules(
        store="/etc/gatekeeper/recordings.db", control=Path("/etc/gatekeeper/gatekeeper.sock")
    )
    assert loaded.policy.dynamic_sql == loaded.policy.opaque_function == "approve"
    assert loaded.issuers[0].algorithms == ("RS256", "PS256", "ES256", "EdDSA")
    assert loaded.grants[0].classes == {StatementClass.READ}
    assert loaded.grants[0].auth == "token"


def test_the_whole_file_of_the_contract_loads() -> None:
    text = """
[gateway]
listen = "127.0.0.1:6432"
tls_cert = "gateway.crt"
tls_key = "gateway.key"
store = "recordings.db"
control = "gatekeeper.sock"
metrics = "127.0.0.1:9432"
login_timeout = "15s"
max_clients = 500
record_rows = 0
[policy]
dynamic_sql = "block"
opaque_function = "allow"
approval_timeout = "5m"
[[database]]
name = "prod"
dsn = "postgresql://migrator@db.internal:5432/app?sslmode=verify-full&sslrootcert=ca.pem"
password = "env:APP_DB_PASSWORD"
[[grant]]
name = "ci-migrations"
issuer = "github"
claims = { repository_id = "1296269", ref = ["refs/heads/main", "refs/heads/release/*"], protected = true }
databases = ["app", "prod"]
classes = ["READ", "WRITE", "DDL"]
role = "app_migrator"
run = ["run_id", "run_attempt"]
ttl = "30m"
idle_timeout = "10m"
max_sessions = 4
auth = "oauthbearer"
require_reason = true
[[guard]]
name = "everything"
statements = ["DROP *", "TRUNCATE TABLE"]
classes = ["WRITE"]
relations = ["public.*"]
functions = ["pg_*"]
where = "missing"
min_rows = 10000
dynamic = true
pattern = '(?i)\\bdrop\\b'
databases = ["app"]
grants = ["ci"]
except_grants = ["ci-migrations"]
hours = "Mon-Fri 09:00-17:00 Europe/Berlin"
action = "approve"
message = "By ticket only."
approvals = 2
timeout = "2m"
[[mask]]
name = "pii"
columns = ["public.customers.ssn", "*.*.card_number"]
method = "last4"
except_grants = ["ci"]
predicates = "approve"
[[mask]]
name = "found-in-text"
detect = ["CREDIT_CARD", "US_SSN", "EMAIL_ADDRESS", "IBAN_CODE", "PHONE_NUMBER", "IP_ADDRESS"]
"""
    loaded = rules(text)
    grant = loaded.grant("ci-migrations")
    assert grant is not None
    assert grant.claims["protected"] == ("true",)
    assert (grant.ttl_s, grant.idle_timeout_s, grant.auth) == (1800.0, 600.0, "oauthbearer")
    guard = loaded.guards[0]
    assert (guard.action, guard.approvals, guard.timeout_s) == (Action.APPROVE, 2, 120.0)
    assert guard.where_missing
    assert guard.pattern is not None
    assert guard.pattern.search("please Drop it")
    assert loaded.gateway.tls_cert == Path("/etc/gatekeeper/gateway.crt")
    assert loaded.gateway.record_rows == 0
    assert "sslrootcert=/etc/gatekeeper/ca.pem" in loaded.databases[1].dsn
    assert len(loaded.masks[1].detect) == 6


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[gatway]\n", "gatway: unknown table; did you mean [gateway]?"),
        ("[[guards]]\n", "guards: unknown table; did you mean [[guard]]?"),
        ("[gateway]\nlisen = 'x'", "[gateway] lisen: unknown key; did you mean listen?"),
        ("[guard]\nname = 'x'", "guard: must be written as tables [[guard]], not as a table"),
        ("[[policy]]\n", "policy: must be written as a table [policy], not as a list"),
        (
            "[[guard]]\nname = 'no-drop'\naction = 'blok'",
            '[[guard]] "no-drop": action: must be warn, approve or block, not "blok"',
        ),
        ("[[guard]]\naction = 'block'", "[[guard]] 1: name: missing"),
        ("[[guard]]\nname = 'x'", '[[guard]] "x": action: missing'),
        ("[[guard]]\nname = ''\naction = 'warn'", "[[guard]] 1: name: must not be empty"),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\nstatements = ['TRUNCATE']",
            (
                '[[guard]] "x": statements: "TRUNCATE" is no statement of PostgreSQL; '
                'the nearest is "TRUNCATE TABLE"'
            ),
        ),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\nstatements = []",
            '[[guard]] "x": statements: must not be empty; leave it out instead',
        ),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\nstatements = 'DROP TABLE'",
            '[[guard]] "x": statements: must be a list of strings, not a string',
        ),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\nmin_rows = true",
            '[[guard]] "x": min_rows: must be an integer, not a boolean',
        ),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\ndynamic = false",
            '[[guard]] "x": dynamic: must be true, or left out where it does not matter',
        ),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\nclasses = ['READS']",
            (
                '[[guard]] "x": classes: "READS" is none of READ, WRITE, FUNCTION, ROLE, DDL, MISC, SERVER; '
                "did you mean READ?"
            ),
        ),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\nrelations = ['customers']",
            '[[guard]] "x": relations: "customers" must be schema.table, such as "*.customers"',
        ),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\ngrants = ['cii']",
            '[[guard]] "x": grants: there is no [[grant]] named "cii"; did you mean ci?',
        ),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\ndatabases = ['zzz']",
            '[[guard]] "x": databases: there is no [[database]] named "zzz"',
        ),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\npattern = '('",
            '[[guard]] "x": pattern: not a regular expression: missing ): (',
        ),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\n[[guard]]\nname = 'x'\naction = 'warn'",
            '[[guard]] "x": name: is already the name of number 1',
        ),
        (
            "[[mask]]\nname = 'm'\ncolumns = ['customers.ssn']",
            '[[mask]] "m": columns: "customers.ssn" must be schema.table.column, such as "*.customers.ssn"',
        ),
        ("[[mask]]\nname = 'm'", '[[mask]] "m": columns: or detect must be there, and not both'),
        (
            "[[mask]]\nname = 'm'\ndetect = ['SSN']",
            (
                '[[mask]] "m": detect: "SSN" is none of CREDIT_CARD, US_SSN, EMAIL_ADDRESS, IBAN_CODE, '
                "PHONE_NUMBER, IP_ADDRESS; did you mean US_SSN?"
            ),
        ),
        (
            "[[grant]]\nname = 'g'\nissuer = 'githup'\nclaims = { a = 'b' }\ndatabases = ['app']",
            '[[grant]] "g": issuer: there is no [[issuer]] named "githup"; did you mean github?',
        ),
        (
            "[[grant]]\nname = 'g'\nissuer = 'github'\ndatabases = ['app']",
            '[[grant]] "g": claims: missing: the grant would admit every token of its issuer',
        ),
        (
            "[[grant]]\nname = 'g'\nissuer = 'github'\nclaims = {}\ndatabases = ['app']",
            '[[grant]] "g": claims: missing: the grant would admit every token of its issuer',
        ),
        (
            "[[grant]]\nname = 'g'\nissuer = 'github'\nclaims = { a = [] }\ndatabases = ['app']",
            '[[grant]] "g": claims.a: must not be empty: nothing could match it',
        ),
        (
            "[[grant]]\nname = 'g'\nissuer = 'github'\nclaims = { a = 1.5 }\ndatabases = ['app']",
            '[[grant]] "g": claims.a: must be a string, a boolean, an integer or a list of them, not empty',
        ),
        (
            "[[database]]\nname = 'd'\ndsn = 'postgresql://u@h/d'\npassword = 's3cret'",
            (
                '[[database]] "d": password: must be env:NAME, file:PATH or cmd:COMMAND; '
                "a password itself is refused here"
            ),
        ),
        (
            "[[database]]\nname = 'd'\ndsn = 'postgresql://u:s3cret@h/d'",
            '[[database]] "d": dsn: holds a password; say where it comes from: password = "env:NAME"',
        ),
        (
            "[[database]]\nname = 'd'\ndsn = 'embedded'\npassword = 'env:X'",
            '[[database]] "d": password: goes with a postgresql:// dsn; "embedded" has its own',
        ),
        (
            "[[issuer]]\nname = 'i'\nissuer = 'https://i'\naudience = 'a'\nalgorithms = ['HS256']",
            (
                '[[issuer]] "i": algorithms: "HS256" is never accepted: '
                "anyone who knows the public key could sign"
            ),
        ),
        (
            "[[issuer]]\nname = 'i'\nissuer = 'https://i'\naudience = 'a'\nalgorithms = ['None']",
            '[[issuer]] "i": algorithms: "None" is never accepted: no signature',
        ),
        (
            "[[issuer]]\nname = 'i'\nissuer = 'http://i.example'\naudience = 'a'",
            (
                '[[issuer]] "i": issuer: must be an https:// URL (http:// is for loopback alone), '
                "or jwks must say where its keys are"
            ),
        ),
        ("[gateway]\ntls_cert = 'x'", "[gateway] tls_cert: needs tls_key beside it"),
        ("[gateway]\nmax_clients = 0", "[gateway] max_clients: must be 1 or more"),
        (
            "[gateway]\nlogin_timeout = 15",
            '[gateway] login_timeout: must be a duration such as "30s", not an integer',
        ),
        (
            "[policy]\napproval_timeout = '5 minutes'",
            '[policy] approval_timeout: must be a duration such as "30s", "5m", "2h" or "90d"',
        ),
        (
            "[[guard]]\nname = 'x'\naction = 'block'\nhours = 'Mon 09:00-17:00 Mars/Olympus'",
            (
                '[[guard]] "x": hours: "Mars/Olympus" is not a time zone; '
                "they are named as in Europe/Berlin or UTC"
            ),
        ),
    ],
)
def test_an_error_names_table_key_and_reason(text: str, problem: str) -> None:
    assert problems(text) == (problem,)


def test_all_errors_are_told_at_once() -> None:
    found = problems("[gateway]\nlisen = 'x'\nmax_clients = 0\n[[guard]]\naction = 'blok'\nwher = 1")
    assert found == (
        "[gateway] max_clients: must be 1 or more",
        "[gateway] lisen: unknown key; did you mean listen?",
        "[[guard]] 1: name: missing",
        '[[guard]] 1: action: must be warn, approve or block, not "blok"',
        "[[guard]] 1: wher: unknown key; did you mean where?",
    )


def test_a_dotted_claim_may_be_quoted_or_nested() -> None:
    quoted = rules(
        "[[grant]]\nname = 'g'\nissuer = 'github'\ndatabases = ['app']\n"
        "claims = { 'kubernetes.io.namespace' = 'prod', kubernetes.pod.name = 'x*' }"
    ).grant("g")
    assert quoted is not None
    assert quoted.claims == {"kubernetes.io.namespace": ("prod",), "kubernetes.pod.name": ("x*",)}


def test_a_claim_may_be_nested_as_deep_as_a_file_can_say() -> None:
    grant = "[[grant]]\nname = 'g'\nissuer = 'github'\ndatabases = ['app']\n"
    deep = rules(f"{grant}claims.{'.'.join('a' * 3000)} = 'x'").grant("g")
    assert deep is not None
    assert list(deep.claims.values()) == [("x",)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("\n# only a remark\n", "is empty"),
        ("[gateway]\nlisten = \n", "line 2, column 10: not TOML: Invalid value"),
        ("a = 'x", "line 1: not TOML: "),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a = " + "1" * 5000, "not TOML"),
        ("[a]\n[a]\n", "line 2, column 3: not TOML"),
    ],
)
def test_what_is_not_toml_is_one_line_with_its_place(text: str, reason: str) -> None:
    found = problems(text, basic="")
    assert len(found) == 1
    assert found[0].startswith(f"{PATH}: ")
    assert reason in found[0]


def test_a_file_that_is_missing_or_unreadable_is_one_clear_line(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none.toml", "no such file"),
        (tmp_path, "cannot be read: Is a directory"),
    ):
        with pytest.raises(ConfigError, match=reason) as caught:
            load(path)
        assert len(caught.value.problems) == 1
    (tmp_path / "latin.toml").write_bytes(b"# fine\n# gr\xfc\xdfe\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        load(tmp_path / "latin.toml")


def test_the_version_follows_the_text() -> None:
    assert rules().version == rules().version != rules("# more\n").version


def test_changed_gateway_keys_need_a_restart() -> None:
    old = rules().gateway
    new = rules("[gateway]\nlisten = '127.0.0.1:7000'\nstore = 'other.db'\nlogin_timeout = '1s'").gateway
    assert restart_needed(old, new) == ("listen", "store", "login_timeout")
    assert restart_needed(old, old) == ()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=12,
    ),
    st.sampled_from(["gateway", "policy", "issuer", "database", "grant", "guard", "mask", "x"]),
)
def test_no_shape_of_values_gets_anything_but_problems(value: object, name: str) -> None:
    import tomli_w

    def without_null(v: object) -> object:
        if isinstance(v, dict):
            return {k: without_null(x) for k, x in v.items() if x is not None}
        return [without_null(x) for x in v if x is not None] if isinstance(v, list) else v

    if value is None:
        return
    try:
        text = tomli_w.dumps({name: without_null(value)})
    except UnicodeError:
        return
    with contextlib.suppress(ConfigError):
        parse(text, PATH)


def test_the_example_that_users_are_shown_is_valid() -> None:
    loaded = load(Path(__file__).with_name("contract.toml"))
    assert [guard.name for guard in loaded.guards] == ["no-drop-database", "unbounded-write", "big-write"]
    assert warnings(loaded) == ('[[mask]] "pii": except_grants: there is no [[grant]] named "dba"',)
