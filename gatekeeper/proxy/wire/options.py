"""The `options` of a startup packet, split as PostgreSQL's backend does (pg_split_opts, postgres.c)."""

from __future__ import annotations

from gatekeeper.errors import ProtocolError


def split_options(text: str) -> list[str]:
    """Words of the options: white space separates them, a backslash takes the next character as it is."""
    words: list[str] = []
    word: list[str] | None = None
    characters = iter(text)
    for character in characters:
        if character.isspace():
            if word is not None:
                words.append("".join(word))
                word = None
            continue
        if word is None:
            word = []
        word.append(next(characters, "") if character == "\\" else character)
    if word is not None:
        words.append("".join(word))
    return words


def read_options(text: str) -> dict[str, str]:
    """Settings that the options give by `-c name=value`, `-cname=value` or `--name=value`.

    Names are lower case with `-` as `_`, as the server reads them. Raises ProtocolError for every other
    switch: none of them is a client's business.
    """
    settings: dict[str, str] = {}
    words = iter(split_options(text))
    for word in words:
        if word == "-c":
            assignment = next(words, "")
        elif word.startswith(("--", "-c")):
            assignment = word[2:]
        else:
            raise ProtocolError(f"invalid command-line argument for server process: {word[:40]}")
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise ProtocolError("-c and -- in options need name=value")
        settings[name.strip().replace("-", "_").lower()] = value
    return settings
