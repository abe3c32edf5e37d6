"""TLS as a pure layer: ciphertext in, plaintext out, and back. No socket of its own.

The transport below stays plain, so that bytes stuffed behind an SSLRequest are seen for what they are,
and a connection that begins with a ClientHello can be taken over in mid-stream.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from gatekeeper.errors import ConfigError

ALPN: Final = "postgresql"
_CHUNK_BYTES: Final = 262_144


class TlsLayer:
    """One connection's TLS. `established` is true once the handshake is done."""

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, hostname: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=hostname
        )
        self.established = False
        self.closed = False

    def start(self) -> bytes:
        """The client's first flight; empty on the server's side."""
        self._handshake()
        return self._outgoing.read()

    def receive(self, ciphertext: bytes) -> tuple[bytes, bytes]:
        """Take what the socket gave; return (plaintext, ciphertext to send). Raises ssl.SSLError."""
        self._incoming.write(ciphertext)
        if not self.established and not self._handshake():
            return b"", self._outgoing.read()
        parts = []
        try:
            while chunk := self._tls.read(_CHUNK_BYTES):
                parts.append(chunk)
            self.closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed = True
        return b"".join(parts), self._outgoing.read()

    def send(self, plaintext: bytes) -> bytes:
        """Encrypt."""
        if plaintext:
            self._tls.write(plaintext)
        return self._outgoing.read()

    def _handshake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.established = True
        return True

    @property
    def alpn(self) -> str | None:
        """The protocol that both sides agreed on."""
        return self._tls.selected_alpn_protocol()

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate in DER."""
        return self._tls.getpeercert(binary_form=True)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS for clients. Raises ConfigError where certificate or key cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as problem:
        raise ConfigError(
            f"[gateway] tls_cert and tls_key: {certificate} and {key} cannot be used: {problem}"
        ) from None
    return context
