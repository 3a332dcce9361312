"""HTTP to a running server: a request, and the events of its answer. It knows no path."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec

from lmrun.errors import LmrunError, ServerUnreachable

CONNECT_TIMEOUT_S = 5.0


class Refused(LmrunError):
    """A refusal of the server; `code` is the server's own name for it, `status` HTTP's, None in
    the midst of a stream."""

    def __init__(self, message: str, *, code: str, status: int | None) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # each one's comes from the server
        self.status = status


class Server:
    """`base_url`: `http://127.0.0.1:1234`, a `/v1` at its end makes no difference."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    @asynccontextmanager
    async def _stream(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[httpx2.Response, None]:
        timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S)
        try:
            async with (
                httpx2.AsyncClient(timeout=timeout, trust_env=False) as client,
                client.stream(
                    "POST", f"{self.base_url}{path}", json=dict(body), headers=self._headers
                ) as response,
            ):
                yield response
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ServerUnreachable(
                f"No answer from the server at {self.base_url}: "
                f"{str(error) or type(error).__name__}.",
                hint="`lmrun status` shows whether it runs, and where it listens.",
            ) from error

    async def post(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """The data of the answer's events, `[DONE]` left out. Raises Refused, also in the midst of
        the stream, and ServerUnreachable. Closing this ends the request."""
        async with self._stream(path, body) as response:
            if response.status_code != 200:
                raise read_refusal(await response.aread(), response.status_code)
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip().encode()
                if not line.startswith("data:") or data == b"[DONE]":
                    continue
                if data.startswith(b'{"error":'):
                    raise read_refusal(data, None)
                yield data


def read_refusal(body: bytes, status: int | None) -> Refused:
    """The error in an answer, or what it was."""
    try:
        error = msgspec.json.decode(body, type=dict[str, dict[str, Any]])["error"]
        return Refused(str(error["message"]), code=str(error.get("code")), status=status)
    except (msgspec.MsgspecError, KeyError):
        return Refused(f"The server answered with HTTP status {status}.", code="", status=status)
