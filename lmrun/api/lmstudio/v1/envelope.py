"""Errors in LM Studio's words. The fields are OpenAI's, the types its own."""

from __future__ import annotations

from typing import Literal

import msgspec

from lmrun.api.envelope import Envelope
from lmrun.api.errors import ErrorBody

ErrorType = Literal[
    "invalid_request",
    "unknown",
    "mcp_connection_error",
    "not_implemented",
    "model_not_found",
    "job_not_found",
    "internal_error",
]

_BY_CODE: dict[str | None, ErrorType] = {
    "model_not_found": "model_not_found",
    "job_not_found": "job_not_found",
    "unsupported_parameter": "not_implemented",
    "internal_error": "internal_error",
    "mcp_unreachable": "mcp_connection_error",
    "mcp_not_approved": "mcp_connection_error",
    "mcp_protocol_error": "mcp_connection_error",
}
_INVALID = frozenset({"invalid_request_error", "permission_error"})


class ErrorV1(msgspec.Struct, frozen=True, omit_defaults=True):
    """`type`: the kind of failure, `code`: the failure itself, `param`: the field that is wrong."""

    type: ErrorType
    message: str
    code: str | None = None
    param: str | None = None


class ErrorEnvelopeV1(msgspec.Struct, frozen=True):
    error: ErrorV1


def to_error(body: ErrorBody) -> ErrorV1:
    """The same in LM Studio's words."""
    kind = _BY_CODE.get(body.code) or ("invalid_request" if body.type in _INVALID else "unknown")
    return ErrorV1(kind, body.message, body.code, body.param)


def _write(body: ErrorBody, status: int, request_id: str) -> bytes:
    return msgspec.json.encode(ErrorEnvelopeV1(to_error(body)))


ENVELOPE = Envelope(ErrorEnvelopeV1, _write)
