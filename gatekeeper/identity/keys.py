"""Whose keys may sign: each issuer's, from a file, a URL or OIDC discovery.

What was fetched is kept while the issuer is silent, up to a limit; nobody waits for a network but the login
that needs a key which is not there yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry, Key, OctKey, RSAKey

from gatekeeper.identity.fetch import MAX_BYTES, FetchError, fetch
from gatekeeper.identity.tokens import strict_json
from gatekeeper.rules.schema import IssuerRules

_log = logging.getLogger(__name__)

RETRY_S: Final = 30.0
"""At most this often is an issuer asked because of a kid that is not known, or after a failure."""
REFRESH_S: Final = 300.0
KEEP_S: Final = 24 * 3600.0
_MAX_KEYS: Final = 200
_MIN_RSA_BITS: Final = 2048
_THREADS: Final = 4

Fetch = Callable[[str], bytes]


class KeysUnavailableError(Exception):
    """An issuer's keys cannot be had; `str()` says why in one line."""


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """An issuer's keys, as read at one moment; `version` changes only when the keys do."""

    keys: tuple[Key, ...]
    version: int

    def knows(self, kid: str | None) -> bool:
        """Whether a key of that name is there; without a name, whether any key is."""
        return bool(self.keys) if kid is None else any(key.kid == kid for key in self.keys)


class KeyRing:
    """The keys of all issuers. `clock` counts seconds and never jumps."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        fetch: Fetch = fetch,
        retry_s: float = RETRY_S,
        refresh_s: float = REFRESH_S,
        keep_s: float = KEEP_S,
    ) -> None:
        self._clock = clock
        self._fetch = fetch
        self._retry_s = retry_s
        self._refresh_s = refresh_s
        self._keep_s = keep_s
        # Threads of its own: an issuer that hangs must not use up those that others work in.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="issuer")
        self._sources: dict[tuple[str, str | None], _Source] = {}
        self._background: asyncio.Task[None] | None = None

    async def start(self, issuers: Iterable[IssuerRules]) -> None:
        """Begin to fetch the keys of these issuers, and go on in the background. Waits for none of them."""
        self.use(issuers)
        if self._background is None:
            self._background = asyncio.create_task(self._keep_fresh(), name="issuer keys")

    def use(self, issuers: Iterable[IssuerRules]) -> None:
        """Forget all issuers but these, such as after a reload of the rules."""
        wanted = {(issuer.issuer, issuer.jwks): issuer for issuer in issuers}
        for gone in self._sources.keys() - wanted.keys():
            self._sources.pop(gone).stop()
        for issuer in wanted.values():
            self._source(issuer)

    async def keys(self, issuer: IssuerRules, kid: str | None = None) -> IssuerKeys:
        """The issuer's keys; asks it again where it has none of that `kid`, but at most every 30 s.

        Raises KeysUnavailableError where there are no keys, or none that are fresh enough to be believed.
        """
        source = self._source(issuer)
        await source.look(kid)
        return source.believed(self._keep_s)

    async def refresh(self, issuer: IssuerRules) -> None:
        """Read the issuer's keys anew, now. Failures are logged, and the old keys stay."""
        await self._source(issuer).load()

    def problems(self) -> tuple[str, ...]:
        """A line for each issuer whose keys could not be read the last time."""
        return tuple(f"issuer {s.name}: {s.problem}" for s in self._sources.values() if s.problem)

    async def close(self) -> None:
        """Stop all fetching. What hangs in a thread is left to its own time limit."""
        if self._background is not None:
            self._background.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._background
            self._background = None
        for source in self._sources.values():
            source.stop()
        self._sources.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _source(self, issuer: IssuerRules) -> _Source:
        key = (issuer.issuer, issuer.jwks)
        source = self._sources.get(key)
        if source is None:
            source = _Source(issuer, self._clock, self._retry_s, self._read)
            self._sources[key] = source
        return source

    async def _read(self, issuer: IssuerRules) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _key_set, issuer, self._fetch)

    async def _keep_fresh(self) -> None:
        while True:
            for source in list(self._sources.values()):
                source.freshen(self._refresh_s)
            await asyncio.sleep(min(1.0, self._retry_s, self._refresh_s))


