"""What a plan shows of tools whose settings name secrets: the references, never the values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmrun.profile.loader import load_profile
from lmrun.profile.tooling.section import Tooling, read_tooling
from lmrun.reconcile.differences import compare_tooling

SECRET, OTHER = "5ecret-5ecret-5ecret", "0ther-0ther-0ther"

TOOLS: dict[str, Any] = {
    "tools": {
        "ask": {
            "http": {
                "method": "POST",
                "url": "https://api.example.com/x?key=${env:TOKEN}",
                "headers": {"Authorization": "Bearer ${env:TOKEN}"},
                "body": {"keys": ["${env:TOKEN}"]},
            },
            "policy": "allow",
        },
        "say": {"command": ["echo", "--token=${env:TOKEN}"]},
    },
    "mcp_servers": {
        "near": {"command": ["near", "${env:TOKEN}"], "env": {"T": "${env:TOKEN}"}},
        "far": {
            "url": "https://mcp.example.com/?k=${env:TOKEN}",
            "headers": {"Authorization": "Bearer ${env:TOKEN}"},
        },
    },
    "policy": {"rules": [{"tools": ["say"], "decision": "deny", "reason": "${env:TOKEN}"}]},
}


def read(folder: Path, content: dict[str, Any], token: str = SECRET) -> Tooling:
    file = folder / "p.yaml"
    file.write_text(json.dumps({"version": 1, **content}))
    return read_tooling(load_profile(file, {"TOKEN": token}))


def show(before: Tooling, after: Tooling) -> str:
    changes = [it.change for it in compare_tooling(before, after)]
    return "\n".join(f"{it.field}: {it.old} → {it.new}" for it in changes)


def test_what_comes_and_goes_is_shown_by_its_references(tmp_path: Path) -> None:
    with_tools = read(tmp_path, TOOLS)
    for shown in (show(Tooling(), with_tools), show(with_tools, Tooling())):
        assert SECRET not in shown
        assert "Bearer ${env:TOKEN}" in shown
        assert "?key=${env:TOKEN}" in shown
        assert "--token=${env:TOKEN}" in shown
        assert "near: " in shown and "policy.rules" in shown


def test_a_secret_that_changed_is_said_to_have_changed_and_not_shown(tmp_path: Path) -> None:
    shown = show(read(tmp_path, TOOLS), read(tmp_path, TOOLS, OTHER))
    assert SECRET not in shown and OTHER not in shown
    for path in (
        "tools.ask.http.url",
        "tools.ask.http.headers",
        "tools.ask.http.body",
        "tools.say.command",
        "mcp_servers.near.command",
        "mcp_servers.far.url",
        "policy.rules",
    ):
        line = next(it for it in shown.splitlines() if it.startswith(f"{path}: "))
        assert line.endswith("(a secret in it changed)"), line


def test_another_way_to_write_the_same_value_is_no_change(tmp_path: Path) -> None:
    tool = {"command": ["echo", "${env:TOKEN}"]}
    plain = {"command": ["echo", SECRET]}
    before = read(tmp_path, {"tools": {"say": tool}})
    assert before == read(tmp_path, {"tools": {"say": plain}})
