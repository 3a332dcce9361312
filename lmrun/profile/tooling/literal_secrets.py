"""Secrets that stand in a profile as they are: in headers, variables, command lines and URLs. It
shows none.

It works on the tree: the resolved data no longer tells what came out of a reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote

from lmrun.profile.checks import Finding
from lmrun.profile.references import ReferenceInvalid, parse_references
from lmrun.profile.text.nodes import Mapping, Node, Path, Scalar, Sequence

_SECRET_NAME = re.compile(r"key|token|secret|password|authorization", re.IGNORECASE)
_NAME_OF_A_PLACE = re.compile(r"[_-](file|path|dir)$", re.IGNORECASE)
_PLAINLY_NONE = re.compile(r"|true|false|yes|no|on|off|\d{1,6}", re.IGNORECASE)
"""`MAX_TOKENS: "4096"` and `TOKENIZERS_PARALLELISM: "false"` keep no secret."""

_SECRET_OPTION = re.compile(
    r".*(token|secret|passw(or)?d|passphrase|authorization"
    r"|(api|access|auth|secret|private|account|master)[_-]?key)",
    re.IGNORECASE,
)
"""Options and parameters have many names that hold `key`, as `--sort-key`."""
_SECRET_PARAMETER = re.compile(rf"{_SECRET_OPTION.pattern}|key", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"-{0,2}(?P<name>[A-Za-z][\w.-]*)(=|:\s*)(?P<value>.*)", re.DOTALL)
_OPTION = re.compile(r"--?(?P<name>[A-Za-z][\w.-]*)")
_PLACE = re.compile(r"\.{0,2}/|~")
"""How the path of a file begins that holds the secret."""
_URL = re.compile(r"[A-Za-z][\w+.-]*://(?P<user>[^/?#]*@)?[^?#]*(\?(?P<query>[^#]*))?", re.DOTALL)

_ARGUMENT = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
"""What the model gives is no secret of the profile's."""
_REFERENCE = "\0"
"""Where a text has one; nothing else in a profile is written so."""

_FIELDS = (("mcp_servers", "headers"), ("mcp_servers", "env"), ("tools", "http", "headers"))
_LINES = (("mcp_servers", "command"), ("tools", "command"))
_URLS = (("mcp_servers", "url"), ("tools", "http", "url"))

_MESSAGE = (
    "looks like a secret, which must not stand in a profile; "
    "write a reference, ${env:NAME} or ${file:path}"
)


class FoundSecret(NamedTuple):
    """`name`: what it is called; `start` and `end`: where it stands."""

    name: str
    start: int
    end: int


def find_literal_secrets(tree: Mapping) -> Iterator[Finding]:
    """Values without a reference: headers and variables that are called like a secret; options,
    assignments and parameters of a URL that are; the password of a URL."""
    for path, node in _find_nodes(tree, _FIELDS):
        for name, entry in node.entries.items() if isinstance(node, Mapping) else ():
            if _names_secret(name) and _is_literal(_read(entry.node, path)):
                yield Finding((*path, name), _MESSAGE)
    for path, node in _find_nodes(tree, _LINES):
        items = node.items if isinstance(node, Sequence) else ()
        texts = [_read(item, path) for item in items]
        for index, text in enumerate(texts):
            before = texts[index - 1] if index > 1 else None
            if _is_secret(text) or _follows_secret_option(before, text):
                yield Finding((*path, index), _MESSAGE)
    for path, node in _find_nodes(tree, _URLS):
        if _is_secret(_read(node, path)):
            yield Finding(path, _MESSAGE)


def _find_nodes(tree: Mapping, ways: tuple[tuple[str, ...], ...]) -> Iterator[tuple[Path, Node]]:
    """What lies at each way beneath the members of a section, with its path."""
    for section, *way in ways:
        members = _step(tree, section)
        for name in members.entries if isinstance(members, Mapping) else ():
            path: Path = (section, name, *way)
            node: Node | None = tree
            for part in path:
                node = _step(node, str(part))
            if node is not None:
                yield path, node


def _step(node: Node | None, name: str) -> Node | None:
    """What a mapping has under `name`."""
    entry = node.entries.get(name) if isinstance(node, Mapping) else None
    return entry.node if entry is not None else None


def _read(node: Node, path: Path) -> str | None:
    """The text, with a mark for each reference and each argument of a tool; None: it is none."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return None
    try:
        parts = parse_references(node.value)
    except ReferenceInvalid:
        return None
    text = "".join(part if isinstance(part, str) else _REFERENCE for part in parts)
    return _ARGUMENT.sub(_REFERENCE, text) if path[0] == "tools" else text


def _names_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _NAME_OF_A_PLACE.search(name)


def _is_literal(value: str | None) -> bool:
    return value is not None and _REFERENCE not in value and not _PLAINLY_NONE.fullmatch(value)


def _is_literal_argument(value: str | None) -> bool:
    """Some options take the name of a file that holds the secret."""
    return _is_literal(value) and not _PLACE.match(value or "")


def _is_secret(text: str | None) -> bool:
    return text is not None and find_secret(text) is not None


def _follows_secret_option(before: str | None, text: str | None) -> bool:
    option = _OPTION.fullmatch(before or "")
    if option is None or text is None or text.startswith("-"):
        return False
    return bool(_SECRET_OPTION.fullmatch(option["name"])) and _is_literal_argument(text)


def find_secret(text: str) -> FoundSecret | None:
    """What is a secret in an element of a command line, or in a URL, unless it is empty or plainly
    none: the value of an option, an assignment or a parameter that is called like one, or the
    password of a URL."""
    url = _URL.match(text)
    if url is not None:
        return _find_in_url(url)
    found = _ASSIGNMENT.fullmatch(text)
    if found is None:
        return None
    value, start = found["value"], found.start("value")
    if _URL.match(value):
        inner = find_secret(value)
        return inner and FoundSecret(inner.name, inner.start + start, inner.end + start)
    if _SECRET_OPTION.fullmatch(found["name"]) and _is_literal_argument(value):
        return FoundSecret(found["name"], start, found.end("value"))
    return None


def _find_in_url(url: re.Match[str]) -> FoundSecret | None:
    user, colon, password = (url["user"] or "").removesuffix("@").partition(":")
    if colon and _is_literal(password):
        start = url.start("user") + len(user) + 1
        return FoundSecret("password", start, start + len(password))
    start = url.start("query")
    for pair in (url["query"] or "").split("&"):
        name, _, value = pair.partition("=")
        if _SECRET_PARAMETER.fullmatch(unquote(name)) and _is_literal(value):
            return FoundSecret(name, start + len(pair) - len(value), start + len(pair))
        start += len(pair) + 1
    return None
