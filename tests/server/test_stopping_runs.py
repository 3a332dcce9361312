"""A server that is taken down while tools run: it is gone in seconds, and what can go on later
does."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.support.profiles import chat_body, posting, read_events, write_profile, write_script
from tests.support.server import Server, eventually, serving

ACT = "/lmrun/v1/act"

FUNCTIONS = '''
import time
from pathlib import Path


def wait(seconds: float) -> str:
    """Waits."""
    with open(Path(__file__).parent / "begun", "a") as file:
        file.write("begun\\n")
    time.sleep(seconds)
    return "waited"
'''

CALL = '[TOOL_REQUEST]{"name": "wait", "arguments": {"seconds": 90}}[END_TOOL_REQUEST]'


def write_all(home: Path) -> Path:
    (home / "slow_tools.py").write_text(FUNCTIONS)
    script = write_script(
        home / "a.scripted.json",
        {"match": "END_TOOL_RESULT", "pieces": ["Whatever came of it."]},
        {"match": "slowly", "pieces": ["tick "], "repeat": 2000, "seconds_per_token": 0.05},
        {"pieces": [CALL]},
    )
    return write_profile(
        home / "p.yaml",
        {"a": {"source": f"file:{script}"}},
        tools={
            "wait": {
                "python": "slow_tools:wait",
                "policy": "allow",
                "effects": [],
                "timeout": "100s",
            }
        },
        agents={"waiter": {"model": "a", "tools": ["wait"]}},
    )


def begin(server: Server, prompt: str) -> str:
    """A run in the background."""
    body = {"agent": "waiter", "prompt": prompt, "background": True}
    with posting(server.address, body, ACT) as response:
        assert response.status == 202
        return str(json.load(response)["summary"]["id"])


def find(server: Server, run: str) -> dict[str, Any]:
    with urlopen(f"{server.address}{ACT}/{run}", timeout=30) as response:
        return dict(json.load(response))


def test_down_waits_for_no_tool_and_runs_in_the_background_go_on_the_next_time(
    tmp_path: Path,
) -> None:
    begun = tmp_path / "begun"
    with serving(tmp_path, write_all(tmp_path)) as server, ExitStack() as open_streams:
        runs = {prompt: begin(server, prompt) for prompt in ("wait", "slowly")}
        chat = chat_body("wait", model="waiter", stream=True)
        open_streams.enter_context(posting(server.address, chat))
        attached = {"agent": "waiter", "prompt": "wait", "stream": True}
        open_streams.enter_context(posting(server.address, attached, ACT))
        eventually(lambda: begun.exists() and begun.read_text().count("begun") == 3)

        began = time.monotonic()
        server.control.down()
        server.process.wait(20)
        assert time.monotonic() - began < 10.0, "nobody who runs `lmrun down` waits that long"
        assert server.process.returncode == 0, server.log()

    with serving(tmp_path, tmp_path / "p.yaml") as server:
        run = eventually(lambda: _completed(server, runs["wait"]), within_s=20.0)
        assert run["text"] == "Whatever came of it."
        (result,) = (it["content"] for it in run["messages"] if it["role"] == "tool")
        assert result.startswith("The outcome of this call is unknown")
        assert find(server, runs["slowly"])["summary"]["state"] == "running"
    assert begun.read_text().count("begun") == 3, "a call that may not be made again was made again"


def test_clients_of_agents_are_told_that_the_server_stops(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with serving(tmp_path, write_all(tmp_path)) as server, ThreadPoolExecutor(2) as threads:

        def ask(stream: bool) -> tuple[int, str]:
            body = chat_body("wait", model="waiter", stream=stream)
            with posting(server.address, body) as response:
                said = [*read_events(response)] if stream else [json.load(response)]
                return response.status, said[-1]["error"]["code"]

        whole, streamed = threads.submit(ask, False), threads.submit(ask, True)
        eventually(lambda: begun.exists() and begun.read_text().count("begun") == 2)
        server.control.down()
        assert whole.result(timeout=20) == (503, "server_stopping")
        assert streamed.result(timeout=20) == (200, "server_stopping")
        assert "Traceback" not in server.log()


def _completed(server: Server, id: str) -> dict[str, Any] | None:
    run = find(server, id)
    return run if run["summary"]["state"] == "completed" else None
