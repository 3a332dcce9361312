"""Logging in to a remote MCP server: real HTTP with a server that checks what the RFCs ask for."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from lmrun.errors import LmrunError, McpLoginFailed, StoreError
from lmrun.store.mcp_secrets import McpSecrets
from lmrun.tools.mcp.oauth.credentials import Credentials
from lmrun.tools.mcp.oauth.login import log_in
from lmrun.tools.mcp.reports import LoginAsked, LoginDone, LoginEvent
from tests.support.oauth_server import FakeOAuth, browse, get, playing_oauth
from tests.tools.mcp_consent.servers import remote


@pytest.fixture
def fake() -> Iterator[FakeOAuth]:
    with playing_oauth() as fake:
        yield fake


def keep(folder: Path, root: str = "/p.yaml") -> Credentials:
    return Credentials(McpSecrets(folder / "secrets" / "mcp"), lambda: Path(root))


def go_through(
    fake: FakeOAuth, credentials: Credentials, *, oauth: dict[str, Any] | None = None, **more: Any
) -> list[LoginEvent]:
    """A login by somebody who opens what is shown."""

    async def follow() -> list[LoginEvent]:
        events: list[LoginEvent] = []
        config = remote(fake.url, oauth=oauth or {}, **more)
        async with aclosing(log_in("orders", config, credentials, within_s=10.0)) as login:
            async for event in login:
                events.append(event)
                if isinstance(event, LoginAsked):
                    assert await asyncio.to_thread(browse, event.url) == 200
        return events

    return asyncio.run(follow())


def test_a_login_gives_a_credential_for_that_server(fake: FakeOAuth, tmp_path: Path) -> None:
    credentials = keep(tmp_path)
    asked, done = go_through(fake, credentials)
    assert isinstance(asked, LoginAsked) and isinstance(done, LoginDone)
    assert asked.host == urlsplit(fake.base).netloc
    assert (done.scope, done.is_renewable) == ("orders:read", True)
    assert done.expires_s is not None and 3500 < done.expires_s <= 3600
    kept = asyncio.run(credentials.read("orders", fake.url))
    assert kept is not None
    assert kept.access_token in fake.good
    assert (kept.resource, kept.issuer) == (fake.url, fake.base)


def test_what_is_asked_for_is_bound_to_the_server_the_answer_and_this_login(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    go_through(fake, keep(tmp_path))
    (registered,) = fake.requests("/register")
    (authorized,) = fake.requests("/authorize")
    (redeemed,) = fake.requests("/token")
    redirect = urlsplit(authorized.fields["redirect_uri"])
    assert (redirect.hostname, redirect.path) == ("127.0.0.1", "/callback")
    assert registered.fields["redirect_uris"] == [authorized.fields["redirect_uri"]]
    assert registered.fields["token_endpoint_auth_method"] == "none"
    assert authorized.fields["code_challenge_method"] == "S256"
    assert len(authorized.fields["state"]) >= 32
    for asked in (authorized, redeemed):
        assert asked.fields["resource"] == fake.url
        assert asked.fields["client_id"] == "client-1"
    assert "code_verifier" in redeemed.fields and "code_verifier" not in authorized.fields


def test_two_logins_share_nothing(fake: FakeOAuth, tmp_path: Path) -> None:
    for _ in range(2):
        go_through(fake, keep(tmp_path))
    first, second = (it.fields for it in fake.requests("/authorize"))
    for name in ("state", "code_challenge"):
        assert first[name] != second[name]


def test_tokens_lie_in_a_file_for_this_user_only_and_show_themselves_nowhere(
    fake: FakeOAuth, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = keep(tmp_path)
    with caplog.at_level("DEBUG"):
        events = go_through(fake, credentials)
    folder = tmp_path / "secrets" / "mcp"
    (file,) = folder.iterdir()
    assert [stat.S_IMODE(it.stat().st_mode) for it in (folder.parent, folder, file)] == [
        0o700,
        0o700,
        0o600,
    ]
    kept = asyncio.run(credentials.read("orders", fake.url))
    assert kept is not None and kept.refresh_token is not None
    seen = caplog.text + repr(events) + repr(kept)
    for secret in (kept.access_token, kept.refresh_token):
        assert secret not in seen


def test_a_credential_is_none_for_another_address_server_or_profile(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    go_through(fake, keep(tmp_path))

    async def read(server: str, url: str, root: str) -> bool:
        return await keep(tmp_path, root).read(server, url) is not None

    assert asyncio.run(read("orders", fake.url, "/p.yaml"))
    assert not asyncio.run(read("orders", "https://mcp.example.com/mcp", "/p.yaml"))
    assert not asyncio.run(read("other", fake.url, "/p.yaml"))
    assert not asyncio.run(read("orders", fake.url, "/q.yaml"))


def test_metadata_may_be_where_openid_connect_has_it(fake: FakeOAuth, tmp_path: Path) -> None:
    fake.is_openid = True
    assert isinstance(go_through(fake, keep(tmp_path))[-1], LoginDone)


def test_a_file_that_others_may_read_is_no_credential(fake: FakeOAuth, tmp_path: Path) -> None:
    credentials = keep(tmp_path)
    go_through(fake, credentials)
    (file,) = (tmp_path / "secrets" / "mcp").iterdir()
    file.chmod(0o640)
    with pytest.raises(StoreError, match="may be read by other users"):
        asyncio.run(credentials.read("orders", fake.url))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 1000])
def test_a_file_that_is_damaged_counts_as_none(
    fake: FakeOAuth, tmp_path: Path, content: bytes
) -> None:
    credentials = keep(tmp_path)
    go_through(fake, credentials)
    (file,) = (tmp_path / "secrets" / "mcp").iterdir()
    file.write_bytes(content)
    assert asyncio.run(credentials.read("orders", fake.url)) is None


def test_declared_scopes_and_a_client_id_are_what_is_asked_with(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    oauth = {"client_id": "mine", "scopes": ["orders:write", "offline_access"]}
    go_through(fake, keep(tmp_path), oauth=oauth)
    (authorized,) = fake.requests("/authorize")
    assert authorized.fields["client_id"] == "mine"
    assert authorized.fields["scope"] == "orders:write offline_access"
    assert authorized.fields["prompt"] == "consent"
    assert fake.requests("/register") == []


def test_the_scope_of_the_challenge_comes_before_what_the_server_supports(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    where = f"{fake.base}/.well-known/oauth-protected-resource/mcp"
    fake.challenge = f'Bearer resource_metadata="{where}", scope="orders:find"'
    go_through(fake, keep(tmp_path))
    (authorized,) = fake.requests("/authorize")
    assert authorized.fields["scope"] == "orders:find"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_client_that_got_a_secret_says_it_to_the_token_endpoint_alone(
    fake: FakeOAuth, tmp_path: Path, method: str
) -> None:
    fake.registration = {"token_endpoint_auth_method": method, "client_secret": "s3cret/+"}
    go_through(fake, keep(tmp_path))
    (redeemed,) = fake.requests("/token")
    if method == "client_secret_basic":
        assert redeemed.headers["authorization"].startswith("Basic ")
        assert "client_secret" not in redeemed.fields
    else:
        assert redeemed.fields["client_secret"] == "s3cret/+"
    others = [it for it in fake.asked if it.path != "/token"]
    assert "s3cret" not in json.dumps([(it.headers, it.fields) for it in others])


def test_declared_headers_go_to_the_mcp_server_and_to_nobody_else(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    go_through(fake, keep(tmp_path), headers={"X-Tenant": "t-1"})
    with_header = {it.path for it in fake.asked if it.headers.get("x-tenant") == "t-1"}
    assert with_header == {"/mcp"}


def test_an_endpoint_keeps_its_own_query_and_what_is_asked_overrides_it(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    endpoint = f"{fake.base}/authorize?tenant=a%20b&client_id=evil"
    fake.metadata["authorization_endpoint"] = endpoint
    go_through(fake, keep(tmp_path))
    (authorized,) = fake.requests("/authorize")
    assert authorized.fields["tenant"] == "a b"
    assert authorized.fields["client_id"] == "client-1"


def fail(fake: FakeOAuth, folder: Path, **more: Any) -> LmrunError:
    with pytest.raises(LmrunError) as caught:
        go_through(fake, keep(folder), **more)
    assert not (folder / "secrets").exists(), "nothing is kept of a login that failed"
    return caught.value


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"denies": True}, "The login was refused: 'access_denied'"),
        ({"iss": "https://evil.example"}, "is not from http://127.0.0.1"),
        ({"metadata": {"issuer": "https://evil.example"}}, "is that of https://evil.example"),
        ({"metadata": {"code_challenge_methods_supported": ["plain"]}}, "PKCE with S256"),
        ({"metadata": {"code_challenge_methods_supported": None}}, "PKCE with S256"),
        ({"metadata": {"token_endpoint": None}}, "cannot be read: Field required"),
        ({"metadata": {"registration_endpoint": None}}, "lets nobody register by themselves"),
        ({"resource": {"resource": "https://other.example/mcp"}}, "says that it is https://other"),
        ({"registration": {"token_endpoint_auth_method": "private_key_jwt"}}, "Registration at"),
        ({"registration": {"client_id": ""}}, "Registration at"),
        ({"refusals": {"/token": 503}}, "HTTP status 503: temporarily_unavailable."),
        ({"refusals": {"/register": 403}}, "Registration at"),
        (
            {"refusals": {"/.well-known/oauth-authorization-server": 404}},
            "does not say where to log in",
        ),
        (
            {"refusals": {"/.well-known/oauth-protected-resource/mcp": 500}},
            "answered with HTTP status 500",
        ),
    ],
)
def test_what_is_not_as_it_must_be_ends_the_login(
    fake: FakeOAuth, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    for name, value in changes.items():
        setattr(fake, name, value)
    failure = fail(fake, tmp_path)
    assert isinstance(failure, McpLoginFailed)
    assert told in str(failure)


def test_a_server_that_is_not_declared_to_ask_for_a_login_is_refused(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    async def try_it() -> None:
        async with aclosing(log_in("orders", remote(fake.url), keep(tmp_path))) as login:
            await anext(login)

    with pytest.raises(McpLoginFailed, match="not declared to ask for a login"):
        asyncio.run(try_it())
    assert fake.asked == []


def callback_of(event: LoginEvent) -> tuple[str, str]:
    """Where the browser comes back to, and the login's state."""
    assert isinstance(event, LoginAsked)
    fields = dict(parse_qsl(urlsplit(event.url).query))
    return fields["redirect_uri"], fields["state"]


