"""The development issuer makes its key once, for its user alone, and its tokens let in."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from gatekeeper.errors import ConfigError
from gatekeeper.identity.devissuer import DevIssuer
from gatekeeper.identity.keys import KeyRing
from gatekeeper.identity.login import Authenticator
from tests.identity.issuers import NOW, rules


async def test_its_tokens_are_admitted(tmp_path: Path) -> None:
    issuer = DevIssuer(tmp_path / "state" / "issuer")
    keys = KeyRing()
    wanted = rules(issuer.jwks_file, issuer=issuer.issuer, run=("run_id",))
    token = DevIssuer(issuer.directory).sign({"repository_id": "1296269", "run_id": 5}, 600, NOW)
    admitted = await Authenticator(keys).authenticate(wanted, "deploy", "app", token, NOW)
    assert admitted.identity.run == "5"
    assert admitted.identity.token_expires_at == NOW + 600
    await keys.close()


def test_its_key_is_for_its_user_alone_and_is_made_once(tmp_path: Path) -> None:
    issuer = DevIssuer(tmp_path / "issuer")
    assert stat.S_IMODE(issuer.key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(issuer.directory.stat().st_mode) == 0o700
    before = issuer.key_file.read_text(), issuer.jwks_file.read_text()
    again = DevIssuer(tmp_path / "issuer")
    assert (again.key_file.read_text(), again.jwks_file.read_text()) == before
    assert "d" not in json.loads(before[1])["keys"][0]
    assert sorted(path.name for path in issuer.directory.iterdir()) == ["jwks.json", "key"]


def test_a_key_that_others_can_read_or_that_is_broken_is_refused(tmp_path: Path) -> None:
    issuer = DevIssuer(tmp_path)
    issuer.key_file.chmod(0o644)
    with pytest.raises(ConfigError, match="0600"):
        DevIssuer(tmp_path)
    issuer.key_file.chmod(0o600)
    for broken in ("", "[]", "{}", '{"kty": "oct", "k": "AAAA"}'):
        issuer.key_file.write_text(broken)
        with pytest.raises(ConfigError, match="not a private key"):
            DevIssuer(tmp_path)


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="development issuer in"):
        DevIssuer(tmp_path / "file" / "issuer")
