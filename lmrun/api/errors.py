"""Errors as HTTP answers: one table from the error tree to status, type and headers.

It knows OpenAI's envelope, which every dialect here shares, and the few errors that only HTTP has:

RequestError
├── BodyInvalid         no JSON, or JSON that is refused
├── BodyStalled         the body stopped arriving
├── FramingRefused      where the body ends is open to interpretation
├── UpgradeRefused      a WebSocket handshake
├── RouteNotFound
├── ResponseNotFound    no stored response has the id
├── JobNotFound         no download of that id
├── MethodNotAllowed
├── MediaTypeRefused
├── NotAcceptable       an answer that the client does not take
├── SessionNotFound     it has ended, or never was
├── TooManyAttempts     wrong API keys from one peer, too fast
├── TooManyRequests     of one API key at a time
├── TooManyConnections
├── TooManySessions     of one holder, with lmrun's own MCP server
├── AnswerTimedOut      longer than the server's limit
├── ServerStopping      the server ends before the answer has
└── Forbidden
    └── HostRefused     the request was meant for another server
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from lmrun import errors
from lmrun.errors import EngineCrashed, EngineError, Forbidden, LmrunError, RequestError

Headers = tuple[tuple[bytes, bytes], ...]


class BodyInvalid(RequestError):
    code = "invalid_json"


class BodyStalled(RequestError):
    code = "body_stalled"


class FramingRefused(RequestError):
    code = "invalid_http"


class UpgradeRefused(RequestError):
    code = "upgrade_refused"


class RouteNotFound(RequestError):
    code = "unknown_url"


class ResponseNotFound(RequestError):
    code = "response_not_found"


class JobNotFound(RequestError):
    code = "job_not_found"


class MethodNotAllowed(RequestError):
    """`allowed`: the methods that this path has."""

    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class MediaTypeRefused(RequestError):
    code = "unsupported_media_type"


class NotAcceptable(RequestError):
    code = "not_acceptable"


class SessionNotFound(RequestError):
    code = "session_not_found"


class TooManyAttempts(RequestError):
    code = "too_many_attempts"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyRequests(RequestError):
    code = "too_many_requests"
    retry_after_s = 1


class TooManyConnections(RequestError):
    code = "too_many_connections"
    retry_after_s = 1


class TooManySessions(RequestError):
    code = "too_many_sessions"
    retry_after_s = 1


class AnswerTimedOut(RequestError):
    code = "answer_timed_out"


class ServerStopping(RequestError):
    code = "server_stopping"
    retry_after_s = 1


class HostRefused(Forbidden):
    code = "host_refused"


class ErrorBody(msgspec.Struct, frozen=True):
    """OpenAI's four fields. `type` is the kind of failure, `code` the failure itself."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(msgspec.Struct, frozen=True):
    error: ErrorBody


_ASK_AGAIN = frozenset({429, 503})
LATER_S = 60
"""When to ask again for what only another profile can mend."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one class of errors looks over HTTP. `type` None: the error's own code."""

    status: int
    type: str | None = "invalid_request_error"


