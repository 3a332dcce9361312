"""Secrets that stand in a profile as they are, in headers and variables. It shows none.

It works on the tree: the resolved data no longer tells what came out of a reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lmrun.profile.checks import Finding
from lmrun.profile.references import Reference, ReferenceInvalid, parse_references
from lmrun.profile.text.nodes import Mapping, Node, Path, Scalar

_SECRET_NAME = re.compile(r"key|token|secret|password|authorization", re.IGNORECASE)
_NAME_OF_A_PLACE = re.compile(r"[_-](file|path|dir)$", re.IGNORECASE)
_PLAINLY_NONE = re.compile(r"|true|false|yes|no|on|off|\d{1,6}", re.IGNORECASE)
"""`MAX_TOKENS: "4096"` and `TOKENIZERS_PARALLELISM: "false"` keep no secret."""

_ARGUMENT = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
"""What the model gives is no secret of the profile's."""

_WAYS = (("mcp_servers", "headers"), ("mcp_servers", "env"), ("tools", "http", "headers"))

_MESSAGE = (
    "looks like a secret, which must not stand in a profile; "
    "write a reference, ${env:NAME} or ${file:path}"
)


def find_literal_secrets(tree: Mapping) -> Iterator[Finding]:
    """Headers and variables of MCP servers, and headers of requests over HTTP, that are called like
    a secret and whose value holds no reference."""
    for path, field in _find_fields(tree):
        for name, entry in field.entries.items():
            if _names_secret(name) and _is_literal(entry.node, may_be_argument=path[0] == "tools"):
                yield Finding((*path, name), _MESSAGE)


def _find_fields(tree: Mapping) -> Iterator[tuple[Path, Mapping]]:
    """The mappings in question, with their paths."""
    for section, *way in _WAYS:
        members = _step(tree, section)
        for name in members.entries if members is not None else ():
            path: Path = (section, name, *way)
            node: Mapping | None = tree
            for part in path:
                node = _step(node, str(part))
            if node is not None:
                yield path, node


def _step(node: Mapping | None, name: str) -> Mapping | None:
    """The mapping that a mapping has under `name`."""
    entry = node.entries.get(name) if node is not None else None
    return entry.node if entry is not None and isinstance(entry.node, Mapping) else None


def _names_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _NAME_OF_A_PLACE.search(name)


def _is_literal(node: Node, *, may_be_argument: bool) -> bool:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return False
    try:
        parts = parse_references(node.value)
    except ReferenceInvalid:
        return False
    if any(isinstance(part, Reference) for part in parts):
        return False
    if may_be_argument and _ARGUMENT.search(node.value):
        return False
    return not _PLAINLY_NONE.fullmatch(node.value)
