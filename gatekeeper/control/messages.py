"""One JSON object a line: `{"id", "method", "params"}` out, `{"id", "result"}` or `{"id", "error"}` back."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from gatekeeper.errors import ConfigError

MAX_REQUEST: Final = 1024 * 1024
MAX_REPLY: Final = 512 * 1024 * 1024
_MAX_PATH: Final = 107
"""Bytes in a Unix socket's address on Linux, less the final NUL; unix(7)."""
_AT_ONCE: Final = 200

PEER: Final = struct.Struct("3i")
"""struct ucred: pid, uid, gid."""

Method = Literal[
    "snapshot", "decide", "kill_session", "end_run", "runs", "pruned", "explain", "sessions", "records"
]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of one method of the operator interface, its arguments by name."""

    id: int
    method: Method
    params: dict[str, Any] = {}


class Fault(msgspec.Struct, frozen=True):
    """Why a call failed: `kind` names the error's class."""

    kind: Literal["operator", "recording", "request"]
    message: str


class Reply(msgspec.Struct, frozen=True):
    """What became of a call; `result` stays as it came until its type is known."""

    id: int
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: Fault | None = None


def socket_path(path: Path) -> str:
    """The path as an address. Raises ConfigError where it is too long for one."""
    absolute = str(path.expanduser().absolute())
    if len(absolute.encode()) > _MAX_PATH:
        raise ConfigError(
            f"[gateway] control: {absolute}: a Unix socket's path has at most {_MAX_PATH} bytes;"
            " choose a shorter one"
        )
    return absolute


async def encode_reply(request: int, result: Any) -> bytes:
    """A reply in one line. Long tuples are encoded a part at a time, so that the loop goes on meanwhile."""
    if not isinstance(result, tuple):
        body = _encode(result)
    else:
        parts = []
        for n, item in enumerate(result, start=1):
            parts.append(_encode(item))
            if n % _AT_ONCE == 0:
                await asyncio.sleep(0)
        body = b"[" + b",".join(parts) + b"]"
    return b'{"id":%d,"result":%b}\n' % (request, body)


def encode_fault(request: int, fault: Fault) -> bytes:
    """A reply that says why there is no result."""
    return b'{"id":%d,"error":%b}\n' % (request, _encode(fault))


def _encode(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a client's text that is not Unicode must not hide all the others
        return msgspec.json.encode(_clean(msgspec.to_builtins(value)))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(name): _clean(item) for name, item in value.items()}
    return value
