"""Points 6 and 8: every command, as a person or a script gives it, beside the running demo."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from gatekeeper.embedded import bin_dir
from tests.e2e.programs import GATEKEEPER, PATIENCE_S, demo, environment, left_behind, run, until

pytestmark = pytest.mark.server

FIELDS: Final = {
    "seq", "kind", "at", "session", "grant", "subject", "issuer", "run", "database", "protocol", "sql",
    "params", "tags", "classes", "relations", "functions", "verdict", "guards", "approval", "outcome", "rows",
    "duration_ms", "masked_columns", "detail", "hash",
}  # fmt: skip
COMMANDS: Final = (
    "demo", "run", "serve", "console", "replay", "init", "check", "explain", "sessions", "approvals",
    "approve", "deny", "grants", "audit", "token",
)  # fmt: skip


class Demo:
    """The running demo, and a shell in its directory."""

    def __init__(self, base: Path, line: dict[str, Any]) -> None:
        self.base = base
        self.line = line
        self.directory = Path(line["data_dir"])

    def says(self, *arguments: Any, status: int = 0) -> str:
        """Give a command; what it says on stdout, or on stderr where it fails."""
        done = subprocess.run(
            [GATEKEEPER, *map(str, arguments)], cwd=self.directory, env=environment(self.base),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == status, done
        assert (done.stderr == "") == (status == 0), done.stderr
        return done.stdout if status == 0 else done.stderr.strip()

    def json(self, *arguments: Any) -> Any:
        return json.loads(self.says(*arguments, "--json"))

    def psql(self, grant: str, *statements: str) -> subprocess.CompletedProcess[str]:
        process = self.beside(grant, *statements)
        out, err = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def beside(self, grant: str, *statements: str, **env: str) -> subprocess.Popen[str]:
        commands = [part for statement in statements for part in ("-c", statement)]
        return subprocess.Popen(
            [str(self.directory / "psql"), grant, "-At", *commands],
            env=environment(self.base, **env),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def waiting(self) -> dict[str, Any]:
        (found,) = until(lambda: self.json("approvals"), "an approval waits")
        return dict(found)


@pytest.fixture(scope="module")
def shop() -> Iterator[Demo]:
    """The demo, headless, with a state directory of its own."""
    with tempfile.TemporaryDirectory(prefix="gk-demo-", ignore_cleanup_errors=True) as base:
        with demo(Path(base)) as (_, line):
            yield Demo(Path(base), line)
        assert left_behind(Path(base)) == []


def test_the_demo_prints_one_line_for_programs(shop: Demo) -> None:
    assert set(shop.line) == {"host", "port", "database", "grant", "token", "data_dir", "control"}
    assert shop.line["grant"] == "ci-migrations"
    assert shop.line["token"].count(".") == 2


def test_the_login_lines_work_and_keep_the_token_to_themselves(shop: Demo) -> None:
    for grant in ("ci-migrations", "analyst", "dba"):
        done = shop.psql(grant, "show gatekeeper.grant_name")
        assert (done.stdout.strip(), done.stderr) == (grant, "")
        assert (shop.directory / f"token-{grant}").stat().st_mode & 0o777 == 0o600
    script = shop.directory / "psql"
    assert script.stat().st_mode & 0o777 == 0o700
    assert shop.line["token"] not in script.read_text()
    unknown = shop.psql("nobody", "select 1")
    assert unknown.returncode == 1
    assert unknown.stderr.strip() == (
        "psql: no token for nobody: is the demo running, and is it one of ci-migrations, analyst, dba?"
    )


def test_the_login_lines_work_where_no_psql_is_installed(shop: Demo) -> None:
    text = (shop.directory / "psql").read_text()
    bundled = shop.directory / "psql-bundled"
    bundled.write_text(re.sub(r"^exec \S+", f"exec {bin_dir() / 'psql'}", text, flags=re.MULTILINE))
    bundled.chmod(0o700)
    done = subprocess.run(
        [bundled, "analyst", "-At"], input="select 1;\n\\d customers\n", capture_output=True, text=True,
        env=environment(shop.base, PATH="/usr/bin:/bin"), timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("1\n")
    assert "ssn|text||not null|" in done.stdout


# --- what waits, and what is live -------------------------------------------------------------------------


def test_a_statement_is_approved_from_a_shell(shop: Demo) -> None:
    held = shop.beside(
        "ci-migrations", "begin", "delete from orders", "rollback", PGOPTIONS="-c gatekeeper.reason=CHG-7"
    )
    waits = shop.waiting()
    assert (waits["sql"], waits["reason"], waits["guard"]) == (
        "delete from orders",
        "CHG-7",
        "unbounded-write",
    )
    assert (waits["grant"], waits["state"]) == ("ci-migrations", "waiting")
    listed = shop.says("approvals")
    assert all(word in listed for word in (waits["id"], "delete from orders", "CHG-7"))
    assert shop.says("approve", waits["id"], "--reason", "seen") == f"{waits['id']}: approved\n"
    out, err = held.communicate(timeout=PATIENCE_S)
    assert out.split("\n")[1].startswith("DELETE "), err
    assert f"waiting for approval {waits['id']}" in err
    assert shop.says("approve", waits["id"], status=1).startswith(
        f"gatekeeper: approval {waits['id']} was approved by "
    )
    assert shop.says("approvals") == "nothing waits for a decision\n"
    assert shop.json("approvals", "--all")[0]["state"] == "approved"


def test_a_statement_is_denied_from_a_shell_with_a_reason(shop: Demo) -> None:
    held = shop.beside("ci-migrations", "delete from orders")
    waits = shop.waiting()
    assert shop.says("deny", waits["id"], "--reason", "not on a Friday") == f"{waits['id']}: denied\n"
    out, err = held.communicate(timeout=PATIENCE_S)
    assert (out, held.returncode) == ("", 1)
    assert "ERROR:  denied by " in err
    assert "DETAIL:  not on a Friday" in err
    assert "was denied by" in shop.says("deny", waits["id"], status=1)
    assert shop.says("approve", "nonesuch", status=1) == 'gatekeeper: no approval "nonesuch" is known'


def test_live_sessions_are_listed_and_ended(shop: Demo) -> None:
    session = shop.beside("analyst", "show gatekeeper.session", "select pg_sleep(600)")
    assert session.stdout is not None
    ident = session.stdout.readline().strip()
    (live,) = until(
        lambda: [s for s in shop.json("sessions") if s["id"] == ident and s["state"] == "active"], "active"
    )
    assert (live["grant"], live["subject"], live["application"]) == ("analyst", "ana@acme.example", "psql")
    assert all(word in shop.says("sessions") for word in (ident, "select pg_sleep(600)"))
    assert shop.says("sessions", "kill", ident) == f"session {ident} ends\n"
    _, err = session.communicate(timeout=PATIENCE_S)
    assert "FATAL:  terminating connection: killed by an operator" in err
    assert ident not in shop.says("sessions")
    assert ident in shop.says("sessions", "kill", ident, status=1)


def test_runs_are_listed_and_ended(shop: Demo) -> None:
    token = shop.says("token", "--claim", "groups=analysts", "--claim", "jti=run-9").strip()
    mine = {"PGPASSWORD": token, "PGHOST": "127.0.0.1", "PGPORT": str(shop.line["port"])}
    login = [bin_dir() / "psql", "-X", "-At", "-U", "analyst", "-d", "app"]
    with subprocess.Popen(
        [*login, "-c", "show gatekeeper.run", "-c", "select pg_sleep(600)"],
        env=environment(shop.base, **mine), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stdout.readline().strip() == "run-9"
        (run_9,) = [r for r in shop.json("grants") if r["run"] == "run-9"]
        assert (run_9["grant"], run_9["sessions"]) == ("analyst", 1)
        assert "run-9" in shop.says("grants")
        assert shop.says("grants", "end", "run-9") == "run run-9 has ended, and with it 1 session\n"
        _, err = running.communicate(timeout=PATIENCE_S)
    assert "the run has ended" in err
    again = subprocess.run(
        [*login, "-c", "select 1"], env=environment(shop.base, **mine),
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert again.returncode == 2
    assert "FATAL" in again.stderr
    assert shop.says("grants", "end", "nonesuch", status=1) == "gatekeeper: no run nonesuch"


# --- the recordings ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(shop: Demo) -> str:
    """A session with one statement of each kind; its ID."""
    shop.psql(
        "ci-migrations",
        "show gatekeeper.session",
        "select id, name, ssn from customers order by id limit 2",
        "truncate customers",
        "selct 1",
        "create table e2e_notes (id int)",
        "drop role nobody_here",
    )
    return str(next(s["id"] for s in shop.json("audit", "list") if s["grant"] == "ci-migrations"))


def test_recorded_sessions_are_listed_and_shown(shop: Demo, recorded: str) -> None:
    (session,) = [s for s in shop.json("audit", "list") if s["id"] == recorded]
    assert (session["subject"], session["database"]) == ("repo:acme/shop:ref:refs/heads/main", "app")
    assert recorded in shop.says("audit", "list")
    shown = shop.says("audit", "show", recorded, "--rows")
    for text in (
        "select id, name, ssn from customers", "Grace Hopper", "[REDACTED]", "masked: public.customers.ssn",
        "guards: no-drop-database", "block  42501", "reject  42601", "CREATE TABLE", "session_end",
    ):  # fmt: skip
        assert text in shown
    assert shop.json("audit", "show", recorded[:8]) == shop.json("audit", "show", recorded)
    assert shop.says("audit", "show", "nonesuch", status=1) == "gatekeeper: no session nonesuch is recorded"


def test_records_are_found_by_what_is_in_them(shop: Demo, recorded: str) -> None:
    found = shop.json("audit", "search", "truncate", "--verdict", "block", "--grant", "ci-migrations")
    assert [r["sql"] for r in found if r["session"] == recorded] == ["truncate customers"]
    for relation in ("customers", "public.customers"):
        found = shop.json("audit", "search", "", "--relation", relation, "--within", "1h")
        assert {r["verdict"] for r in found if r["session"] == recorded} == {"allow", "block"}
    assert shop.json("audit", "search", "", "--relation", "other.orders.x") == []
    assert shop.says("audit", "search", "xyzzy") == "nothing found\n"


def test_records_are_exported_with_the_fields_of_the_contract(shop: Demo, recorded: str) -> None:
    lines = shop.says("audit", "export", "--format", "jsonl").splitlines()
    records = [json.loads(line) for line in lines]
    assert all(set(record) == FIELDS for record in records)
    assert {record["kind"] for record in records} >= {"login", "statement", "session_end"}
    assert [r["seq"] for r in records] == sorted(r["seq"] for r in records)
    mine = [r for r in records if r["session"] == recorded and r["kind"] == "statement"]
    assert [(r["sql"].split()[0], r["verdict"], r["outcome"]) for r in mine] == [
        ("show", "allow", "SHOW"), ("select", "allow", "SELECT 2"), ("truncate", "block", "42501"),
        ("selct", "reject", "42601"), ("create", "allow", "CREATE TABLE"), ("drop", "reject", "42501"),
    ]  # fmt: skip
    select = mine[1]
    assert select["masked_columns"] == ["public.customers.ssn"]
    assert (select["tags"], select["classes"], select["rows"]) == (["SELECT"], ["READ"], 2)
    assert (select["protocol"], select["params"], select["approval"]) == ("simple", None, None)
    assert (select["grant"], select["issuer"], select["database"]) == ("ci-migrations", "local", "app")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", select["at"])
    assert re.fullmatch(r"[0-9a-f]{64}", select["hash"])
    assert isinstance(select["duration_ms"], float)
    assert shop.line["token"] not in "".join(lines)
    of_one = shop.says("audit", "export", "--session", recorded).splitlines()
    assert of_one == [
        line for line, record in zip(lines, records, strict=True) if record["session"] == recorded
    ]


def test_an_approval_is_recorded_with_who_when_and_why(shop: Demo) -> None:
    held = shop.beside("ci-migrations", "delete from orders")
    waits = shop.waiting()
    shop.says("deny", waits["id"], "--reason", "ask me later")
    held.communicate(timeout=PATIENCE_S)
    record = until(
        lambda: next(
            (r for r in shop.json("audit", "search", "delete from orders") if _decided(r, waits["id"])), None
        ),
        "the decision is recorded",
    )
    (decision,) = record["approval"]["decisions"]
    assert record["approval"]["decision"] == "denied"
    assert (decision["approved"], decision["reason"]) == (False, "ask me later")
    assert decision["who"]
    assert decision["at"].endswith("Z")
    assert (record["verdict"], record["outcome"]) == ("approve", "42501")
    operator = shop.json("audit", "search", waits["id"])
    assert "operator" in {r["kind"] for r in operator}


def _decided(record: dict[str, Any], ident: str) -> bool:
    return record["approval"] is not None and record["approval"]["id"] == ident and record["outcome"]


@pytest.mark.parametrize(
    ("form", "begins"), [("csv", "seq,kind,at,"), ("html", "<!doctype html>"), ("asciicast", '{"version": 2')]
)
def test_a_session_is_exported_for_other_programs(shop: Demo, recorded: str, form: str, begins: str) -> None:
    text = shop.says("audit", "export", "--format", form, "--session", recorded)
    assert text.lower().startswith(begins)
    assert "customers" in text


def test_recordings_are_verified_and_a_change_is_found(shop: Demo, recorded: str) -> None:
    assert "all as they were written" in shop.says("audit", "verify")
    assert shop.json("audit", "verify")["valid"] is True
    with _copied(shop) as store:
        assert "all as they were written" in shop.says("audit", "verify", "--store", store)
        changed = sqlite3.connect(store)
        changed.execute("update log set sql = 'select 1' where sql = 'truncate customers'")
        changed.commit()
        changed.close()
        said = shop.says("audit", "verify", "--store", store, status=1)
    assert said.startswith("gatekeeper: ")
    assert re.search(r"\d", said)


@contextlib.contextmanager
def _copied(shop: Demo) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory) / "copy.db"
        source, copy = sqlite3.connect(shop.directory / "recordings.db"), sqlite3.connect(store)
        source.backup(copy)
        source.close()
        copy.close()
        key = Path(f"{store}.key")
        key.write_bytes((shop.directory / "recordings.db.key").read_bytes())
        key.chmod(0o600)
        yield store


def test_pruning_beside_the_gateway_keeps_what_is_young(shop: Demo, recorded: str) -> None:
    assert shop.says("audit", "prune", "--older-than", "1d") == "0 events removed\n"
    assert recorded in shop.says("audit", "list")
    assert "all as they were written" in shop.says("audit", "verify")


# --- rules ------------------------------------------------------------------------------------------------


def test_a_statement_is_explained_and_not_run(shop: Demo) -> None:
    said = shop.says("explain", "delete from orders", "--grant", "ci-migrations")
    assert said.startswith("APPROVE  for grant ci-migrations in database app\n")
    for text in (
        "unbounded-write",
        "1 approval, up to 120 s",
        "DELETE",
        "WRITE",
        "orders (written)",
        "has no WHERE",
    ):
        assert text in said
    found = shop.json("explain", "select ssn, lower(email) from customers", "--grant", "analyst")
    assert (found["verdict"], found["catalog"]) == ("allow", True)
    assert {"public.customers.ssn", "public.customers.email"} <= {m["column"] for m in found["masks"]}
    assert found["statements"][0]["functions"] == ["lower"]
    assert shop.json("explain", "truncate orders", "--grant", "dba")["verdict"] == "block"
    refused = shop.json("explain", "drop table orders", "--grant", "analyst")
    assert (refused["verdict"], refused["sqlstate"]) == ("reject", "42501")
    assert refused["message"] == 'grant "analyst" does not allow DDL (DROP TABLE)'
    assert "nonesuch" in shop.says("explain", "select 1", "--grant", "nonesuch", status=1)


def test_rules_are_checked(shop: Demo) -> None:
    assert shop.says("check") == "rules.toml: valid: 1 issuer, 1 database, 3 grants, 5 guards, 3 masks\n"
    assert shop.json("check")["valid"] is True


def test_init_writes_rules_that_check_passes(tmp_path: Path) -> None:
    done = run(tmp_path, "init")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "rules.toml").exists()
    checked = run(tmp_path, "check", APP_DB_PASSWORD="x")
    assert checked.returncode == 0, checked.stderr
    again = run(tmp_path, "init")
    assert (again.returncode, again.stderr) == (
        1, "gatekeeper: rules.toml: exists already and is left as it is\n",
    )  # fmt: skip


def test_a_signed_token_logs_in_where_its_claims_fit(shop: Demo) -> None:
    token = shop.says("token", "--claim", 'groups=["dba"]', "--claim", "sub=eve", "--ttl", "1m").strip()
    for grant, status in (("dba", 0), ("analyst", 2)):
        done = subprocess.run(
            [bin_dir() / "psql", "-X", "-At", "-c", "show gatekeeper.subject"],
            env=environment(shop.base, PGHOST="127.0.0.1", PGPORT=str(shop.line["port"]), PGUSER=grant,
                            PGDATABASE="app", PGPASSWORD=token),
            capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert done.stdout.strip() == ("eve" if status == 0 else "")
    assert "FATAL:  login refused" in done.stderr


# --- all of them ------------------------------------------------------------------------------------------


def test_the_real_program_has_help_for_every_command(tmp_path: Path) -> None:
    for path in ((), ("audit",), ("demo",), ("explain",), ("approve",), ("sessions", "kill")):
        done = run(tmp_path, *path, "--help", COLUMNS="80")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: gatekeeper")
        assert all(len(line) <= 80 for line in done.stdout.splitlines())
    listed = run(tmp_path, "--help").stdout
    assert all(f"  {name} " in listed for name in COMMANDS)


def test_a_demo_keeps_what_it_had_and_begins_anew_without_it(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gk-again-", ignore_cleanup_errors=True) as base:
        place = Path(base) / "here"
        with demo(Path(base), "--directory", place) as (program, line):
            assert Path(line["data_dir"]) == place
            before = (place / "rules.toml").read_text()
            assert program.stop(signal.SIGTERM) == 0
        (place / "rules.toml").write_text(before + "\n# mine\n")
        with demo(Path(base), "--directory", place) as (_, again):
            assert (place / "rules.toml").read_text().endswith("# mine\n")
            found = subprocess.run(
                [place / "psql", "dba", "-Atc", "select count(*) from customers"],
                env=environment(Path(base)), capture_output=True, text=True, check=True, timeout=PATIENCE_S,
            )  # fmt: skip
            assert found.stdout.strip() == "2000"
            assert again["port"] > 0
        assert not (Path(base) / "state").exists()
