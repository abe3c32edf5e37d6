"""From the text of a rules file to `Rules`, or to every reason why not.

A file is right as a whole or is not in force at all.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar, cast

from gatekeeper.errors import ConfigError
from gatekeeper.rules import tables
from gatekeeper.rules.near import did_you_mean
from gatekeeper.rules.schema import GatewayRules, GuardRules, MaskRules, Rules
from gatekeeper.rules.table import Table, kind, shown

SINGLE: Final = ("gateway", "policy")
REPEATED: Final = ("issuer", "database", "grant", "guard", "mask")

_POSITION: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def load(path: Path) -> Rules:
    """Read a rules file. ConfigError holds one line per error."""
    return parse(read(path), path)


def read(path: Path) -> str:
    """The text of a rules file; ConfigError where it is not there, not readable or not text."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; `gatekeeper init` writes one to start from") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}: line {line}: not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def parse(text: str, path: Path) -> Rules:
    """Read the text of a rules file that lies at `path`; touches no file. ConfigError as in `load`."""
    path = path.absolute()
    data = _toml(text, path)
    if not data:
        raise ConfigError(f"{path}: is empty")
    problems: list[str] = []
    entries = {name: _entries(data, name, problems) for name in REPEATED}
    single = {name: _single(data, name, problems) for name in SINGLE}
    _unknown_tables(data, problems)
    base = path.parent
    rules = Rules(
        path=path,
        version=version(text),
        gateway=_closed(single["gateway"], lambda table: tables.gateway(table, base)),
        policy=_closed(single["policy"], tables.policy),
        issuers=_all(entries["issuer"], lambda table: tables.issuer(table, base)),
        databases=_all(entries["database"], lambda table: tables.database(table, base)),
        grants=_all(entries["grant"], tables.grant),
        guards=_all(entries["guard"], tables.guard),
        masks=_all(entries["mask"], tables.mask),
    )
    _check_references(rules, entries)
    if problems:
        raise ConfigError(*problems)
    return rules


def version(text: str) -> str:
    """A short hash of a file's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def restart_needed(running: GatewayRules, written: GatewayRules) -> tuple[str, ...]:
    """Keys of `[gateway]` that differ, as they are written in the file."""
    fields = {
        "listen": ("listen_host", "listen_port"),
        "tls_cert": ("tls_cert",),
        "tls_key": ("tls_key",),
        "store": ("store",),
        "control": ("control",),
        "metrics": ("metrics_host", "metrics_port"),
        "login_timeout": ("login_timeout_s",),
        "max_clients": ("max_clients",),
        "record_rows": ("record_rows",),
    }
    return tuple(
        key
        for key, names in fields.items()
        if any(getattr(running, name) != getattr(written, name) for name in names)
    )


def _toml(text: str, path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, and what int() says of a number with thousands of digits
        reason = str(error)
        match = _POSITION.search(reason)
        if match is None:
            raise ConfigError(f"{path}: not TOML: {shown(reason)}") from None
        line, column = match[1] or str(text.count("\n") + 1), match[2]
        place = f"line {line}, column {column}" if column else f"line {line}"
        raise ConfigError(f"{path}: {place}: not TOML: {shown(reason[: match.start()])}") from None


def _single(data: Mapping[str, object], name: str, problems: list[str]) -> Table:
    value = data.get(name, {})
    if not isinstance(value, dict):
        problems.append(f"{name}: must be written as a table [{name}], not as {kind(value)}")
        value = {}
    return Table(f"[{name}] ", value, problems)


def _entries(data: Mapping[str, object], name: str, problems: list[str]) -> Sequence[Table]:
    value = data.get(name, [])
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        problems.append(f"{name}: must be written as tables [[{name}]], not as {kind(value)}")
        return ()
    found = []
    for number, entry in enumerate(value, 1):
        title = entry.get("name")
        usable = isinstance(title, str) and title.strip()
        label = f'"{shown(title)}"' if usable else str(number)
        found.append(Table(f"[[{name}]] {label}: ", entry, problems))
    return found


def _unknown_tables(data: Mapping[str, object], problems: list[str]) -> None:
    written = {**{name: f"[{name}]" for name in SINGLE}, **{name: f"[[{name}]]" for name in REPEATED}}
    for name in data:
        if name not in written:
            hint = did_you_mean(name, written)
            for known, brackets in written.items():
                hint = hint.replace(f" {known}?", f" {brackets}?")
            problems.append(f"{shown(name)}: unknown {'table' if _is_table(data[name]) else 'key'}{hint}")


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


T = TypeVar("T")


def _closed(table: Table, build: Callable[[Table], T]) -> T:
    built = build(table)
    table.close()
    return built


def _all(entries: Iterable[Table], build: Callable[[Table], N]) -> tuple[N, ...]:
    """Build every entry of one kind; a name may occur once."""
    built: list[N] = []
    for table in entries:
        entry = _closed(table, build)
        earlier = [other.name for other in built]
        if entry.name and entry.name in earlier:
            table.problem("name", f"is already the name of number {earlier.index(entry.name) + 1}")
        built.append(entry)
    return tuple(built)


def _check_references(rules: Rules, entries: Mapping[str, Sequence[Table]]) -> None:
    """Every name that one entry gives of another must be the name of one."""
    issuers = [issuer.name for issuer in rules.issuers]
    databases = [database.name for database in rules.databases]
    grants = [grant.name for grant in rules.grants]
    for table, grant in zip(entries["grant"], rules.grants, strict=True):
        _check_names(table, "issuer", (grant.issuer,) if grant.issuer else (), issuers)
        _check_names(table, "databases", grant.databases, databases, "database")
    limits = (
        *zip(entries["guard"], rules.guards, strict=True),
        *zip(entries["mask"], rules.masks, strict=True),
    )
    for table, limited in cast(Iterable[tuple[Table, GuardRules | MaskRules]], limits):
        _check_names(table, "databases", limited.databases or (), databases, "database")
        _check_names(table, "grants", limited.grants or (), grants, "grant")


def warnings(rules: Rules) -> tuple[str, ...]:
    """What is valid and may be a mistake: an exception for a grant that there is none of excepts nobody."""
    known = [grant.name for grant in rules.grants]
    return tuple(
        f'[[{kind}]] "{limited.name}": except_grants: there is no [[grant]] named '
        f'"{shown(name)}"{did_you_mean(name, known)}'
        for kind, entries in (("guard", rules.guards), ("mask", rules.masks))
        for limited in cast(Iterable[GuardRules | MaskRules], entries)
        for name in limited.except_grants
        if name not in known
    )


def _check_names(
    table: Table, key: str, names: Iterable[str], known: Sequence[str], of: str | None = None
) -> None:
    for name in names:
        if name not in known:
            table.problem(
                key, f'there is no [[{of or key}]] named "{shown(name)}"{did_you_mean(name, known)}'
            )
