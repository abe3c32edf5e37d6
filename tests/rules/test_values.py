"""Globs, durations, hours, patterns, addresses and passwords, as the contract writes them."""

from __future__ import annotations

import re
import time
from datetime import time as clock
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.rules.addresses import (
    parse_dsn,
    parse_https,
    parse_keys,
    parse_listen,
    parse_password,
    parse_store,
)
from gatekeeper.rules.durations import parse_duration
from gatekeeper.rules.globs import matcher
from gatekeeper.rules.hours import parse_hours
from gatekeeper.rules.patterns import LinearPattern
from gatekeeper.rules.tags import COMMAND_TAGS, matching, nearest

BASE = Path("/etc/gatekeeper")


@pytest.mark.parametrize(
    ("glob", "text", "fits"),
    [
        ("refs/heads/release/*", "refs/heads/release/1.2/x", True),
        ("refs/heads/release/*", "refs/heads/release", False),
        ("*.*.card_number", "public.orders.card_number", True),
        ("*.card_number", "public.orders.card_number", True),
        ("public.*", "public.a.b", True),
        ("Drop*", "drop table", False),
        ("DROP ?ABLE", "DROP TABLE", True),
        ("DROP ?ABLE", "DROP ABLE", False),
        ("a.b", "axb", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("*", "", True),
        ("?", "", False),
        ("a*b", "a\nb", True),
        ("*ab*ab", "abab", True),
        ("*ab*ab", "ab", False),
        ("a", "a\n", False),
        ("a*", "xa", False),
    ],
)
def test_a_glob_matches_the_whole_text(glob: str, text: str, fits: bool) -> None:
    assert matcher([glob])(text) is fits


def test_any_of_several_globs_will_do_and_none_matches_nothing() -> None:
    assert matcher(["a", "b*"])("bc")
    assert matcher(("x", "a"))("a")
    assert not matcher([])("")


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_a_glob_matches_what_its_plain_regular_expression_matches(glob: str, text: str) -> None:
    plain = glob.replace("*", ".*").replace("?", ".")
    assert matcher([glob])(text) == (re.fullmatch(plain, text) is not None)


def test_a_hostile_text_costs_a_glob_no_more_than_linear_time() -> None:
    began = time.perf_counter()
    assert not matcher(["*a*a*a*a*a*a*a*a*b"])("a" * 20_000)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5m", 300), ("2h", 7200), ("90d", 7_776_000)])
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "5 m", "-5m", "1.5h", "5M", "5min", "0s", "٣s", "99999999d", "1h30m"]
)
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


def test_hours_have_days_a_span_and_a_zone() -> None:
    hours = parse_hours("Mon-Fri 09:00-17:00 Europe/Berlin")
    assert hours.days == {0, 1, 2, 3, 4}
    assert (hours.start, hours.end) == (clock(9), clock(17))
    assert hours.zone.key == "Europe/Berlin"


def test_days_may_be_listed_and_may_wrap_around_the_week() -> None:
    assert parse_hours("Fri-Mon,Wed 22:00-06:00 UTC").days == {4, 5, 6, 0, 2}
    assert parse_hours("Sun 00:00-24:00 UTC").end == clock.max


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("09:00-17:00 UTC", "days"),
        ("Mon-Fri 09:00-17:00", "time zone"),
        ("Mon-Fri 9-17 UTC", "hours"),
        ("Mon-Fry 09:00-17:00 UTC", "Fry"),
        ("Mon- 09:00-17:00 UTC", "day"),
        ("Mon 25:00-26:00 UTC", "25:00"),
        ("Mon 09:00-09:00 UTC", "no time at all"),
        ("Mon 09:00-17:00 Europe/Berlino", "Europe/Berlino"),
        ("Mon 09:00-17:00 Europe", "time zone"),
        ("Mon 09:00-17:00 ../etc/passwd", "time zone"),
    ],
)
def test_hours_that_cannot_be_read_are_refused(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_hours(text)


def test_a_pattern_takes_linear_time_whatever_it_is() -> None:
    text = "a" * 1_000_000
    began = time.perf_counter()
    for pattern in ("(a+)+b", "(a|a)*b", "a.*a.*a.*b", "(.*)*x$"):
        assert not LinearPattern(pattern).search(text)
    assert time.perf_counter() - began < 5


def test_a_pattern_reads_any_text_that_a_statement_can_be() -> None:
    assert LinearPattern(r"(?i)drop\s+table").search("é\x00\ud800 DROP \n TABLE x")
    assert LinearPattern("x") == LinearPattern("x")


@pytest.mark.parametrize("pattern", ["(", "a(?=b)", r"(a)\1", "[z-a]", "x" * 3000])
def test_what_is_not_a_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        LinearPattern(pattern)


def test_command_tags_are_postgresql_s() -> None:
    assert {"DROP DATABASE", "TRUNCATE TABLE", "MERGE", "COPY", "REASSIGN OWNED"} <= COMMAND_TAGS
    assert "DROP CONSTRAINT" not in COMMAND_TAGS
    assert matching("DROP *") >= {"DROP TABLE", "DROP OWNED"}


@pytest.mark.parametrize(
    ("glob", "tag"),
    [
        ("TRUNCATE", "TRUNCATE TABLE"),
        ("DROP DATABSE", "DROP DATABASE"),
        ("drop table", "DROP TABLE"),
        ("DROP CONSTRAINT", "ALTER TABLE"),
        ("DROPP *", "DROP *"),
    ],
)
def test_the_nearest_tag_is_named(glob: str, tag: str) -> None:
    assert not matching(glob)
    assert nearest(glob) == tag


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:6432", "127.0.0.1", 6432), ("[::1]:1", "::1", 1), ("localhost:0", "localhost", 0)],
)
def test_an_address_to_listen_on_is_host_and_port(text: str, host: str, port: int) -> None:
    listen = parse_listen(text)
    assert (listen.host, listen.port) == (host, port)


