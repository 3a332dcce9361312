"""Redirects: followed where that is wanted, checked at each hop, without credentials elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lmrun.errors import OutboundFailed, OutboundRefused
from lmrun.tools.http.outbound import Answer, OutboundClient, OutboundPolicy
from tests.support.origin import Answer as Answering
from tests.support.origin import Exchange, Resolver, origin

HERE = OutboundPolicy(allow_loopback=True, timeout_s=5.0)
SECRETS = {
    "Authorization": "Bearer secret",
    "Cookie": "session=secret",
    "X-Api-Key": "secret",
    "PRIVATE-TOKEN": "secret",
}


def send(method: str, url: str, policy: OutboundPolicy = HERE, **options: Any) -> Answer:
    async def run() -> Answer:
        async with OutboundClient(policy, resolve=Resolver(["127.0.0.1"])) as client:
            return await client.send(method, url, follow=True, **options)

    return asyncio.run(run())


def pointing(location: str, status: int = 302) -> Answering:
    return lambda exchange: exchange.say(status, b"elsewhere", Location=location)


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0.0.0.0/",
        "http://[::]/",
        "https://192.168.0.1/",
        "//10.0.0.1/x",
        "http://user:password@127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "javascript:alert(1)",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http://[::1",
    ],
)
def test_a_redirect_leads_nowhere_that_the_first_url_could_not(location: str) -> None:
    with origin(pointing(location)) as server, pytest.raises(OutboundRefused):
        send("GET", server.url)
    assert len(server.asked) == 1


def test_a_redirect_to_this_machine_is_refused_as_any() -> None:
    """The first hop leads here only because this test says so; the second is judged by itself."""
    policy = OutboundPolicy(hosts=("a.example",), allow_loopback=True, timeout_s=5.0)
    with (
        origin() as inner,
        origin(pointing(f"{inner.url}/admin")) as server,
        pytest.raises(OutboundRefused, match="none of the hosts"),
    ):
        send("GET", f"http://a.example:{server.port}/", policy)
    assert inner.asked == []


def test_redirects_are_only_followed_when_asked() -> None:
    async def run() -> Answer:
        async with OutboundClient(HERE) as client:
            return await client.send("GET", server.url)

    with origin(pointing("/x")) as server:
        answer = asyncio.run(run())
    assert (answer.status, answer.headers["Location"]) == (302, "/x")
    assert len(server.asked) == 1


def test_a_loop_ends_after_five_redirects() -> None:
    with origin(pointing("/again")) as server, pytest.raises(OutboundFailed) as failure:
        send("GET", server.url)
    assert failure.value.reason == "protocol"
    assert len(server.asked) == 6


def test_a_chain_of_five_arrives() -> None:
    def count_down(exchange: Exchange) -> None:
        left = int(exchange.path[1:])
        if left:
            exchange.say(307, b"", Location=f"/{left - 1}")
        else:
            exchange.say(200, b"there")

    with origin(count_down) as server:
        answer = send("GET", f"{server.url}/5")
    assert answer.body == b"there"
    assert answer.url == f"{server.url}/0"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_credential_crosses_an_origin(status: int) -> None:
    with origin() as other, origin(pointing(f"{other.url}/x?y=1", status)) as server:
        answer = send("GET", server.url, headers={**SECRETS, "Accept": "text/plain"})
    assert answer.body == b"ok"
    assert server.last.headers["authorization"] == "Bearer secret"
    assert server.last.headers["private-token"] == "secret"
    assert "secret" not in str(other.last)
    assert other.last.headers["accept"] == "text/plain"
    assert other.last.headers["host"] == f"127.0.0.1:{other.port}"


@pytest.mark.parametrize("host", ["localhost", "b.example", "127.0.0.1."])
def test_another_name_for_one_server_is_another_origin(host: str) -> None:
    def answer(exchange: Exchange) -> None:
        if exchange.path == "/":
            exchange.say(302, b"", Location=f"http://{host}:{server.port}/x")
        else:
            exchange.say(200)

    with origin(answer) as server:
        send("GET", server.url, headers=SECRETS)
    assert server.last.path == "/x"
    assert "secret" not in str(server.last)


def test_credentials_do_not_come_back_with_the_way_back() -> None:
    def answer(exchange: Exchange) -> None:
        if exchange.path == "/":
            exchange.say(302, b"", Location=f"{other.url}/")
        else:
            exchange.say(200)

    with origin(answer) as server, origin(lambda it: it.say(302, b"", Location=back())) as other:

        def back() -> str:
            return f"{server.url}/back"

        send("GET", server.url, headers=SECRETS)
    assert server.last.path == "/back"
    assert "secret" not in str(server.last) and "secret" not in str(other.asked)


def test_within_an_origin_credentials_stay() -> None:
    def answer(exchange: Exchange) -> None:
        exchange.say(*((302,) if exchange.path == "/" else (200,)), b"", Location="/x")

    with origin(answer) as server:
        send("GET", server.url + "/", headers=SECRETS)
    assert server.last.path == "/x"
    assert server.last.headers["authorization"] == "Bearer secret"
    assert server.last.headers["x-api-key"] == "secret"


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
        (302, "DELETE", "DELETE"),
        (301, "PUT", "PUT"),
    ],
)
def test_the_method_changes_as_the_standard_says(status: int, method: str, becomes: str) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.say(status if exchange.path == "/" else 200, b"", Location="/x")

    with origin(answer) as server:
        headers = {"Content-Type": "application/json"}
        send(method, server.url + "/", headers=headers, content=b"{}")
    kept = becomes == method
    assert (server.last.method, server.last.body) == (becomes, b"{}" if kept else b"")
    assert ("content-type" in server.last.headers) is kept


def test_encryption_is_not_given_up(tmp_path: Any) -> None:
    from tests.support.origin import Authority

    authority = Authority(tmp_path)
    with (
        origin() as plain,
        origin(pointing(plain.url), certificates=authority.server("127.0.0.1")) as server,
    ):

        async def run() -> None:
            async with OutboundClient(HERE, certificates=authority.client) as client:
                with pytest.raises(OutboundRefused, match="leaves https"):
                    await client.send("GET", server.url, follow=True)

        asyncio.run(run())
    assert plain.asked == []
