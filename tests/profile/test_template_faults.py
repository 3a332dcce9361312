"""Command lines and requests that no call could be right with are found with the profile, where
they stand; nothing is left to be found when it is applied."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lmrun.profile.tooling.tools import ToolConfig
from tests.profile.support import find_problems, load, show

TEXT = {"type": "string"}
URL = "https://a.example/"


def command(*argv: str, **fields: Any) -> dict[str, Any]:
    return {"command": list(argv), **fields}


def http(url: str = URL, request: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"http": {"url": url, **(request or {})}, **fields}


def takes(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, TEXT)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "open brace": (
        command("p", "{x"),
        "command[1]: a brace stands alone, at character 1; an argument is `{name}`; a brace itself "
        "is written twice",
    ),
    "two open braces": (
        command("p", "{x", "ok", "y}"),
        "command[1]: a brace stands alone, at character 1; an argument is `{name}`; a brace itself "
        "is written twice\n"
        "command[3]: a brace stands alone, at character 2; an argument is `{name}`; a brace itself "
        "is written twice",
    ),
    "chosen program": (
        command("{x}", parameters=takes("x")),
        "command[0]: this is the program, which no argument may choose; write its name out",
    ),
    "argument in a script": (
        command("sh", "-c", "ls {x}", parameters=takes("x")),
        "command[2]: this is a script, and `{x}` in it would let an argument write a part of it; "
        """hand it over as an argument of the script: `[sh, -c, 'ls -- "$1"', sh, "{path}"]`""",
    ),
    "pattern that looks around": (
        command("p", "{x}", parameters={"x": {"type": "string", "pattern": "(?!a)b"}}),
        "parameters.x: the pattern '(?!a)b' cannot be checked; say it in other words",
    ),
    "rule about what is left": (
        {"python": "tools:f", "parameters": {"x": {"unevaluatedProperties": False}}},
        "parameters.x: `unevaluatedProperties` cannot be checked; say it in other words",
    ),
    "no URL": (
        http("ftp://a.example/"),
        "http.url: no http or https URL; write `https://api.example.com/{id}`",
    ),
    "argument as a host": (
        http("https://{x}/", parameters=takes("x")),
        "http.url: an argument or a user name stands where the host is; arguments may be pieces of "
        "the path and values of the query",
    ),
    "port beyond all ports": (
        http("https://a.example:99999/"),
        "http.url: its host cannot be read, or its port; write names in ASCII, and IPv6 in "
        "brackets",
    ),
    "number that is no address": (
        http("https://1.2.3.4.5/"),
        "http.url: the host '1.2.3.4.5' looks like an IP address, but is none; write it as "
        "`192.0.2.1` or `[2001:db8::1]`",
    ),
    "private address": (
        http("https://10.0.0.7/"),
        "http.url: 10.0.0.7 is an address of a private network, which may not be reached from "
        "here; only `private: true` in the profile allows it",
    ),
    "this machine": (
        http("http://localhost:8080/x"),
        "http.url: localhost (127.0.0.1) is this machine, which may not be reached from here; "
        "only `private: true` in the profile allows it",
    ),
    "metadata of a cloud": (
        http("http://169.254.169.254/", {"private": True}),
        "http.url: 169.254.169.254 is no address of a machine to speak to, which may not be "
        "reached from here",
    ),
    "host that is not listed": (
        http(request={"hosts": ["b.example"]}),
        "http.url: a.example:443 is none of the hosts that may be reached here: b.example; "
        "add it to `hosts` if it should be",
    ),
    "no host": (
        http(request={"hosts": ["a.example", "*"]}),
        "http.hosts[1]: '*' is no host; write a name (`api.example.com`), all below one "
        "(`*.example.com`) or an address, and `:8080` after it for that port alone",
    ),
    "header that is lmrun's": (
        http(request={"headers": {"Host": "b"}}),
        "http.headers.Host: is set by lmrun itself; leave it out",
    ),
    "two wrong headers": (
        http(request={"headers": {"X-A": "{", "X-B": "ü"}}),
        "http.headers.X-A: a brace stands alone, at character 1; an argument is `{name}`; a brace "
        "itself is written twice\n"
        "http.headers.X-B: holds characters that a header cannot; use ASCII without line ends",
    ),
    "brace in a body": (
        http(request={"method": "POST", "body": {"a": ["x", "}"]}}),
        "http.body.a[1]: a brace stands alone, at character 1; an argument is `{name}`; a brace "
        "itself is written twice",
    ),
    "argument in a name of a body": (
        http(request={"method": "POST", "body": {"{x}": "{x}"}}, parameters=takes("x")),
        'http.body["{x}"]: an argument stands in a name; arguments may be values',
    ),
    "result that is no path": (
        http(request={"result": "a..b"}),
        "http.result: this path cannot be read, from character 2 on; write names and places like "
        "`data.items[0].name`",
    ),
    "piece of a path that may be missing": (
        http(URL + "{x}", parameters=takes("x"), optional=["x"]),
        "optional[0]: is a piece of the path, and cannot be left out; take it out of `optional`",
    ),
    "variables of no process": (
        http(env=["HOME"], limits={}),
        "env: is for tools that run a process; leave it out\n"
        "limits: is for tools that run a process; leave it out",
    ),
}


@pytest.mark.parametrize(("tool", "expected"), WRONG.values(), ids=WRONG)
def test_it_is_said_where_it_stands_and_what_would_be_right(
    tool: dict[str, Any], expected: str
) -> None:
    text = json.dumps({"version": 1, "tools": {"t": tool}})
    problems = find_problems(text)
    assert [f"{it.path}: {it.message}" for it in problems] == [
        f"tools.t.{line}" for line in expected.splitlines()
    ]
    assert all((it.line, it.column > 1) == (1, True) for it in problems)


def test_a_place_is_a_line_and_a_column() -> None:
    text = "version: 1\ntools:\n  t:\n    command:\n    - p\n    - '{x'\n"
    assert show(find_problems(text)).startswith(
        "main.yaml:6:7: tools.t.command[1]: a brace stands alone"
    )


def test_no_message_holds_what_a_reference_stands_for() -> None:
    value = "hunter2 {<>"
    tools = {
        "a": command("p", "${env:S}"),
        "b": http("https://a.example/?token=${env:S}"),
        "c": http("https://me:${env:S}@a.example/"),
        "d": http(request={"headers": {"X-A": "${env:S}"}, "result": "a[${env:S}"}),
        "e": http(request={"method": "POST", "body": {"a": "${env:S}"}}),
        "f": http("https://a.example/?${env:S}"),
    }
    problems = find_problems(json.dumps({"version": 1, "tools": tools}), {"S": value})
    assert {it.path.split(".")[1] for it in problems} == set(tools)
    assert "hunter2" not in "".join(map(str, problems))


RIGHT: dict[str, dict[str, Any]] = {
    "command": command("du", "-sh", "--", "{x}", parameters=takes("x"), optional=["x"]),
    "braces": command("awk", "{{print $1}}"),
    "request": http(URL + "{x}?q={q}", parameters=takes("x", "q"), optional=["q"]),
    "private": http("http://127.0.0.1:8080/{x}", {"private": True}, parameters=takes("x")),
    "IPv6": http("https://[2606:4700::1111]:8443/"),
    "hosts": http(request={"hosts": ["*.example", "b.example:8443", "a.example"]}),
    "whole body": http(request={"method": "PUT", "body": "{x}"}, parameters=takes("x")),
}


@pytest.mark.parametrize("tool", RIGHT.values(), ids=RIGHT)
def test_what_could_be_right_is_no_fault(tool: dict[str, Any]) -> None:
    loaded = load(json.dumps({"version": 1, "tools": {"t": tool}}))
    assert isinstance(loaded.profile.tools["t"], ToolConfig)
