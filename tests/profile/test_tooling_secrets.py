"""Secrets of tools and MCP servers: written down they are refused, by reference they are kept and
shown nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import ProfileInvalid
from lmrun.profile.loader import load_profile
from lmrun.profile.tooling.imported import convert
from lmrun.profile.tooling.section import read_tooling
from tests.profile.support import find_problems, load

VALUE = "hunter2-Tr0ub4dor"
FAULT = "looks like a secret, which must not stand in a profile; write a reference, ${env:NAME} or "


def server(**fields: Any) -> str:
    return json.dumps({"version": 1, "mcp_servers": {"x": fields}})


def tool(**fields: Any) -> str:
    parameters = {"a": {"type": "string"}} if "{a}" in json.dumps(fields) else {}
    return json.dumps({"version": 1, "tools": {"x": {**fields, "parameters": parameters}}})


SECRET_ELEMENTS = [
    f"--token={VALUE}",
    f"-token={VALUE}",
    f"--api-key={VALUE}",
    f"--apiKey={VALUE}",
    f"--openai-api-key={VALUE}",
    f"GITHUB_PERSONAL_ACCESS_TOKEN={VALUE}",
    f"DB_PASSWORD={VALUE}",
    f"--passphrase={VALUE}",
    f"Authorization: Bearer {VALUE}",
    f"authorization:{VALUE}",
    f"X-Api-Key: {VALUE}",
    f"postgres://me:{VALUE}@db.example.com/x",
    f"--dsn=postgres://me:{VALUE}@db.example.com/x",
    f"https://mcp.example.com/sse?a=1&token={VALUE}",
    f"https://mcp.example.com/sse?key={VALUE}#x",
]


@pytest.mark.parametrize("element", SECRET_ELEMENTS)
def test_a_secret_in_a_command_line_is_refused_where_it_stands(element: str) -> None:
    for section, text in (
        ("mcp_servers", server(command=["x", "-a", element])),
        ("tools", tool(command=["x", "-a", element])),
    ):
        (problem,) = find_problems(text)
        assert problem.path == f"{section}.x.command[2]"
        assert problem.message == FAULT + "${file:path}"
        assert VALUE not in str(problem)


@pytest.mark.parametrize("element", SECRET_ELEMENTS)
def test_what_is_imported_with_such_a_secret_gets_a_reference(element: str) -> None:
    imported = convert({"mcpServers": {"x": {"command": "x", "args": ["-a", element]}}})
    text = json.dumps({"version": 1, "mcp_servers": imported.servers})
    assert VALUE not in text
    (variable,) = imported.variables
    loaded = load(text, {variable: VALUE})
    assert loaded.profile.mcp_servers["x"].command == ("x", "-a", element)


@pytest.mark.parametrize(
    "option", ["--token", "-password", "--db.password", "--secret", "--apikey"]
)
def test_a_secret_behind_its_option_is_refused(option: str) -> None:
    (problem,) = find_problems(server(command=["x", option, VALUE]))
    assert (problem.path, problem.line) == ("mcp_servers.x.command[2]", 1)
    assert find_problems(server(command=["x", option, "${env:T}"]), {"T": VALUE}) == ()
    assert find_problems(server(command=["x", option, "--other", "y"])) == ()


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{VALUE}@mcp.example.com/",
        f"https://mcp.example.com/?token={VALUE}",
        f"https://mcp.example.com/?a&api%5Fkey={VALUE}",
        f"https://mcp.example.com/x?key={VALUE}",
    ],
)
def test_a_secret_in_a_url_is_refused(url: str) -> None:
    assert "mcp_servers.x.url" in [it.path for it in find_problems(server(url=url))]
    found = find_problems(tool(http={"url": url}))
    assert "tools.x.http.url" in [it.path for it in found]
    assert VALUE not in "".join(map(str, found))


@pytest.mark.parametrize(
    "element",
    [
        "--token-file=x.txt",
        "--token=/run/secrets/token",
        "--secret=./here",
        "--max-tokens=4096",
        "--sort-key=date",
        "--keyboard=us",
        "--token=${env:T}",
        "--token=a-${env:T}",
        "--password=",
        "--use-token=true",
        "postgres://me:${env:T}@db/x",
        "postgres://me@db/x",
        "https://mcp.example.com/?token=${env:T}&page=abcdefgh",
        "monkey: business",
        "SELECT token, secret FROM t WHERE a=b",
        "C:\\token",
        "token",
    ],
)
def test_what_is_no_secret_or_a_reference_may_stand_there(element: str) -> None:
    assert find_problems(server(command=["x", element]), {"T": VALUE}) == ()


def test_the_argument_of_a_tool_is_no_secret() -> None:
    assert find_problems(tool(command=["x", "--token={a}"])) == ()
    assert find_problems(tool(command=["x", "--token", "{a}"])) == ()
    assert find_problems(tool(http={"url": "https://e.com/?token={a}"})) == ()


REFERENCES: dict[str, Any] = {
    "tools": {
        "ask": {
            "http": {
                "method": "POST",
                "url": "https://api.example.com/x?token=${file:key}",
                "headers": {"Authorization": "Bearer ${file:key}"},
                "body": {"keys": ["${file:key}", {"deep": "${file:key}"}]},
            }
        },
        "say": {"command": ["echo", "--token=${file:key}"]},
    },
    "mcp_servers": {
        "near": {"command": ["near", "${file:key}"], "env": {"T": "${file:key}"}},
        "far": {
            "url": "https://mcp.example.com/?token=${file:key}",
            "headers": {"Authorization": "Bearer ${file:key}"},
        },
    },
    "presets": {"p": {"system_prompt": "${file:prompt.txt}"}},
}


def test_what_a_file_says_there_is_used_and_kept_with_no_profile(tmp_path: Path) -> None:
    write(tmp_path, REFERENCES)
    loaded = load_profile(tmp_path / "p.yaml", {})
    tools, servers = loaded.profile.tools, loaded.profile.mcp_servers
    assert tools["ask"].http is not None
    assert tools["ask"].http.headers == {"Authorization": f"Bearer {VALUE}"}
    assert tools["ask"].http.body == {"keys": [VALUE, {"deep": VALUE}]}
    assert tools["say"].command == ("echo", f"--token={VALUE}")
    assert servers["near"].env["T"].reveal() == VALUE
    assert servers["far"].url == f"https://mcp.example.com/?token={VALUE}"
    assert [it.path.name for it in loaded.texts] == ["p.yaml", "prompt.txt"]
    assert VALUE not in repr(loaded.texts) + repr(read_tooling(loaded).written)


@pytest.mark.parametrize("place", ["http", "command", "env", "url", "headers"])
def test_such_a_file_is_its_owner_s_alone(tmp_path: Path, place: str) -> None:
    fields: dict[str, Any] = {
        "http": {"tools": {"ask": REFERENCES["tools"]["ask"]}},
        "command": {"tools": {"say": REFERENCES["tools"]["say"]}},
        "env": {"mcp_servers": {"near": {"command": ["near"], "env": {"T": "${file:key}"}}}},
        "url": {"mcp_servers": {"far": {"url": "https://e.com/?token=${file:key}"}}},
        "headers": {
            "mcp_servers": {"far": {"url": "https://e.com", "headers": {"A": "${file:key}"}}}
        },
    }
    write(tmp_path, fields[place])
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(ProfileInvalid, match="others may read this file") as caught:
        load_profile(tmp_path / "p.yaml", {})
    assert VALUE not in str(caught.value)


def write(folder: Path, content: dict[str, Any]) -> None:
    (folder / "p.yaml").write_text(json.dumps({"version": 1, **content}))
    (folder / "prompt.txt").write_text("Be brief.")
    (folder / "key").write_text(f"{VALUE}\n")
    (folder / "key").chmod(0o600)
