"""Request bodies: bytes in under a limit, then strict JSON. It knows no request type."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
import sys
from collections import Counter
from typing import Any, NoReturn

from starlette.types import Receive, Scope

from lmrun.api.errors import BodyInvalid, BodyStalled
from lmrun.api.http.boundary import ClientGone
from lmrun.errors import BodyTooLarge

MAX_DEPTH = 64
MAX_VALUES = 262_144
IDLE_TIMEOUT_S = 30.0
MIN_BYTES_PER_S = 16 * 1024
"""A body may pause for `IDLE_TIMEOUT_S`; beyond that, it comes at least this fast on average."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


async def read_body(
    scope: Scope, receive: Receive, limit_bytes: int, idle_timeout_s: float = IDLE_TIMEOUT_S
) -> bytes:
    """The body, as long as it stays within `limit_bytes`; what is counted is what arrives.

    Raises BodyTooLarge, BodyStalled when nothing came for `idle_timeout_s`, or all of it too
    slowly, ClientGone.
    """
    if _declared_length(scope) > limit_bytes:
        raise _too_large(limit_bytes)
    body = bytearray()
    clock = asyncio.get_running_loop().time
    start = clock()
    while True:
        # By when what has come so far should have come, and a pause more.
        in_time = start + len(body) / MIN_BYTES_PER_S + idle_timeout_s
        try:
            async with asyncio.timeout_at(min(clock() + idle_timeout_s, in_time)):
                message = await receive()
        except TimeoutError:
            raise BodyStalled(
                f"Too little of the body came: nothing for {idle_timeout_s:g} s, or less than "
                f"{MIN_BYTES_PER_S} bytes a second."
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
        if not message.get("more_body", False):
            return bytes(body)


def parse_json(body: bytes) -> Any:
    """Strict JSON: UTF-8, no NaN or Infinity, no key twice, at most `MAX_DEPTH` levels.

    Raises BodyInvalid with the position, and BodyTooLarge for more than `MAX_VALUES` values: small
    text can become large objects.
    """
    if _has_too_many_values(body):
        raise BodyTooLarge(f"The body holds more than {MAX_VALUES} JSON values.")
    if body.startswith(codecs.BOM_UTF8):
        raise BodyInvalid(
            "The body is not JSON: a byte order mark stands at line 1, column 1.",
            hint="Send UTF-8 without one.",
        )
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_to_object, parse_constant=_refuse_constant
        )
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise BodyInvalid(f"The body is not UTF-8 at byte {error.start}.") from None
    except UnicodeEncodeError:
        raise BodyInvalid("The body has half a surrogate pair in a `\\u` escape.") from None
    except json.JSONDecodeError as error:
        raise BodyInvalid(
            f"The body is not JSON: {error.msg.removesuffix(' at')} "
            f"at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        # Python limits the digits of an integer; the hooks raise their own BodyInvalid.
        raise BodyInvalid(
            f"A whole number has more than {sys.get_int_max_str_digits()} digits.",
            hint="No parameter takes one that long.",
        ) from None
    if _may_be_too_deep(body) and _depth(value) > MAX_DEPTH:
        raise _too_deep()
    return value


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _has_too_many_values(body: bytes) -> bool:
    """Counts cheaply first; strings are left out only when that count is too high."""
    if _count_structure(body) <= MAX_VALUES:
        return False
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 4 * MAX_VALUES:
        return True
    return _count_structure(b"".join(plain.split(b'"')[::2])) > MAX_VALUES


def _count_structure(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _may_be_too_deep(body: bytes) -> bool:
    return body.count(b"[") + body.count(b"{") > MAX_DEPTH


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [
            child for item in level for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise BodyInvalid(f"The key {twice[:80]!r} occurs twice in one object.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise BodyInvalid(f"{name} is not JSON.")


def _too_deep() -> BodyInvalid:
    return BodyInvalid(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body is larger than {limit_bytes} bytes.",
        hint="The limit is server.limits.body in the profile.",
    )
