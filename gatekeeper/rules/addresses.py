"""Addresses and where passwords come from; none of these errors repeats what it was given.

A password may sit in any of these texts by mistake, and errors go to logs and screens.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit, urlunsplit

from gatekeeper.rules.near import did_you_mean
from gatekeeper.rules.schema import PasswordSource

EMBEDDED: Final = "embedded"
_SCHEMES: Final = ("postgresql", "postgres")
_SSLMODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FILES: Final = ("sslrootcert", "sslcert", "sslkey")
_PARAMETERS: Final = ("host", "port", "user", "dbname", "sslmode", *_FILES, "connect_timeout")
"""What of libpq's connection parameters a `dsn` may carry; what would be ignored is refused instead."""
_SECRET_PARAMETERS: Final = ("password", "sslpassword", "passfile", "scram_client_key", "scram_server_key")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen."""

    host: str
    port: int


def parse_listen(text: str) -> Listen:
    """`HOST:PORT`, an IPv6 host in brackets; port 0 takes a free one. ValueError otherwise."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("must be HOST:PORT, with an IPv6 address in brackets: [::1]:6432")
    if not colon or not host or any(character.isspace() for character in host):
        raise ValueError('must be HOST:PORT, such as "127.0.0.1:6432"')
    if not _is_port(port):
        raise ValueError("must end in a port, 0 to 65535")
    return Listen(host, int(port))


def parse_dsn(text: str, base: Path) -> str:
    """`embedded`, or a postgresql:// URL with its relative file names made absolute under `base`."""
    if text == EMBEDDED:
        return text
    url = _postgres_url(text, 'must be "embedded" or a postgresql:// URL')
    parameters = _parameters(url)
    for key in parameters:
        if key not in _PARAMETERS:
            raise ValueError(f"{key}: unknown parameter{did_you_mean(key, _PARAMETERS)}")
    user, _, places = url.netloc.rpartition("@")
    for what, there in (
        ("user", user or parameters.get("user")),
        ("database", url.path.strip("/") or parameters.get("dbname")),
        ("host", places or parameters.get("host")),
    ):
        if not there:
            raise ValueError(f"names no {what}: postgresql://USER@HOST:PORT/DATABASE")
    _check_parameters(parameters)
    for key in _FILES:
        if key in parameters and not (key == "sslrootcert" and parameters[key] == "system"):
            parameters[key] = str(base / parameters[key])
    query = "&".join(f"{key}={quote(value, safe='/:')}" for key, value in parameters.items())
    return urlunsplit(("postgresql", url.netloc, url.path, query, ""))


def _check_parameters(parameters: Mapping[str, str]) -> None:
    mode = parameters.get("sslmode", "prefer")
    if mode not in _SSLMODES:
        raise ValueError(f"sslmode must be one of {', '.join(_SSLMODES)}")
    if parameters.get("sslrootcert") == "system" and mode != "verify-full":
        raise ValueError("sslrootcert=system needs sslmode=verify-full")  # as in libpq
    timeout = parameters.get("connect_timeout", "0")
    if not (timeout.isascii() and timeout.isdigit() and len(timeout) < 7):
        raise ValueError("connect_timeout must be a number of seconds")
    for port in parameters.get("port", "").split(","):
        if port and not _is_port(port):
            raise ValueError("port must be 0 to 65535")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text[:6]) <= 65535


def parse_store(text: str, base: Path) -> str:
    """An SQLite file, made absolute under `base`, or a postgresql:// URL without a password."""
    if "://" not in text:
        return str(base / text)
    url = _postgres_url(text, "must be an SQLite file or a postgresql:// URL")
    _parameters(url)
    return text


def parse_password(text: str, base: Path) -> PasswordSource:
    """`env:NAME`, `file:PATH` or `cmd:COMMAND`; a literal is refused and not repeated."""
    kind, colon, value = text.partition(":")
    match kind:
        case "env" | "file" | "cmd" if colon:
            if not value.strip():
                raise ValueError(f"{kind}: names nothing")
            return PasswordSource(kind, str(base / value) if kind == "file" else value)
        case _:
            raise ValueError("must be env:NAME, file:PATH or cmd:COMMAND; a password itself is refused here")


def parse_keys(text: str, base: Path) -> str:
    """A JWKS file, made absolute under `base`, or the https:// URL of one."""
    return parse_https(text) if "://" in text else str(base / text)


def parse_https(text: str) -> str:
    """An https:// URL, or http:// of this host: keys fetched in the clear could be anyone's."""
    url = _split(text)
    if url.scheme == "https" and url.hostname:
        return text
    if url.scheme == "http" and url.hostname and _is_loopback(url.hostname):
        return text
    raise ValueError("must be an https:// URL (http:// is for loopback alone)")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _split(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port  # a port that is no number shows itself only when asked for
    except ValueError:
        raise ValueError("is not a URL") from None
    return url


def _postgres_url(text: str, otherwise: str) -> SplitResult:
    if not text.startswith(tuple(f"{scheme}://" for scheme in _SCHEMES)):
        raise ValueError(otherwise)
    try:
        url = urlsplit(text)
    except ValueError:
        raise ValueError("is not a URL") from None
    for place in url.netloc.rpartition("@")[2].split(","):
        _, colon, port = place.rpartition("]")[2].partition(":")
        if colon and not _is_port(port):
            raise ValueError("must end a host in :PORT, 0 to 65535")
    if url.fragment:
        raise ValueError("has a # in it; write %23")
    if ":" in url.netloc.rpartition("@")[0]:
        raise ValueError('holds a password; say where it comes from: password = "env:NAME"')
    return url


def _parameters(url: SplitResult) -> dict[str, str]:
    try:
        pairs = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
    except ValueError:
        raise ValueError("what follows ? must be key=value pairs joined by &") from None
    parameters: dict[str, str] = {}
    for key, value in pairs:
        if key.lower() in _SECRET_PARAMETERS:
            raise ValueError('holds a password; say where it comes from: password = "env:NAME"')
        if key in parameters:
            raise ValueError(f"{key}: given twice")
        parameters[key] = value
    return parameters
