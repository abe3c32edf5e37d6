"""Issuers for tests: real keys, and a real HTTP server on loopback that publishes them or misbehaves."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from gatekeeper.model import StatementClass
from gatekeeper.rules.schema import DatabaseRules, GrantRules, IssuerRules, Rules

NOW = 1_800_000_000.0
ISSUER = "https://issuer.example"
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")

KEYS: Mapping[str, Key] = {
    "RS256": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "PS256": RSAKey.generate_key(2048, {"kid": "pss"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "ec"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
}
OTHER = ECKey.generate_key("P-256", {"kid": "ec"})
"""Not the issuer's, under a name that is."""


def jwks(*keys: Key) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys or KEYS.values()]}


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that let one in; a change to None takes one away."""
    all_of_them = {
        "iss": ISSUER,
        "aud": "gatekeeper",
        "sub": "repo:acme/shop:ref:refs/heads/main",
        "iat": NOW - 10,
        "nbf": NOW - 10,
        "exp": NOW + 600,
        "jti": "token-1",
        "repository_id": "1296269",
        "run_id": "77",
        "run_attempt": "1",
        **changes,
    }
    return {name: value for name, value in all_of_them.items() if value is not None}


def sign(
    body: Mapping[str, Any] | bytes | None = None,
    alg: str = "ES256",
    key: Key | None = None,
    **header: Any,
) -> str:
    """A token; `body` may be raw bytes, and the header anything."""
    key = key or KEYS[alg]
    raw = body if isinstance(body, bytes) else json.dumps(claims() if body is None else body).encode()
    protected = {"alg": alg, "typ": "JWT", "kid": key.kid, **header}
    protected = {name: value for name, value in protected.items() if value is not None}
    signed = f"{_b64(json.dumps(protected).encode())}.{_b64(raw)}"
    # The algorithm itself, past the library's own refusal to sign such headers.
    return f"{signed}.{_b64(jws.JWSRegistry.algorithms[alg].sign(signed.encode(), key))}"


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def rules(jwks_location: str | Path | None, *, issuer: str = ISSUER, **grant: Any) -> Rules:
    return Rules(
        path=Path("rules.toml"),
        version="v1",
        issuers=(
            IssuerRules("ci", issuer, ("gatekeeper",), None if jwks_location is None else str(jwks_location)),
            IssuerRules("elsewhere", "https://elsewhere.example", ("gatekeeper",), None),
        ),
        databases=(DatabaseRules("app", "postgresql://db/app"), DatabaseRules("other", "postgresql://db/o")),
        grants=(
            GrantRules(
                **{
                    "name": "deploy",
                    "issuer": "ci",
                    "claims": {"repository_id": ("1296269",)},
                    "databases": ("app",),
                    "classes": frozenset({StatementClass.READ}),
                    **grant,
                }
            ),
            GrantRules("foreign", "elsewhere", {"sub": ("*",)}, ("app",)),
        ),
    )


class Publisher:
    """What the server answers now; tests change it while it runs."""

    def __init__(self) -> None:
        self.url = ""
        self.documents: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        """Takes over where it is set."""

    def publish(self, *keys: Key, path: str = "/jwks") -> None:
        self.documents[path] = json.dumps(jwks(*keys)).encode()

    def discovery(self, **changes: Any) -> None:
        document = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks", **changes}
        self.documents["/.well-known/openid-configuration"] = json.dumps(document).encode()


@contextmanager
def publisher(port: int = 0) -> Iterator[Publisher]:
    state = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            if state.answer is not None:
                state.answer(self)
                return
            document = state.documents.get(self.path)
            self.send_response(404 if document is None else 200)
            self.send_header("Content-Length", str(len(document or b"")))
            self.end_headers()
            self.wfile.write(document or b"")

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def dribble(handler: BaseHTTPRequestHandler, seconds: float = 30.0) -> None:
    """A server that never ends its answer."""
    end = time.monotonic() + seconds
    handler.send_response(200)
    handler.end_headers()
    while time.monotonic() < end:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)
