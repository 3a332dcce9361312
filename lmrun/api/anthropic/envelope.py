"""Anthropic's errors, in a body of their own and as a stream's last event. It knows no request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from lmrun.api.envelope import Envelope
from lmrun.api.errors import ErrorBody
from lmrun.api.sse import to_named_event
from lmrun.errors import ModelNotReady, QueueFull, UnsupportedParameter

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "timeout_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "overloaded_error",
]

OVERLOADED = 529
"""Anthropic's status for a server that has no room just now; its clients ask again."""

_TYPES: dict[int, ErrorType] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}


class ThreadUnsupported(UnsupportedParameter):
    """Its code is the one after which Anthropic's client sends whole conversations instead."""

    code = "thread_unsupported_request"


class ErrorDetails(msgspec.Struct, frozen=True):
    """For programs: lmrun's own name of the failure, and the parameter that is wrong."""

    error_code: str | None
    param: str | None


class MessagesError(msgspec.Struct, frozen=True):
    type: ErrorType
    message: str
    details: ErrorDetails


class MessagesErrorEnvelope(msgspec.Struct, frozen=True, tag="error"):
    error: MessagesError
    request_id: str


def _find_type(status: int) -> ErrorType:
    default: ErrorType = "api_error" if status >= 500 else "invalid_request_error"
    return _TYPES.get(status, default)


def _write(body: ErrorBody, status: int, request_id: str) -> bytes:
    details = ErrorDetails(body.code, body.param)
    error = MessagesError(_find_type(status), body.message, details)
    return msgspec.json.encode(MessagesErrorEnvelope(error, request_id))


ANTHROPIC = Envelope(
    MessagesErrorEnvelope,
    _write,
    statuses={ModelNotReady: OVERLOADED, QueueFull: OVERLOADED},
    id_header="request-id",
)


def make_last_event(request_id: str) -> Callable[[ErrorBody], bytes]:
    """How a stream says that it failed. It has no status any more; only whose fault it was."""

    def show(body: ErrorBody) -> bytes:
        status = 400 if body.type == "invalid_request_error" else 500
        return to_named_event("error", _write(body, status, request_id))

    return show
