"""Tools that are requests, as a profile declares them, against a real server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lmrun.errors import LmrunError, OutboundRefused, ToolInvalid
from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.http.tool import HttpTool
from lmrun.tools.tool import ToolResult
from tests.support.origin import Authority, Exchange, Origin, Resolver, origin


def make(http: Mapping[str, Any], parameters: Mapping[str, Any] | None = None, **more: Any) -> Any:
    config = {"http": {"private": True, **http}, "parameters": parameters or {}, **more}
    return HttpTool("tool", ToolConfig.model_validate(config))


def call(tool: HttpTool, **arguments: Any) -> ToolResult:
    return asyncio.run(tool.call(arguments, lambda progress: None))


def answering(body: Any, media_type: str = "application/json", status: int = 200) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda exchange: exchange.say(status, data, media_type=media_type)


TEXT = {"type": "string"}


def test_the_delivery_date_of_an_order_is_asked_for() -> None:
    def answer(exchange: Exchange) -> None:
        assert exchange.path == "/orders/1%2F2?full=true"
        exchange.say(
            200, b'{"data": {"delivery_date": "2026-12-24"}}', media_type="application/json"
        )

    with origin(answer) as server:
        tool = make(
            {
                "url": f"{server.url}/orders/{{order_id}}?full={{full}}",
                "headers": {"X-Key": "secret", "X-Order": "{order_id}"},
                "result": "data.delivery_date",
            },
            {"order_id": TEXT, "full": {"type": "boolean"}},
            description="Get the delivery date",
        )
        assert call(tool, order_id="1/2", full=True) == ToolResult(
            "2026-12-24", is_untrusted=True, size=10
        )
    assert server.last.headers["x-key"] == "secret"
    assert server.last.headers["x-order"] == "1/2"
    assert server.last.headers["user-agent"].startswith("lmrun/")
    assert server.last.method == "GET"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_is_sent_as_json(method: str) -> None:
    with origin(answering({"id": 7})) as server:
        tool = make(
            {"method": method, "url": server.url, "body": {"n": "{n}", "text": "no. {n}"}},
            {"n": {"type": "integer"}},
        )
        assert call(tool, n=5).text == '{"id":7}'
    assert (server.last.method, server.last.body) == (method, b'{"n":5,"text":"no. 5"}')
    assert server.last.headers["content-type"] == "application/json"


def test_a_content_type_of_ones_own_is_kept() -> None:
    with origin(answering({})) as server:
        tool = make(
            {
                "method": "POST",
                "url": server.url,
                "body": {},
                "headers": {"content-type": "application/vnd.api+json"},
            }
        )
        call(tool)
    assert server.last.headers["content-type"] == "application/vnd.api+json"


ANSWERS: list[tuple[str, bytes, str]] = [
    ("application/json", b'{ "a" : [1, 2.50, "\xc3\xbc"] }', '{"a":[1,2.5,"ü"]}'),
    ("application/problem+json; charset=utf-8", b'"text"', "text"),
    ("application/json", b"null", "null"),
    ("text/plain", b"as it is\n\tyes", "as it is\n\tyes"),
    ("text/plain; charset=ISO-8859-1", b"\xfc", "ü"),
    ("text/plain; charset=nonsense", b"x", "x"),
    ("text/plain", b"\x1b[31mred\x1b[0m\x00\x07\xff", "red\N{REPLACEMENT CHARACTER}"),
    ("text/csv", b"a,b", "a,b"),
    ("application/xml", b"<a/>", "<a/>"),
    ("", b"text of no type", "text of no type"),
    ("application/json", b"", "Done. The answer is empty."),
    (
        "text/html",
        b"<html><head><title>T</title></head><body><h1>One &amp; two</h1><script>alert(1)</script>"
        b"<p>Text <b>bold</b></p><style>p{}</style><ul><li>a<li>b</ul></body></html>",
        "T\nOne & two\nText bold\na\nb",
    ),
]


@pytest.mark.parametrize(("media_type", "body", "text"), ANSWERS)
def test_an_answer_is_read_by_its_type(media_type: str, body: bytes, text: str) -> None:
    with origin(lambda exchange: exchange.say(200, body, media_type=media_type)) as server:
        result = call(make({"url": server.url}))
    assert (result.text, result.error, result.is_untrusted) == (text, None, True)


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "zlib", "undefined"])
def test_a_charset_that_is_none_for_text_is_not_used(charset: str) -> None:
    media_type = f"text/plain; charset={charset}"
    body = b"a-\\x41" * 100_000
    with origin(lambda exchange: exchange.say(200, body, media_type=media_type)) as server:
        begun = time.monotonic()
        result = call(make({"url": server.url}, max_output="1MiB"))
        assert time.monotonic() - begun < 3
    assert result.text == body.decode()


def test_no_depth_of_json_is_more_than_a_result() -> None:
    def answer(exchange: Exchange) -> None:
        depth = int(exchange.path[1:])
        exchange.say(200, b"[" * depth + b"]" * depth, media_type="application/json")

    async def run() -> list[ToolResult]:
        tool = make({"url": f"{server.url}/{{depth}}"}, {"depth": {"type": "integer"}})
        return [await tool.call({"depth": it}, lambda _: None) for it in (1, *range(900, 1010, 5))]

    with origin(answer) as server:
        results = asyncio.run(run())
    assert results[0].text == "[]" and results[-1].error == "protocol"
    assert {result.error for result in results} == {None, "protocol"}


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("image/png", b"\x89PNG"),
        ("application/octet-stream", b"x"),
        ("application/pdf", b"%PDF"),
        ("", b"\x00\x01"),
        ("", b"\xff\xfe"),
    ],
)
def test_what_is_not_text_is_not_given_to_a_model(media_type: str, body: bytes) -> None:
    with origin(lambda exchange: exchange.say(200, body, media_type=media_type)) as server:
        result = call(make({"url": server.url}))
    assert result.error == "failed"
    assert result.text.startswith("The answer is not text") and str(len(body)) in result.text


def test_the_way_to_the_result_is_said_to_lead_nowhere() -> None:
    with origin(answering({"data": []})) as server:
        result = call(make({"url": server.url, "result": "data[0].name"}))
    assert (result.error, result.text) == (
        "failed",
        "The answer is not as expected: `data` has 0 items, so no [0].",
    )


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{", b"[NaN]", b"[Infinity]", b"[" * 100_000, b"\xff"],
)
def test_what_should_be_json_and_is_not_is_said(body: bytes) -> None:
    with origin(answering(body)) as server:
        result = call(make({"url": server.url}))
    assert result.error == "protocol"
    assert result.text.startswith("The answer is not the JSON that it should be.")


@pytest.mark.parametrize("status", [400, 401, 404, 418, 429, 500, 503, 599, 304])
def test_a_status_that_is_no_success_is_an_error_with_the_beginning(status: int) -> None:
    body = b"" if status == 304 else b"why \x1b[31mnot\x1b[0m " + b"x" * 10_000
    with origin(answering(body, "text/plain", status)) as server:
        result = call(make({"url": server.url}))
    assert result.error == "failed" and str(status) in result.text
    assert ("why not xxx" in result.text) is (status != 304)
    assert len(result.text) < 2200


def test_a_long_answer_is_shortened_to_its_bound() -> None:
    with origin(answering(b"b" + b"x" * 500_000 + b"e", "text/plain")) as server:
        result = call(make({"url": server.url}, max_output="1KiB"))
    assert len(result.text.encode()) <= 1024
    assert result.text.startswith("b") and result.text.endswith("e")
    assert result.size == 500_002


def test_an_answer_beyond_a_mebibyte_is_too_large_unless_so_much_is_wanted() -> None:
    with origin(answering(bytes(b"x" * (2**20 + 1)), "text/plain")) as server:
        assert call(make({"url": server.url})).error == "too_large"
        assert call(make({"url": server.url}, max_output="2MiB")).error is None


def test_a_slow_server_is_given_up_in_time() -> None:
    def wait(exchange: Exchange) -> None:
        exchange.server.origin.stop.wait(20)

    with origin(wait) as server:
        begun = time.monotonic()
        result = call(make({"url": server.url}, timeout="300ms"))
        assert 0.2 < time.monotonic() - begun < 5
    assert result.error == "timeout" and "0.3 s" in result.text


def test_nobody_there_is_unreachable() -> None:
    with origin() as server:
        url = server.url
    assert call(make({"url": url})).error == "unreachable"


def test_a_path_that_leads_up_is_an_invalid_argument_and_not_sent() -> None:
    with origin() as server:
        tool = make({"url": f"{server.url}/orders/{{id}}"}, {"id": TEXT})
        for value in ("..", "", "a/../../admin"):
            assert call(tool, id=value).error == "invalid_arguments"
    assert server.asked == []


def test_a_line_end_does_not_get_into_a_header() -> None:
    with origin() as server:
        tool = make({"url": server.url, "headers": {"X-Id": "{id}"}}, {"id": TEXT})
        assert call(tool, id="a\r\nX-Evil: 1").error == "invalid_arguments"
        assert call(tool, id="a").error is None
    assert [asked.headers.get("x-evil") for asked in server.asked] == [None]


def redirecting(to: str) -> Any:
    return lambda exchange: exchange.say(302, b"", Location=to)


def test_redirects_stay_within_the_hosts() -> None:
    with origin() as other, origin(redirecting(f"{other.url}/x")) as server:
        own = call(make({"url": server.url}))
        assert (own.error, other.asked) == ("unreachable", [])
        listed = make({"url": server.url, "hosts": ["127.0.0.1"]})
        assert call(listed).text == "ok"
        ports = [f"127.0.0.1:{server.port}", f"127.0.0.1:{other.port}"]
        assert call(make({"url": server.url, "hosts": ports})).text == "ok"
    assert len(other.asked) == 2


def test_a_redirect_to_another_origin_takes_no_key_along() -> None:
    with origin() as other, origin(redirecting(f"{other.url}/x")) as server:
        tool = make(
            {
                "url": server.url,
                "hosts": ["127.0.0.1"],
                "headers": {"Authorization": "Bearer secret", "X-Api-Key": "secret"},
            }
        )
        assert call(tool).text == "ok"
    assert "secret" in str(server.last) and "secret" not in str(other.last)


def test_what_is_not_public_needs_to_be_named_private() -> None:
    public = {"private": False}
    for url in ("http://127.0.0.1:1/", "http://localhost/", "https://10.0.0.1/", "https://[::1]/"):
        with pytest.raises(OutboundRefused):
            make({"url": url, **public})
    config = {"http": {"url": "https://api.example.com/"}}
    tool = HttpTool("tool", ToolConfig.model_validate(config), resolve=Resolver(["10.0.0.1"]))
    result = call(tool)
    assert result.error == "unreachable" and "private network" in result.text


def test_a_public_tool_speaks_tls_to_the_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with origin(certificates=authority.server("api.example.com")) as server:
        config = {"http": {"url": f"https://api.example.com:{server.port}/", "private": True}}
        tool = HttpTool(
            "tool",
            ToolConfig.model_validate(config),
            resolve=Resolver(["127.0.0.1"]),
            certificates=authority.client,
        )
        assert call(tool).text == "ok"


def test_what_a_tool_is_comes_from_the_profile() -> None:
    url = "https://api.example.com/{a}?b={b}"
    tool = make(
        {"url": url},
        {"a": TEXT, "b": {"type": "integer"}},
        optional=["b"],
        description="Says something",
        policy="allow",
        idempotent=True,
        export=True,
        timeout="5s",
    )
    spec = tool.spec
    assert (spec.path, spec.name, spec.description) == ("tool", "tool", "Says something")
    assert (spec.policy, spec.timeout_s) == ("allow", 5.0)
    assert spec.is_idempotent and spec.is_exported and spec.is_untrusted
    assert spec.effects == {"network"}
    schema = Draft202012Validator(spec.parameters)
    assert schema.is_valid({"a": "x"}) and schema.is_valid({"a": "x", "b": 1})
    assert not schema.is_valid({"b": 1}) and not schema.is_valid({"a": "x", "c": 1})


def test_whatever_is_not_get_may_write() -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        spec = make({"method": method, "url": "https://a.example/"}).spec
        assert spec.effects == {"write", "network"}
    declared = make({"method": "POST", "url": "https://a.example/"}, effects=["network"]).spec
    assert declared.effects == {"network"}
    assert make({"url": "https://a.example/"}, untrusted=False).spec.is_untrusted is False


FAULTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"url": "https://{host}/"}, {"parameters": {"host": TEXT}}, "where the host is"),
    ({"url": "https://a.example/", "result": "a..b"}, {}, "`result`"),
    ({"url": "https://a.example/", "hosts": ["b.example"]}, {}, "none of the hosts"),
    ({"url": "https://a.example/", "hosts": ["a.example", "*"]}, {}, "is no host"),
    ({"url": "https://a.example/", "headers": {"Host": "b"}}, {}, "set by lmrun"),
    ({"url": "https://169.254.169.254/"}, {}, "no address of a machine"),
    ({"url": "https://a b/"}, {}, "`url`"),
    ({"url": "https://1.2.3.4.5/"}, {}, "looks like an IP address"),
    ({"url": "https://a.example:99999/"}, {}, "`url`"),
]


@pytest.mark.parametrize(("http", "more", "message"), FAULTS)
def test_what_no_call_could_be_right_with_is_refused(
    http: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(LmrunError) as caught:
        make(http, **more)
    assert isinstance(caught.value, (ToolInvalid, OutboundRefused))
    assert message in str(caught.value)


def test_calls_run_beside_each_other_and_can_be_cancelled() -> None:
    def answer(exchange: Exchange) -> None:
        if exchange.path == "/slow":
            exchange.server.origin.stop.wait(20)
        exchange.say(200, b"ok", media_type="text/plain")

    async def run(server: Origin) -> None:
        slow, quick = make({"url": f"{server.url}/slow"}), make({"url": server.url})
        waiting = asyncio.create_task(slow.call({}, lambda progress: None))
        results = await asyncio.gather(*(quick.call({}, lambda it: None) for _ in range(20)))
        assert [result.text for result in results] == ["ok"] * 20
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with origin(answer) as server:
        asyncio.run(run(server))
