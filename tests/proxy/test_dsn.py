"""Connection URIs: what they mean, and that a wrong one is refused by name and without its secrets."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.errors import ConfigError
from gatekeeper.model import Secret
from gatekeeper.proxy.dsn import Target, parse_dsn
from tests.servers import write_certificate


def hosts(dsn: str) -> tuple[tuple[str, int], ...]:
    return parse_dsn(dsn).hosts


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://u@db/app", (("db", 5432),)),
        ("postgres://u@db:6000/app", (("db", 6000),)),
        ("postgresql://u@/app", (("localhost", 5432),)),
        ("postgresql:///app?user=u", (("localhost", 5432),)),
        ("postgresql://u@[::1]:6000/app", (("::1", 6000),)),
        ("postgresql://u@a,b:6000/app", (("a", 5432), ("b", 6000))),
        ("postgresql:///app?user=u&host=/run/pg&port=6000", (("/run/pg", 6000),)),
        ("postgresql:///app?user=u&host=a,b&port=1,2", (("a", 1), ("b", 2))),
        ("postgresql:///app?user=u&host=a,b&port=7", (("a", 7), ("b", 7))),
        ("postgresql://u@%2Frun%2Fpg/app", (("/run/pg", 5432),)),
    ],
)
def test_hosts_are_read_as_libpq_reads_them(dsn: str, expected: tuple[tuple[str, int], ...]) -> None:
    assert hosts(dsn) == expected


def test_names_may_hold_anything_percent_encoded() -> None:
    target = parse_dsn("postgresql://a%40b:p%3Aw@db/x%2Fy")
    assert (target.user, target.database) == ("a@b", "x/y")
    assert target.password == Secret("p:w")


def test_the_database_is_named_after_the_user_where_none_is_named() -> None:
    assert parse_dsn("postgresql://u@db").database == "u"
    assert parse_dsn("postgresql://u@db?dbname=app").database == "app"


def test_the_password_of_the_rules_wins() -> None:
    assert parse_dsn("postgresql://u:a@db/app", password=Secret("b")).password == Secret("b")


def test_files_are_relative_to_the_rules() -> None:
    target = parse_dsn("postgresql://u@db/app?sslrootcert=ca.pem&sslcert=/x/c&sslkey=k", base=Path("/etc/gk"))
    assert (target.sslrootcert, target.sslcert, target.sslkey) == (
        Path("/etc/gk/ca.pem"), Path("/x/c"), Path("/etc/gk/k"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dsn", "word"),
    [
        ("mysql://u@db", "postgresql://"),
        ("host=db", "postgresql://"),
        ("", "postgresql://"),
        ("postgresql://db/app", "user"),
        ("postgresql://u@db:port/app", "port"),
        ("postgresql://u@db:0/app", "port"),
        ("postgresql://u@db:65536/app", "port"),
        ("postgresql://u@db/app?sslmode=verify_full", "sslmode"),
        ("postgresql://u@db/app?connect_timeout=soon", "connect_timeout"),
        ("postgresql://u@db/app?connect_timeout=nan", "connect_timeout"),
        ("postgresql://u@db/app?connect_timeout=-1", "connect_timeout"),
        ("postgresql://u@db/app?options=-csearch_path%3Dx", "options"),
        ("postgresql://u@[::1/app", "URI"),
        ("postgresql://u@db/app?sslmode", "URI"),
    ],
)
def test_a_wrong_dsn_is_refused_by_what_is_wrong(dsn: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        parse_dsn(dsn)


@given(st.text(max_size=40))
def test_no_dsn_raises_anything_but_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        target = parse_dsn(f"postgresql://{text}")
        assert target.user
        assert all(0 < port < 65536 for _, port in target.hosts)


def context(**options: object) -> ssl.SSLContext | None:
    return Target((("db", 5432),), "u", "app", **options).context()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "verifies", "hostname"),
    [
        ("prefer", False, False),
        ("require", False, False),
        ("verify-ca", True, False),
        ("verify-full", True, True),
    ],
)
def test_each_sslmode_verifies_what_it_says(mode: str, verifies: bool, hostname: bool) -> None:
    made = context(sslmode=mode)
    assert made is not None
    assert (made.verify_mode is ssl.CERT_REQUIRED) is verifies
    assert made.check_hostname is hostname
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("mode", ["disable", "allow"])
def test_without_tls_there_is_no_context(mode: str) -> None:
    assert context(sslmode=mode) is None


def test_a_root_certificate_that_is_named_is_checked(tmp_path: Path) -> None:
    write_certificate(tmp_path, "server")
    made = context(sslmode="require", sslrootcert=tmp_path / "ca.crt")
    assert made is not None
    assert made.verify_mode is ssl.CERT_REQUIRED
    with pytest.raises(ConfigError):
        context(sslmode="verify-full", sslrootcert=tmp_path / "gone.crt")
    with pytest.raises(ConfigError):
        context(sslmode="require", sslcert=tmp_path / "server.crt", sslkey=tmp_path / "ca.crt")
