"""The gateway's own login at the database: every way to authenticate, and servers that cheat."""

from __future__ import annotations

import contextlib
import datetime as dt
from hashlib import md5, sha256
from struct import pack

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramMechanism
from scramp.core import ScramServer

from gatekeeper.errors import ProtocolError, UpstreamUnreachableError
from gatekeeper.model import Secret
from gatekeeper.proxy.wire.login import UpstreamLogin

Message = tuple[int, bytes]


def auth(code: int, body: bytes = b"") -> Message:
    return ord("R"), pack("!i", code) + body


OK = auth(0)
READY = (ord("Z"), b"I")


def login(password: str | None = "pw", certificate: bytes | None = None) -> UpstreamLogin:
    return UpstreamLogin("gw", Secret(password) if password is not None else None, certificate)


def feed(machine: UpstreamLogin, *messages: Message) -> bytes:
    return b"".join(machine.receive(*message) for message in messages)


def unreachable(machine: UpstreamLogin, *messages: Message) -> str:
    """The reason for the log; the client learns nothing."""
    with pytest.raises(UpstreamUnreachableError) as caught:
        feed(machine, *messages)
    assert str(caught.value) == "the database cannot be reached"
    return caught.value.reason


def body(answer: bytes) -> bytes:
    assert answer[:1] == b"p"
    assert int.from_bytes(answer[1:5], "big") == len(answer) - 1
    return answer[5:]


def sasl(*mechanisms: bytes) -> Message:
    return auth(10, b"".join(m + b"\0" for m in mechanisms) + b"\0")


class Scram:
    """The server's half of SCRAM-SHA-256."""

    def __init__(
        self, password: str = "pw", mechanism: str = "SCRAM-SHA-256", binding: object = None
    ) -> None:
        chosen = ScramMechanism(mechanism)
        information = chosen.make_auth_info(password, iteration_count=4096)
        self.server: ScramServer = chosen.make_server(lambda _: information, channel_binding=binding)

    def proceed(self, machine: UpstreamLogin, offered: tuple[bytes, ...]) -> Message:
        """Up to the last message of the server, which is given."""
        answer = body(feed(machine, sasl(*offered)))
        mechanism, _, rest = answer.partition(b"\0")
        assert mechanism.decode() in [m.decode() for m in offered]
        self.mechanism = mechanism
        self.server.set_client_first(rest[4:].decode())
        final = body(feed(machine, auth(11, self.server.get_server_first().encode())))
        self.server.set_client_final(final.decode())
        return auth(12, self.server.get_server_final().encode())


def test_a_server_that_trusts_tells_all_about_itself() -> None:
    machine = login(None)
    notice = (ord("N"), b"SNOTICE\0\0")
    answer = feed(
        machine, OK, (ord("S"), b"TimeZone\0UTC\0"), notice, (ord("K"), pack("!i", 7) + b"abcd"), READY
    )  # fmt: skip
    assert answer == b""
    assert machine.done
    assert machine.parameters == {"TimeZone": "UTC"}
    assert (machine.pid, machine.key) == (7, b"abcd")
    assert machine.notices == [notice[1]]


def test_a_password_is_given_in_clear_where_it_is_asked_for() -> None:
    assert body(feed(login(), auth(3))) == b"pw\0"


def test_a_password_is_hashed_with_the_servers_salt() -> None:
    inner = md5(b"pwgw").hexdigest()
    expected = b"md5" + md5(inner.encode() + b"salt").hexdigest().encode() + b"\0"
    assert body(feed(login(), auth(5, b"salt"))) == expected


def test_scram_goes_to_its_end() -> None:
    machine, server = login(), Scram()
    last = server.proceed(machine, (b"SCRAM-SHA-256",))
    feed(machine, last, OK, READY)
    assert machine.done


def test_a_server_that_skips_its_proof_is_refused() -> None:
    machine, server = login(), Scram()
    server.proceed(machine, (b"SCRAM-SHA-256",))
    with pytest.raises(ProtocolError, match="proved"):
        feed(machine, OK)


def test_a_server_that_skips_the_whole_exchange_is_refused() -> None:
    machine = login()
    feed(machine, sasl(b"SCRAM-SHA-256"))
    with pytest.raises(ProtocolError, match="proved"):
        feed(machine, OK)


@pytest.mark.parametrize("message", [READY, (ord("K"), pack("!i", 7) + b"abcd"), (ord("S"), b"a\0b\0")])
def test_a_server_that_never_says_ok_is_refused(message: Message) -> None:
    machine, server = login(), Scram()
    server.proceed(machine, (b"SCRAM-SHA-256",))
    with pytest.raises(ProtocolError):
        feed(machine, message)
    with pytest.raises(ProtocolError):
        feed(login(), message)


def test_a_second_exchange_needs_a_second_proof() -> None:
    machine, server = login(), Scram()
    feed(machine, server.proceed(machine, (b"SCRAM-SHA-256",)))
    feed(machine, sasl(b"SCRAM-SHA-256"))
    with pytest.raises(ProtocolError, match="proved"):
        feed(machine, OK)


def test_a_server_with_another_password_is_refused() -> None:
    machine = login()
    feed(machine, sasl(b"SCRAM-SHA-256"))
    assert "SCRAM" in unreachable(machine, auth(12, b"v=" + b"A" * 44))
    machine, server = login(), Scram()
    server.proceed(machine, (b"SCRAM-SHA-256",))
    assert "SCRAM" in unreachable(machine, auth(12, b"v=" + b"A" * 44))