@pytest.mark.parametrize("text", ["6432", ":6432", "h:", "h:x", "h:65536", "::1:6432", "h: 1", "h:-1"])
def test_what_is_not_an_address_to_listen_on_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_listen(text)


def test_files_in_a_dsn_are_relative_to_the_rules_file() -> None:
    dsn = parse_dsn("postgresql://u@h:1/d?sslmode=verify-full&sslrootcert=ca.pem", BASE)
    assert dsn == "postgresql://u@h:1/d?sslmode=verify-full&sslrootcert=/etc/gatekeeper/ca.pem"
    assert "=system" in parse_dsn("postgresql://u@h/d?sslmode=verify-full&sslrootcert=system", BASE)
    assert parse_dsn("postgresql://u@a:1,[::1]:2/d", BASE) == "postgresql://u@a:1,[::1]:2/d"
    assert parse_dsn("postgres://u@/d?host=/run/pg", BASE) == "postgresql://u@/d?host=/run/pg"
    assert parse_dsn("embedded", BASE) == "embedded"


@pytest.mark.parametrize(
    ("dsn", "reason"),
    [
        ("postgresql://u:s3cret@h/d", "holds a password"),
        ("postgresql://u:@h/d", "holds a password"),
        ("postgresql://u@h/d?password=s3cret", "holds a password"),
        ("postgresql://u@h/d?sslpassword=s3cret", "holds a password"),
        ("host=h user=u password=s3cret", "postgresql:// URL"),
        ("mysql://u:s3cret@h/d", "postgresql:// URL"),
        ("postgresql://h/d", "names no user"),
        ("postgresql://u@h", "names no database"),
        ("postgresql:///d?user=u", "names no host"),
        ("postgresql://u@h:s3cret/d", ":PORT"),
        ("postgresql://u@h/d?port=s3cret", "port must be"),
        ("postgresql://[u@h/d", "not a URL"),
        ("postgresql://u@h/d?sslrootcert=system", "needs sslmode=verify-full"),
        ("postgresql://u@h/d?connect_timeout=s3cret", "number of seconds"),
        ("postgresql://u@h/d?sslmod=require", "did you mean sslmode"),
        ("postgresql://u@h/d?sslmode=s3cret", "sslmode must be"),
        ("postgresql://u@h/d?sslmode=require&sslmode=disable", "given twice"),
        ("postgresql://u@h/d#s3cret", "%23"),
        ("postgresql://u@h/d?s3cret", "key=value"),
    ],
)
def test_a_wrong_dsn_is_refused_and_not_repeated(dsn: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_dsn(dsn, BASE)
    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_password_comes_from_elsewhere() -> None:
    assert parse_password("env:APP_DB_PASSWORD", BASE).value == "APP_DB_PASSWORD"
    assert parse_password("file:pw", BASE).value == "/etc/gatekeeper/pw"
    assert parse_password("cmd:pass show db", BASE).value == "pass show db"
    for literal in ("s3cret", "env:", "environment:s3cret", "s3:cret"):
        with pytest.raises(ValueError) as caught:
            parse_password(literal, BASE)
        assert "s3cret" not in str(caught.value)


def test_a_store_is_a_file_or_postgresql_without_a_password() -> None:
    assert parse_store("recordings.db", BASE) == "/etc/gatekeeper/recordings.db"
    assert parse_store("postgresql://u@h/d", BASE) == "postgresql://u@h/d"
    for wrong in ("postgresql://u:p@h/d", "mysql://h/d", "postgresql://u@h/d?password=p"):
        with pytest.raises(ValueError):
            parse_store(wrong, BASE)


def test_keys_come_from_a_file_or_over_tls() -> None:
    assert parse_keys("jwks.json", BASE) == "/etc/gatekeeper/jwks.json"
    assert parse_https("http://127.0.0.1:8080/jwks") == "http://127.0.0.1:8080/jwks"
    for wrong in ("http://example.com/jwks", "ftp://example.com/jwks", "https://"):
        with pytest.raises(ValueError):
            parse_keys(wrong, BASE)
