"""Where a database is and how to reach it, from a libpq connection URI (PostgreSQL 18, 32.1.1.2)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from gatekeeper.errors import ConfigError
from gatekeeper.model import Secret

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_KNOWN: Final = frozenset(
    [
        "host",
        "port",
        "user",
        "password",
        "dbname",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "connect_timeout",
    ]
)
DEFAULT_PORT: Final = 5432


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed DSN. `hosts` are tried in order; one that begins with `/` is a socket's directory."""

    hosts: tuple[tuple[str, int], ...]
    user: str
    database: str
    password: Secret | None = None
    sslmode: SslMode = "prefer"
    sslrootcert: Path | None = None
    sslcert: Path | None = None
    sslkey: Path | None = None
    connect_timeout_s: float = 10.0

    def context(self) -> ssl.SSLContext | None:
        """TLS as `sslmode` wants it; None without. Raises ConfigError where a certificate is no good."""
        if self.sslmode in ("disable", "allow"):
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.sslmode == "verify-full"
        verify = self.sslmode in ("verify-ca", "verify-full")
        # As libpq: a root certificate that is named is checked, even where the mode alone would not ask.
        if not verify and not (self.sslmode == "require" and self.sslrootcert is not None):
            context.verify_mode = ssl.CERT_NONE
        try:
            if self.sslrootcert is not None:
                context.load_verify_locations(self.sslrootcert)
            elif verify:
                context.load_default_certs()
            if self.sslcert is not None:
                context.load_cert_chain(self.sslcert, self.sslkey)
        except (OSError, ssl.SSLError) as problem:
            raise ConfigError(f"the database's certificates cannot be used: {problem}") from None
        return context


def parse_dsn(dsn: str, *, base: Path = Path(), password: Secret | None = None) -> Target:
    """Parse a connection URI; relative files are relative to `base`. Raises ConfigError."""
    if not dsn.startswith(("postgresql://", "postgres://")):
        raise ConfigError("dsn must begin with postgresql://")
    try:
        _, netloc, path, query, _ = urlsplit(dsn)
        credentials, _, places = netloc.rpartition("@")
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ConfigError("dsn is not a connection URI") from None
    unknown = sorted(set(options) - _KNOWN)
    if unknown:
        raise ConfigError(f"dsn: unknown parameter {unknown[0]}")
    user, _, secret = credentials.partition(":")
    hosts = _hosts(options.get("host", places), options.get("port", ""))
    mode = options.get("sslmode", "prefer")
    if mode not in _MODES:
        raise ConfigError(f"dsn: sslmode must be one of {', '.join(_MODES)}")
    if not secret:
        secret = options.get("password", "")
    name = unquote(user) or options.get("user", "")
    if not name:
        raise ConfigError("dsn names no user")
    try:
        timeout = float(options.get("connect_timeout", "10"))
    except ValueError:
        timeout = -1.0
    if not 0 <= timeout < 86400:
        raise ConfigError("dsn: connect_timeout must be a number of seconds")
    return Target(
        hosts=hosts,
        user=name,
        database=unquote(path.lstrip("/")) or options.get("dbname", "") or name,
        password=password or (Secret(unquote(secret)) if secret else None),
        sslmode=mode,  # type: ignore[arg-type]
        sslrootcert=_file(options.get("sslrootcert"), base),
        sslcert=_file(options.get("sslcert"), base),
        sslkey=_file(options.get("sslkey"), base),
        connect_timeout_s=timeout or 10.0,
    )


def _hosts(places: str, ports: str) -> tuple[tuple[str, int], ...]:
    found = []
    all_ports = ports.split(",") if ports else []
    for index, place in enumerate(places.split(",")):
        if place.startswith("["):
            host, _, rest = place[1:].partition("]")
            port = rest.removeprefix(":")
        elif place.startswith("/"):
            host, port = place, ""
        else:
            host, _, port = place.partition(":")
        if not port and all_ports:
            port = all_ports[index] if index < len(all_ports) else all_ports[-1]
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise ConfigError("dsn: a port must be a number from 1 to 65535")
        found.append((unquote(host) or "localhost", int(port) if port else DEFAULT_PORT))
    return tuple(found)


def _file(name: str | None, base: Path) -> Path | None:
    if not name or name == "system":
        return None
    return base / name