TABLE: dict[type[LmrunError], Row] = {
    LmrunError: Row(500, "internal_error"),
    errors.ProfileInvalid: Row(400),
    errors.ProfileSuperseded: Row(409),
    errors.GenerationUnknown: Row(404),
    errors.LockMismatch: Row(409),
    errors.GitFailed: Row(502, None),
    errors.SourceError: Row(400),
    errors.SourceInvalid: Row(400),
    errors.SourceMissing: Row(404),
    errors.FetchFailed: Row(502, None),
    errors.ModelInvalid: Row(422),
    EngineError: Row(500, None),
    errors.EngineMissing: Row(500, None),
    errors.LoadFailed: Row(500, None),
    errors.SettingRefused: Row(422),
    EngineCrashed: Row(500, None),
    errors.CrashLoop: Row(500, None),
    errors.EngineHung: Row(500, None),
    errors.TemplateFailed: Row(400),
    errors.RolledBack: Row(500, None),
    RequestError: Row(400),
    errors.InvalidParameter: Row(400),
    errors.UnsupportedParameter: Row(400),
    errors.ContextOverflow: Row(400),
    errors.ModelNotFound: Row(404),
    errors.ModelNotReady: Row(503, "service_unavailable_error"),
    errors.QueueFull: Row(429, "rate_limit_error"),
    errors.BodyTooLarge: Row(413),
    errors.Unauthorized: Row(401),
    Forbidden: Row(403, "permission_error"),
    errors.MemoryFull: Row(503, "service_unavailable_error"),
    errors.ModelTooLarge: Row(507, None),
    errors.RunError: Row(400),
    errors.BudgetExceeded: Row(422),
    errors.RunNotFound: Row(404),
    errors.RunConflict: Row(409),
    errors.McpError: Row(502, None),
    errors.McpUnreachable: Row(502, None),
    errors.McpNotFound: Row(404),
    errors.McpNotApproved: Row(403, "permission_error"),
    errors.ElicitationNotFound: Row(404),
    errors.McpChanged: Row(409),
    errors.McpLoginFailed: Row(502, None),
    errors.McpUnusable: Row(422),
    errors.McpProtocol: Row(502, None),
    errors.ToolInvalid: Row(500, None),
    errors.ToolsMissing: Row(500, None),
    errors.PathRefused: Row(403, "permission_error"),
    errors.OutboundRefused: Row(403, "permission_error"),
    errors.OutboundFailed: Row(502, None),
    errors.AddressRefused: Row(500, None),
    errors.StoreError: Row(500, None),
    errors.DiskFull: Row(507, None),
    errors.ServerUnreachable: Row(502, None),
    BodyInvalid: Row(400),
    BodyStalled: Row(408),
    FramingRefused: Row(400),
    UpgradeRefused: Row(400),
    RouteNotFound: Row(404),
    ResponseNotFound: Row(404),
    JobNotFound: Row(404),
    MethodNotAllowed: Row(405),
    MediaTypeRefused: Row(415),
    NotAcceptable: Row(406),
    SessionNotFound: Row(404),
    TooManyAttempts: Row(429, "rate_limit_error"),
    TooManyRequests: Row(429, "rate_limit_error"),
    ServerStopping: Row(503, "service_unavailable_error"),
    TooManyConnections: Row(503, "service_unavailable_error"),
    TooManySessions: Row(429, "rate_limit_error"),
    AnswerTimedOut: Row(504, "timeout_error"),
    HostRefused: Row(421, "permission_error"),
}


def find_row(kind: type[LmrunError]) -> Row:
    """The class's row, or that of its nearest ancestor."""
    return next(TABLE[ancestor] for ancestor in kind.__mro__ if ancestor in TABLE)


def to_body(error: LmrunError) -> ErrorBody:
    """The error in OpenAI's words."""
    return ErrorBody(
        message=str(error),
        type=find_row(type(error)).type or error.code,
        param=getattr(error, "param", None),
        code=error.cause if isinstance(error, EngineCrashed) else error.code,
    )


def to_json(body: ErrorBody) -> bytes:
    return msgspec.json.encode(ErrorEnvelope(body))


def to_headers(error: LmrunError) -> Headers:
    """The headers that belong to an error, none of them made from the request."""
    headers: list[tuple[bytes, bytes]] = []
    retry_after_s = getattr(error, "retry_after_s", None)
    is_hopeless = retry_after_s is None and find_row(type(error)).status in _ASK_AGAIN
    if is_hopeless:
        retry_after_s = LATER_S
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode()))
    if isinstance(error, errors.Unauthorized):
        headers.append((b"www-authenticate", b'Bearer realm="lmrun"'))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if isinstance(error, errors.BodyTooLarge | BodyStalled | FramingRefused | TooManyConnections):
        # The rest of the body is not read, or there are too many of them as it is.
        headers.append((b"connection", b"close"))
    if is_hopeless or isinstance(error, EngineError | AnswerTimedOut | errors.ModelTooLarge):
        # OpenAI's clients repeat a 5xx by themselves; what ended a worker would end it again, and
        # what needs another profile needs a person.
        headers.append((b"x-should-retry", b"false"))
    return tuple(headers)


def internal_error(request_id: str) -> ErrorBody:
    """What a client sees of an unexpected exception: the id to look up in the log."""
    return ErrorBody(
        message=f"lmrun failed unexpectedly; its log says more under request id {request_id}.",
        type="internal_error",
        param=None,
        code="internal_error",
    )
