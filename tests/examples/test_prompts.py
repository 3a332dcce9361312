"""`examples/prompts`, applied as it stands: its agent begins with what its MCP server gives."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.profiles import ask, posting
from tests.support.server import Server, free_port, serving
from tests.support.smollm2 import smollm2_path

EXAMPLE = Path(__file__).parents[2] / "examples" / "prompts" / "profile.yaml"
LETTER = "Ms Lovelace asks when we are open."
HOURS = "The library is open from Tuesday to Saturday, 10 to 18 o'clock."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On a free port, with the file of the package that other tests have fetched already."""
    home = tmp_path_factory.mktemp("home")
    changes = {
        "version": 1,
        "include": [str(EXAMPLE)],
        "server": {"port": free_port()},
        "models": {"smollm2-135m-tools": {"source": f"file:{smollm2_path()}"}},
    }
    profile = home / "p.yaml"
    profile.write_text(json.dumps(changes))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with serving(home, profile, PATH=path) as running:
        shown = running.control.review_mcp("house")
        running.control.approve_mcp("house", shown.identity.digest, {})
        yield running


def test_a_run_of_the_example_begins_with_its_prompt_and_its_resource(server: Server) -> None:
    body = {"agent": "secretary", "prompt": LETTER}
    with posting(server.address, body, "/lmrun/v1/act") as response:
        run = json.load(response)
    assert response.status == 200, run
    system, prompt, task, answer = run["messages"]
    assert system["content"] == "You are the secretary of a small library."
    assert prompt["content"].startswith("Answer the letter that I tell you of in one friendly")
    assert HOURS in task["content"] and task["content"].endswith(LETTER)
    assert (answer["role"], answer["content"]) == ("assistant", run["text"])
    assert run["text"]


def test_the_examples_agent_is_asked_as_a_model(server: Server) -> None:
    assert ask(server.address, LETTER, model="secretary")
    with urlopen(f"{server.address}/v1/models", timeout=30) as response:
        assert "secretary" in {model["id"] for model in json.load(response)["data"]}
