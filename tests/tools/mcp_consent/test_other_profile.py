"""What was agreed to for one profile is not agreed to for another (T2): a real server that runs."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from lmrun.profile.loader import load_profile
from lmrun.profile.tooling.section import Tooling, read_tooling
from lmrun.reconcile.differences import compare_tooling
from tests.support.mcp_desk import Served, serving_desk
from tests.support.server import eventually, is_alive

SERVER = Path(__file__).parents[2] / "support" / "changing_server.py"


def test_a_server_that_runs_ends_where_another_profile_declares_it_the_same(
    tmp_path: Path,
) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps([{"name": "find", "inputSchema": {"type": "object"}}]))
    command = [sys.executable, str(SERVER), str(tools), str(tmp_path / "started")]
    server = {"command": command, "tools": {"allow": ["*"]}}
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    for profile in (first, second):
        profile.write_text(json.dumps({"version": 1, "mcp_servers": {"s": server}}))
    with (
        tempfile.TemporaryDirectory(prefix="lmrun-", dir="/tmp") as home,
        serving_desk(Path(home), first, dict(os.environ)) as served,
    ):
        served.approve("s")
        assert served.offered("s") == ["s__find"]
        pid = _report(served)[1]
        assert pid is not None

        served.apply(second)
        eventually(lambda: _report(served)[0] == "needs_approval")
        eventually(lambda: not is_alive(pid))
        assert served.offered("s") == []

        served.apply(first)
        assert _report(served)[0] == "stopped"
        assert served.offered("s") == ["s__find"], "what was agreed to for it still counts"


def test_the_same_tools_in_another_profile_are_a_change_of_their_mcp_servers(
    tmp_path: Path,
) -> None:
    def read(file: str, **sections: Any) -> Tooling:
        path = tmp_path / file
        path.write_text(json.dumps({"version": 1, **sections}))
        return read_tooling(load_profile(path, {}))

    servers = {"s": {"command": ["serve"], "tools": {"allow": ["*"]}}}
    first, second = (read(file, mcp_servers=servers) for file in ("first.yaml", "second.yaml"))
    assert first != second
    (change,) = (it.change for it in compare_tooling(first, second))
    assert change.field == "mcp_servers"
    assert (change.old, change.new) == (f"of {tmp_path}/first.yaml", f"of {tmp_path}/second.yaml")

    tools = {"add": {"command": ["add"]}}
    assert read("first.yaml", tools=tools) == read("second.yaml", tools=tools)


def _report(served: Served) -> tuple[str, int | None]:
    async def look() -> tuple[str, int | None]:
        status = served.host.statuses()["s"]
        return status.state, status.pid

    return served.run(look())