def test_a_server_that_takes_anothers_nonce_is_refused() -> None:
    machine = login()
    feed(machine, sasl(b"SCRAM-SHA-256"))
    with pytest.raises(UpstreamUnreachableError):
        feed(machine, auth(11, b"r=mine,s=c2FsdA==,i=4096"))


@pytest.fixture(scope="module")
def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(serialization.Encoding.DER)


def test_under_tls_the_channel_is_bound(certificate: bytes) -> None:
    machine = login(certificate=certificate)
    binding = ("tls-server-end-point", sha256(certificate).digest())
    server = Scram(mechanism="SCRAM-SHA-256-PLUS", binding=binding)
    last = server.proceed(machine, (b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"))
    assert server.mechanism == b"SCRAM-SHA-256-PLUS"
    feed(machine, last, OK, READY)
    assert machine.done


def test_without_tls_plus_is_not_chosen() -> None:
    machine, server = login(), Scram()
    server.proceed(machine, (b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"))
    assert server.mechanism == b"SCRAM-SHA-256"
    assert "mechanism" in unreachable(login(), sasl(b"SCRAM-SHA-256-PLUS"))


@pytest.mark.parametrize("offered", [(), (b"OAUTHBEARER",), (b"SCRAM-SHA-1", b"X"), (b"\xff",)])
def test_mechanisms_we_do_not_know_are_refused(offered: tuple[bytes, ...]) -> None:
    assert "mechanism" in unreachable(login(), sasl(*offered))


@pytest.mark.parametrize("code", [1, 2, 4, 6, 7, 8, 9, 11, 12, 13, 99, -1])
def test_authentication_we_do_not_know_is_refused(code: int) -> None:
    assert f"({code})" in unreachable(login(), auth(code))


@pytest.mark.parametrize("message", [auth(3), auth(5, b"salt"), sasl(b"SCRAM-SHA-256")])
def test_a_password_that_the_rules_do_not_name_is_missed_by_name(message: Message) -> None:
    assert "name none" in unreachable(login(None), message)


@pytest.mark.parametrize(
    ("sqlstate", "words"),
    [("28P01", "refused the"), ("3D000", "refused"), ("57P03", "not ready"), ("53300", "not ready")],
)  # fmt: skip
def test_an_error_of_the_server_is_told_without_its_secrets(sqlstate: str, words: str) -> None:
    machine = login("sesame")
    reason = unreachable(machine, (ord("E"), f"SFATAL\0C{sqlstate}\0Mno\0\0".encode()))
    assert words in reason
    assert "sesame" not in reason
    assert machine.refused is None


@pytest.mark.parametrize("sqlstate", ["22023", "42704", "42501"])
def test_a_setting_that_the_server_refuses_is_kept_for_the_client(sqlstate: str) -> None:
    machine = login()
    feed(machine, OK)
    with pytest.raises(UpstreamUnreachableError):
        feed(machine, (ord("E"), f"SFATAL\0C{sqlstate}\0Mbad value\0\0".encode()))
    assert machine.refused is not None
    assert machine.refused["M"] == "bad value"


def test_an_older_protocol_than_3_is_refused() -> None:
    assert "protocol" in unreachable(login(), (ord("v"), pack("!ii", 0, 0)))


@pytest.mark.parametrize("kind", b"TDCQ1\0")
def test_a_message_that_is_none_of_a_login_is_refused(kind: int) -> None:
    with pytest.raises(ProtocolError):
        feed(login(), OK, (kind, b""))


_bodies = st.one_of(
    st.binary(max_size=30),
    st.tuples(st.sampled_from([0, 3, 5, 10, 11, 12, 99]), st.binary(max_size=30)).map(
        lambda pair: pack("!i", pair[0]) + pair[1]
    ),
)


@given(st.lists(st.tuples(st.sampled_from(b"RSKNEZv?"), _bodies), max_size=6), st.booleans())
def test_no_server_raises_anything_but_our_errors(messages: list[Message], begun: bool) -> None:
    machine = login()
    with contextlib.suppress(ProtocolError, UpstreamUnreachableError):
        if begun:
            feed(machine, sasl(b"SCRAM-SHA-256"))
        feed(machine, *messages)


@given(st.text(max_size=40))
def test_no_scram_message_raises_anything_but_our_errors(text: str) -> None:
    machine = login()
    feed(machine, sasl(b"SCRAM-SHA-256"))
    with contextlib.suppress(ProtocolError, UpstreamUnreachableError):
        feed(machine, auth(11, text.encode("utf-8", "replace")))


@pytest.mark.parametrize(
    "first",
    [b"", b"r=", b"r=x,s=!,i=1", b"r=x,s=cw==,i=x", b"r=x", b"\xff", b"r=x,s=cw==,i=-1", b"e=no", b"=,="],
)
def test_a_broken_scram_message_is_our_error(first: bytes) -> None:
    for code in (11, 12):
        machine = login()
        answer = feed(machine, sasl(b"SCRAM-SHA-256"))
        nonce = answer.partition(b",r=")[2]
        with pytest.raises((ProtocolError, UpstreamUnreachableError)):
            feed(machine, auth(code, first.replace(b"r=x", b"r=" + nonce + b"x")))
