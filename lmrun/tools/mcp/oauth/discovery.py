"""Who gives credentials for an MCP server: its metadata (RFC 9728), and that of its authorization
server (RFC 8414), each held to what it is for. It asks for no credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
    get_client_metadata_scopes,
    issuers_match,
)
from mcp.shared.auth import DEFAULT_GRANT_TYPES, OAuthMetadata, ProtectedResourceMetadata
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from mcp_types import LATEST_PROTOCOL_VERSION
from pydantic import ValidationError

from lmrun.errors import McpLoginFailed
from lmrun.tools.http.outbound import Answer
from lmrun.tools.http.urls import shown
from lmrun.tools.mcp.oauth.fetching import Fetcher

_HEADERS = {"Accept": "application/json", "MCP-Protocol-Version": LATEST_PROTOCOL_VERSION}
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "registration_endpoint")
_PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
_PING_HEADERS = {**_HEADERS, "Accept": "application/json, text/event-stream"}


@dataclass(frozen=True, slots=True)
class Challenge:
    """What an MCP server says when it is asked without a credential."""

    metadata_url: str | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Authority:
    """Who gives credentials, and for what. `resource`: what a credential is good for, and nothing
    else is (RFC 8707). `scope`: what the MCP server says it needs."""

    metadata: OAuthMetadata
    resource: str
    scope: str | None

    @property
    def issuer(self) -> str:
        return str(self.metadata.issuer)


async def discover(fetcher: Fetcher, url: str, headers: Mapping[str, str]) -> Authority:
    """Of the MCP server at `url`, which gets `headers` with the one request to itself.

    Raises McpLoginFailed where there is nothing to log in to, or where it is not safe to, and what
    a Fetcher raises.
    """
    challenge = await _challenge(fetcher, url, headers)
    resource = await _find_resource(fetcher, url, challenge)
    issuer = None if resource is None else str(resource.authorization_servers[0])
    metadata = await _find_metadata(fetcher, url, issuer)
    if "S256" not in (metadata.code_challenge_methods_supported or ()):
        raise McpLoginFailed(
            f"The authorization server {metadata.issuer} does not offer PKCE with S256; without "
            "it others could use the credential."
        )
    audience = resource_url_from_server_url(url) if resource is None else str(resource.resource)
    scope = get_client_metadata_scopes(challenge.scope, resource, metadata, DEFAULT_GRANT_TYPES)
    return Authority(metadata, audience, scope)


async def _challenge(fetcher: Fetcher, url: str, headers: Mapping[str, str]) -> Challenge:
    answer = await fetcher.post_json(url, _PING, {**_PING_HEADERS, **headers})
    response = httpx2.Response(answer.status, headers=dict(answer.headers))
    if answer.status not in (401, 403):
        return Challenge()
    return Challenge(
        extract_resource_metadata_from_www_auth(response), extract_scope_from_www_auth(response)
    )


async def _find_resource(
    fetcher: Fetcher, url: str, challenge: Challenge
) -> ProtectedResourceMetadata | None:
    """None where the server has no metadata of its own, as before the revision of 2025-06-18."""
    for place in build_protected_resource_metadata_discovery_urls(challenge.metadata_url, url):
        answer = await fetcher.get(place, _HEADERS)
        if answer.status >= 500 or answer.status == 429:
            raise McpLoginFailed(f"{shown(place)} answered with HTTP status {answer.status}.")
        data = _read_object(answer)
        if data is None:
            continue
        for server in data.get("authorization_servers") or ():
            fetcher.check(str(server))
        try:
            found = ProtectedResourceMetadata.model_validate(data)
        except ValidationError:
            continue
        wanted, offered = resource_url_from_server_url(url), str(found.resource)
        if not check_resource_allowed(requested_resource=wanted, configured_resource=offered):
            raise McpLoginFailed(
                f"The MCP server at {shown(url)} says that it is {shown(offered)}; a credential "
                "for that is none for it."
            )
        return found
    return None


async def _find_metadata(fetcher: Fetcher, url: str, issuer: str | None) -> OAuthMetadata:
    for place in build_oauth_authorization_server_metadata_discovery_urls(issuer, url):
        answer = await fetcher.get(place, _HEADERS)
        data = _read_object(answer)
        if data is None:
            continue
        for endpoint in _ENDPOINTS:
            if data.get(endpoint) is not None:
                fetcher.check(str(data[endpoint]))
        try:
            found = OAuthMetadata.model_validate(data)
        except ValidationError as error:
            raise McpLoginFailed(
                f"What {shown(place)} says of the authorization server cannot be read: "
                f"{error.errors(include_url=False)[0]['msg']}."
            ) from None
        _check_issuer(found, issuer, url)
        return found
    raise McpLoginFailed(
        f"The MCP server at {shown(url)} does not say where to log in.",
        hint="Does it ask for OAuth at all? Others take a key: `headers: {Authorization: …}`.",
    )


def _check_issuer(found: OAuthMetadata, issuer: str | None, url: str) -> None:
    """Raises McpLoginFailed where the metadata is somebody else's (RFC 8414, 3.3)."""
    origin = str(httpx2.URL(url).copy_with(path="/", query=None))
    named = str(found.issuer)
    is_right = named == issuer if issuer is not None else issuers_match(named, origin)
    if not is_right:
        raise McpLoginFailed(
            f"The metadata of the authorization server {shown(issuer or origin)} is that of "
            f"{shown(named)}."
        )


def _read_object(answer: Answer) -> dict[str, Any] | None:
    """The JSON object of a good answer, else None."""
    if answer.status != 200:
        return None
    try:
        return msgspec.json.decode(answer.body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
