"""Consent on a real server: it outlives restarts, holds a locked profile, lies behind the socket
alone; and no caller's key goes on to an MCP server (T2, T3, T4)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import LmrunError
from lmrun.tools.mcp.reports import LoginAsked, LoginDone, McpServerReport
from tests.support.oauth_server import browse, playing_oauth
from tests.support.profiles import write_profile, write_script
from tests.support.server import Server, eventually, serving

COMMAND = [sys.executable, "-P", "-m", "lmrun"]
CHANGING = Path(__file__).parents[1] / "support" / "changing_server.py"
KEY = "sk-caller-0123456789abcdef0123456789abcdef"
KEY_SCOPES = ["inference", "tools"]


def tool(name: str, description: str = "A tool.") -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object"}}


def declare(home: Path, *more: str, **sections: Any) -> Path:
    write_script(home / "a.scripted.json", {"pieces": ["Hello"]})
    command = [sys.executable, str(CHANGING), str(home / "tools.json"), *more]
    servers = {"s": {"command": command, "tools": {"allow": ["*"]}}}
    models = {"a": {"source": "file:./a.scripted.json"}}
    return write_profile(home / "p.yaml", models, mcp_servers=servers, **sections)


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LMRUN_HOME": str(home)}
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def report(server: Server) -> McpServerReport:
    (found,) = server.control.mcp_servers().servers
    return found


def approve(server: Server, name: str) -> None:
    shown = server.control.review_mcp(name)
    shown = server.control.approve_mcp(name, shown.identity.digest, {})
    assert shown.problem is None, shown.problem
    server.control.approve_mcp(name, None, {it.name: it.digest for it in shown.tools})


def standings(server: Server) -> Mapping[str, str]:
    """Of the server and its tools."""
    shown = server.control.review_mcp("s")
    return {"": shown.identity.standing} | {it.name: it.standing for it in shown.tools}


def test_an_apply_says_what_waits_for_approval_and_what_was_agreed_to_outlives_the_server(
    tmp_path: Path,
) -> None:
    (tmp_path / "tools.json").write_text(json.dumps([tool("find")]))
    profile = declare(tmp_path)
    with Server(tmp_path) as server:
        done = run(tmp_path, "apply", str(profile))
        assert done.returncode == 0, done.stderr
        assert "! MCP server s has to be approved: `lmrun mcp approve s`." in done.stderr
        assert report(server).state == "needs_approval"
        assert run(tmp_path, "mcp", "approve", "s", "--yes").returncode == 0
        assert standings(server) == {"": "approved", "find": "approved"}
        assert "approved" not in run(tmp_path, "apply", str(profile)).stderr
    with serving(tmp_path, profile) as server:
        assert standings(server) == {"": "approved", "find": "approved"}
        server.apply(declare(tmp_path, "--evil"))
        eventually(lambda: report(server).state == "needs_approval")
        assert "'--evil'" in (report(server).fault or "")
        assert "'--evil'" in server.log()


def test_a_locked_profile_takes_no_tool_that_was_approved_anew(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps([tool("find")]))
    profile = declare(tmp_path)
    with serving(tmp_path, profile) as server:
        approve(server, "s")
        assert run(tmp_path, "lock", str(profile)).returncode == 0
        assert run(tmp_path, "apply", "--locked", str(profile)).returncode == 0
        (tmp_path / "tools.json").write_text(json.dumps([tool("find", "Another tool.")]))
    with serving(tmp_path, profile) as server:
        assert standings(server) == {"": "approved", "find": "changed"}
        approve(server, "s")
        with pytest.raises(LmrunError, match=r"mcp_servers\.s: approved tool find has sha256"):
            list(server.control.apply(profile, {}, watch=False, locked=True))


def test_nobody_approves_or_logs_in_over_http(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps([tool("find")]))
    with serving(tmp_path, declare(tmp_path)) as server:
        digest = server.control.review_mcp("s").identity.digest
        for method, path, body in (
            ("GET", "/lmrun/v1/mcp", None),
            ("GET", "/lmrun/v1/mcp/s", None),
            ("POST", "/lmrun/v1/mcp/s/approve", {"identity": digest}),
            ("POST", "/lmrun/v1/mcp/s/login", {}),
        ):
            request = urllib.request.Request(
                server.address + path,
                data=None if body is None else json.dumps(body).encode(),
                headers={"Content-Type": "application/json"},
                method=method,
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)
            with closing(refused.value):
                assert refused.value.code == 404
        assert report(server).state == "needs_approval"


def test_the_key_of_a_caller_never_goes_on_to_an_mcp_server(tmp_path: Path) -> None:
    call = json.dumps({"name": "orders__find", "arguments": {"id": "7"}})
    script = write_script(
        tmp_path / "a.scripted.json",
        {"match": "END_TOOL_RESULT", "pieces": ["It is on its way."]},
        {"pieces": [f"[TOOL_REQUEST]{call}[END_TOOL_REQUEST]"]},
    )
    with playing_oauth() as fake:
        offered = {"allow": ["find"], "policy": {"find": "allow"}}
        profile = write_profile(
            tmp_path / "p.yaml",
            {"a": {"source": f"file:{script}"}},
            server={"api_keys": [{"name": "ci", "key": "${env:CI_KEY}", "scopes": KEY_SCOPES}]},
            mcp_servers={"orders": {"url": fake.url, "oauth": {}, "tools": offered}},
            agents={"helper": {"model": "a", "tools": ["mcp/orders/*"]}},
        )
        with serving(tmp_path, profile, CI_KEY=KEY) as server:
            log_in(server)
            approve(server, "orders")
            answer = ask(server.address, "Where is 7?")
        assert answer == "It is on its way."
        (called,) = (it for it in fake.asked if it.fields.get("method") == "tools/call")
        assert called.fields["params"]["name"] == "find"
        assert called.headers["authorization"].removeprefix("Bearer ") in fake.good
        assert KEY not in json.dumps([(it.path, it.headers, it.fields) for it in fake.asked])


def log_in(server: Server) -> None:
    with closing(server.control.log_in_mcp("orders")) as events:
        for event in events:
            if isinstance(event, LoginDone):
                return
            assert isinstance(event, LoginAsked)
            threading.Thread(target=browse, args=(event.url,)).start()


def ask(address: str, prompt: str) -> str:
    body = {"model": "helper", "messages": [{"role": "user", "content": prompt}]}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])
