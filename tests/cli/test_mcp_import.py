"""`lmrun mcp import`: other programs' servers as a profile has them, and no secret on the way."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.profile.loader import load_profile
from lmrun.profile.text.strict_yaml import parse_yaml
from lmrun.profile.tooling.imported import ImportRefused, convert
from lmrun.profile.writing.edit import to_data
from lmrun.profile.writing.sections import write_section
from tests.cli.conftest import Run

CLAUDE = {
    "mcpServers": {
        "filesystem": {
            "command": "npx",
            "args": ["-y", "@modelcontextprotocol/server-filesystem", "/Users/me/Desktop"],
        },
        "github": {
            "command": "npx",
            "args": ["-y", "@modelcontextprotocol/server-github"],
            "env": {"GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_0123456789abcdefghij", "LOG": "debug"},
        },
    }
}
LM_STUDIO = {
    "mcpServers": {
        "hf-mcp-server": {
            "url": "https://huggingface.co/mcp",
            "headers": {"Authorization": "Bearer hf_0123456789abcdef"},
        }
    }
}


def write(folder: Path, content: Any) -> Path:
    file = folder / "mcp.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_what_claude_has_becomes_a_profile(lmrun: Run, tmp_path: Path) -> None:
    done = lmrun("mcp", "import", write(tmp_path, CLAUDE))
    assert done.code == 0, done.err
    assert done.out == (
        "mcp_servers:\n"
        '  filesystem: {command: [npx, "-y", "@modelcontextprotocol/server-filesystem",'
        ' /Users/me/Desktop], tools: {allow: ["*"]}}\n'
        '  github: {command: [npx, "-y", "@modelcontextprotocol/server-github"],'
        ' env: {GITHUB_PERSONAL_ACCESS_TOKEN: "${env:GITHUB_PERSONAL_ACCESS_TOKEN}", LOG: debug},'
        ' tools: {allow: ["*"]}}\n'
    )
    assert "GITHUB_PERSONAL_ACCESS_TOKEN: set it for github; it is not set here." in done.err
    assert "ghp_" not in done.out + done.err


def test_what_lm_studio_has_becomes_a_profile(lmrun: Run, tmp_path: Path) -> None:
    done = lmrun("mcp", "import", write(tmp_path, LM_STUDIO))
    assert 'Authorization: "Bearer ${env:HF_MCP_SERVER_TOKEN}"' in done.out
    assert "HF_MCP_SERVER_TOKEN: set it for hf-mcp-server" in done.err
    assert "hf_0123456789abcdef" not in done.out + done.err


@pytest.mark.parametrize("content", [CLAUDE, LM_STUDIO])
def test_what_is_shown_is_a_valid_profile(lmrun: Run, tmp_path: Path, content: Any) -> None:
    shown = lmrun("mcp", "import", write(tmp_path, content)).out
    profile = tmp_path / "p.yaml"
    profile.write_text(f"version: 1\n{shown}")
    names = dict.fromkeys(re.findall(r"\$\{env:([A-Z_]+)\}", shown), "x")
    servers = load_profile(profile, names).profile.mcp_servers
    assert list(servers) == list(content["mcpServers"])
    assert {server.policy for server in servers.values()} == {"ask"}


@pytest.mark.parametrize(
    ("entry", "secret", "becomes"),
    [
        ({"command": "x", "env": {"API_KEY": "k1"}}, "k1", {"env": {"API_KEY": "${env:API_KEY}"}}),
        (
            {"command": "x", "env": {"SETTING": "sk-abcdefgh1234"}},
            "sk-abcdefgh1234",
            {"env": {"SETTING": "${env:SETTING}"}},
        ),
        (
            {"command": "x", "args": ["--api-key=k1", "--token", "t1", "--verbose"]},
            "k1",
            {
                "command": [
                    "x",
                    "--api-key=${env:S_API_KEY}",
                    "--token",
                    "${env:S_TOKEN}",
                    "--verbose",
                ]
            },
        ),
        (
            {"command": "x", "args": ["0123456789abcdef0123456789abcdef"]},
            "0123456789abcdef",
            {"command": ["x", "${env:S_SECRET}"]},
        ),
        (
            {"url": "https://a.example/mcp?key=k1&page=2"},
            "k1",
            {"url": "https://a.example/mcp?key=${env:S_KEY}&page=2"},
        ),
        (
            {"url": "https://a.example/mcp", "headers": {"X-Api-Key": "k1", "X-Page": "2"}},
            "k1",
            {"headers": {"X-Api-Key": "${env:S_X_API_KEY}", "X-Page": "2"}},
        ),
    ],
)
def test_secrets_become_references(entry: Any, secret: str, becomes: dict[str, Any]) -> None:
    imported = convert({"mcpServers": {"s": entry}})
    server = imported.servers["s"]
    assert {name: server[name] for name in becomes} == becomes
    assert secret not in json.dumps([server, imported.variables, imported.notes])
    assert imported.variables


@pytest.mark.parametrize(
    ("text", "becomes", "variables"),
    [
        ("${TOKEN}", "${env:TOKEN}", ["TOKEN"]),
        ("${env:TOKEN}", "${env:TOKEN}", ["TOKEN"]),
        ("${input:api-key}", "${env:api_key}", ["api_key"]),
        ("${LEVEL:-info}", "${env:LEVEL:-info}", []),
        ("a ${ b", "a $${ b", []),
        ("plain", "plain", []),
    ],
)
def test_references_of_other_programs_are_translated(
    text: str, becomes: str, variables: list[str]
) -> None:
    imported = convert({"mcpServers": {"s": {"command": "x", "env": {"VALUE": text}}}})
    assert imported.servers["s"]["env"] == {"VALUE": becomes}
    assert list(imported.variables) == variables


def test_two_servers_with_other_values_get_variables_of_their_own() -> None:
    one = {"command": "x", "env": {"API_KEY": "1"}}
    imported = convert(
        {"mcpServers": {"a": one, "b": one, "c": {"command": "x", "env": {"API_KEY": "2"}}}}
    )
    used = [server["env"]["API_KEY"] for server in imported.servers.values()]
    assert used == ["${env:API_KEY}", "${env:API_KEY}", "${env:C_API_KEY}"]


def test_what_is_left_out_or_renamed_is_said(lmrun: Run, tmp_path: Path) -> None:
    content = {
        "mcpServers": {
            "My Server!": {"command": "x", "autoApprove": ["*"], "timeout": 5},
            "off": {"command": "x", "disabled": True},
            "old": {"type": "sse", "url": "https://a.example/sse"},
        }
    }
    done = lmrun("mcp", "import", write(tmp_path, content))
    assert "! My Server!: is called My-Server here" in done.err
    assert "! My-Server: not taken over: autoApprove, timeout" in done.err
    assert "! off: is switched off there, and was left out" in done.err
    assert "transport: sse" in done.out
    assert "off:" not in done.out


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "there is no `mcpServers` in it"),
        ({"mcpServers": []}, "there is no `mcpServers` in it"),
        ({"mcpServers": {"s": 1}}, "s: is no object"),
        ({"mcpServers": {"s": {}}}, "s: has neither a `command` nor a `url`"),
        ({"mcpServers": {"s": {"command": "x", "args": "y"}}}, "s: `args` is no list"),
        ({"mcpServers": {"s": {"command": 5}}}, "s: `command` holds something that is no text"),
        ({"mcpServers": {"s": {"command": "a\0b"}}}, "a character that no profile can hold"),
        ({"mcpServers": {"s": {"url": "ftp://x"}}}, "s: url: "),
        ({"mcpServers": {"s": {"url": "https://a:b@c/"}}}, "s: its `url` holds a user name"),
        ({"mcpServers": {"s": {"url": "https://c/", "type": "ws"}}}, "s: 'ws' is no transport"),
        ({"mcpServers": {"s": {"command": "x", "env": {"A-B": "y"}}}}, "s: env.A-B"),
    ],
)
def test_what_cannot_be_understood_is_refused(content: Any, told: str) -> None:
    with pytest.raises(ImportRefused) as refused:
        convert(content)
    assert told in str(refused.value)


def test_every_problem_is_said_at_once() -> None:
    with pytest.raises(ImportRefused) as refused:
        convert({"mcpServers": {"a": 1, "b": {}, "c": {"command": "fine"}}})
    assert str(refused.value).count("\n") == 1


@pytest.mark.parametrize("content", ["{", "[" * 100_000, b"\xff".decode("latin-1")])
def test_what_is_no_json_is_an_error_and_no_bug(lmrun: Run, tmp_path: Path, content: str) -> None:
    done = lmrun("mcp", "import", write(tmp_path, content))
    assert done.code == 1
    assert "is no JSON" in done.err
    assert lmrun("mcp", "import", tmp_path / "missing.json").code == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = ["command", "args", "env", "cwd", "url", "headers", "type", "transport", "disabled", "x"]
TEXTS = st.text(max_size=12) | st.sampled_from(["x", "https://a.example/?key=k", "${A}", "--k=v"])
GOOD = st.fixed_dictionaries(
    {"command": TEXTS},
    optional={"args": st.lists(TEXTS), "env": st.dictionaries(st.just("KEY"), TEXTS)},
) | st.fixed_dictionaries(
    {"url": TEXTS}, optional={"headers": st.dictionaries(st.just("Authorization"), TEXTS)}
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=40), GOOD | JSON | st.dictionaries(st.sampled_from(FIELDS), JSON)
    )
)
def test_whatever_is_in_it_becomes_servers_or_a_refusal(section: Any) -> None:
    try:
        imported = convert({"mcpServers": section})
    except ImportRefused:
        return
    assert len(imported.servers) <= len(section)
    text = write_section("mcp_servers", imported.servers)
    read = parse_yaml(text, "p.yaml")
    assert not read.problems and read.root is not None
    assert to_data(read.root) == {"mcp_servers": imported.servers or None}


BEFORE = """# Mine.
version: 1
models:
  m: {source: file:m.gguf}   # small