class _Source:
    """Where one issuer's keys come from, and what came last."""

    def __init__(
        self,
        issuer: IssuerRules,
        clock: Callable[[], float],
        retry_s: float,
        read: Callable[[IssuerRules], Any],
    ) -> None:
        self.name = issuer.name
        self.problem: str | None = None
        self._issuer = issuer
        self._clock = clock
        self._retry_s = retry_s
        self._read = read
        self._file = None if issuer.jwks is None or _is_url(issuer.jwks) else Path(issuer.jwks)
        self._stamp: tuple[int, int, int] | None = None
        self._have: IssuerKeys | None = None
        self._raw: object = None
        self._read_at = 0.0
        self._tried_at: float | None = None
        self._loading: asyncio.Task[None] | None = None

    async def look(self, kid: str | None) -> None:
        """Load where there is reason to hope for more than what is there."""
        if self._file is not None:
            if self._changed():
                await self.load()
            return
        lacking = self._have is None or not self._have.knows(kid)
        if lacking and (self._loading is not None or self._may_ask()):
            await self.load()

    def believed(self, keep_s: float) -> IssuerKeys:
        """What is there, unless it is too old."""
        if self._have is None:
            raise KeysUnavailableError(self.problem or "its keys have not been read yet")
        if self._clock() - self._read_at > keep_s:
            raise KeysUnavailableError(f"its keys are too old: {self.problem}")
        return self._have

    def freshen(self, refresh_s: float) -> None:
        """Load in the background where it is time to."""
        if self._loading is not None:
            return
        if self._file is not None:
            due = self._changed() or self._tried_at is None
        elif self.problem is not None or self._tried_at is None:
            due = self._may_ask()
        else:
            due = self._clock() - self._tried_at >= refresh_s
        if due:
            self._begin()

    async def load(self) -> None:
        """Load, or wait for the load that is under way; many logins share one."""
        loading = self._begin()
        await asyncio.wait([loading])  # not awaited itself: who waits here is not cancelled with it
        if loading.cancelled():
            raise KeysUnavailableError("the issuer is no longer in the rules")
        loading.result()

    def stop(self) -> None:
        if self._loading is not None:
            self._loading.cancel()

    def _begin(self) -> asyncio.Task[None]:
        if self._loading is None:
            self._tried_at = self._clock()
            self._loading = asyncio.create_task(self._load(), name=f"keys of {self.name}")
            self._loading.add_done_callback(self._loaded)
        return self._loading

    def _loaded(self, _: asyncio.Task[None]) -> None:
        self._loading = None

    async def _load(self) -> None:
        stamp = self._now_stamp()
        try:
            raw = await self._read(self._issuer)
            if raw != self._raw or self._have is None:
                keys = _usable(raw, self.name)
                self._have = IssuerKeys(keys, 1 if self._have is None else self._have.version + 1)
                self._raw = raw
        except KeysUnavailableError as error:
            if str(error) != self.problem:
                _log.warning("issuer %s: %s", self.name, error)
            self.problem = str(error)
        else:
            if self.problem is not None:
                _log.info("issuer %s: its keys can be read again", self.name)
            self.problem = None
            self._read_at = self._clock()
        finally:
            self._stamp = stamp

    def _may_ask(self) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= self._retry_s

    def _changed(self) -> bool:
        stamp = self._now_stamp()
        if stamp == self._stamp and self._have is not None:
            if stamp is not None and self.problem is None:
                self._read_at = self._clock()  # the file is there and says the same
            return False
        return stamp != self._stamp or self._may_ask()

    def _now_stamp(self) -> tuple[int, int, int] | None:
        if self._file is None:
            return None
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _is_url(jwks: str) -> bool:
    return "://" in jwks


def _key_set(issuer: IssuerRules, fetch: Fetch) -> Mapping[str, Any]:
    """The issuer's JWK set as it is now. Blocks. Raises KeysUnavailableError."""
    if issuer.jwks is not None and not _is_url(issuer.jwks):
        return _object(_read_file(Path(issuer.jwks)), issuer.jwks)
    url = issuer.jwks or _discover(issuer.issuer, fetch)
    return _object(_fetched(url, fetch), url)


def _discover(issuer: str, fetch: Fetch) -> str:
    """Where the issuer says its keys are (OpenID Connect Discovery 1.0, 4)."""
    url = issuer.rstrip("/") + "/.well-known/openid-configuration"
    document = _object(_fetched(url, fetch), url)
    if document.get("issuer") != issuer:
        raise KeysUnavailableError(f"{url}: it speaks for another issuer")
    jwks_uri = document.get("jwks_uri")
    if not isinstance(jwks_uri, str):
        raise KeysUnavailableError(f"{url}: it names no jwks_uri")
    return jwks_uri


def _fetched(url: str, fetch: Fetch) -> bytes:
    try:
        return fetch(url)
    except FetchError as error:
        raise KeysUnavailableError(f"{url}: {error}") from None


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise KeysUnavailableError(f"{path}: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise KeysUnavailableError(f"{path}: longer than {MAX_BYTES} bytes")
    return raw


def _object(raw: bytes, where: str) -> Mapping[str, Any]:
    try:
        value = strict_json(raw)
    except ValueError:
        raise KeysUnavailableError(f"{where}: not JSON") from None
    if not isinstance(value, dict):
        raise KeysUnavailableError(f"{where}: not a JSON object")
    return value


def _usable(raw: Mapping[str, Any], issuer: str) -> tuple[Key, ...]:
    """The keys of a set that can verify; what cannot be understood is left out (RFC 7517, 5)."""
    members = raw.get("keys")
    if not isinstance(members, list):
        raise KeysUnavailableError("what it publishes is not a set of keys")
    keys: list[Key] = []
    for n, member in enumerate(members[:_MAX_KEYS], start=1):
        key = _import(member)
        if key is None:
            _log.info("issuer %s: key %d cannot be used and is left out", issuer, n)
        else:
            keys.append(key)
    if not keys:
        raise KeysUnavailableError("it publishes no key that can be used")
    return tuple(keys)


def _import(member: object) -> Key | None:
    if not isinstance(member, dict) or not isinstance(member.get("kid", ""), str):
        return None
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    private = {"d", "p", "q", "dp", "dq", "qi", "oth"}  # published by mistake; not ours to hold
    public = {name: value for name, value in member.items() if name not in private}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            key = JWKRegistry.import_key(public)
            _ = key.raw_value
            weak = isinstance(key, RSAKey) and key.public_key.key_size < _MIN_RSA_BITS
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return None if weak or isinstance(key, OctKey) else key
