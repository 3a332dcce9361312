"""What a server says about where to log in is never believed further than is safe (T1, T4)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import LmrunError, McpLoginFailed, OutboundRefused
from lmrun.store.mcp_secrets import McpSecrets
from lmrun.tools.mcp.oauth.credentials import Credentials
from lmrun.tools.mcp.oauth.login import log_in
from lmrun.tools.mcp.reports import LoginEvent
from tests.support.oauth_server import FakeOAuth, playing_oauth
from tests.tools.mcp_consent.servers import remote

STARTING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "webbrowser")
COMMANDS = [
    "file:/c:/windows/system32/calc.exe",
    "file:///bin/sh",
    "http://a$(calc)",
    "http://a$(calc)/authorize",
    "https://a`calc`.example/",
    "https://a;calc.example/",
    "--config=x",
    "-x",
    "javascript:alert(1)",
    "vscode://evil",
    "https://user:password@idp.example/authorize",
    "https://idp.example/authorize\nX: y",
    "https:\\\\idp.example/authorize",
    " https://idp.example/authorize",
    "",
]
PRIVATE = [
    "http://169.254.169.254/latest/meta-data",
    "https://169.254.169.254/latest/meta-data",
    "http://[::ffff:127.0.0.1]/",
    "http://0.0.0.0/",
    "https://[::]/",
    "https://10.0.0.1/",
    "https://192.168.1.1/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://[fd00::1]/",
    "http://idp.example/",
]

_started: list[str] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(STARTING):
        _started.append(f"{event} {arguments}")


@pytest.fixture(scope="module", autouse=True)
def hook() -> None:
    # It stays for as long as the process does.
    sys.addaudithook(_note)


@pytest.fixture
def fake() -> Iterator[FakeOAuth]:
    _started.clear()
    with playing_oauth() as fake:
        yield fake
    assert _started == []


def refuse(url: str, folder: Path, **config: Any) -> LmrunError:
    """What a login ends with before anybody is sent anywhere."""
    events: list[LoginEvent] = []

    async def follow() -> None:
        credentials = Credentials(McpSecrets(folder), lambda: Path("/p.yaml"))
        async with aclosing(
            log_in("orders", remote(url, oauth={}, **config), credentials, within_s=5.0)
        ) as login:
            async for event in login:
                events.append(event)

    with pytest.raises(LmrunError) as caught:
        asyncio.run(follow())
    assert events == []
    return caught.value


@pytest.mark.parametrize("url", [*COMMANDS, *PRIVATE])
@pytest.mark.parametrize(
    "endpoint", ["authorization_endpoint", "token_endpoint", "registration_endpoint"]
)
def test_an_endpoint_that_must_not_be_opened_ends_the_login(
    fake: FakeOAuth, tmp_path: Path, endpoint: str, url: str
) -> None:
    fake.metadata[endpoint] = url
    assert isinstance(refuse(fake.url, tmp_path), OutboundRefused)
    assert {it.path for it in fake.asked}.isdisjoint({"/register", "/authorize", "/token"})


@pytest.mark.parametrize("url", [*COMMANDS, *PRIVATE])
def test_an_authorization_server_that_must_not_be_reached_ends_it(
    fake: FakeOAuth, tmp_path: Path, url: str
) -> None:
    fake.resource["authorization_servers"] = [url]
    assert isinstance(refuse(fake.url, tmp_path), OutboundRefused)
    assert "/.well-known/oauth-authorization-server" not in {it.path for it in fake.asked}


@pytest.mark.parametrize("url", [it for it in (*COMMANDS, *PRIVATE) if it and "\n" not in it])
def test_metadata_that_must_not_be_fetched_ends_it(
    fake: FakeOAuth, tmp_path: Path, url: str
) -> None:
    fake.challenge = f'Bearer resource_metadata="{url}"'
    assert isinstance(refuse(fake.url, tmp_path), OutboundRefused)
    assert {it.path for it in fake.asked} == {"/mcp"}


@pytest.mark.parametrize(
    "path",
    ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server"],
)
def test_metadata_is_followed_nowhere(fake: FakeOAuth, tmp_path: Path, path: str) -> None:
    with playing_oauth() as other:
        fake.redirects[path] = f"{other.base}{path}"
        fake.metadata["registration_endpoint"] = None
        assert isinstance(refuse(fake.url, tmp_path), McpLoginFailed)
        assert other.asked == []


def test_a_public_server_leads_to_nothing_on_this_machine(tmp_path: Path) -> None:
    """Metadata of a server elsewhere may not name this machine, though one here may."""
    from lmrun.tools.mcp.oauth.fetching import Fetcher

    async def check(url: str, named: str) -> str:
        async with Fetcher(url) as fetcher:
            return fetcher.check(named)

    here = "http://127.0.0.1:8080/authorize"
    assert asyncio.run(check("http://localhost:9/mcp", here)) == here
    with pytest.raises(OutboundRefused):
        asyncio.run(check("https://mcp.example.com/mcp", here))


def test_a_huge_answer_is_not_read(fake: FakeOAuth, tmp_path: Path) -> None:
    fake.metadata["service_documentation"] = "https://a.example/" + "a" * 2**20
    assert isinstance(refuse(fake.url, tmp_path), LmrunError)
    assert fake.requests("/register") == []
