"""The syntax of `${env:NAME}`, `${env:NAME:-default}` and `${file:path}`. It resolves nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lmrun.profile.text import nodes

_TOKEN = re.compile(r"(?P<escape>\$\$\{)|\$\{(?P<body>[^}]*)\}|(?P<open>\$\{)")
_BODY = re.compile(
    r"env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?|file:(?P<path>[^\r\n]+)", re.DOTALL
)
_FORMS = "${env:NAME}, ${env:NAME:-default} or ${file:path}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed `${…}`: either `name` (with its `default`, if any) or `path`."""

    name: str | None
    default: str | None
    path: str | None


class ReferenceInvalid(Exception):
    """A reference that cannot be parsed or resolved; the message holds no value."""


def parse_references(text: str) -> list[str | Reference]:
    """Text and references in turn; `$${` is a plain `${`. Raises ReferenceInvalid."""
    if "${" not in text:
        return [text]
    parts: list[str | Reference] = []
    end = 0
    for match in _TOKEN.finditer(text):
        parts += [text[end : match.start()], _parse_token(match)]
        end = match.end()
    return [part for part in [*parts, text[end:]] if part != ""]


def _parse_token(match: re.Match[str]) -> str | Reference:
    if match["escape"]:
        return "${"
    if match["open"]:
        raise ReferenceInvalid("a `${` is never closed with `}`; write `$${` for a plain `${`")
    body = _BODY.fullmatch(match["body"])
    if body is None:
        raise ReferenceInvalid(f"a reference is {_FORMS}; write `$${{` for a plain `${{`")
    return Reference(body["name"], body["default"], body["path"])


def find_environment(node: nodes.Node) -> frozenset[str]:
    """The names of all variables that the tree references; broken references count for none."""
    return frozenset(_names(node))


def _names(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.Mapping):
        for entry in node.entries.values():
            yield from _names(entry.node)
    elif isinstance(node, nodes.Sequence):
        for item in node.items:
            yield from _names(item)
    elif isinstance(node.value, str) and "${" in node.value:
        try:
            parts = parse_references(node.value)
        except ReferenceInvalid:
            return
        yield from (part.name for part in parts if isinstance(part, Reference) and part.name)
