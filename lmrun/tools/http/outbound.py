"""The one way out of lmrun: clients that reach what a policy allows, and nothing else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self

import httpx2

from lmrun import __version__
from lmrun.errors import OutboundFailed, OutboundRefused
from lmrun.settings.outbound import DEFAULT_PORTS, OutboundPolicy
from lmrun.tools.http.connecting import Resolve, resolve
from lmrun.tools.http.transport import GuardedTransport
from lmrun.tools.http.urls import shown

__all__ = ["Answer", "OutboundClient", "OutboundPolicy", "make_client"]

MAX_REDIRECTS = 5
MAX_SILENCE_S = 300.0
"""Between two pieces of a stream of events; whoever reads it begins anew."""

_REDIRECTS = (301, 302, 303, 307, 308)
_FOR_EVERYBODY = {"accept", "accept-language", "content-type", "user-agent"}
"""Headers that another origin may see. Any other may be a credential."""


def make_client(
    policy: OutboundPolicy,
    headers: Mapping[str, str] | None = None,
    *,
    resolve: Resolve = resolve,
    certificates: ssl.SSLContext | None = None,
) -> httpx2.AsyncClient:
    """A client for libraries that want httpx2's. It follows no redirects, keeps no cookies, and
    knows no proxies. `headers` go with every request that it builds, wherever to: it is for one
    server. Beside httpx2's own errors, sending raises OutboundRefused, and reading OutboundFailed.

    Streams of events are bounded by neither `max_bytes` nor `timeout_s`: whoever reads them bounds
    each event.
    """
    waiting = httpx2.Timeout(policy.timeout_s, read=max(policy.timeout_s, MAX_SILENCE_S))
    return _make(
        GuardedTransport(policy, has_streams=True, resolve=resolve, certificates=certificates),
        headers,
        waiting,
    )


def _make(
    transport: GuardedTransport, headers: Mapping[str, str] | None, timeout: httpx2.Timeout
) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        headers={"User-Agent": f"lmrun/{__version__}", **(headers or {})},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=timeout,
        follow_redirects=False,
        transport=transport,
        trust_env=False,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, whole. `url`: of the last hop; `headers`: whatever their case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def media_type(self) -> str:
        """In lower case, without parameters; empty where the server names none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class OutboundClient:
    """Whole answers, redirects followed where that is wanted. `policy.timeout_s` is for one `send`
    with all its redirects."""

    def __init__(
        self,
        policy: OutboundPolicy,
        *,
        resolve: Resolve = resolve,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._client = _make(
            GuardedTransport(policy, has_streams=False, resolve=resolve, certificates=certificates),
            None,
            httpx2.Timeout(policy.timeout_s),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._client.aclose()

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        follow: bool = False,
    ) -> Answer:
        """`follow`: up to five redirects, each checked like the first URL; what is not for
        everybody among `headers` stays with the first scheme, host and port. Raises OutboundRefused
        and OutboundFailed."""
        try:
            async with asyncio.timeout(self._policy.timeout_s):
                return await self._send(method, url, dict(headers or {}), content, follow)
        except (TimeoutError, httpx2.TimeoutException):
            raise OutboundFailed(
                f"{shown(url)} gave no whole answer within {self._policy.timeout_s:g} s.",
                reason="timeout",
            ) from None
        except (httpx2.ProtocolError, httpx2.DecodingError) as error:
            raise OutboundFailed(
                f"{shown(url)} gave an answer that cannot be read: {error}", reason="protocol"
            ) from None
        except httpx2.InvalidURL as error:
            raise OutboundRefused(f"{shown(url)!r} is no URL: {error}") from None
        except httpx2.RequestError as error:
            raise OutboundFailed(
                f"{shown(url)} cannot be reached: {error}", reason="unreachable"
            ) from None

    async def _send(
        self, method: str, url: str, headers: dict[str, str], content: bytes | None, follow: bool
    ) -> Answer:
        here = httpx2.URL(url)
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._hop(method, here, headers, content)
            location = answer.headers.get("location")
            if not follow or answer.status not in _REDIRECTS or location is None:
                return answer
            there = _follow(here, location)
            if there.origin != here.origin:
                headers = {k: v for k, v in headers.items() if k.lower() in _FOR_EVERYBODY}
            if _becomes_get(answer.status, method):
                method, content = "GET", None
                headers = {k: v for k, v in headers.items() if k.lower() != "content-type"}
            here = there
        raise OutboundFailed(
            f"{shown(url)} redirects more than {MAX_REDIRECTS} times.", reason="protocol"
        )

    async def _hop(
        self, method: str, url: httpx2.URL, headers: Mapping[str, str], content: bytes | None
    ) -> Answer:
        request = self._client.build_request(method, url, headers=headers, content=content)
        response = await self._client.send(request, stream=True)
        try:
            pieces = [piece async for piece in response.aiter_raw()]
        finally:
            await response.aclose()
        return Answer(response.status_code, response.headers, b"".join(pieces), str(response.url))


def _follow(here: httpx2.URL, location: str) -> httpx2.URL:
    try:
        there = here.join(location).copy_with(fragment=None)
    except httpx2.InvalidURL:
        raise OutboundRefused(f"The redirect to {shown(location)!r} leads to no URL.") from None
    if there.scheme not in DEFAULT_PORTS or not there.host:
        raise OutboundRefused(f"The redirect to {shown(location)!r} is neither https nor http.")
    if there.userinfo:
        raise OutboundRefused(f"The redirect to {shown(str(there))} holds a user name.")
    if here.scheme == "https" and there.scheme != "https":
        raise OutboundRefused(f"The redirect to {shown(str(there))} leaves https.")
    return there


def _becomes_get(status: int, method: str) -> bool:
    return status == 303 or (status in (301, 302) and method == "POST")
