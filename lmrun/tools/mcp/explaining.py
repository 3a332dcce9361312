"""What went wrong with a server, from whatever was raised. Pure; it knows no session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import httpx2
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, HEADER_MISMATCH, UNSUPPORTED_PROTOCOL_VERSION
from pydantic import ValidationError

from lmrun.errors import (
    LmrunError,
    McpError,
    McpNotApproved,
    McpProtocol,
    McpUnreachable,
    OutboundFailed,
    OutboundRefused,
)
from lmrun.tools.mcp.cleaning import clean_line
from lmrun.tools.mcp.transport.wire import Breach
from lmrun.tools.tool import ErrorKind

MAX_TEXT = 2000
SESSION_ENDED = "Session terminated"
"""What the library makes of an HTTP server that has forgotten the session."""


def explain_call(error: BaseException) -> tuple[ErrorKind, str]:
    """Why a call has no good result, for the model. A lost connection is told elsewhere."""
    match find_cause(error):
        case TimeoutError():
            return "timeout", "There was no answer in time."
        case MCPError(error=data) if isinstance(data.data, Breach):
            kind: ErrorKind = data.data.kind
            return kind, f"The server gave no answer that can be read: {data.data.reason}."
        case MCPError(code=code, message=message):
            text = clean_line(message, MAX_TEXT) or f"error {code}, without a word"
            if code == HEADER_MISMATCH:
                return "disabled", f"The tool has changed: {text}"
            return "failed", f"The server says: {text}"
        case ValidationError() as invalid:
            return "protocol", f"The server's answer is none: {describe_invalid(invalid)}"
        case LmrunError() as known:
            return _kind_of(known), str(known)
        case httpx2.HTTPError() as failed:
            return "unreachable", f"The server cannot be reached ({type(failed).__name__})."
        case other:
            return "protocol", f"The server's answer cannot be used ({type(other).__name__})."


class _Hints(NamedTuple):
    """What helps a server that needs longer to start, and one that wants to know who asks."""

    slow: str
    login: str


_DECLARED = _Hints(
    slow="If it needs longer, give it a longer `start_timeout`.",
    login="If it asks for a login: declare `oauth`.",
)
_BROUGHT_ALONG = _Hints(
    slow="If it needs longer, declare it in the profile, with a `start_timeout` of its own.",
    login="If it asks for a login: send what it wants in `headers`.",
)


def explain_start(
    error: BaseException,
    timeout_s: float,
    refusal: str | None,
    stderr: str = "",
    *,
    is_declared: bool = True,
) -> LmrunError:
    """Why there is no session, for people. `refusal`: what the link knows of it; `stderr`: what
    the program has said, of which the last line often tells. `is_declared`: in the profile."""
    words = _last_words(stderr)
    hints = _DECLARED if is_declared else _BROUGHT_ALONG
    match find_cause(error):
        case TimeoutError():
            text = f"It was not ready within {timeout_s:g} s.{words}"
            return McpUnreachable(text, hint=hints.slow)
        case MCPError(code=code, message=message):
            text = clean_line(message, MAX_TEXT)
            if code == CONNECTION_CLOSED:
                return McpUnreachable(f"It was gone before it was ready: {text}.{words}")
            if code == UNSUPPORTED_PROTOCOL_VERSION:
                return McpProtocol(f"It speaks no revision that lmrun does: {text}")
            hint = hints.login if refusal is not None else None
            return McpProtocol(f"It refused to begin: {refusal or text}", hint=hint)
        case ValidationError() as invalid:
            return McpProtocol(f"It began with what is no answer: {describe_invalid(invalid)}")
        case McpError() | OutboundRefused() | OutboundFailed() as known:
            return known
        case httpx2.HTTPError() as failed:
            text = clean_line(str(failed), MAX_TEXT) or type(failed).__name__
            return McpUnreachable(f"It cannot be reached: {text}.")
        case other:
            text = clean_line(str(other), MAX_TEXT)
            return McpProtocol(f"There is no session with it: {text or type(other).__name__}")


def _last_words(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return f" Its last words: {clean_line(lines[-1], MAX_TEXT)}" if lines else ""


def is_timeout(error: BaseException) -> bool:
    """Whether there was no answer in time."""
    return isinstance(find_cause(error), TimeoutError)


def find_cause(error: BaseException) -> BaseException:
    """Of a group, the one that says most."""
    leaves = list(_leaves(error))
    for kinds in ((LmrunError, httpx2.HTTPError), (MCPError, ValidationError, TimeoutError)):
        for leaf in leaves:
            if isinstance(leaf, kinds):
                return leaf
    return leaves[0]


def describe_invalid(error: ValidationError) -> str:
    """The first thing that is wrong with it, without what it was."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = clean_line(".".join(map(str, first["loc"])), 200)
    return f"{where}: {clean_line(first['msg'], 200)}" if where else clean_line(first["msg"], 200)


def _kind_of(error: LmrunError) -> ErrorKind:
    match error:
        case OutboundFailed(reason=reason):
            return reason
        case McpNotApproved():
            return "disabled"
        case McpUnreachable() | OutboundRefused():
            return "unreachable"
        case _:
            return "protocol"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
