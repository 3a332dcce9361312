"""HTTP's transport behind the guard: what httpx2 sends, goes this way or not at all."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import httpcore2
import httpx2

from lmrun.settings.outbound import DEFAULT_PORTS, OutboundPolicy
from lmrun.tools.http.bodies import BoundedBody, Gunzip, too_large
from lmrun.tools.http.connecting import GuardedBackend, Resolve, resolve

MAX_CONNECTIONS = 32
IDLE_S = 5.0
EVENT_STREAM = "text/event-stream"

_ENCODING = [(b"Accept-Encoding", b"gzip")]
"""What Gunzip undoes; others are refused should they come all the same."""


@functools.cache
def trusted_certificates() -> ssl.SSLContext:
    """The system's, or those that SSL_CERT_FILE names. Reading them takes tens of milliseconds."""
    return httpx2.create_ssl_context()


class GuardedTransport(httpx2.AsyncBaseTransport):
    """`has_streams`: streams of events are read as they come, without a bound of their whole;
    whoever reads them bounds each event."""

    def __init__(
        self,
        policy: OutboundPolicy,
        *,
        has_streams: bool,
        resolve: Resolve = resolve,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._has_streams = has_streams
        self._pools = {
            scheme: httpcore2.AsyncConnectionPool(
                ssl_context=certificates or trusted_certificates(),
                max_connections=MAX_CONNECTIONS,
                keepalive_expiry=IDLE_S,
                network_backend=GuardedBackend(policy, resolve, is_encrypted=scheme == "https"),
            )
            for scheme in DEFAULT_PORTS
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises OutboundRefused, OutboundFailed, and httpx2's own errors."""
        self._policy.check_url(request.url)
        pool = self._pools[request.url.scheme]
        deadline = asyncio.get_running_loop().time() + self._policy.timeout_s
        with _httpx2_errors():
            try:
                async with asyncio.timeout_at(deadline):
                    answer = await pool.handle_async_request(_to_core(request))
            except TimeoutError:
                raise httpx2.ReadTimeout("no answer began in time") from None
        try:
            return self._bounded(answer, deadline)
        except BaseException:
            await answer.aclose()
            raise

    def _bounded(self, answer: httpcore2.Response, deadline: float) -> httpx2.Response:
        headers = httpx2.Headers(answer.headers)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_stream = self._has_streams and kind == EVENT_STREAM
        max_bytes = None if is_stream else self._policy.max_bytes
        gunzip = _gunzip_for(headers)
        length = headers.get("content-length", "")
        if gunzip is not None:
            del headers["content-encoding"]
            headers.pop("content-length", None)
        elif max_bytes is not None and length.isdecimal() and int(length) > max_bytes:
            raise too_large(max_bytes)
        stream = answer.stream
        assert isinstance(stream, AsyncIterable)
        body = BoundedBody(
            _CoreBody(answer, stream), gunzip, max_bytes, None if is_stream else deadline
        )
        return httpx2.Response(
            answer.status, headers=headers, stream=body, extensions=answer.extensions
        )


class _CoreBody(httpx2.AsyncByteStream):
    """httpcore2's body, with httpx2's errors."""

    def __init__(self, answer: httpcore2.Response, stream: AsyncIterable[bytes]) -> None:
        self._answer = answer
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        try:
            with _httpx2_errors():
                async for chunk in chunks:
                    yield chunk
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def aclose(self) -> None:
        with _httpx2_errors():
            await self._answer.aclose()


def _to_core(request: httpx2.Request) -> httpcore2.Request:
    url = request.url
    assert isinstance(request.stream, httpx2.AsyncByteStream)
    headers = [it for it in request.headers.raw if it[0].lower() != b"accept-encoding"]
    return httpcore2.Request(
        method=request.method,
        url=httpcore2.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        ),
        headers=headers + _ENCODING,
        content=request.stream,
        extensions=request.extensions,
    )


def _gunzip_for(headers: httpx2.Headers) -> Gunzip | None:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("gzip", "x-gzip"):
        return Gunzip()
    if encoding in ("identity", ""):
        return None
    raise httpx2.DecodingError(f"the answer is compressed as {encoding[:40]!r}; gzip was offered")


@contextmanager
def _httpx2_errors() -> Iterator[None]:
    """The errors of the connection pool under the names that httpx2 gives them."""
    try:
        yield
    except Exception as error:
        theirs = getattr(httpx2, type(error).__name__, None)
        if not type(error).__module__.startswith("httpcore2") or theirs is None:
            raise
        raise theirs(str(error)) from error
