"""The credential of an MCP server with each request to it, renewed when it must be. It asks nobody
to log in: it says that somebody has to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

import httpx2
from mcp.client.auth.utils import extract_field_from_www_auth

from lmrun.errors import McpUnreachable
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.oauth.credentials import Credential, Credentials
from lmrun.tools.mcp.oauth.fetching import Fetcher
from lmrun.tools.mcp.oauth.tokens import TokenRefused, renew

RENEW_BEFORE_S = 30.0
"""A token that ends within this time is renewed before it is used."""


def auth_maker(
    credentials: Credentials,
) -> Callable[[str, McpServerConfig], httpx2.Auth | None]:
    """What an MCP host asks for each server's: none where the profile asks for no login."""

    def make_auth(server: str, config: McpServerConfig) -> httpx2.Auth | None:
        return None if config.oauth is None else BearerAuth(server, config, credentials)

    return make_auth


class BearerAuth(httpx2.Auth):
    """For the client of one server. A request raises McpUnreachable where somebody has to log in,
    and what renewing raises: McpLoginFailed, OutboundRefused, OutboundFailed, StoreError."""

    def __init__(
        self,
        server: str,
        config: McpServerConfig,
        credentials: Credentials,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`config` has a `url`."""
        assert config.url is not None, "only remote servers take credentials"
        self._server = server
        self._url = config.url
        self._allow_private = config.private
        self._credentials = credentials
        self._now = now
        self._lock = asyncio.Lock()

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """The request with a token; once more with a new one where that is not good any more."""
        if request.url.origin != httpx2.URL(self._url).origin:
            # A token is for its server alone.
            yield request
            return
        credential = await self._take()
        request.headers["Authorization"] = f"Bearer {credential.access_token}"
        response = yield request
        if response.status_code == 401:
            credential = await self._take(refused=credential)
            request.headers["Authorization"] = f"Bearer {credential.access_token}"
            response = yield request
            if response.status_code == 401:
                raise self._needs_login("takes its own new token for none")
        if response.status_code == 403:
            scope = extract_field_from_www_auth(response, "scope")
            if extract_field_from_www_auth(response, "error") == "insufficient_scope":
                raise self._needs_login(f"wants more than was agreed to ({scope})")

    async def _take(self, refused: Credential | None = None) -> Credential:
        """One that should be good; not the `refused` one."""
        async with self._lock:
            kept = await self._credentials.read(self._server, self._url)
            if kept is None:
                raise self._needs_login("asks for a login")
            is_refused = refused is not None and refused.access_token == kept.access_token
            ends_soon = (
                kept.expires_at is not None and kept.expires_at < self._now() + RENEW_BEFORE_S
            )
            if not (is_refused or ends_soon):
                return kept
            if kept.refresh_token is None:
                raise self._needs_login("asks for a new login")
            return await self._renew(kept)

    async def _renew(self, kept: Credential) -> Credential:
        try:
            async with Fetcher(self._url, allow_private=self._allow_private) as fetcher:
                renewed = await renew(fetcher, kept)
        except TokenRefused as refusal:
            raise self._needs_login(f"asks for a new login ({refusal.message})") from None
        now_kept = await self._credentials.read(self._server, self._url)
        if now_kept is None:
            # Somebody has logged out meanwhile.
            raise self._needs_login("asks for a login")
        if now_kept != kept:
            # Somebody has logged in meanwhile, and what came of that is newer.
            return now_kept
        await self._credentials.write(self._server, renewed)
        return renewed

    def _needs_login(self, why: str) -> McpUnreachable:
        return McpUnreachable(
            f"MCP server {self._server!r} {why}.", hint=f"`lmrun mcp login {self._server}` does it."
        )