"""


@pytest.mark.parametrize(
    "text",
    [
        BEFORE,
        BEFORE + "mcp_servers:\n  time: {command: [uvx, mcp-server-time]}\n",
        BEFORE + "mcp_servers: {time: {command: [uvx, mcp-server-time]}}  # flow\n",
        BEFORE.rstrip("\n"),
    ],
)
def test_servers_are_added_to_a_profile_and_nothing_else_of_it_changes(
    lmrun: Run, tmp_path: Path, text: str
) -> None:
    profile = tmp_path / "p.yaml"
    profile.write_text(text)
    profile.chmod(0o640)
    before = load_profile(profile, {}).profile
    done = lmrun("mcp", "import", write(tmp_path, CLAUDE), "--write", profile)
    assert done.code == 0, done.err
    assert "Added 2 servers to" in done.out
    after = load_profile(profile, {"GITHUB_PERSONAL_ACCESS_TOKEN": "x"}).profile
    assert list(after.mcp_servers) == [*before.mcp_servers, "filesystem", "github"]
    assert after.models == before.models
    assert profile.read_text().startswith(BEFORE.rstrip("\n"))
    assert stat.S_IMODE(profile.stat().st_mode) == 0o640


def test_a_server_that_is_there_already_is_left_alone(lmrun: Run, tmp_path: Path) -> None:
    profile = tmp_path / "p.yaml"
    text = f"{BEFORE}mcp_servers:\n  github: {{url: 'https://a.example/'}}\n"
    profile.write_text(text)
    done = lmrun("mcp", "import", write(tmp_path, CLAUDE), "--write", profile)
    assert done.code == 1
    assert "`mcp_servers.github` is there already" in done.err
    assert profile.read_text() == text
