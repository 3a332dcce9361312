"""A server that is killed in the midst of a run: the next one ends the run, with every call made as
often as its tool bears."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.support.crashing import Crasher
from tests.support.profiles import posting, write_profile, write_script
from tests.support.server import Server, eventually, is_alive

ACT = "/lmrun/v1/act"

FUNCTIONS = '''
from pathlib import Path


def again(call: str) -> str:
    """May be called twice."""
    with open(Path(__file__).parent / "counted", "a") as file:
        file.write(f"again {call}\\n")
    return f"again {call} is done"


def once(call: str) -> str:
    """May not."""
    with open(Path(__file__).parent / "counted", "a") as file:
        file.write(f"once {call}\\n")
    return f"once {call} is done"
'''


def make_call(tool: str, call: str) -> str:
    wanted = json.dumps({"name": tool, "arguments": {"call": call}})
    return f"[TOOL_REQUEST]{wanted}[END_TOOL_REQUEST]"


def write_all(folder: Path, tools: Sequence[str]) -> Path:
    """A model that calls `tools`, one after the other, and then says so."""
    (folder / "crash_tools.py").write_text(FUNCTIONS)
    replies: list[dict[str, Any]] = [
        {
            "match": "END_TOOL_RESULT.*" * (number + 1),
            "pieces": [make_call(tools[number + 1], str(number + 1))],
        }
        for number in reversed(range(len(tools) - 1))
    ]
    end = {"match": "END_TOOL_RESULT.*" * len(tools), "pieces": ["All done."]}
    first = {"pieces": [make_call(tools[0], "0")]}
    script = write_script(folder / "a.scripted.json", end, *replies, first)
    tool = {"policy": "allow", "effects": []}
    return write_profile(
        folder / "p.yaml",
        {"a": {"source": f"file:{script}"}},
        tools={
            "again": {"python": "crash_tools:again", "idempotent": True, **tool},
            "once": {"python": "crash_tools:once", **tool},
        },
    )


def find_run(server: Server) -> dict[str, Any]:
    """The one run, whole."""
    with urlopen(f"{server.address}{ACT}", timeout=30) as response:
        (run,) = json.load(response)["data"]
    with urlopen(f"{server.address}{ACT}/{run['id']}", timeout=30) as response:
        return dict(json.load(response))


def find_ended(server: Server) -> dict[str, Any] | None:
    run = find_run(server)
    # It is `interrupted` until the new server has taken it up.
    return None if run["summary"]["state"] in ("running", "interrupted") else run


@pytest.mark.parametrize(
    ("tool", "times", "begins"),
    [("once", 1, "The outcome of this call is unknown"), ("again", 2, "again 0 is done")],
)
def test_a_server_killed_while_a_tool_has_done_its_work_ends_the_run_the_next_time(
    tmp_path: Path, tool: str, times: int, begins: str
) -> None:
    rest = ["again", "once", "again"]
    profile = write_all(tmp_path, [tool, *rest])
    crasher = Crasher(tmp_path)
    crasher.arm("act.call_finishing")
    body = {"model": "a", "tools": ["again", "once"], "prompt": "Go", "background": True}
    with Server(tmp_path, str(profile), program=crasher.program) as server:
        eventually(lambda: server.condition("Converged").startswith("True"), within_s=60.0)
        # It may be dead before it has answered.
        with suppress(OSError, HTTPException), posting(server.address, body, ACT) as response:
            assert response.status == 202
        assert server.process.wait(30) == -signal.SIGKILL
    crasher.disarm()
    for pid in crasher.children:
        eventually(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]

    with Server(tmp_path, program=crasher.program) as server:
        server.ready("a")
        run = eventually(lambda: find_ended(server), within_s=30.0)

    assert (run["summary"]["state"], run["text"]) == ("completed", "All done.")
    results = [it["content"] for it in run["messages"] if it["role"] == "tool"]
    assert results[0].startswith(begins)
    assert results[1:] == [f"{name} {n} is done" for n, name in enumerate(rest, 1)]
    made = (tmp_path / "counted").read_text().splitlines()
    assert made == [f"{tool} 0"] * times + [f"{name} {n}" for n, name in enumerate(rest, 1)]
