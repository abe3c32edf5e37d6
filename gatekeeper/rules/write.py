"""Writes a rules file whole or not at all, and none that would not load."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from gatekeeper.errors import ConfigError
from gatekeeper.rules.load import parse
from gatekeeper.rules.schema import Rules


def dump(values: Mapping[str, Any], path: Path, *, comment: str = "") -> Rules:
    """Write a mapping shaped like the file, by way of a temporary file and a rename; mode 0600.

    A symlink is followed, not replaced. ConfigError where the values are not valid rules (then the file is
    untouched) or the file cannot be written. Returns the rules as they will be read.
    """
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    text = (f"{head}\n" if head else "") + tomli_w.dumps(values)
    rules = parse(text, path)
    write_text(text, path)
    return rules


def write_text(text: str, path: Path) -> None:
    """Write a text atomically and durably; ConfigError where that is not possible."""
    target = path.resolve()
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        fresh = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(target)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
