"""Errors as JSON-RPC has them: what the door and the protocol's library refuse alike."""

from __future__ import annotations

import msgspec

from lmrun.api.envelope import Envelope
from lmrun.api.errors import ErrorBody

_PARSE_ERROR = -32700
_INVALID_REQUEST = -32600
_INTERNAL_ERROR = -32603


class JsonRpcErrorData(msgspec.Struct, frozen=True):
    """lmrun's own words: `code`: the failure itself, `param`: the field that is wrong."""

    type: str
    code: str | None
    param: str | None


class JsonRpcErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """`code`: JSON-RPC's or the protocol's."""

    code: int
    message: str
    data: JsonRpcErrorData | str | None = None


class JsonRpcError(msgspec.Struct, frozen=True):
    """`id`: of the request, null where that was not read."""

    error: JsonRpcErrorBody
    id: str | int | None = None
    jsonrpc: str = "2.0"


def _write(body: ErrorBody, status: int, request_id: str) -> bytes:
    code = _INVALID_REQUEST if status < 500 else _INTERNAL_ERROR
    if body.code == "invalid_json":
        code = _PARSE_ERROR
    data = JsonRpcErrorData(body.type, body.code, body.param)
    return msgspec.json.encode(JsonRpcError(JsonRpcErrorBody(code, body.message, data)))


ENVELOPE = Envelope(JsonRpcError, _write)
