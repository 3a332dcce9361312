"""A credential goes with each request to its server, and nowhere else; it is renewed in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import msgspec
import pytest

from lmrun.errors import LmrunError, McpUnreachable
from lmrun.store.mcp_secrets import McpSecrets
from lmrun.tools.http.outbound import OutboundPolicy, make_client
from lmrun.tools.mcp.oauth.bearer import BearerAuth
from lmrun.tools.mcp.oauth.credentials import Credential, Credentials, Registration
from tests.support.oauth_server import FakeOAuth, playing_oauth
from tests.tools.mcp_consent.servers import remote

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture
def fake() -> Iterator[FakeOAuth]:
    with playing_oauth() as fake:
        yield fake


class Client:
    """A server's client, and the credential that was kept for it."""

    def __init__(self, fake: FakeOAuth, folder: Path, *, expires_in: float | None = 3600) -> None:
        self.fake = fake
        self.now = 1_000_000.0
        self.credentials = Credentials(McpSecrets(folder), lambda: Path("/p.yaml"))
        token = fake.make_token()
        self.first = Credential(
            url=fake.url,
            resource=fake.url,
            issuer=fake.base,
            token_endpoint=f"{fake.base}/token",
            registration=Registration("client-1"),
            access_token=token["access_token"],
            refresh_token=token.get("refresh_token"),
            expires_at=None if expires_in is None else self.now + expires_in,
            scope="orders:read",
        )
        asyncio.run(self.credentials.write("orders", self.first))

    def ask(self, *, times: int = 1, url: str | None = None) -> list[int]:
        """Statuses of requests that are sent at once, with a client that is new each time."""

        async def send() -> list[int]:
            config = remote(self.fake.url, oauth={})
            policy = OutboundPolicy(allow_loopback=True)
            async with make_client(policy) as client:
                client.auth = BearerAuth("orders", config, self.credentials, now=lambda: self.now)
                requests = [client.post(url or self.fake.url, json=PING) for _ in range(times)]
                return [it.status_code for it in await asyncio.gather(*requests)]

        return asyncio.run(send())

    def kept(self) -> Credential:
        kept = asyncio.run(self.credentials.read("orders", self.fake.url))
        assert kept is not None
        return kept

    def fail(self) -> LmrunError:
        with pytest.raises(LmrunError) as caught:
            self.ask()
        return caught.value


def test_each_request_carries_the_token(fake: FakeOAuth, tmp_path: Path) -> None:
    client = Client(fake, tmp_path)
    assert client.ask(times=3) == [200, 200, 200]
    sent = {it.headers["authorization"] for it in fake.requests("/mcp")}
    assert sent == {f"Bearer {client.first.access_token}"}
    assert fake.requests("/token") == []


def test_a_token_that_ends_soon_is_renewed_before_it_is_used(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    client = Client(fake, tmp_path, expires_in=20)
    assert client.ask() == [200]
    (renewed,) = fake.requests("/token")
    assert renewed.fields == {
        "grant_type": "refresh_token",
        "refresh_token": client.first.refresh_token,
        "client_id": "client-1",
        "resource": fake.url,
    }
    assert [it.headers["authorization"] for it in fake.requests("/mcp")] == [
        f"Bearer {client.kept().access_token}"
    ]
    assert client.kept().refresh_token != client.first.refresh_token
    assert client.kept().scope == "orders:read"


def test_a_token_that_is_refused_is_renewed_once_for_all_who_wait(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    client = Client(fake, tmp_path)
    fake.good.clear()
    assert client.ask(times=5) == [200] * 5
    assert len(fake.requests("/token")) == 1


def test_a_refresh_token_that_is_not_replaced_is_kept(fake: FakeOAuth, tmp_path: Path) -> None:
    client = Client(fake, tmp_path, expires_in=20)
    fake.rotates = False
    assert client.ask() == [200]
    assert client.kept().refresh_token == client.first.refresh_token


def test_a_login_during_a_renewal_is_what_counts(fake: FakeOAuth, tmp_path: Path) -> None:
    client = Client(fake, tmp_path, expires_in=20)
    token = fake.make_token()
    newer = msgspec.structs.replace(
        client.first, access_token=token["access_token"], refresh_token=token["refresh_token"]
    )
    fake.on_token = lambda: asyncio.run(client.credentials.write("orders", newer))
    assert client.ask() == [200]
    assert client.kept() == newer
    (sent,) = fake.requests("/mcp")
    assert sent.headers["authorization"] == f"Bearer {newer.access_token}"


def test_a_logout_during_a_renewal_is_what_counts(fake: FakeOAuth, tmp_path: Path) -> None:
    client = Client(fake, tmp_path, expires_in=20)
    fake.on_token = lambda: asyncio.run(client.credentials.forget("orders"))
    assert "'orders' asks for a login." in str(client.fail())
    assert asyncio.run(client.credentials.read("orders", fake.url)) is None
    assert list(tmp_path.iterdir()) == [], "the new token is not written down either"
    assert fake.requests("/mcp") == []


def test_without_a_login_it_is_said_what_to_do(fake: FakeOAuth, tmp_path: Path) -> None:
    client = Client(fake, tmp_path)
    client.credentials = Credentials(McpSecrets(tmp_path), lambda: Path("/other.yaml"))
    failure = client.fail()
    assert isinstance(failure, McpUnreachable)
    assert "'orders' asks for a login. `lmrun mcp login orders`" in str(failure)
    assert fake.asked == []


def test_a_login_that_was_revoked_needs_another_and_is_told_why(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    client = Client(fake, tmp_path)
    fake.good.clear()
    fake.refresh.clear()
    failure = client.fail()
    assert "asks for a new login" in str(failure)
    assert "invalid_grant: it was revoked" in str(failure)
    assert client.kept() == client.first


def test_an_authorization_server_that_is_down_costs_no_credential(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    client = Client(fake, tmp_path, expires_in=20)
    fake.refusals["/token"] = 503
    assert "HTTP status 503" in str(client.fail())
    fake.refusals.clear()
    assert client.ask() == [200]


def test_a_server_that_takes_no_token_of_its_own_is_not_asked_for_ever(
    fake: FakeOAuth, tmp_path: Path
) -> None:
    client = Client(fake, tmp_path)

    class Nothing(set[str]):
        def __contains__(self, token: object) -> bool:
            return False

    fake.good = Nothing()
    assert "takes its own new token for none" in str(client.fail())
    assert len(fake.requests("/mcp")) == 2


def test_a_token_goes_to_no_other_origin(fake: FakeOAuth, tmp_path: Path) -> None:
    client = Client(fake, tmp_path)
    with playing_oauth() as other:
        assert client.ask(url=other.url) == [401]
        assert [it.headers.get("authorization") for it in other.asked] == [None]


def test_nothing_shows_a_token(fake: FakeOAuth, tmp_path: Path) -> None:
    client = Client(fake, tmp_path)
    request = httpx2.Request("POST", fake.url, content=json.dumps(PING))
    auth = BearerAuth("orders", remote(fake.url, oauth={}), client.credentials)
    for shown in (repr(auth), repr(client.kept()), repr(request)):
        assert client.first.access_token not in shown
