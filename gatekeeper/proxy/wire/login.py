"""The gateway's own login at the database, as a state machine without I/O (PostgreSQL 18, 54.2.1).

Feed it whole messages; it gives bytes to send, and at the end what the server said about itself.
"""

from __future__ import annotations

from hashlib import md5
from struct import error, unpack_from
from typing import Final

from scramp import ScramClient, ScramException

from gatekeeper.errors import ProtocolError, UpstreamUnreachableError
from gatekeeper.model import Secret
from gatekeeper.proxy.wire.backend import message, read_fields, read_parameter_status

_OK: Final = 0
_CLEARTEXT: Final = 3
_MD5: Final = 5
_SASL: Final = 10
_SASL_CONTINUE: Final = 11
_SASL_FINAL: Final = 12

_MAX_ITERATIONS: Final = 1_000_000
_MAX_DIGITS: Final = 7

_UNREACHABLE: Final = ("08", "53", "57", "58")
"""SQLSTATE classes of a server that cannot serve now; every other one is our credentials' fault."""


class UpstreamLogin:
    """From StartupMessage to the first ReadyForQuery. `done` is true after it."""

    def __init__(self, user: str, password: Secret | None, certificate: bytes | None = None) -> None:
        """`certificate` is the server's, in DER, under TLS: for SCRAM-SHA-256-PLUS."""
        self._user = user
        self._password = password
        self._certificate = certificate
        self._scram: ScramClient | None = None
        self._scram_finished = False
        self._authenticated = False
        self.parameters: dict[str, str] = {}
        self.pid = 0
        self.key = b""
        self.notices: list[bytes] = []
        self.refused: dict[str, str] | None = None
        """The server's error fields, where it refused the settings that the client asked for."""
        self.done = False

    def receive(self, kind: int, body: bytes) -> bytes:
        """Take one message; give what to send, if anything.

        Raises UpstreamUnreachableError where the server refuses, ProtocolError where it makes no sense.
        """
        try:
            return self._receive(chr(kind), body)
        except (error, UnicodeDecodeError) as problem:
            raise ProtocolError("malformed message from the server during login") from problem

    def _receive(self, kind: str, body: bytes) -> bytes:
        if kind in "SKZ" and not self._authenticated:
            raise ProtocolError("the server goes on before it has accepted the login")
        match kind:
            case "R":
                return self._authenticate(body)
            case "S":
                name, value = read_parameter_status(body)
                self.parameters[name] = value
            case "K":
                (self.pid,) = unpack_from("!i", body)
                self.key = body[4:]
            case "N":
                self.notices.append(body)
            case "E":
                self._fail(read_fields(body))
            case "Z":
                self.done = True
            case "v":
                raise UpstreamUnreachableError("the server does not speak protocol 3.0")
            case _:
                raise ProtocolError(f"unexpected message type {kind!r} from the server during login")
        return b""

    def _fail(self, fields: dict[str, str]) -> None:
        code = fields.get("C", "")
        # 22 and 42: a setting that the client sent in its startup packet is not valid or not allowed.
        # The role of the grant is ours and not the client's business, and so is 42704 for it.
        if code[:2] in ("22", "42"):
            self.refused = fields
            raise UpstreamUnreachableError(
                f"the database refused a setting of the login: {fields.get('M', '')}"
            )
        why = "is not ready" if code[:2] in _UNREACHABLE else "refused the gateway's login"
        raise UpstreamUnreachableError(f"the database {why}: {code} {fields.get('M', '')}")

    def _secret(self) -> str:
        if self._password is None:
            raise UpstreamUnreachableError("the database asks for a password and the rules name none")
        return self._password.reveal()

    def _authenticate(self, body: bytes) -> bytes:
        (code,) = unpack_from("!i", body)
        if code == _OK:
            if self._scram is not None and not self._scram_finished:
                raise ProtocolError("the server ended SCRAM before it proved that it knows the password")
            self._authenticated = True
            return b""
        if code == _CLEARTEXT:
            return message(b"p", self._secret().encode() + b"\0")
        if code == _MD5:
            # The server's choice of hash, not ours (PostgreSQL 18, 54.2.1).
            inner = md5((self._secret() + self._user).encode(), usedforsecurity=False).hexdigest()
            outer = md5(inner.encode() + body[4:8], usedforsecurity=False).hexdigest()
            return message(b"p", b"md5" + outer.encode() + b"\0")
        try:
            return self._sasl(code, body)
        except ScramException as problem:
            raise UpstreamUnreachableError(f"SCRAM with the database failed: {problem}") from None

    def _sasl(self, code: int, body: bytes) -> bytes:
        if code == _SASL:
            offered = [name.decode("ascii", "replace") for name in body[4:].split(b"\0") if name]
            binding = None
            if self._certificate is not None and "SCRAM-SHA-256-PLUS" in offered:
                binding = _server_end_point(self._certificate)
            known = [m for m in offered if m in ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")]
            if binding is None:
                known = [m for m in known if not m.endswith("-PLUS")]
            if not known:
                raise UpstreamUnreachableError(f"the database offers no SASL mechanism we know: {offered}")
            # PostgreSQL ignores the SCRAM user name and takes the startup packet's.
            self._scram = ScramClient(known, self._user, self._secret(), channel_binding=binding)
            first = self._scram.get_client_first().encode()
            self._scram_finished = False
            mechanism = str(self._scram.mechanism_name).encode()
            return message(b"p", mechanism + b"\0" + len(first).to_bytes(4, "big") + first)
        if self._scram is None or code not in (_SASL_CONTINUE, _SASL_FINAL):
            raise UpstreamUnreachableError(f"the database asks for an authentication we do not know ({code})")
        if code == _SASL_CONTINUE:
            _check_iterations(body[4:])
            self._scram.set_server_first(body[4:].decode())
            return message(b"p", self._scram.get_client_final().encode())
        self._scram.set_server_final(body[4:].decode())
        self._scram_finished = True
        return b""


def _check_iterations(server_first: bytes) -> None:
    """The hashing runs on the loop: a server must not be able to hold up every session with it."""
    for part in server_first.split(b","):
        count = part[2:] if part.startswith(b"i=") else b"0"
        if not count.isdigit() or len(count) > _MAX_DIGITS or int(count) > _MAX_ITERATIONS:
            raise UpstreamUnreachableError(
                f"the database asks for more than {_MAX_ITERATIONS} SCRAM iterations"
            )


def _server_end_point(certificate: bytes) -> tuple[str, bytes]:
    """Channel binding data tls-server-end-point of a DER certificate (RFC 5929, 4.1)."""
    from cryptography.hazmat.primitives.hashes import SHA256, Hash
    from cryptography.x509 import load_der_x509_certificate

    algorithm = load_der_x509_certificate(certificate).signature_hash_algorithm
    if algorithm is None or algorithm.name in ("md5", "sha1"):
        algorithm = SHA256()
    digest = Hash(algorithm)
    digest.update(certificate)
    return "tls-server-end-point", digest.finalize()
