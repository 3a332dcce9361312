"""The server as seen from outside: the control API over its unix socket, chat over its port.

It knows no command and draws nothing. `http.client` and no friendlier library, because importing
one costs more time than a whole `lmrun apply` may take.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, cast
from urllib.parse import quote, urlsplit

import msgspec

from lmrun.errors import LmrunError, Problem, ProfileInvalid, ServerUnreachable
from lmrun.reconcile.outcome import ApplyEvent, Plan, RollbackPlan
from lmrun.reconcile.records import History, StoredProfile
from lmrun.reconcile.status import ByHandReport, Status
from lmrun.tools.mcp.reports import (
    ElicitationEvent,
    LoggedOut,
    LoginEvent,
    McpReview,
    McpServers,
)

ANSWER_TIMEOUT_S = 120.0
"""A plan may have to read model files on a cold disk; everything else answers at once."""

CONNECT_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 64 * 2**20

T = TypeVar("T")


class Refused(LmrunError):
    """A refusal of the server; `code` is the server's own name for it."""

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc]  # the one error whose code comes from elsewhere


class _UnixConnection(http.client.HTTPConnection):
    """HTTP to the socket at `path`. A timeout of None waits for ever."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Control:
    """The control API. Every method raises ServerUnreachable when nobody answers, ProfileInvalid
    for a profile the server refuses, and LmrunError for its other refusals."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_listening(self) -> bool:
        """Whether there is a server at all; a connection, no request."""
        connection = _UnixConnection(self._path, CONNECT_TIMEOUT_S)
        try:
            connection.connect()
        except OSError:
            return False
        finally:
            connection.close()
        return True

    def status(self) -> Status:
        return _decode(self._request("GET", "status"), Status)

    def plan(self, file: Path, environment: Mapping[str, str]) -> Plan:
        body = {"file": str(file), "environment": dict(environment)}
        return _decode(self._request("POST", "plan", body), Plan)

    def apply(
        self,
        file: Path,
        environment: Mapping[str, str],
        *,
        watch: bool,
        locked: bool = False,
        base_generation: int | None = None,
        plan: Plan | None = None,
    ) -> Generator[ApplyEvent, None, None]:
        """The events of an apply as they happen. Closing the iterator leaves the server at it.

        `locked`: the server refuses what differs from the lock file beside the profile.

        `base_generation`: of the plan that was agreed to; the server refuses when it has moved.
        `plan`: one that was saved; the server refuses to do anything else.
        """
        body = {
            "file": str(file),
            "environment": dict(environment),
            "watch": watch,
            "locked": locked,
            "base_generation": base_generation,
            "plan": None if plan is None else msgspec.to_builtins(plan),
        }
        return self._follow("apply", body)

    def history(self) -> History:
        return _decode(self._request("GET", "history"), History)

    def generation(self, number: int) -> StoredProfile:
        """Raises what the server refuses with for a generation that is not kept."""
        return _decode(self._request("GET", f"generations/{number}"), StoredProfile)

    def plan_rollback(self, number: int, environment: Mapping[str, str]) -> RollbackPlan:
        body = {"generation": number, "environment": dict(environment)}
        return _decode(self._request("POST", "rollback/plan", body), RollbackPlan)

    def roll_back(
        self,
        number: int | None,
        environment: Mapping[str, str],
        *,
        base_generation: int | None = None,
    ) -> Generator[ApplyEvent, None, None]:
        """As `apply`, for an earlier generation; None: the last before this that converged."""
        body = {
            "generation": number,
            "environment": dict(environment),
            "base_generation": base_generation,
        }
        return self._follow("rollback", body)

    def check(
        self, file: Path, environment: Mapping[str, str], names: Iterable[str]
    ) -> Generator[bytes, None, None]:
        """What is observed of the profile's checks called `names`: events as JSON, until all were
        asked. Closing the iterator stops the generation."""
        body = {"file": str(file), "environment": dict(environment), "names": list(names)}
        return self._stream("check", body)

    def logs(self, sources: Iterable[str], last: int) -> Generator[bytes, None, None]:
        """The log's events as JSON, `last` lines of the server's log first, until it ends.

        `sources`: `server`, `model` or both.
        """
        query = f"source={','.join(sources)}&last={last}"
        connection = _UnixConnection(self._path, timeout_s=None)
        with _talking(connection, str(self._path)):
            response = _send(connection, "GET", f"/lmrun/v1/logs?{query}", {}, None)
            for data in read_sse(response):
                yield _no_error(data)

    def load(self, model: str, settings: Mapping[str, str], identifier: str | None) -> ByHandReport:
        """Load by hand, and wait for it however long it takes."""
        body = {"model": model, "settings": dict(settings), "identifier": identifier}
        return _decode(self._request("POST", "load", body, timeout_s=None), ByHandReport)

    def unload(self, identifier: str) -> ByHandReport:
        return _decode(self._request("POST", "unload", {"identifier": identifier}), ByHandReport)

    def act(self, body: Mapping[str, Any]) -> Generator[bytes, None, None]:
        """The events of a new run as JSON, its `run.start` first. Closing the iterator cancels a
        run that is not in the background."""
        return self._stream("act", {**body, "stream": True})

    def resume(
        self, run: str, *, approvals: bool, elicitations: bool
    ) -> Generator[bytes, None, None]:
        """As `act`, for a run that was interrupted or failed, with the events from before."""
        is_there = {"approvals": approvals, "elicitations": elicitations}
        return self._stream(f"{_run_path(run)}/resume", {**is_there, "stream": True})

    def begin(self, body: Mapping[str, Any]) -> bytes:
        """A new run in the background, as JSON, as it is when it begins."""
        return self._request("POST", "act", {**body, "background": True})

    def runs(self) -> bytes:
        """The runs that are kept, as JSON."""
        return self._request("GET", "act")

    def run(self, run: str) -> bytes:
        """One run, as JSON."""
        return self._request("GET", _run_path(run))

    def cancel(self, run: str) -> bytes:
        """Stop a run, and wait until it has stopped; the run as JSON."""
        return self._request("POST", f"{_run_path(run)}/cancel", {})

    def approve(self, run: str, call: str, reply: str) -> None:
        """Answer the question about a call of a run."""
        self._request("POST", f"{_run_path(run)}/approve", {"call": call, "reply": reply})

    def mcp_servers(self) -> McpServers:
        return _decode(self._request("GET", "mcp"), McpServers)

    def review_mcp(self, server: str) -> McpReview:
        """What there is to agree to. Starts the server where somebody has agreed to that."""
        return _decode(self._request("GET", f"mcp/{quote(server, safe='')}"), McpReview)

    def approve_mcp(self, server: str, identity: str | None, tools: Mapping[str, str]) -> McpReview:
        """Agree to what was shown, by its digests; the server refuses when it has changed."""
        body = {"identity": identity, "tools": dict(tools)}
        where = f"mcp/{quote(server, safe='')}/approve"
        return _decode(self._request("POST", where, body), McpReview)

    def log_in_mcp(self, server: str) -> Generator[LoginEvent, None, None]:
        """Where somebody has to go, then what came of it. Closing the iterator gives up."""
        connection = _UnixConnection(self._path, timeout_s=None)
        with _talking(connection, str(self._path)):
            where = f"/lmrun/v1/mcp/{quote(server, safe='')}/login"
            for data in read_sse(_send(connection, "POST", where, {}, {})):
                yield _decode(_no_error(data), LoginEvent)

    def log_out_mcp(self, server: str) -> LoggedOut:
        where = f"mcp/{quote(server, safe='')}/logout"
        return _decode(self._request("POST", where, {}), LoggedOut)

    @contextmanager
    def elicitations(self) -> Iterator[Iterator[ElicitationEvent]]:
        """Questions of MCP servers as they come, until the server ends. Within the block somebody
        is there to be asked."""
        connection = _UnixConnection(self._path, timeout_s=None)
        with _talking(connection, str(self._path)):
            response = _send(connection, "GET", "/lmrun/v1/elicitations", {}, None)
            try:
                yield (_decode(_no_error(data), ElicitationEvent) for data in read_sse(response))
            finally:
                # Another thread may still be reading, which closing would wait for.
                with suppress(OSError, AttributeError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def answer_elicitation(
        self, id: str, action: Literal["accept", "decline", "cancel"], content: Mapping[str, Any]
    ) -> None:
        """Raises what the server refuses with for a question that is closed."""
        body = {"action": action, "content": dict(content)}
        self._request("POST", f"elicitations/{quote(id, safe='')}", body)

    def down(self) -> None:
        """Unload everything; the server exits soon after it has answered."""
        self._request("POST", "down", {})

    def _follow(self, name: str, body: Mapping[str, Any]) -> Generator[ApplyEvent, None, None]:
        connection = _UnixConnection(self._path, timeout_s=None)
        with _talking(connection, str(self._path)):
            response = _send(connection, "POST", f"/lmrun/v1/{name}", {}, body)
            for data in read_sse(response):
                yield _decode(_no_error(data), ApplyEvent)

    def _stream(self, name: str, body: Mapping[str, Any]) -> Generator[bytes, None, None]:
        connection = _UnixConnection(self._path, timeout_s=None)
        with _talking(connection, str(self._path)):
            response = _send(connection, "POST", f"/lmrun/v1/{name}", {}, body)
            for data in read_sse(response):
                yield _no_error(data)

    def _request(
        self,
        method: str,
        name: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
    ) -> bytes:
        connection = _UnixConnection(self._path, timeout_s)
        with _talking(connection, str(self._path)):
            return _send(connection, method, f"/lmrun/v1/{name}", {}, body).read(MAX_ANSWER_BYTES)


def _run_path(run: str) -> str:
    return f"act/{quote(run, safe='')}"


def stream_chat(
    address: str, body: Mapping[str, Any], api_key: str | None
) -> Generator[dict[str, Any], None, None]:
    """POST /v1/chat/completions at the base URL `address`: its chunks as they come.

    Raises LmrunError for the server's refusals, also one in mid-stream, and ServerUnreachable
    when the connection ends before the stream does. Closing the iterator stops the generation.
    """
    url = urlsplit(address)
    connection = http.client.HTTPConnection(
        url.hostname or "", url.port or 80, timeout=CONNECT_TIMEOUT_S
    )
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with _talking(connection, address):
        connection.connect()
        connection.sock.settimeout(None)
        response = _send(connection, "POST", "/v1/chat/completions", headers, body)
        for data in read_sse(response):
            if data == b"[DONE]":
                return
            yield _decode(_no_error(data), dict[str, Any])
        raise ServerUnreachable("The connection ended in the middle of the answer.")


def list_names(address: str, api_key: str | None) -> list[str]:
    """GET /v1/models at the base URL `address`: what requests may name, agents included. Raises
    LmrunError for the server's refusals, and ServerUnreachable."""
    url = urlsplit(address)
    connection = http.client.HTTPConnection(
        url.hostname or "", url.port or 80, timeout=ANSWER_TIMEOUT_S
    )
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with _talking(connection, address):
        data = _send(connection, "GET", "/v1/models", headers, None).read(MAX_ANSWER_BYTES)
    listed: dict[str, Any] = _decode(data, dict[str, Any])
    return [str(model["id"]) for model in listed["data"]]


def read_sse(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of a `text/event-stream` → the data of each event; comments and names are dropped."""
    data: list[bytes] = []
    for raw in lines:
        line = raw.rstrip(b"\r\n")
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []


def parse_refusal(status: int, body: bytes) -> LmrunError:
    """The error in an answer of `{"error": {message, hint?, code?, problems?}}`, or what it was."""
    try:
        error = msgspec.json.decode(body, type=dict[str, dict[str, Any]])["error"]
        if "problems" in error:
            return ProfileInvalid(msgspec.convert(error["problems"], tuple[Problem, ...]))
        message, hint = str(error["message"]), error.get("hint")
    except (msgspec.MsgspecError, KeyError):
        return LmrunError(f"The server answered with HTTP status {status}.")
    if status == http.HTTPStatus.UNAUTHORIZED:
        hint = "Pass --api-key, or set LMRUN_API_KEY."
    return Refused(message, code=str(error.get("code") or LmrunError.code), hint=hint)


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: Mapping[str, Any] | None,
) -> http.client.HTTPResponse:
    """The response, its body still unread; raises what the server refuses with."""
    content = None if body is None else _encode(body)
    connection.request(
        method, path, body=content, headers={"Content-Type": "application/json", **headers}
    )
    response = connection.getresponse()
    if response.status >= http.HTTPStatus.BAD_REQUEST:
        raise parse_refusal(response.status, response.read(MAX_ANSWER_BYTES))
    return response


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError as error:
        raise LmrunError("What was given or piped in is not text in UTF-8.") from error


def _no_error(data: bytes) -> bytes:
    """The data of an event, unless it is the error that ends a stream; that is raised."""
    if data.startswith(b'{"error":'):
        raise parse_refusal(http.HTTPStatus.OK, data)
    return data


def _decode(data: bytes, kind: type[T] | Any) -> T:
    try:
        return cast(T, msgspec.json.decode(data, type=kind))
    except msgspec.MsgspecError as error:
        raise LmrunError(
            f"The server's answer is not one this lmrun understands: {error}.",
            hint="Is the server of another version? `lmrun down` and apply again.",
        ) from error


@contextmanager
def _talking(connection: http.client.HTTPConnection, where: str) -> Iterator[None]:
    """Close the connection afterwards; what breaks it meanwhile is a ServerUnreachable."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise ServerUnreachable(
            f"No answer from the server at {where}: {str(error) or type(error).__name__}.",
            hint="`lmrun status` shows whether it runs.",
        ) from error
    finally:
        connection.close()