def test_whatever_else_comes_to_the_callback_changes_nothing(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    async def follow() -> list[LoginEvent]:
        events: list[LoginEvent] = []
        config = remote(fake.url, oauth={})
        async with aclosing(log_in("orders", config, keep(tmp_path), within_s=10.0)) as login:
            async for event in login:
                events.append(event)
                if isinstance(event, LoginAsked):
                    where, state = callback_of(event)
                    for wrong in (
                        f"{where}?code=evil&state=guess",
                        f"{where}?code=evil",
                        f"{where}?code=evil&error=both&state={state}",
                        f"{where}?state={state}",
                        f"{where}?code=evil&code=two&state={state}",
                        f"{where}x?code=evil&state={state}",
                    ):
                        assert (await asyncio.to_thread(get, wrong))[0] == 400
                    stolen = f"{where}?code=evil&state={state}"
                    as_page = await asyncio.to_thread(get, stolen, Host="rebound.example")
                    assert as_page[0] == 400
                    await asyncio.to_thread(browse, event.url)
        return events

    assert isinstance(asyncio.run(follow())[-1], LoginDone)


def test_a_login_that_nobody_finishes_ends_and_its_port_is_closed(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    async def follow() -> str:
        config = remote(fake.url, oauth={})
        login = log_in("orders", config, keep(tmp_path), within_s=0.05)
        async with aclosing(login):
            where, _ = callback_of(await anext(login))
            with pytest.raises(McpLoginFailed, match=r"Nobody logged in within 0\.05 s"):
                await anext(login)
        return where

    with pytest.raises(ConnectionRefusedError):
        get(asyncio.run(follow()))


def test_whoever_leaves_a_login_leaves_no_port_behind(fake: FakeOAuth, tmp_path: Path) -> None:
    async def follow() -> str:
        login = log_in("orders", remote(fake.url, oauth={}), keep(tmp_path))
        async with aclosing(login):
            return callback_of(await anext(login))[0]

    with pytest.raises(ConnectionRefusedError):
        get(asyncio.run(follow()))
