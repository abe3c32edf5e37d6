"""One page that replays a session in a browser, offline; what was recorded is data in it, never script."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any, Final

import msgspec

from gatekeeper.recording.views import RecordView

_ESCAPED: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def page(records: Iterable[RecordView]) -> Iterator[str]:
    """Pieces of one HTML file that needs nothing else and reaches nothing else."""
    here = files(__package__)
    style = here.joinpath("replay.css").read_text(encoding="utf-8")
    script = here.joinpath("replay.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'"
    )
    chosen = iter(records)
    first = next(chosen, None)
    title = "Gatekeeper" if first is None else f"{first.subject} as {first.grant}, session {first.session}"
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        "<noscript>This page replays a recorded session; that takes JavaScript.</noscript>\n"
        '<div id="app"></div>\n'
        '<script type="application/json" id="records">[\n'
    )
    comma = ""
    while first is not None:
        yield comma + _data(first)
        comma = ",\n"
        first = next(chosen, None)
    yield f"\n]</script>\n<script>{script}</script>\n</body>\n</html>\n"


def _data(record: RecordView) -> str:
    values: dict[str, Any] = msgspec.to_builtins(record)
    text = json.dumps(values, ensure_ascii=False)
    return "".join(_ESCAPED.get(c, c) for c in text) if any(c in text for c in _ESCAPED) else text


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
