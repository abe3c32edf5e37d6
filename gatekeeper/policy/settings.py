"""Which settings a session may change: all ordinary ones, and none that would move it from under the gate.

What a text means depends on some settings, who the session is and what it may write on others. They are
refused whatever the classes of the grant, except where a class plainly stands for them. Going back to what
the login gave (RESET, DEFAULT) is free: those values are the gateway's own.
"""

from __future__ import annotations

from typing import Final

from gatekeeper.model import Refusal, SettingChange, StatementClass
from gatekeeper.rules.schema import GrantRules

WRITING: Final = frozenset(
    {StatementClass.WRITE, StatementClass.DDL, StatementClass.ROLE, StatementClass.SERVER}
)
"""A grant without any of these classes lives in read-only transactions."""

REASON: Final = "gatekeeper.reason"
_OWN: Final = "gatekeeper."
_READ_ONLY: Final = frozenset({"transaction_read_only", "default_transaction_read_only"})

_SERVER_SETTINGS: Final = frozenset(
    {
        # What they name is loaded or run by the server.
        "archive_cleanup_command", "archive_command", "archive_library", "dynamic_library_path",
        "extension_control_path", "jit_provider", "local_preload_libraries", "oauth_validator_libraries",
        "recovery_end_command", "restore_command", "session_preload_libraries", "shared_preload_libraries",
        "ssl_passphrase_command",
    }
)  # fmt: skip
_SERVER_PREFIXES: Final = ("plperl.", "pltcl.", "pltclu.", "plpython.", "plpython3.")
"""Their start-up settings are code: plperl.on_init, pltcl.start_proc."""

_SAFE_ENCODINGS: Final = frozenset(
    {
        "utf8", "unicode", "sqlascii", "muleinternal", "euccn", "eucjp", "eucjis2004", "euckr", "euctw",
        "latin1", "latin2", "latin3", "latin4", "latin5", "latin6", "latin7", "latin8", "latin9", "latin10",
        "iso88591", "iso88592", "iso88593", "iso88594", "iso88595", "iso88596", "iso88597", "iso88598",
        "iso88599", "iso885910", "iso885913", "iso885914", "iso885915", "iso885916", "koi8", "koi8r",
        "koi8u", "win", "win866", "win874", "win1250", "win1251", "win1252", "win1253", "win1254",
        "win1255", "win1256", "win1257", "win1258", "windows866", "windows874", "windows1250",
        "windows1251", "windows1252", "windows1253", "windows1254", "windows1255", "windows1256",
        "windows1257", "windows1258", "abc", "alt", "tcvn", "tcvn5712", "vscii",
    }
)  # fmt: skip
"""Every name that PostgreSQL 13 to 18 know (encnames.c) for the encodings that a server can have: in none of
them can a byte of a longer character look like ASCII. The others (BIG5, GB18030, GBK, JOHAB, SJIS,
SHIFT_JIS_2004, UHC) and what nobody knows are left out."""


def is_read_only(grant: GrantRules) -> bool:
    """True where the grant has no class that writes: its sessions run with default_transaction_read_only."""
    return grant.classes.isdisjoint(WRITING)


def check_change(change: SettingChange, grant: GrantRules) -> Refusal | None:
    """The refusal that a change of a setting meets, or None."""
    return check_setting(change.name, change.value, grant, computed=change.computed)


def check_setting(
    name: str, value: str | None, grant: GrantRules, *, computed: bool = False
) -> Refusal | None:
    """The refusal that `name = value` meets, in a statement or in startup options, or None.

    `value` None is RESET or DEFAULT, and `*` as the name RESET ALL; `computed` says that the value is known
    at run time alone. The name may be in any case. SQLSTATE 42501.
    """
    name = name.strip().lower()
    if name == "?":
        return _refusal("a setting whose name is computed may not be changed")
    if name.startswith(_OWN):
        return None if name == REASON else _protected(name, "It is set by the gateway at login.")
    match name:
        case "standard_conforming_strings":
            if computed or (value is not None and not _is_true(value)):
                return _protected(name, "The gateway reads strings as the SQL standard has them.")
        case "client_encoding" | "names":
            if computed or (value is not None and _encoding(value) not in _SAFE_ENCODINGS):
                return _protected(
                    "client_encoding",
                    "In this encoding a byte of a character can look like ASCII.",
                    hint="Use UTF8 or another encoding that PostgreSQL supports on the server.",
                )
        case "session_replication_role" | "session_authorization":
            if computed or value is not None:
                return _protected(name)
        case "role":
            if computed or (value is not None and value != (grant.role or "none")):
                return _protected(name, f'The role of a session is that of its grant "{grant.name}".')
        case "transaction_read_only" | "default_transaction_read_only":
            return _check_read_only(name, value, grant, computed=computed)
        case _ if name in _SERVER_SETTINGS or name.startswith(_SERVER_PREFIXES):
            if (computed or value is not None) and StatementClass.SERVER not in grant.classes:
                return _refusal(f'grant "{grant.name}" does not allow SERVER (SET {name})')
        case _:
            pass
    return None


def _check_read_only(name: str, value: str | None, grant: GrantRules, *, computed: bool) -> Refusal | None:
    if not is_read_only(grant):
        return None
    if value is None and not computed:
        # Up to PostgreSQL 15 RESET gives a transaction the built-in value, off, not the session's default.
        allowed = name != "transaction_read_only"
    else:
        allowed = not computed and value is not None and _is_true(value)
    return None if allowed else _protected(name, f'Grant "{grant.name}" has no class that writes.')


def _is_true(value: str) -> bool:
    """As parse_bool_with_len (bool.c) reads it: a prefix is enough."""
    value = value.strip().lower()
    return value in {"1", "on"} or (value != "" and ("true".startswith(value) or "yes".startswith(value)))


def _encoding(value: str) -> str:
    """As clean_encoding_name (encnames.c): letters and digits alone, in lower case."""
    return "".join(c for c in value if c.isascii() and c.isalnum()).lower()


def _protected(name: str, detail: str | None = None, hint: str | None = None) -> Refusal:
    return _refusal(f'setting "{name}" may not be changed', detail, hint)


def _refusal(message: str, detail: str | None = None, hint: str | None = None) -> Refusal:
    return Refusal("42501", message, detail, hint)
