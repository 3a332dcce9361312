"""Which machines are reached: RELIABILITY T4 and T5, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpcore2
import httpx2
import pytest

from lmrun.errors import OutboundFailed, OutboundRefused
from lmrun.tools.http.outbound import Answer, OutboundClient, OutboundPolicy, make_client
from tests.support.origin import Authority, Exchange, Resolver, origin

HERE = OutboundPolicy(allow_loopback=True, timeout_s=5.0)


def send(url: str, policy: OutboundPolicy, **options: Any) -> Answer:
    """One GET. `options` of the client, but `follow` and `headers`."""
    wishes = {name: options.pop(name) for name in ("follow", "headers") if name in options}

    async def run() -> Answer:
        async with OutboundClient(policy, **options) as client:
            return await client.send("GET", url, **wishes)

    return asyncio.run(run())


THIS_MACHINE = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7F.1",
    "0177.0.0.1",
    "0177.1",
    "017700000001",
    "00000177.0.0.1",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::FFFF:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
]
"""Each leads to a server on 127.0.0.1, unless somebody sees to it."""

ELSEWHERE = [
    "0.0.0.0",
    "0",
    "0x0",
    "0.1",
    "[::]",
    "[::ffff:0.0.0.0]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "127.255.255.254",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "[::ffff:169.254.169.254]",
    "[fe80::1]",
    "10.0.0.1",
    "10.1",
    "172.16.0.1",
    "192.168.0.1",
    "192.168.1",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[fd00::1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[::127.0.0.1]",
    "\N{FULLWIDTH DIGIT ONE}27.0.0.1",
    "127\N{IDEOGRAPHIC FULL STOP}0.0.1",
]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", THIS_MACHINE + ELSEWHERE)
def test_no_spelling_of_an_address_that_is_not_public_is_connected_to(
    host: str, scheme: str, connections: list[Any]
) -> None:
    with origin() as server, pytest.raises(OutboundRefused):
        send(f"{scheme}://{host}:{server.port}/", OutboundPolicy(allow_plain=True, timeout_s=5.0))
    assert connections == []
    assert server.asked == []


NOT_EVERYWHERE = {"0177.0.0.1", "00000177.0.0.1", "localhost."}
"""The client's own parser refuses the first two, and some resolvers the last."""


