"""A line of a server as JSON-RPC messages, or as what is wrong with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from mcp_types import JSONRPCMessage, jsonrpc_message_adapter
from pydantic import ValidationError

from lmrun.tools.mcp.transport.lines import TooLong

MAX_DEPTH = 64
"""Of arrays and objects within each other."""
MAX_BATCH = 256
"""Messages of one line: revision 2025-03-26 lets servers send several."""

_SEARCHED = 256
_ID = re.compile(rb'"id"\s*:\s*(\d{1,18}|"[\w-]{1,64}")')

Id = int | str


@dataclass(frozen=True, slots=True)
class Breach:
    """Something that is no message. `ids`: requests that it may have been meant to answer."""

    kind: Literal["protocol", "too_large"]
    reason: str
    ids: tuple[Id, ...] = ()


Incoming = JSONRPCMessage | Breach


def parse_line(line: bytes | TooLong) -> list[Incoming]:
    """The messages of a line; nothing where it is blank."""
    if isinstance(line, TooLong):
        reason = f"a line of {line.size} bytes was skipped"
        return [Breach("too_large", reason, tuple(_search_ids(line.head)))]
    if not line.strip():
        return []
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return [Breach("protocol", f"a line is no JSON: {error}", tuple(_search_ids(line)))]
    except RecursionError:
        return [_too_deep(line)]
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and not is_shallow(value):
        return [_too_deep(line)]
    if not isinstance(value, list):
        return [parse_message(value)]
    if not 0 < len(value) <= MAX_BATCH:
        return [Breach("protocol", f"a batch of {len(value)} messages")]
    return [parse_message(member) for member in value]


def parse_message(value: Any) -> Incoming:
    """One message; `value` is decoded JSON."""
    try:
        return jsonrpc_message_adapter.validate_python(value, by_name=False)
    except (ValidationError, RecursionError):
        ids = (value["id"],) if isinstance(value, dict) and _is_id(value.get("id")) else ()
        return Breach("protocol", "a line is JSON, but no message of JSON-RPC 2.0", ids)


def is_shallow(value: Any) -> bool:
    """Whether no array or object lies deeper than `MAX_DEPTH` others."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return True
    return False


def _inside(value: Any) -> Iterator[Any]:
    members = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        yield from (member for member in members if isinstance(member, dict | list))


def _too_deep(line: bytes) -> Breach:
    reason = f"a line holds arrays or objects more than {MAX_DEPTH} deep"
    return Breach("protocol", reason, tuple(_search_ids(line)))


def _search_ids(line: bytes) -> Iterator[Id]:
    """What may be the id of a message that cannot be read: servers write it first or last."""
    for part in {line[:_SEARCHED], line[-_SEARCHED:]}:
        for found in _ID.findall(part):
            yield found.decode().strip('"') if found.startswith(b'"') else int(found)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)
