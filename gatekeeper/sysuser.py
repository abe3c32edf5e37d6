"""PostgreSQL refuses to run as root; under root it runs as a system user of its own.

Law: that user gets the least that lets it work: to pass through the directories above its files, never to
list or read them.
"""

from __future__ import annotations

import logging
import os
import pwd
import stat
import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypedDict

from gatekeeper.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "embedded_postgres"

_log = logging.getLogger(__name__)

_ACL: Final = "system.posix_acl_access"
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class SystemUser:
    """A user of the operating system, by number."""

    name: str
    uid: int
    gid: int


class PopenArguments(TypedDict, total=False):
    """What makes a child process run as another user."""

    user: int
    group: int
    extra_groups: list[int]
    umask: int


def unprivileged() -> SystemUser | None:
    """The user to run PostgreSQL as, made where it does not exist; None where we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", NAME]
        try:
            subprocess.run(command, check=True, capture_output=True)
            entry = pwd.getpwnam(NAME)
        except (OSError, KeyError, subprocess.CalledProcessError):
            raise ConfigError(
                f"PostgreSQL does not run as root: make a system user {NAME}, or start as another user"
            ) from None
    return SystemUser(NAME, entry.pw_uid, entry.pw_gid)


def popen_arguments(user: SystemUser | None) -> PopenArguments:
    """Arguments for `subprocess`, so that the child runs as this user; none where it is us."""
    if user is None:
        return {"umask": 0o077}
    return {"user": user.uid, "group": user.gid, "extra_groups": [], "umask": 0o077}


def let_in(path: Path, user: SystemUser) -> None:
    """Let this user pass through every directory above `path`, by an access list where there are any."""
    for directory in path.resolve().parents:
        if _may_pass(directory, user):
            continue
        try:
            _allow(directory, user)
        except OSError:
            mode = stat.S_IMODE(directory.stat().st_mode)
            directory.chmod(mode | stat.S_IXOTH)
            _log.warning("%s may now be passed through by all users: PostgreSQL needs it", directory)


def open_tree(tree: Path) -> None:
    """Let everyone read the bundled programs, which an installation under umask 077 has hidden."""
    if tree.stat().st_mode & stat.S_IROTH and (tree / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        return
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | (mode & 0o500) >> 6)


def _may_pass(directory: Path, user: SystemUser) -> bool:
    found = directory.stat()
    if found.st_uid == user.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    entries = _read(directory)
    if (_USER, 1, user.uid) in entries:
        # A later chmod takes effect on the mask, and can make the entry void.
        return any(tag == _MASK and permission & 1 for tag, permission, _ in entries)
    return bool(found.st_mode & stat.S_IXOTH)


def _read(directory: Path) -> list[tuple[int, int, int]]:
    """The access list as (tag, permission, id): acl(5), as the kernel keeps it in an extended attribute."""
    try:
        raw = os.getxattr(directory, _ACL)
    except (OSError, AttributeError):
        mode = directory.stat().st_mode
        return [
            (_USER_OBJ, mode >> 6 & 7, _NO_ID),
            (_GROUP_OBJ, mode >> 3 & 7, _NO_ID),
            (_OTHER, mode & 7, _NO_ID),
        ]
    return [struct.unpack_from("<HHI", raw, at) for at in range(4, len(raw), 8)]


def _allow(directory: Path, user: SystemUser) -> None:
    entries = [entry for entry in _read(directory) if entry[::2] != (_USER, user.uid)]
    entries.append((_USER, 1, user.uid))
    if not any(tag == _MASK for tag, _, _ in entries):
        group = next(permission for tag, permission, _ in entries if tag == _GROUP_OBJ)
        entries.append((_MASK, group | 1, _NO_ID))
    else:
        entries = [(tag, permission | (tag == _MASK), who) for tag, permission, who in entries]
    raw = b"".join(struct.pack("<HHI", *entry) for entry in sorted(entries, key=lambda e: (e[0], e[2])))
    os.setxattr(directory, _ACL, struct.pack("<I", 2) + raw)
