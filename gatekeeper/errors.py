"""The tree of errors. Each carries its SQLSTATE and says whose fault it was.

What reaches a client is built from these alone: a message, a detail and a hint that were written to be
read by the person at the other end, never an exception's own text.
"""

from __future__ import annotations


class GatekeeperError(Exception):
    """Base of all errors of ours. `str()` of it is one clear line without secrets."""

    sqlstate: str = "XX000"


class ConfigError(GatekeeperError):
    """Rules, arguments or environment are wrong. `problems` holds one line per error."""

    sqlstate = "F0000"

    def __init__(self, *problems: str) -> None:
        self.problems: tuple[str, ...] = problems
        super().__init__("; ".join(problems))


class ProtocolError(GatekeeperError):
    """The peer broke the PostgreSQL protocol."""

    sqlstate = "08P01"


class LoginRefusedError(GatekeeperError):
    """A login failed. `reason` is for the log and the recording; the client sees `str()` alone."""

    sqlstate = "28000"

    def __init__(self, reason: str, message: str = "login refused") -> None:
        self.reason = reason
        super().__init__(message)


class SessionEndedError(GatekeeperError):
    """The session may not go on: run ended, ttl over, idle too long, killed, gateway stopping."""

    sqlstate = "57P01"


class TooManyError(GatekeeperError):
    """Too many clients, or too many sessions of one run."""

    sqlstate = "53300"


class UpstreamUnreachableError(GatekeeperError):
    """The database cannot be reached. `reason` is for the log; the client sees no address and no user."""

    sqlstate = "08001"

    def __init__(self, reason: str, message: str = "the database cannot be reached") -> None:
        self.reason = reason
        super().__init__(message)


class RecordingError(GatekeeperError):
    """The recording cannot be written; nothing may be sent to the database."""

    sqlstate = "58030"


class OperatorError(GatekeeperError):
    """An operator asked for what cannot be done, such as deciding what no longer waits."""

    sqlstate = "55000"
