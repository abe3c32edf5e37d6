"""The rules file that `gatekeeper init` writes: it loads as it is, and refuses rather than allows."""

from __future__ import annotations

from typing import Final

STARTER: Final = """\
# Rules of Gatekeeper. Say `gatekeeper check` after a change; a running gateway takes a valid one within two
# seconds. Relative paths are relative to this file. Durations: "30s", "5m", "2h", "90d". Globs: * and ?.
#
# To do, from top to bottom: your issuer, your database, your grants. The guards are a careful start.

[gateway]                                # a change of these needs a restart
listen = "127.0.0.1:6432"
# tls_cert = "gateway.crt"               # needed, with tls_key, to serve clients on other hosts
# tls_key = "gateway.key"
store = "recordings.db"
control = "gatekeeper.sock"
# metrics = "127.0.0.1:9432"
record_rows = 100                        # masked result rows kept per statement for replay; 0 keeps none

[policy]
dynamic_sql = "approve"                  # SQL whose text is computed at run time: allow, warn, approve, block
opaque_function = "approve"              # a function whose body cannot be read
approval_timeout = "5m"                  # nobody decided: the statement is refused

[[issuer]]
name = "github"
issuer = "https://token.actions.githubusercontent.com"
audience = "gatekeeper"
# jwks = "jwks.json"                     # a file or URL of keys; without it they are found by OIDC discovery

[[database]]
name = "app"                             # the database name that clients ask for
dsn = "postgresql://gatekeeper@db.internal:5432/app?sslmode=verify-full&sslrootcert=system"
password = "env:APP_DB_PASSWORD"         # or file:PATH, or cmd:COMMAND; never the password itself
# dsn = "embedded"                       # the bundled PostgreSQL, to try things out (then no password)

[[grant]]
name = "ci-read"                         # the user name that clients log in with
issuer = "github"
claims = { repository = "your-org/your-repo", ref = "refs/heads/main" }   # all must match
databases = ["app"]
classes = ["READ"]
run = ["run_id", "run_attempt"]
ttl = "30m"
idle_timeout = "10m"
max_sessions = 4

[[grant]]
name = "ci-migrations"
issuer = "github"
claims = { repository = "your-org/your-repo", ref = "refs/heads/main", environment = "production" }
databases = ["app"]
classes = ["READ", "WRITE", "DDL"]
# role = "app_migrator"                  # SET ROLE at login; the objects it makes are that role's
run = ["run_id", "run_attempt"]
ttl = "30m"
idle_timeout = "5m"
max_sessions = 2

# --- guards: what a careful DBA would not let a script do unseen -----------------------------------------

[[guard]]
name = "no-destruction"
statements = ["DROP DATABASE", "DROP SCHEMA", "DROP OWNED", "TRUNCATE TABLE"]
action = "block"
message = "Nothing here is dropped or emptied by a script. Open a ticket."

[[guard]]
name = "drop-anything"
statements = ["DROP *"]
action = "approve"

[[guard]]
name = "unbounded-write"                 # UPDATE or DELETE without WHERE
statements = ["UPDATE", "DELETE"]
where = "missing"
action = "approve"
timeout = "2m"

[[guard]]
name = "big-write"
classes = ["WRITE"]
min_rows = 10000                         # the planner's estimate
action = "approve"

[[guard]]
name = "roles-and-rights"
classes = ["ROLE"]
action = "block"
message = "Roles and rights are changed by people, through the DBA."

[[guard]]
name = "outside-the-database"            # files, programs, other servers, extensions
classes = ["SERVER"]
action = "block"

[[guard]]
name = "schema-change-by-day"            # it takes locks that everybody waits behind
classes = ["DDL"]
hours = "Mon-Fri 08:00-18:00 UTC"
action = "warn"
message = "Office hours: set lock_timeout, and build indexes CONCURRENTLY."

[[guard]]
name = "rewriting-maintenance"           # these lock a whole table for as long as they take
statements = ["CLUSTER", "VACUUM", "REINDEX"]
action = "approve"

# --- masks: no value of these columns reaches the client in any form -------------------------------------

[[mask]]
name = "secrets"
columns = ["*.*.password*", "*.*.*_token", "*.*.*_secret"]
method = "redact"                        # redact, null, hash, last4 or email
predicates = "block"                     # nor may they decide which rows come, how many or in what order

[[mask]]
name = "personal-data"
columns = ["*.*.ssn", "*.*.iban", "*.*.card_number"]
method = "last4"
predicates = "block"

[[mask]]
name = "found-in-text"                   # by content, in any text: a second net, never the only one
detect = ["CREDIT_CARD", "US_SSN", "IBAN_CODE"]
"""
