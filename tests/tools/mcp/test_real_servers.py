"""Servers that others have made, as they are published."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lmrun.profile.tooling.mcp import McpServerConfig
from tests.tools.mcp.support import call, hosting, run


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "a.txt").write_text("first\n")
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "a.txt"],
        ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qm", "Begin"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True, timeout=20)
    return folder


def _declare(*arguments: str, allow: list[str]) -> McpServerConfig:
    given = {
        "command": [sys.executable, "-m", *arguments],
        "tools": {"allow": allow},
        "start_timeout": "60s",
        "timeout": "30s",
    }
    return McpServerConfig.model_validate(given)


def test_the_time_is_told_and_converted() -> None:
    async def body() -> None:
        config = _declare("mcp_server_time", "--local-timezone", "UTC", allow=["*"])
        async with hosting({"time": config}) as host:
            names = {it.spec.name for it in await host.tools("time")}
            now = await call(host, "time", "get_current_time", timezone="Europe/Berlin")
            converted = await call(
                host,
                "time",
                "convert_time",
                source_timezone="UTC",
                time="12:00",
                target_timezone="Asia/Tokyo",
            )
            nowhere = await call(host, "time", "get_current_time", timezone="Mars/Olympus")

            assert names == {"time__get_current_time", "time__convert_time"}
            assert re.match(r"\d{4}-\d\d-\d\dT", json.loads(now.text)["datetime"])
            assert "T21:00:00" in json.loads(converted.text)["target"]["datetime"]
            assert nowhere.error == "failed"

    run(body())


def test_a_repository_is_looked_at_and_changed(repository: Path) -> None:
    async def body() -> None:
        allow = ["git_status", "git_log", "git_add", "git_diff_staged", "git_create_branch"]
        config = _declare("mcp_server_git", "--repository", str(repository), allow=allow)
        async with hosting({"git": config}) as host:
            path = str(repository)
            assert {it.spec.path for it in await host.tools("git")} == {
                f"mcp/git/{name}" for name in allow
            }
            assert (
                "nothing to commit" in (await call(host, "git", "git_status", repo_path=path)).text
            )
            assert "Begin" in (await call(host, "git", "git_log", repo_path=path)).text
            (repository / "b.txt").write_text("second\n")
            await call(host, "git", "git_add", repo_path=path, files=["b.txt"])
            staged = await call(host, "git", "git_diff_staged", repo_path=path)
            assert "+second" in staged.text
            await call(host, "git", "git_create_branch", repo_path=path, branch_name="topic")
            elsewhere = await call(host, "git", "git_status", repo_path=str(repository.parent))
            assert elsewhere.error == "failed"

        branches = subprocess.run(
            ["git", "branch", "--format=%(refname:short)"],
            cwd=repository,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        assert branches.stdout.split() == ["main", "topic"]

    run(body())
