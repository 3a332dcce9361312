"""Logging in to a remote MCP server: OAuth 2.1 with PKCE, from its metadata to a credential that is
kept. Somebody else shows the URL, and opens it.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncGenerator
from urllib.parse import parse_qsl, urlencode, urlsplit

from mcp.client.auth import PKCEParameters

from lmrun.errors import McpLoginFailed
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.oauth.callback import Return, open_callback
from lmrun.tools.mcp.oauth.credentials import Credential, Credentials, Registration
from lmrun.tools.mcp.oauth.discovery import Authority, discover
from lmrun.tools.mcp.oauth.fetching import Fetcher
from lmrun.tools.mcp.oauth.tokens import exchange, register
from lmrun.tools.mcp.reports import LoginAsked, LoginDone, LoginEvent

log = logging.getLogger("lmrun.tools.mcp")

LOGIN_S = 300.0
"""For somebody to find the browser, and perhaps the password."""


async def log_in(
    server: str, config: McpServerConfig, credentials: Credentials, *, within_s: float = LOGIN_S
) -> AsyncGenerator[LoginEvent, None]:
    """Where somebody has to go, then what came of it; closing it gives up.

    Raises McpLoginFailed, OutboundRefused for a URL that must not be used, OutboundFailed and
    StoreError.
    """
    url, oauth = config.url, config.oauth
    if url is None or oauth is None:
        raise McpLoginFailed(
            f"MCP server {server!r} is not declared to ask for a login.",
            hint=f"Servers with a `url` that do need `oauth: {{}}` below `mcp_servers.{server}`.",
        )
    headers = {name: value.reveal() for name, value in config.headers.items()}
    state, pkce = secrets.token_urlsafe(32), PKCEParameters.generate()
    async with (
        Fetcher(url, allow_private=config.private) as fetcher,
        open_callback(state) as callback,
    ):
        authority = await discover(fetcher, url, headers)
        scope = " ".join(oauth.scopes) or authority.scope
        known = await register(fetcher, authority, oauth.client_id, callback.url, scope)
        asked = authorization_url(
            authority,
            known,
            redirect=callback.url,
            state=state,
            challenge=pkce.code_challenge,
            scope=scope,
        )
        asked = fetcher.check(asked)
        yield LoginAsked(asked, urlsplit(asked).netloc)
        code = _take_code(await callback.wait(within_s), authority)
        empty = Credential(
            url=url,
            resource=authority.resource,
            issuer=authority.issuer,
            token_endpoint=str(authority.metadata.token_endpoint),
            registration=known,
            access_token="",
            scope=scope,
        )
        credential = await exchange(
            fetcher, empty, code=code, verifier=pkce.code_verifier, redirect=callback.url
        )
    await credentials.write(server, credential)
    log.info("mcp server %s: logged in at %s", server, authority.issuer)
    expires_s = None if credential.expires_at is None else credential.expires_at - time.time()
    yield LoginDone(
        scope=credential.scope,
        expires_s=None if expires_s is None else round(expires_s),
        is_renewable=credential.refresh_token is not None,
    )


def authorization_url(
    authority: Authority,
    known: Registration,
    *,
    redirect: str,
    state: str,
    challenge: str,
    scope: str | None,
) -> str:
    """Where a browser is sent to (RFC 6749, 7636, 8707). What the endpoint's own query says stays,
    but for what is asked here."""
    endpoint = str(authority.metadata.authorization_endpoint)
    wanted = {
        "response_type": "code",
        "client_id": known.client_id,
        "redirect_uri": redirect,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "resource": authority.resource,
    }
    if scope is not None:
        wanted["scope"] = scope
        if "offline_access" in scope.split():
            # Without it, OpenID Connect gives no refresh token.
            wanted["prompt"] = "consent"
    base, _, query = endpoint.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True)]
    return f"{base}?{urlencode([*(it for it in kept if it[0] not in wanted), *wanted.items()])}"


def _take_code(returned: Return, authority: Authority) -> str:
    """Raises McpLoginFailed for a refusal, and for an answer of somebody else (RFC 9207)."""
    says_who = authority.metadata.authorization_response_iss_parameter_supported
    if (returned.iss is not None or says_who) and returned.iss != authority.issuer:
        raise McpLoginFailed(
            f"The answer to the login is not from {authority.issuer}; it was not used.",
            hint="Somebody may have tried to mix up two servers.",
        )
    if returned.code is None:
        raise McpLoginFailed(f"The login was refused: {(returned.error or '')[:200]!r}.")
    return returned.code
