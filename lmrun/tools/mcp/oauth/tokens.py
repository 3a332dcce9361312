"""What an authorization server is asked for: to know lmrun, and for tokens. It keeps nothing."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from mcp.client.auth import OAuthRegistrationError
from mcp.client.auth.oauth2 import check_registration_usable
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl, ValidationError

from lmrun import __version__
from lmrun.errors import McpLoginFailed
from lmrun.tools.http.outbound import Answer
from lmrun.tools.http.urls import shown
from lmrun.tools.mcp.oauth.credentials import Credential, Registration
from lmrun.tools.mcp.oauth.discovery import Authority
from lmrun.tools.mcp.oauth.fetching import Fetcher

_SHOWN_LENGTH = 300
_UNFIT = re.compile(r"[^\x20-\x7e]+")


class TokenRefused(McpLoginFailed):
    """The authorization server says that what it was given is not good (any more)."""


async def register(
    fetcher: Fetcher, authority: Authority, client_id: str | None, redirect: str, scope: str | None
) -> Registration:
    """`client_id`: where somebody has registered lmrun already. Raises McpLoginFailed."""
    if client_id is not None:
        return Registration(client_id)
    endpoint = authority.metadata.registration_endpoint
    if endpoint is None:
        raise McpLoginFailed(
            f"The authorization server {authority.issuer} lets nobody register by themselves.",
            hint="Register lmrun there, and declare `oauth: {client_id: …}`.",
        )
    wanted = OAuthClientMetadata(
        client_name="lmrun",
        software_id="lmrun",
        software_version=__version__,
        redirect_uris=[AnyUrl(redirect)],
        token_endpoint_auth_method="none",
        scope=scope,
    )
    answer = await fetcher.post_json(
        str(endpoint), wanted.model_dump(mode="json", exclude_none=True), {}
    )
    if answer.status not in (200, 201):
        raise McpLoginFailed(f"Registration at {_describe(answer)}")
    try:
        known = OAuthClientInformationFull.model_validate_json(answer.body)
        check_registration_usable(known)
    except (ValidationError, OAuthRegistrationError) as error:
        first = str(error).splitlines()[0]
        raise McpLoginFailed(f"Registration at {authority.issuer}: {first}.") from None
    return Registration(known.client_id, known.client_secret, known.token_endpoint_auth_method)


async def exchange(
    fetcher: Fetcher,
    credential: Credential,
    *,
    code: str,
    verifier: str,
    redirect: str,
) -> Credential:
    """`credential` with tokens for the `code` that a browser brought. Raises McpLoginFailed."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect,
        "code_verifier": verifier,
    }
    return await _ask(fetcher, credential, form)


async def renew(fetcher: Fetcher, credential: Credential) -> Credential:
    """`credential` with new tokens for its refresh token. Raises TokenRefused when that is not good
    any more, and McpLoginFailed."""
    form = {"grant_type": "refresh_token", "refresh_token": credential.refresh_token or ""}
    return await _ask(fetcher, credential, form)


async def _ask(fetcher: Fetcher, credential: Credential, form: Mapping[str, str]) -> Credential:
    parts, headers = _introduce(credential.registration)
    whole = {**form, **parts, "resource": credential.resource}
    answer = await fetcher.post_form(credential.token_endpoint, whole, headers)
    if answer.status not in (200, 201):
        kind = TokenRefused if answer.status in (400, 401) else McpLoginFailed
        raise kind(f"The request for a token at {_describe(answer)}")
    try:
        token = OAuthToken.model_validate_json(answer.body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise McpLoginFailed(
            f"What {shown(answer.url)} answered is no token: {where}: {problem['msg']}."
        ) from None
    return msgspec.structs.replace(
        credential,
        access_token=token.access_token,
        refresh_token=token.refresh_token or credential.refresh_token,
        expires_at=None if token.expires_in is None else time.time() + token.expires_in,
        scope=token.scope or credential.scope,
    )


def _introduce(registration: Registration) -> tuple[dict[str, str], dict[str, str]]:
    """Fields and headers that say who lmrun is."""
    secret = registration.client_secret
    if registration.method == "client_secret_basic" and secret is not None:
        pair = f"{quote(registration.client_id, safe='')}:{quote(secret, safe='')}"
        basic = base64.b64encode(pair.encode()).decode()
        return {"client_id": registration.client_id}, {"Authorization": f"Basic {basic}"}
    parts = {"client_id": registration.client_id}
    if registration.method == "client_secret_post" and secret is not None:
        parts["client_secret"] = secret
    return parts, {}


def _describe(answer: Answer) -> str:
    """What came, and what it says of the reason; the end of a sentence."""
    try:
        said: dict[str, Any] = msgspec.json.decode(answer.body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said = {}
    words = [str(said[key]) for key in ("error", "error_description") if said.get(key)]
    reason = _UNFIT.sub(" ", ": ".join(words))[:_SHOWN_LENGTH]
    end = f": {reason}." if reason else "."
    return f"{shown(answer.url)} was refused with HTTP status {answer.status}{end}"