@pytest.mark.parametrize("host", [it for it in THIS_MACHINE if it not in NOT_EVERYWHERE])
def test_those_spellings_do_lead_here_where_that_is_allowed(host: str) -> None:
    with origin() as server:
        answer = send(f"http://{host}:{server.port}/x", HERE)
    assert (answer.status, answer.body) == (200, b"ok")
    assert server.last.path == "/x"


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "[::]", "169.254.169.254", "[fe80::1]"])
def test_some_are_not_reached_by_any_policy(host: str, connections: list[Any]) -> None:
    everything = OutboundPolicy(
        allow_private=True, allow_loopback=True, allow_plain=True, timeout_s=5.0
    )
    with origin() as server, pytest.raises(OutboundRefused):
        send(f"http://{host}:{server.port}/", everything)
    assert connections == []


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that anybody tried to connect to. Those that are not here are not let out."""
    tried: list[Any] = []
    connect = httpcore2.AnyIOBackend.connect_tcp

    async def note(self: httpcore2.AnyIOBackend, host: str, *rest: Any, **named: Any) -> Any:
        tried.append(host)
        if host not in ("127.0.0.1", "::1"):
            raise httpcore2.ConnectError("no test leaves this machine")
        return await connect(self, host, *rest, **named)

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", note)
    return tried


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["127.0.0.1"],
        ["9.9.9.9", "127.0.0.1"],
        ["::1", "9.9.9.9"],
        ["169.254.169.254"],
    ],
    ids=" ".join,
)
def test_a_name_is_refused_when_any_of_its_addresses_is(
    addresses: Sequence[str], connections: list[Any]
) -> None:
    with pytest.raises(OutboundRefused, match=r"evil\.example"):
        send("https://evil.example/", OutboundPolicy(), resolve=Resolver(addresses))
    assert connections == []


def test_the_address_that_was_checked_is_the_one_connected_to(connections: list[Any]) -> None:
    """A name that is public when it is checked and private when it is connected to, if anybody
    asked twice."""
    rebinding = Resolver(["9.9.9.9"], ["127.0.0.1"])
    with origin() as server:
        policy = OutboundPolicy(allow_plain=True, timeout_s=5.0)
        url = f"http://rebinding.example:{server.port}/"
        with pytest.raises(OutboundFailed) as failure:
            send(url, policy, resolve=rebinding)
        assert (failure.value.reason, connections) == ("unreachable", ["9.9.9.9"])
        assert rebinding.asked == ["rebinding.example"]
        with pytest.raises(OutboundRefused):
            send(url, policy, resolve=rebinding)
    assert connections == ["9.9.9.9"]
    assert server.asked == []


def test_a_name_that_changes_between_requests_is_checked_again() -> None:
    rebinding = Resolver(["127.0.0.1"], ["10.0.0.1"])
    with origin(lambda exchange: exchange.begin(200, media_type="text/plain")) as server:

        async def run() -> None:
            async with OutboundClient(HERE, resolve=rebinding) as client:
                url = f"http://rebinding.example:{server.port}/"
                assert (await client.send("GET", url)).status == 200
                with pytest.raises(OutboundRefused):
                    await client.send("GET", url)

        asyncio.run(run())
    assert len(server.asked) == 1
    assert server.last.headers["host"] == f"rebinding.example:{server.port}"


def test_the_next_address_is_tried_when_the_first_does_not_answer() -> None:
    with origin() as server:
        resolver = Resolver(["127.0.0.2", "127.0.0.1"])
        answer = send(f"http://two.example:{server.port}/", HERE, resolve=resolver)
    assert answer.status == 200


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    async def nowhere(host: str, port: int) -> Sequence[Any]:
        raise OSError("Name or service not known")

    for resolve in (nowhere, Resolver([])):
        with pytest.raises(OutboundFailed) as failure:
            send("https://nowhere.example/", OutboundPolicy(), resolve=resolve)
        assert failure.value.reason == "unreachable"


def test_http_is_for_this_machine_unless_it_is_asked_for(connections: list[Any]) -> None:
    private = OutboundPolicy(allow_private=True, allow_loopback=True)
    for address in ("10.0.0.1", "9.9.9.9"):
        with pytest.raises(OutboundRefused, match="not encrypted"):
            send("http://plain.example/", private, resolve=Resolver([address]))
    assert connections == []


HOSTS = [
    (("api.example.com",), "api.example.com", True),
    (("api.example.com",), "API.example.com.", True),
    (("api.example.com",), "api.example.com.evil.example", False),
    (("api.example.com",), "xapi.example.com", False),
    (("api.example.com",), "example.com", False),
    (("*.example.com",), "api.example.com", True),
    (("*.example.com",), "a.b.example.com", True),
    (("*.example.com",), "example.com", False),
    (("*.example.com",), "evilexample.com", False),
    (("a.example", "127.0.0.1"), "127.0.0.1", True),
    (("127.0.0.1",), "0x7f.1", True),
    (("[::1]",), "[0:0:0:0:0:0:0:1]", True),
    (("::1",), "[::1]", True),
    ((), "api.example.com", False),
]


@pytest.mark.parametrize(("hosts", "host", "is_allowed"), HOSTS)
def test_only_listed_hosts_are_reached(hosts: tuple[str, ...], host: str, is_allowed: bool) -> None:
    policy = OutboundPolicy(hosts=hosts, allow_loopback=True)
    with contextlib.nullcontext() if is_allowed else pytest.raises(OutboundRefused):
        policy.check_url(httpx2.URL(f"http://{host}:8080/"))


def test_a_port_in_the_list_is_the_only_one() -> None:
    policy = OutboundPolicy(hosts=("a.example:8443", "[::1]:80"), allow_loopback=True)
    policy.check_url(httpx2.URL("https://a.example:8443/"))
    policy.check_url(httpx2.URL("http://[::1]/"))
    for url in ("https://a.example/", "https://a.example:8080/", "http://[::1]:81/"):
        with pytest.raises(OutboundRefused):
            policy.check_url(httpx2.URL(url))


@pytest.mark.parametrize(
    "entry",
    ["*", "*.", "a.*.example", "a b", "http://a.example", "a:0", "a:70000", "1.2.3.400", ""],
)
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(OutboundRefused):
        OutboundPolicy(hosts=(entry,))


def test_the_certificate_is_that_of_the_name_though_an_address_is_connected_to(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    with origin(certificates=authority.server("api.example.com")) as server:
        resolver = Resolver(["127.0.0.1"])
        options = {"resolve": resolver, "certificates": authority.client}
        answer = send(f"https://api.example.com:{server.port}/", HERE, **options)
        assert answer.body == b"ok"
        assert server.names == ["api.example.com"]
        assert server.last.headers["host"] == f"api.example.com:{server.port}"
        for host in ("other.example.com", "127.0.0.1"):
            with pytest.raises(OutboundFailed) as failure:
                send(f"https://{host}:{server.port}/", HERE, **options)
            assert failure.value.reason == "unreachable"
        with pytest.raises(OutboundFailed, match="certificate"):
            send(f"https://api.example.com:{server.port}/", HERE, resolve=resolver)
    assert len(server.asked) == 1


def test_a_connection_is_not_shared_by_names_that_lead_to_one_address(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with origin(certificates=authority.server("a.example", "b.example")) as server:

        async def run() -> None:
            async with OutboundClient(
                HERE, resolve=Resolver(["127.0.0.1"]), certificates=authority.client
            ) as client:
                for host in ("a.example", "b.example", "a.example"):
                    await client.send("GET", f"https://{host}:{server.port}/")

        asyncio.run(run())
    assert server.names == ["a.example", "b.example"]


def test_neither_proxies_nor_passwords_of_the_environment_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with origin() as proxy, origin() as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert send(server.url, HERE).status == 200

        async def run() -> None:
            async with make_client(HERE) as client:
                assert (await client.get(server.url)).text == "ok"

        asyncio.run(run())
    assert proxy.asked == []
    assert all("authorization" not in asked.headers for asked in server.asked)


def test_a_client_for_libraries_is_guarded_alike(connections: list[Any]) -> None:
    async def run() -> None:
        async with make_client(OutboundPolicy(timeout_s=5.0), {"X-Key": "1"}) as client:
            for url in ("https://127.0.0.1/", "http://[::]/", "https://localhost/", "file:///x"):
                with pytest.raises((OutboundRefused, httpx2.UnsupportedProtocol)):
                    await client.get(url)
        async with make_client(HERE, {"X-Key": "1"}) as client:
            answer = await client.get(server.url)
            assert (answer.status_code, answer.text) == (302, "")
            with pytest.raises(OutboundRefused):
                await client.get(server.url, follow_redirects=True)
            await client.get(server.url + "/cookie")

    def redirect(exchange: Exchange) -> None:
        exchange.say(302, b"", Location="http://10.0.0.1/", Set_Cookie="session=1; Path=/")

    with origin(redirect) as server:
        asyncio.run(run())
    assert server.last.headers["x-key"] == "1"
    assert all("cookie" not in asked.headers for asked in server.asked)
    assert set(connections) == {"127.0.0.1"}
