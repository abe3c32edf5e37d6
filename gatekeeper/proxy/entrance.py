"""A login from its token to its session: who it is, whether its run goes on, the database's own login.

What a session must keep goes into the upstream startup packet: those are the values that RESET ALL, RESET
ROLE and DISCARD ALL go back to.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gatekeeper.errors import (
    GatekeeperError,
    LoginRefusedError,
    RecordingError,
    UpstreamUnreachableError,
)
from gatekeeper.events import Login, LoginFailed, Recorder
from gatekeeper.identity.login import Admitted, Authenticator
from gatekeeper.identity.runs import Runs
from gatekeeper.model import Refusal, SessionInfo
from gatekeeper.policy.approvals import Approvals
from gatekeeper.policy.settings import is_read_only
from gatekeeper.proxy.client import ClientConnection, LoginRequest
from gatekeeper.proxy.databases import Database, Databases
from gatekeeper.proxy.dsn import Target
from gatekeeper.proxy.judge import Judge
from gatekeeper.proxy.link import Link
from gatekeeper.proxy.session import Session
from gatekeeper.proxy.upstream import SettingRefusedError, Upstream, connect
from gatekeeper.proxy.wire import backend
from gatekeeper.proxy.wire.login import UpstreamLogin
from gatekeeper.rules.schema import Rules

_SHORT_KEY_BYTES: Final = 4
_LONG_KEY_BYTES: Final = 32
_REASON: Final = "gatekeeper.reason"


class ProtectedSettingError(GatekeeperError):
    """A startup packet sets what a client may not set."""

    def __init__(self, refusal: Refusal) -> None:
        self.sqlstate = refusal.sqlstate
        super().__init__(refusal.message)


@dataclass(slots=True)
class Member:
    """A live session, and what the gateway needs to know to end it."""

    link: Link
    admitted: Admitted
    database: Database
    ends_at: float
    """Unix time when its run ends; infinity without a ttl."""
    pid: int
    key: bytes
    """Of its cancel requests, as the client knows them."""

    @property
    def id(self) -> str:
        """ID of the session."""
        return self.link.session.info.id


@dataclass(frozen=True, slots=True)
class _Login:
    """A login that was let in, before it has a connection to the database."""

    request: LoginRequest
    info: SessionInfo
    admitted: Admitted
    database: Database
    judge: Judge
    ends_at: float


class Entrance:
    """Lets logins in."""

    def __init__(
        self,
        rules: Callable[[], Rules],
        *,
        authenticator: Authenticator,
        runs: Runs,
        approvals: Approvals,
        databases: Databases,
        recorder: Recorder,
        hash_key: bytes,
        clock: Callable[[], float],
        on_end_run: Callable[[Link], None],
        on_closed: Callable[[Link], None],
    ) -> None:
        self._rules = rules
        self._authenticator = authenticator
        self._runs = runs
        self._approvals = approvals
        self._databases = databases
        self._recorder = recorder
        self._hash_key = hash_key
        self._clock = clock
        self._on_end_run = on_end_run
        self._on_closed = on_closed
        self._record_rows = rules().gateway.record_rows
        self._judges: dict[tuple[str, Database], Judge] = {}

    async def admit(self, client: ClientConnection, request: LoginRequest) -> Member:
        """Log in and answer the client. Raises GatekeeperError, and then the refusal is recorded."""
        session_id = secrets.token_hex(6)
        try:
            return await self._admit(client, request, session_id)
        except GatekeeperError as problem:
            self._runs.leave(session_id)
            reason = getattr(problem, "reason", None) or str(problem)
            self.refused(request.address, request.user, request.database, problem.sqlstate, reason)
            raise
        except BaseException:
            self._runs.leave(session_id)
            raise

    def refused(self, address: str, user: str, database: str, sqlstate: str, reason: str) -> None:
        """Record a login that was refused."""
        info = SessionInfo("", _shown(user), "", "", "", _shown(database), address)
        self._recorder.submit([LoginFailed(self._clock(), info, sqlstate, reason)])

    async def _admit(self, client: ClientConnection, request: LoginRequest, session_id: str) -> Member:
        now = self._clock()
        admitted = await self._authenticator.authenticate(
            self._rules(), request.user, request.database, request.token, now
        )
        if admitted.grant.auth != "token":
            raise LoginRefusedError(
                f"grant {admitted.grant.name} wants {admitted.grant.auth}, not a password"
            )
        identity = admitted.identity
        ends_at = self._runs.admit(identity, admitted.grant, session_id, now)
        database = self._databases.get(admitted.database)
        await database.look()
        judge = self.judge(identity.grant, database)
        for name, value in request.settings.items():
            refusal = judge.setting(name, value)
            if refusal is not None:
                raise ProtectedSettingError(refusal)
        info = SessionInfo(
            session_id, identity.grant, identity.subject, identity.issuer, identity.run, database.name,
            request.address, request.settings.get("application_name", ""), identity.claims,
        )  # fmt: skip
        login = _Login(request, info, admitted, database, judge, ends_at)
        target = await database.target()
        try:
            upstream, answer = await connect(target, _startup_parameters(target, login))
        except SettingRefusedError as problem:
            role = admitted.grant.role
            if role is not None and f'"{role}"' in str(problem):
                raise UpstreamUnreachableError(f"role {role}: {problem}") from None
            raise
        try:
            return await self._begin(client, login, target, upstream, answer)
        except BaseException:
            upstream.abort()
            raise

    def judge(self, grant: str, database: Database) -> Judge:
        """The judge for a grant on a database; all their sessions share its cache."""
        key = (grant, database)
        found = self._judges.get(key)
        if found is None:
            found = self._judges[key] = Judge(database, grant, database.name, self._hash_key)
        return found

    async def _begin(
        self,
        client: ClientConnection,
        login: _Login,
        target: Target,
        upstream: Upstream,
        answer: UpstreamLogin,
    ) -> Member:
        now = self._clock()
        session = Session(
            login.info, login.judge, now=now, record_rows=self._record_rows,
            reason=login.request.settings.get(_REASON),
        )  # fmt: skip
        for name, value in answer.parameters.items():
            session.relay.parameter(name, value)
        await self._recorded(Login(now, login.info))
        pid = answer.pid
        key = secrets.token_bytes(_LONG_KEY_BYTES if login.request.minor >= 2 else _SHORT_KEY_BYTES)
        link = Link(
            session, client, upstream, target=target, pid=pid, key=answer.key,
            role=login.admitted.grant.role, database=login.database,
            recorder=self._recorder, approvals=self._approvals, clock=self._clock,
            on_end_run=self._on_end_run, on_closed=self._on_closed,
        )  # fmt: skip
        client.write(_greeting(answer, pid, key))
        upstream.take_over(link)
        return Member(link, login.admitted, login.database, login.ends_at, pid, key)

    async def _recorded(self, event: Login) -> None:
        """Wait for the record of a login to be committed. Raises RecordingError."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def then(problem: RecordingError | None) -> None:
            if done.done():
                return
            if problem is None:
                done.set_result(None)
            else:
                done.set_exception(problem)

        self._recorder.submit([event], then)
        await done


