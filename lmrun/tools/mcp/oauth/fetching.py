"""Requests to whoever gives credentials: every URL that a server names is checked before it is
used. It knows no step of OAuth.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

import msgspec

from lmrun.tools.http.outbound import Answer, OutboundClient, OutboundPolicy
from lmrun.tools.http.urls import safe_to_open

MAX_BYTES = 256 * 2**10
TIMEOUT_S = 30.0

_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


class Fetcher(AbstractAsyncContextManager["Fetcher"]):
    """A client for the authorization server of the MCP server at `url`. It follows no redirects,
    and sends nothing that was not asked for: no header of the MCP server's, no cookie.

    What lies on this machine may be reached where the MCP server does, too; private networks with
    `allow_private`. Every method raises OutboundRefused and OutboundFailed.
    """

    def __init__(self, url: str, *, allow_private: bool = False) -> None:
        self._allow_loopback = is_loopback(url)
        self._allow_private = allow_private
        self._client = OutboundClient(
            OutboundPolicy(
                allow_private=allow_private,
                allow_loopback=self._allow_loopback,
                max_bytes=MAX_BYTES,
                timeout_s=TIMEOUT_S,
            )
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    def check(self, url: str) -> str:
        """`url` written anew, fit to be fetched or opened."""
        return safe_to_open(
            url, allow_loopback=self._allow_loopback, allow_private=self._allow_private
        )

    async def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        return await self._client.send("GET", self.check(url), headers=headers)

    async def post_form(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> Answer:
        content = urlencode(form).encode()
        return await self._client.send(
            "POST", self.check(url), headers={**_FORM, **headers}, content=content
        )

    async def post_json(self, url: str, value: object, headers: Mapping[str, str]) -> Answer:
        return await self._client.send(
            "POST",
            self.check(url),
            headers={"Content-Type": "application/json", **headers},
            content=msgspec.json.encode(value),
        )


def is_loopback(url: str) -> bool:
    """Whether the host of a declared URL is this machine."""
    host = urlsplit(url).hostname or ""
    if host.removesuffix(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
