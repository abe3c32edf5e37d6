"""Keys from files and real HTTP servers: fresh where they can be, kept where the issuer is silent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, RSAKey

from gatekeeper.identity.fetch import FetchError, check_url, fetch
from gatekeeper.identity.keys import KeyRing, KeysUnavailableError
from gatekeeper.rules.schema import IssuerRules
from tests.identity.issuers import KEYS, Publisher, dribble, jwks, publisher


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[Publisher]:
    with publisher() as running:
        running.publish(KEYS["RS256"])
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def ring(clock: Clock) -> AsyncIterator[KeyRing]:
    ring = KeyRing(clock=clock, fetch=lambda url: fetch(url, timeout_s=0.5))
    yield ring
    await ring.close()


def at(jwks_location: str | None, issuer: str = "https://issuer.example") -> IssuerRules:
    return IssuerRules("ci", issuer, ("gatekeeper",), jwks_location)


def kids(keys: Any) -> list[str | None]:
    return [key.kid for key in keys.keys]


async def test_keys_come_from_a_url_and_are_asked_for_once(server: Publisher, ring: KeyRing) -> None:
    issuer = at(f"{server.url}/jwks")
    for _ in range(5):
        assert kids(await ring.keys(issuer, "rsa")) == ["rsa"]
    assert server.requests == ["/jwks"]


async def test_keys_come_by_discovery(server: Publisher, ring: KeyRing) -> None:
    server.discovery()
    assert kids(await ring.keys(at(None, server.url))) == ["rsa"]
    assert server.requests == ["/.well-known/openid-configuration", "/jwks"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"issuer": "https://evil.example"}, "another issuer"),
        ({"issuer": None}, "another issuer"),
        ({"jwks_uri": None}, "no jwks_uri"),
        ({"jwks_uri": ["a"]}, "no jwks_uri"),
        ({"jwks_uri": "http://192.0.2.1/jwks"}, "only https"),
        ({"jwks_uri": "file:///etc/passwd"}, "not a URL|only https"),
    ],
)
async def test_a_discovery_that_is_not_the_issuers_is_refused(
    server: Publisher, ring: KeyRing, changes: dict[str, Any], problem: str
) -> None:
    server.discovery(**changes)
    with pytest.raises(KeysUnavailableError, match=problem):
        await ring.keys(at(None, server.url))


async def test_an_unknown_kid_asks_the_issuer_again_but_at_most_every_30_s(
    server: Publisher, ring: KeyRing, clock: Clock
) -> None:
    issuer = at(f"{server.url}/jwks")
    first = await ring.keys(issuer, "rsa")
    server.publish(KEYS["RS256"], KEYS["ES256"])
    assert kids(await ring.keys(issuer, "ec")) == ["rsa"]
    assert len(server.requests) == 1
    clock.now += 30
    second = await ring.keys(issuer, "ec")
    assert kids(second) == ["rsa", "ec"]
    assert second.version > first.version
    for _ in range(20):
        await ring.keys(issuer, "no such key")
    assert len(server.requests) == 2


async def test_many_logins_share_one_request(server: Publisher, ring: KeyRing) -> None:
    def slowly(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.1)
        body = json.dumps(jwks()).encode()
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body)

    server.answer = slowly
    issuer = at(f"{server.url}/jwks")
    await asyncio.gather(*(ring.keys(issuer, "rsa") for _ in range(50)))
    assert len(server.requests) == 1


async def test_the_same_keys_read_again_are_the_same_version(
    server: Publisher, ring: KeyRing, clock: Clock
) -> None:
    issuer = at(f"{server.url}/jwks")
    first = await ring.keys(issuer)
    await ring.refresh(issuer)
    assert await ring.keys(issuer) == first


async def test_keys_are_kept_while_the_issuer_is_silent_but_not_for_ever(ring: KeyRing, clock: Clock) -> None:
    with publisher() as server:
        server.publish()
        issuer = at(f"{server.url}/jwks")
        await ring.keys(issuer)
    clock.now += 23 * 3600
    assert kids(await ring.keys(issuer, "unknown"))
    assert "Connection refused" in ring.problems()[0]
    clock.now += 2 * 3600
    with pytest.raises(KeysUnavailableError, match="too old"):
        await ring.keys(issuer)


async def test_an_issuer_that_was_down_at_the_start_is_used_when_it_comes(clock: Clock) -> None:
    with publisher() as server:
        port = int(server.url.rpartition(":")[2])
    ring = KeyRing(clock=clock, retry_s=0.05)
    issuer = at(f"http://127.0.0.1:{port}/jwks")
    await ring.start([issuer])
    with pytest.raises(KeysUnavailableError, match="Connection refused"):
        await ring.keys(issuer)
    with publisher(port) as server:
        server.publish()
        clock.now += 1
        assert len((await ring.keys(issuer)).keys) == 4
        assert ring.problems() == ()
    await ring.close()


async def test_the_background_reads_keys_before_anyone_asks_and_again(server: Publisher) -> None:
    ring = KeyRing(refresh_s=0.05, retry_s=0.05)
    await ring.start([at(f"{server.url}/jwks")])
    while len(server.requests) < 3:
        await asyncio.sleep(0.01)
    await ring.close()


async def test_issuers_that_left_the_rules_are_forgotten(server: Publisher, ring: KeyRing) -> None:
    issuer = at(f"{server.url}/jwks")
    await ring.keys(issuer)
    ring.use([])
    await ring.keys(issuer)
    assert len(server.requests) == 2


async def test_a_login_that_waits_for_an_issuer_taken_out_of_the_rules_is_refused(
    server: Publisher, ring: KeyRing
) -> None:
    server.answer = lambda handler: dribble(handler, 2)
    waiting = asyncio.create_task(ring.keys(at(f"{server.url}/jwks")))
    await asyncio.sleep(0.05)
    ring.use([])
    with pytest.raises(KeysUnavailableError, match="no longer in the rules"):
        await waiting


def sends(body: bytes, status: int = 200, **headers: str) -> Any:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\x01\x02 this is not HTTP\r\n\r\n")


def header_dribble(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
    for n in range(100):
        handler.wfile.write(f"X-{n}: y\r\n".encode())
        handler.wfile.flush()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (sends(b"no JSON"), "not JSON"),
        (sends(b"[]"), "not a JSON object"),
        (sends(b'{"keys": {}}'), "not a set of keys"),
        (sends(b'{"keys": []}'), "no key that can be used"),
        (sends(b'{"keys": [], "keys": []}'), "not JSON"),
        (sends(b"[" * 100_000), "not JSON"),
        (sends(b"\xff\xfe"), "not JSON"),
        (sends(b" " * 10_000_000), "longer than 1048576"),
        (sends(b"{}", 500), "answered 500"),
        (sends(b"{}", 404), "answered 404"),
        (sends(b"{}", Content_Length="5000"), "cut off|not answer in HTTP"),
        (sends(b"", 302, Location="https://127.0.0.1:1/"), "another scheme"),
        (sends(b"", 302, Location="file:///etc/passwd"), "answered 302"),
        (sends(b"", 302, Location="ftp://127.0.0.1/x"), "nothing is fetched"),
        (sends(b"", 302, Location="http://192.0.2.1/x"), "nothing is fetched"),
        (sends(b"", 302, Location="/jwks"), "answered 302"),
        (garbage, "not answer in HTTP"),
        (dribble, "no answer within"),
        (header_dribble, "no answer within"),
        (lambda _: time.sleep(2), "no answer"),
    ],
)
async def test_an_issuer_that_misbehaves_is_one_clear_line_and_does_not_block(
    server: Publisher, ring: KeyRing, answer: Any, problem: str
) -> None:
    server.answer = answer
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    before = time.monotonic()
    with pytest.raises(KeysUnavailableError, match=problem) as caught:
        await ring.keys(at(f"{server.url}/jwks"))
    took = time.monotonic() - before
    ticking.cancel()
    assert took < 2
    assert "\n" not in str(caught.value)
    assert ticks >= took * 20 - 2


async def test_a_redirect_that_stays_is_followed(server: Publisher, ring: KeyRing) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/old":
            sends(b"x" * 100_000, 301, Location="/jwks")(handler)
        else:
            sends(server.documents["/jwks"])(handler)

    server.answer = answer
    assert kids(await ring.keys(at(f"{server.url}/old"))) == ["rsa"]


async def test_only_keys_that_can_verify_are_taken(server: Publisher, ring: KeyRing) -> None:
    with pytest.warns(SecurityWarning):
        weak = RSAKey.generate_key(1024, {"kid": "weak"})
    private = ECKey.generate_key("P-256", {"kid": "private"})
    server.documents["/jwks"] = json.dumps(
        {
            "keys": [
                OctKey.generate_key(256, {"kid": "oct"}).as_dict(private=True),
                weak.as_dict(private=False),
                {"kty": "AKP", "kid": "post-quantum", "alg": "ML-DSA-44"},
                {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
                {"kty": "EC", "kid": 5},
                {**private.as_dict(private=False), "kid": "wrap", "key_ops": ["wrapKey"]},
                private.as_dict(private=True),
                "text",
            ]
        }
    ).encode()
    keys = await ring.keys(at(f"{server.url}/jwks"))
    assert kids(keys) == ["private"]
    assert not keys.keys[0].is_private


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path, ring: KeyRing, clock: Clock) -> None:
    file = tmp_path / "jwks.json"
    with pytest.raises(KeysUnavailableError, match="No such file"):
        await ring.keys(at(str(file)))
    file.write_text(json.dumps(jwks(KEYS["RS256"])))
    assert kids(await ring.keys(at(str(file)))) == ["rsa"]
    file.write_text(json.dumps(jwks(KEYS["ES256"])))
    assert kids(await ring.keys(at(str(file)))) == ["ec"]
    clock.now += 25 * 3600
    assert kids(await ring.keys(at(str(file)))) == ["ec"]


async def test_a_file_that_is_broken_or_gone_changes_nothing_for_a_day(
    tmp_path: Path, ring: KeyRing, clock: Clock
) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(jwks(KEYS["RS256"])))
    await ring.keys(at(str(file)))
    file.write_text("{")
    assert kids(await ring.keys(at(str(file)))) == ["rsa"]
    assert "not JSON" in ring.problems()[0]
    file.unlink()
    assert kids(await ring.keys(at(str(file)))) == ["rsa"]
    clock.now += 25 * 3600
    with pytest.raises(KeysUnavailableError, match="too old"):
        await ring.keys(at(str(file)))


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/jwks",
        "http://localhost.example/",
        "http://127.0.0.1.example/",
        "http://user@localhost/",
        "ftp://localhost/",
        "file:///etc/passwd",
        "https://",
        "//issuer.example",
        "https://[::1",
        "https://host:port/",
    ],
)
def test_only_https_and_loopback_are_fetched(url: str) -> None:
    with pytest.raises(FetchError):
        check_url(url)


def test_loopback_may_be_plain() -> None:
    for url in ("http://localhost:1/", "http://127.0.0.9/", "http://[::1]:80/x", "https://issuer.example/a"):
        check_url(url)
