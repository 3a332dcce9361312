"""Secrets of tools on a real server: it uses what references stand for, and neither shows nor keeps
it; and a script that was changed after its approval is not run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.profiles import write_profile, write_script
from tests.support.server import Server, eventually, is_alive

CHANGING = Path(__file__).parents[1] / "support" / "changing_server.py"
SECRETS = {name: f"hunter2-{name}-Tr0ub4dor" for name in ("command", "url", "file", "header")}
TOOL = {"name": "find", "description": "A tool.", "inputSchema": {"type": "object"}}


def declare(home: Path) -> Path:
    write_script(home / "a.scripted.json", {"pieces": ["Hello"]})
    (home / "tools.json").write_text(json.dumps([TOOL]))
    shutil.copy(CHANGING, home / "serve.py")
    for name in ("file", "header"):
        (home / name).write_text(SECRETS[name])
        (home / name).chmod(0o600)
    servers: dict[str, Any] = {
        "near": {
            "command": [
                *(sys.executable, "serve.py", "tools.json", "started"),
                "--token=${env:COMMAND}",
            ],
            "env": {"TOKEN": "${file:file}"},
            "tools": {"allow": ["*"]},
        },
        "far": {
            "url": "https://127.0.0.1:9/?token=${env:URL}",
            "headers": {"Authorization": "Bearer ${file:header}"},
            "tools": {"allow": ["*"]},
        },
    }
    tools = {
        "ask": {
            "http": {
                "url": "https://a.example/?token=${env:URL}",
                "headers": {"Authorization": "Bearer ${file:header}"},
            }
        }
    }
    models = {"a": {"source": "file:./a.scripted.json"}}
    return write_profile(home / "p.yaml", models, mcp_servers=servers, tools=tools)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    environment = {"COMMAND": SECRETS["command"], "URL": SECRETS["url"]}
    profile = declare(tmp_path)
    with Server(tmp_path, environment=environment) as running:
        assert running.apply(profile, **environment).converged
        yield running


def approve(server: Server, name: str) -> list[str]:
    """All of it; the lines that were shown of the server."""
    shown = server.control.review_mcp(name)
    lines = list(shown.identity.lines)
    shown = server.control.approve_mcp(name, shown.identity.digest, {})
    if shown.problem is None:
        server.control.approve_mcp(name, None, {it.name: it.digest for it in shown.tools})
    return lines


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_what_references_stand_for_is_shown_and_kept_nowhere(server: Server) -> None:
    near, far = approve(server, "near"), approve(server, "far")
    assert any("'--token=${env:COMMAND}'" in line for line in near)
    assert "url: https://127.0.0.1:9/?token=${env:URL}" in far
    reports = {it.name: it for it in server.control.mcp_servers().servers}
    assert reports["near"].state == "ready"
    pid = int((server.home.root / "started").read_text().split()[-1])
    seen = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert SECRETS["command"].encode() in seen and SECRETS["file"].encode() in seen

    shown = [str(near), str(far), repr(reports), repr(server.status), server.log()]
    shown += [msgspec.json.encode(server.control.review_mcp(it)).decode() for it in reports]
    assert not [it for it in SECRETS.values() if it in "".join(shown)]
    own = {server.home.root / name for name in ("file", "header")}
    for file in server.home.root.rglob("*"):
        if file.is_file() and file not in own:
            content = file.read_bytes()
            assert not [it for it in SECRETS.values() if it.encode() in content], file


def test_a_script_that_was_changed_since_its_approval_is_not_run(server: Server) -> None:
    approve(server, "near")
    started = server.home.root / "started"
    (first,) = started.read_text().split()
    script = server.home.root / "serve.py"
    script.write_text(script.read_text() + "\n# changed\n")
    os.kill(int(first), signal.SIGKILL)
    eventually(lambda: not is_alive(int(first)))

    report = eventually(
        lambda: next(
            (
                it
                for it in server.control.mcp_servers().servers
                if (it.name, it.state) == ("near", "needs_approval")
            ),
            None,
        )
    )
    assert "the script serve.py has sha256" in (report.fault or "")
    assert started.read_text().split() == [first]
    approve(server, "near")
    eventually(lambda: len(started.read_text().split()) == 2)
