"""What was approved of MCP servers is part of the lock file; what is not so here is named (T3)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import LockMismatch
from lmrun.profile.loader import load_profile
from lmrun.reconcile.pinning import open_catalog, require_locked
from lmrun.store.home import Home
from lmrun.tools.mcp.pins.locking import open_pinner
from tests.cli.conftest import Run
from tests.support.mcp_desk import Served, serving_desk

SERVER = Path(__file__).parents[1] / "support" / "changing_server.py"


def tool(name: str, description: str = "A tool.") -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object"}}


def declare(folder: Path, *more: str, allow: str = "*") -> Path:
    command = [sys.executable, str(SERVER), str(folder / "tools.json"), *more]
    server = {"command": command, "tools": {"allow": [allow]}}
    profile = folder / "p.yaml"
    profile.write_text(json.dumps({"version": 1, "mcp_servers": {"s": server}}))
    return profile


def say(folder: Path, *tools: dict[str, Any]) -> None:
    (folder / "tools.json").write_text(json.dumps(tools))


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    say(tmp_path, tool("find"), tool("send"))
    return declare(tmp_path)


@pytest.fixture
def served(home: Path, profile: Path) -> Iterator[Served]:
    with serving_desk(home, profile, dict(os.environ)) as served:
        yield served


def require(profile: Path, home: Path) -> None:
    """What `apply --locked` asks for."""
    with open_pinner(Home(home), os.environ) as pinner:
        loaded = load_profile(profile, {})
        catalog = open_catalog(Home(home))
        asyncio.run(require_locked(loaded, catalog, pin_servers=pinner.pin_present))


def test_what_nobody_approved_cannot_be_locked(lmrun: Run, profile: Path, home: Path) -> None:
    done = lmrun("lock", profile)
    assert done.code == 1
    assert "MCP server 's' has not been approved" in done.err
    assert "`lmrun mcp approve s`" in done.err
    assert not profile.with_name("p.yaml.lock").exists()
    assert not Home(home).mcp_pins.exists(), "looking leaves nothing behind"


def test_what_was_approved_is_locked_without_a_server(
    lmrun: Run, profile: Path, home: Path
) -> None:
    with serving_desk(home, profile, dict(os.environ)) as served:
        served.approve("s")
    done = lmrun("lock", profile)
    assert done.code == 0, done.err
    assert "1 MCP server (2 tools)" in done.out
    locked = json.loads(profile.with_name("p.yaml.lock").read_text())["mcp_servers"]["s"]
    assert len(locked["identity"]) == 64
    assert {name: len(digest) for name, digest in locked["tools"].items()} == {
        "find": 64,
        "send": 64,
    }
    assert lmrun("verify", profile).code == 0
    require(profile, home)


def test_a_command_that_is_another_one_is_named(
    lmrun: Run, served: Served, profile: Path, home: Path, tmp_path: Path
) -> None:
    served.approve("s")
    lmrun("lock", profile)
    declare(tmp_path, "--more")
    done = lmrun("verify", profile)
    assert done.code == 1
    assert "! mcp_servers.s: what is started has sha256 " in done.out
    with pytest.raises(LockMismatch, match=r"mcp_servers\.s: what is started"):
        require(profile, home)
    assert "is not what was approved" in lmrun("lock", profile).err


def test_a_tool_that_somebody_approved_anew_is_named(
    lmrun: Run, served: Served, profile: Path, home: Path, tmp_path: Path
) -> None:
    served.approve("s")
    lmrun("lock", profile)
    say(tmp_path, tool("find", "Other."), tool("send"), tool("delete"))
    served.call("s", "send")
    assert lmrun("mcp", "approve", "s", "--yes").code == 0
    done = lmrun("verify", profile)
    assert done.code == 1
    assert "! mcp_servers.s: approved tool find has sha256 " in done.out
    assert "! mcp_servers.s: approved tool delete has sha256 " in done.out
    assert "tool send" not in done.out
    with pytest.raises(LockMismatch, match="approved tool find"):
        require(profile, home)


def test_where_nobody_has_approved_anything_yet_the_lock_holds(
    lmrun: Run, served: Served, profile: Path, tmp_path: Path
) -> None:
    """Else no new machine could ever apply a locked profile; nothing is used before consent."""
    served.approve("s")
    lmrun("lock", profile)
    require(profile, tmp_path / "other")


def test_a_new_machine_can_agree_to_just_what_is_locked(
    lmrun: Run, served: Served, profile: Path, home: Path, tmp_path: Path
) -> None:
    served.approve("s")
    lmrun("lock", profile)
    with (
        serving_desk(home / "new", profile, dict(os.environ)) as new,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("LMRUN_HOME", str(home / "new"))
        assert "lock file" not in lmrun("mcp", "approve", "s").out
        assert lmrun("mcp", "approve", "s", "--locked").code == 0
        assert new.offered("s") == ["s__find", "s__send"]


def test_what_is_not_locked_is_not_agreed_to_by_locked(
    lmrun: Run, served: Served, profile: Path, tmp_path: Path
) -> None:
    assert lmrun("mcp", "approve", "s", "--locked").code == 1, "there is no lock file"
    served.approve("s")
    lmrun("lock", profile)
    say(tmp_path, tool("find", "Other."), tool("send"))
    served.call("s", "send")
    done = lmrun("mcp", "approve", "s", "--locked")
    assert done.code == 1
    assert "! The lock file beside the profile does not pin this." in done.out
    assert "This is not what the lock file pins; nothing was approved." in done.err
    assert served.offered("s") == ["s__send"]
    both = lmrun("mcp", "approve", "s", "--locked", "--yes")
    assert both.code == 2


def test_servers_that_came_or_went_are_named(
    lmrun: Run, served: Served, profile: Path, tmp_path: Path
) -> None:
    served.approve("s")
    lmrun("lock", profile)
    declared = json.loads(profile.read_text())
    declared["mcp_servers"] = {"other": {"url": "https://mcp.example.com/mcp"}}
    profile.write_text(json.dumps(declared))
    out = lmrun("verify", profile).out
    assert "! mcp_servers.s: locked, not in the profile" in out
    assert "! mcp_servers.other: not in the lock file" in out


def test_a_tool_that_the_profile_does_not_offer_is_not_locked(
    lmrun: Run, served: Served, profile: Path, tmp_path: Path
) -> None:
    served.approve("s")
    declare(tmp_path, allow="find")
    assert "1 MCP server (1 tool)" in lmrun("lock", profile).out


def test_a_program_that_is_not_here_is_said(
    lmrun: Run, served: Served, profile: Path, tmp_path: Path
) -> None:
    served.approve("s")
    lmrun("lock", profile)
    profile.write_text("version: 1\nmcp_servers: {s: {command: [no-such-program]}}\n")
    assert "! mcp_servers.s: its program is not here" in lmrun("verify", profile).out
    assert "no program 'no-such-program'" in lmrun("lock", profile).err