def _startup_parameters(target: Target, login: _Login) -> Mapping[bytes, bytes]:
    """The upstream startup packet: the client's settings, then ours, which win."""
    info, grant = login.info, login.admitted.grant
    settings = dict(login.request.settings)
    settings.setdefault("application_name", f"gatekeeper {grant.name}")
    settings["standard_conforming_strings"] = "on"
    if is_read_only(grant):
        settings["default_transaction_read_only"] = "on"
    if grant.role is not None:
        settings["role"] = grant.role
    settings |= {
        "gatekeeper.grant_name": info.grant,
        "gatekeeper.subject": info.subject,
        "gatekeeper.session": info.id,
        "gatekeeper.run": info.run,
    }
    parameters = {"user": target.user, "database": target.database, **settings}
    return {name.encode(): value.replace("\0", "").encode() for name, value in parameters.items()}


def _greeting(answer: UpstreamLogin, pid: int, key: bytes) -> bytes:
    parts = [backend.AUTHENTICATION_OK]
    parts += [backend.parameter_status(name, value) for name, value in answer.parameters.items()]
    parts.append(backend.backend_key_data(pid, key))
    parts += [backend.message(b"N", notice) for notice in answer.notices]
    parts.append(backend.message(b"Z", b"I"))
    return b"".join(parts)


def _shown(name: str) -> str:
    """A name that a client gave; hidden where it may be a token in the wrong place."""
    return name if len(name) <= 63 and not name.startswith("eyJ") else "(a long text, not shown)"
