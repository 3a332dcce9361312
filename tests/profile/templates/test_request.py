"""Arguments stay where the template has them."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2
import pytest

from lmrun.errors import ToolInvalid
from lmrun.profile.tooling.templates.request import (
    BodyTemplate,
    HeadersTemplate,
    UrlTemplate,
)
from lmrun.profile.tooling.templates.text import ArgumentRefused

FILLED = [
    ("https://a.example/orders/{id}", {"id": "7"}, "https://a.example/orders/7"),
    ("https://a.example/orders/{id}", {"id": 7}, "https://a.example/orders/7"),
    ("https://a.example/{id}.json", {"id": "a/b?c#d"}, "https://a.example/a%2Fb%3Fc%23d.json"),
    ("https://a.example/{a}-{b}/x", {"a": "1", "b": True}, "https://a.example/1-true/x"),
    ("https://a.example/x?q={q}", {"q": "a&b=c d+e"}, "https://a.example/x?q=a%26b%3Dc%20d%2Be"),
    ("https://a.example/x?q={q}&k=1", {}, "https://a.example/x?k=1"),
    ("https://a.example/x?q={q}", {}, "https://a.example/x"),
    ("https://a.example/x?q={q}", {"q": ""}, "https://a.example/x?q="),
    ("https://a.example/x?q={q}", {"q": None}, "https://a.example/x?q=null"),
    ("https://a.example/x?q={q}", {"q": [1, "a"]}, "https://a.example/x?q=%5B1%2C%22a%22%5D"),
    ("https://a.example/x?flag&q=v:{q}", {"q": 1.5}, "https://a.example/x?flag&q=v:1.5"),
    ("https://a.example/{q}", {"q": "ü€"}, "https://a.example/%C3%BC%E2%82%AC"),
    ("https://a.example/{q}", {"q": "%2e%2e"}, "https://a.example/%252e%252e"),
    ("https://a.example/{q}", {"q": "a..b"}, "https://a.example/a..b"),
    ("https://a.example/{q}", {"q": "..."}, "https://a.example/..."),
    ("https://a.example/{q}", {"q": "\r\nHost: x"}, "https://a.example/%0D%0AHost%3A%20x"),
    ("http://[::1]:8080/{q}", {"q": "x"}, "http://[::1]:8080/x"),
    ("https://a.example", {}, "https://a.example"),
    ("HTTPS://a.example/a%20b", {}, "https://a.example/a%20b"),
]


@pytest.mark.parametrize(("url", "arguments", "filled"), FILLED)
def test_an_argument_is_one_piece_of_a_path_or_one_value(
    url: str, arguments: dict[str, Any], filled: str
) -> None:
    assert UrlTemplate.parse(url).fill(arguments) == filled


@pytest.mark.parametrize(
    "url",
    [
        "https://{host}/x",
        "https://{host}.example.com/x",
        "https://api.example.com{x}/",
        "https://a.example:{port}/",
        "https://{user}@a.example/",
        "https://user:secret@a.example/",
        "{scheme}://a.example/",
        "{url}",
        "https:{rest}",
        "https://a.example/?{name}=1",
        "https://a.example/?{q}",
        "https://a.example/#{fragment}",
        "https://a.example/x#y",
        "https://a.example/{",
        "https://a.example/{a b}",
        "https://a.example/{{id}}",
        "https://a.example/a b",
        "https://a.example/a\\b",
        "https://a.example/%zz",
        "https://a.example/?q=\n",
        "https://a.example/\x00",
        "ftp://a.example/",
        "a.example/x",
        "https:///x",
        "",
    ],
)
def test_a_template_that_could_lead_elsewhere_is_none(url: str) -> None:
    with pytest.raises(ToolInvalid, match="`url`: ") as caught:
        UrlTemplate.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    ["..", ".", "", "../x", "a/../b", "a/..", "..\\x", "./a", "a/./b", "..;", "..;x=1/y", "/.."],
)
def test_a_piece_of_a_path_leads_neither_up_nor_away(value: str) -> None:
    with pytest.raises(ArgumentRefused, match="`id`"):
        UrlTemplate.parse("https://a.example/orders/{id}/x").fill({"id": value})


def test_neither_a_url_nor_a_header_gets_too_long() -> None:
    for url in ("https://a.example/{id}", "https://a.example/?id={id}"):
        with pytest.raises(ArgumentRefused, match="characters"):
            UrlTemplate.parse(url).fill({"id": "x" * 8192})
    with pytest.raises(ArgumentRefused, match="`id`"):
        HeadersTemplate.parse({"X-Id": "{id}"}).fill({"id": "x" * 8193})


def test_two_arguments_do_not_make_up_a_way_together() -> None:
    with pytest.raises(ArgumentRefused):
        UrlTemplate.parse("https://a.example/{a}{b}").fill({"a": ".", "b": "."})
    with pytest.raises(ArgumentRefused):
        UrlTemplate.parse("https://a.example/.{a}").fill({"a": "."})


def test_no_argument_whatever_changes_where_a_request_goes() -> None:
    template = UrlTemplate.parse("https://api.example.com:8443/v1/{a}/x-{b}?q={q}&fixed=1")
    letters = "ab./\\:@?#&=%;+ \r\n\t\0\x7f'\"<>[]{}|^`~$!*(),-_\u00fc\u202e\uff0f\ud800\U0001f600"
    choose = random.Random(11)
    filled = 0
    for _ in range(5000):
        arguments = {
            name: "".join(choose.choices(letters, k=choose.randint(0, 8)))
            for name in ("a", "b", "q")
        }
        try:
            url = template.fill(arguments)
        except ArgumentRefused:
            continue
        filled += 1
        expected = {k: v.encode("utf-8", "replace").decode() for k, v in arguments.items()}
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc) == ("https", "api.example.com:8443")
        pieces = parts.path.split("/")
        assert len(pieces) == 4 and pieces[1] == "v1" and parts.fragment == ""
        assert unquote(pieces[2]) == expected["a"]
        assert unquote(pieces[3]) == f"x-{expected['b']}"
        assert parse_qsl(parts.query, keep_blank_values=True) == [
            ("q", expected["q"]),
            ("fixed", "1"),
        ]
        sent = httpx2.URL(url)
        assert (sent.host, sent.port, sent.raw_path.decode()) == (
            "api.example.com",
            8443,
            f"{parts.path}?{parts.query}",
        )
    assert filled > 3000


def test_headers_take_printable_ascii_only() -> None:
    template = HeadersTemplate.parse({"X-Order": "order {id}", "X-Other": "{other}"})
    assert template.fill({"id": "7"}) == {"X-Order": "order 7"}
    assert template.fill({"id": "7", "other": " a "}) == {"X-Order": "order 7", "X-Other": "a"}
    for value in ("a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\x1b[0m", "ü", "a\x7f", "a\u2028b"):
        with pytest.raises(ArgumentRefused, match="`id`"):
            template.fill({"id": value})


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "x"},
        {"content-length": "1"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"Proxy-Authorization": "x"},
        {"Bad Name": "x"},
        {"Bad:": "x"},
        {"{name}": "x"},
        {"": "x"},
        {"X-A": "secret\r\nX: 1"},
        {"X-A": "secret ü"},
        {"X-A": "secret {"},
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(headers: dict[str, str]) -> None:
    with pytest.raises(ToolInvalid) as caught:
        HeadersTemplate.parse(headers)
    assert "secret" not in str(caught.value)


BODIES: list[tuple[Any, dict[str, Any], Any]] = [
    ({"a": "{x}"}, {"x": 1}, {"a": 1}),
    ({"a": "{x}"}, {"x": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    ({"a": "{x}"}, {"x": '"}, "evil": {"'}, {"a": '"}, "evil": {"'}),
    ({"a": "no. {x}"}, {"x": 1}, {"a": "no. 1"}),
    ({"a": "{x}{y}"}, {"x": True, "y": [1]}, {"a": "true[1]"}),
    ({"a": "{x}", "b": 2}, {}, {"b": 2}),
    ({"a": "no. {x}", "b": 2}, {}, {"b": 2}),
    ({"a": {"b": ["{x}", "{y}", 3]}}, {"y": "z"}, {"a": {"b": ["z", 3]}}),
    ({"query": "{{ user {{ id }} }}", "n": "{x}"}, {"x": 0}, {"query": "{ user { id } }", "n": 0}),
    ("{x}", {"x": {"whole": 1}}, {"whole": 1}),
    ([], {}, []),
    (False, {}, False),
    ({"a": "{x}"}, {"x": "{y}"}, {"a": "{y}"}),
]


@pytest.mark.parametrize(("body", "arguments", "sent"), BODIES)
def test_a_body_takes_arguments_as_they_are(
    body: Any, arguments: dict[str, Any], sent: Any
) -> None:
    assert json.loads(BodyTemplate.parse(body).fill(arguments)) == sent


def test_a_body_that_is_left_out_is_empty() -> None:
    assert BodyTemplate.parse("{x}").fill({}) == b""


@pytest.mark.parametrize("body", [{"{x}": 1}, {"a": ["{"]}, {"a": {"b": "}"}}])
def test_a_body_with_an_argument_where_none_can_be_is_refused(body: Any) -> None:
    with pytest.raises(ToolInvalid, match="`body"):
        BodyTemplate.parse(body)


def test_names_are_those_of_all_parts() -> None:
    url = UrlTemplate.parse("https://a.example/{a}/{b}?c={c}")
    assert url.names == {"a", "b", "c"}
    assert url.names_in_path == {"a", "b"}
    assert BodyTemplate.parse({"x": ["{d} {e}", {"y": "{f}"}]}).names == {"d", "e", "f"}
    assert HeadersTemplate.parse({"X": "{g}"}).names == {"g"}
    assert UrlTemplate.parse("https://a.example").names == frozenset()
