"""The gateway: it listens, keeps the sessions, and ends each in its time."""

from __future__ import annotations

import asyncio
import errno
import hmac
import logging
import ssl
from collections.abc import Callable, Iterable
from typing import Final

from gatekeeper.errors import ConfigError, OperatorError, RecordingError
from gatekeeper.events import Recorder
from gatekeeper.identity.claims import matches
from gatekeeper.identity.login import Authenticator
from gatekeeper.identity.runs import Runs
from gatekeeper.model import Refusal, SessionStatus
from gatekeeper.policy.approvals import Approvals
from gatekeeper.proxy.client import ClientConnection, LoginRequest
from gatekeeper.proxy.databases import Databases
from gatekeeper.proxy.entrance import Entrance, Member
from gatekeeper.proxy.judge import Judge
from gatekeeper.proxy.link import Link
from gatekeeper.proxy.tls import server_context
from gatekeeper.rules.schema import GatewayRules, Rules

_log: Final = logging.getLogger(__name__)
_TICK_S: Final = 0.25
MAX_HALF_OPEN: Final = 256
"""Connections that have not sent their startup packet; more are closed at once."""
DRAIN_S: Final = 15.0
"""What running statements get to finish in when the gateway stops."""


class Gateway:
    """The door, and the sessions behind it. `start`, then `stop`."""

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
    ) -> None:
        self._rules = rules
        self._settings: GatewayRules = rules().gateway
        self._runs = runs
        self._databases = databases
        self._clock = clock
        self._entrance = Entrance(
            rules,
            authenticator=authenticator,
            runs=runs,
            approvals=approvals,
            databases=databases,
            recorder=recorder,
            hash_key=hash_key,
            clock=clock,
            on_end_run=self._end_run_of,
            on_closed=self._closed,
        )
        self._members: dict[str, Member] = {}
        self._clients: set[ClientConnection] = set()
        self._half_open: set[ClientConnection] = set()
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._stopping = False
        self._hurry = False
        self.login_timeout_s = self._settings.login_timeout_s
        self.tls: ssl.SSLContext | None = None
        self.port = 0

    # --- start and stop ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. Raises ConfigError where that cannot be."""
        settings = self._settings
        if settings.tls_cert is not None and settings.tls_key is not None:
            self.tls = server_context(settings.tls_cert, settings.tls_key)
        loop = asyncio.get_running_loop()
        host, port = settings.listen_host, settings.listen_port
        try:
            self._server = await loop.create_server(lambda: ClientConnection(self), host, port, backlog=512)
        except OSError as problem:
            why = "is in use" if problem.errno == errno.EADDRINUSE else problem.strerror or "cannot be had"
            raise ConfigError(f"[gateway] listen: {host}:{port} {why}") from None
        self.port = self._server.sockets[0].getsockname()[1]
        self._ticker = asyncio.create_task(self._tick(), name="session timer")
        self._databases.start()

    async def stop(self, *, drain_s: float = DRAIN_S) -> None:
        """No new logins; idle sessions end with 57P01, running statements have `drain_s` to finish."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        refusal = Refusal("57P01", "terminating connection because the gateway is stopping")
        deadline = self._clock() + drain_s
        for client in [c for c in self._clients if c.link is None]:
            client.end(refusal, "gateway stopping")
        while self._members:
            late = self._hurry or self._clock() >= deadline
            for member in list(self._members.values()):
                session = member.link.session
                if late or session.held or not session.busy:
                    member.link.end(refusal, "gateway stopping")
            if late:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0)
        if self._ticker is not None:
            self._ticker.cancel()
        await self._databases.close()

    def hurry(self) -> None:
        """Stop without waiting for running statements any longer."""
        self._hurry = True

    @property
    def listen(self) -> str:
        """Where it listens, `host:port`."""
        host = self._settings.listen_host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    # --- the door, as connections see it ----------------------------------------------------------------

    def knock(self, client: ClientConnection) -> bool:
        """A connection was made; False where too many have not said yet what they want."""
        if len(self._half_open) >= MAX_HALF_OPEN:
            return False
        self._half_open.add(client)
        return True

    def enter(self, client: ClientConnection) -> Refusal | None:
        """A connection asks to log in; a refusal where there is no room."""
        self._half_open.discard(client)
        if self._stopping:
            return Refusal("57P01", "the gateway is stopping")
        if len(self._clients) >= self._settings.max_clients:
            return Refusal("53300", "sorry, too many clients already")
        self._clients.add(client)
        return None

    def leave(self, client: ClientConnection) -> None:
        """A connection is over."""
        self._half_open.discard(client)
        self._clients.discard(client)

    def refused(self, address: str, user: str, database: str, sqlstate: str, reason: str) -> None:
        """Record a login that was refused before its token was seen."""
        self._entrance.refused(address, user, database, sqlstate, reason)

    async def log_in(self, client: ClientConnection, request: LoginRequest) -> Link:
        """Log in, answer the client, and give the session's link. Raises GatekeeperError."""
        member = await self._entrance.admit(client, request)
        if not member.link.session.closed:
            self._members[member.id] = member
        return member.link

    async def cancel(self, pid: int, key: bytes) -> None:
        """Carry out a cancel request; one with a wrong key is ignored, as PostgreSQL does."""
        for member in list(self._members.values()):
            if member.pid == pid and hmac.compare_digest(member.key, key):
                await member.link.cancel()

    # --- sessions, as operators see them ----------------------------------------------------------------

    def statuses(self) -> Iterable[SessionStatus]:
        """A look at every live session, oldest first."""
        return [member.link.session.status() for member in self._members.values()]

    def kill(self, session_id: str, reason: str = "killed by an operator") -> bool:
        """End a session with 57P01; False where there is none of that ID."""
        member = self._members.get(session_id)
        if member is None:
            return False
        member.link.end(Refusal("57P01", f"terminating connection: {reason}"), reason)
        return True

    def end_sessions(self, session_ids: Iterable[str]) -> None:
        """End the sessions of a run that has ended."""
        for session_id in session_ids:
            member = self._members.get(session_id)
            if member is not None:
                member.link.end(Refusal("57P01", "terminating connection: the run has ended"), "run ended")

    def judge(self, grant: str, database: str) -> Judge | None:
        """The judge for a grant on a database, for `explain`; None where there is no such database."""
        found = self._databases.named(database)
        return self._entrance.judge(grant, found) if found is not None else None

    # --- what ends sessions -----------------------------------------------------------------------------

    def rules_changed(self, rules: Rules) -> None:
        """The rules were reloaded: what they no longer grant ends at once."""
        for member in list(self._members.values()):
            reason = _withdrawn(member, rules)
            if reason is not None:
                member.link.end(
                    Refusal("57P01", "terminating connection: the grant was withdrawn"),
                    f"grant withdrawn: {reason}",
                )
                continue
            grant = rules.grant(member.admitted.grant.name)
            assert grant is not None
            member.ends_at = self._runs.ends_at(member.id, grant)
            member.link.rules_changed()

    def _end_run_of(self, link: Link) -> None:
        """A client has called gatekeeper.end_run()."""
        info = link.session.info
        try:
            ended = self._runs.end(info.run, self._clock(), info.grant)
        except (OperatorError, RecordingError) as problem:
            _log.warning("session %s: its run cannot be ended: %s", info.id, problem)
            ended = (info.id,)
        self.end_sessions(ended)

    def _closed(self, link: Link) -> None:
        session_id = link.session.info.id
        self._members.pop(session_id, None)
        self._runs.leave(session_id)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now = self._clock()
            for member in list(self._members.values()):
                self._end_in_time(member, now)

    def _end_in_time(self, member: Member, now: float) -> None:
        if now >= member.ends_at:
            member.link.end(Refusal("57P01", "terminating connection: the grant's time is over"), "ttl over")
            return
        grant = self._rules().grant(member.admitted.grant.name)
        limit = grant.idle_timeout_s if grant is not None else None
        session = member.link.session
        if limit is not None and not session.busy and now - session.idle_since >= limit:
            member.link.end(
                Refusal("57P01", f"terminating connection: idle for more than {limit:g} s"), "idle timeout"
            )


def _withdrawn(member: Member, rules: Rules) -> str | None:
    """Why the rules no longer grant a session what it has; None where they do."""
    before = member.admitted.grant
    grant = rules.grant(before.name)
    if grant is None:
        return "it is gone from the rules"
    if grant.issuer != before.issuer or rules.issuer(grant.issuer) is None:
        return "its issuer has changed"
    if member.admitted.database.name not in grant.databases:
        return "it no longer opens the database"
    if rules.database(member.admitted.database.name) != member.admitted.database:
        return "the database's entry has changed"
    if grant.role != before.role:
        return "its role has changed"
    return matches(grant.claims, member.admitted.identity.claims)
