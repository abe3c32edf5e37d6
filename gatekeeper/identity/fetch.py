"""Fetches a small document from an issuer, bounded in size, time and direction. It blocks.

Nothing but https, or http on loopback, and a redirect never changes the scheme.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from typing import IO, Any, Final
from urllib.parse import urlsplit

MAX_BYTES: Final = 1024 * 1024
TIMEOUT_S: Final = 10.0
_MAX_REDIRECTS: Final = 3
_CHUNK: Final = 64 * 1024


class FetchError(Exception):
    """A document cannot be had; `str()` says why in one line."""


def check_url(url: str) -> None:
    """Raise FetchError unless the URL is https, or http to this host."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise FetchError("not a URL") from None
    if not host or parts.username is not None:
        raise FetchError("not a URL of a host alone")
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)):
        return
    raise FetchError("only https URLs are fetched, and http ones of this host")


def fetch(url: str, *, max_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S) -> bytes:
    """The document at a URL. Raises FetchError; returns or raises within about `timeout_s`."""
    check_url(url)
    lines = _Lines()
    handlers: list[urllib.request.BaseHandler] = [_Http(lines), _Https(lines), _Redirects()]
    if url.startswith("http:"):
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy has no business on loopback
    opener = urllib.request.build_opener(*handlers)
    headers = {"Accept": "application/json", "User-Agent": "gatekeeper"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - checked above
    deadline = time.monotonic() + timeout_s
    watch = threading.Timer(timeout_s, lines.cut)
    watch.daemon = True
    watch.start()
    try:
        with opener.open(request, timeout=timeout_s) as response:
            body = _read(response, max_bytes)
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(f"the server answered {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = time.monotonic() >= deadline
        raise FetchError(f"no answer within {timeout_s:g} s" if late else _why(error)) from None
    finally:
        watch.cancel()
    if time.monotonic() >= deadline:  # cut off by us, which can look like an end
        raise FetchError(f"no answer within {timeout_s:g} s")
    return body


def _read(response: Any, max_bytes: int) -> bytes:
    body = bytearray()
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > max_bytes:
            raise FetchError(f"the answer is longer than {max_bytes} bytes")
    if response.length:  # what Content-Length promised and did not come
        raise FetchError("the answer was cut off")
    return bytes(body)


def _why(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, FetchError):
        return str(reason)
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, ssl.SSLError):
        return f"TLS: {reason.reason or 'failed'}"
    if isinstance(reason, socket.gaierror):
        return "the host's name is not known"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return "the server did not answer in HTTP"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Lines:
    """The sockets of one fetch, so that a server that dribbles can be cut off from outside."""

    def __init__(self) -> None:
        self._open: list[socket.socket] = []

    def plain(self, host: str, **arguments: Any) -> http.client.HTTPConnection:
        return self._watched(http.client.HTTPConnection(host, **arguments))

    def secure(self, host: str, **arguments: Any) -> http.client.HTTPConnection:
        return self._watched(http.client.HTTPSConnection(host, **arguments))

    def cut(self) -> None:
        for line in self._open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(line, socket.SHUT_RDWR)  # not SSLSocket's, which the reader is in

    def _watched(self, connection: http.client.HTTPConnection) -> http.client.HTTPConnection:
        connect = connection.connect

        def connect_and_keep() -> None:
            connect()
            self._open.append(connection.sock)

        connection.connect = connect_and_keep  # type: ignore[method-assign]
        return connection


class _Http(urllib.request.HTTPHandler):
    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self._lines = lines

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._lines.plain, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self._lines = lines

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._lines.secure, req, context=ssl.create_default_context())


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = _MAX_REDIRECTS

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        fp.close()  # its body is of no interest, and may be endless
        try:
            check_url(newurl)
        except FetchError:
            raise urllib.error.URLError(FetchError("redirected to where nothing is fetched from")) from None
        if urlsplit(newurl).scheme != urlsplit(req.full_url).scheme:
            raise urllib.error.URLError(FetchError("redirected to another scheme"))
        return super().redirect_request(req, fp, code, msg, headers, newurl)
