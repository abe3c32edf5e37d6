"""`gatekeeper token`: signs with the local development issuer. No real issuer trusts it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from gatekeeper.cli.common import DURATION


def default_directory() -> Path:
    """Where the demo's issuer keeps its key."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "gatekeeper" / "demo" / "issuer"


@click.command()
@click.option("--claim", "claims", multiple=True, metavar="K=V", help="A claim; may be given many times.")
@click.option("--ttl", type=DURATION, default="10m", show_default=True, help="How long it is valid.")
@click.option(
    "--issuer-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the issuer's key.  [default: the demo's, in ${XDG_STATE_HOME:-~/.local/state}]",
)
def token(claims: tuple[str, ...], ttl: float, issuer_dir: Path | None) -> None:
    """Sign a token with the development issuer.

    For the demo and for tests only: no real issuer trusts it. A value that is a JSON number, list, true or
    false is taken as that, anything else as a text: --claim run_id=7 --claim 'groups=["ci","dba"]' --claim
    ref=refs/heads/main. The claims iss, aud, sub, jti, iat, nbf and exp are filled in, and can be given to
    try out what a wrong one does. The key and jwks.json are made in the directory on first use.
    """
    from gatekeeper.identity.devissuer import DevIssuer

    wanted = _claims(claims)
    click.echo(DevIssuer(issuer_dir or default_directory()).sign(wanted, ttl, time.time()))


def _claims(given: tuple[str, ...]) -> dict[str, Any]:
    claims: dict[str, Any] = {}
    for one in given:
        name, separator, value = one.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{one!r} is not K=V", param_hint="--claim")
        if name in claims:
            raise click.BadParameter(f"{name} is given twice", param_hint="--claim")
        claims[name] = _value(value)
    return claims


def _value(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | list) else text
