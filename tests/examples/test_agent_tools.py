"""The tools of `examples/agent`, as its profile declares them, each called."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from lmrun.profile.loader import load_profile
from lmrun.tools.arguments import ArgumentFault, check_arguments
from lmrun.tools.functions.host import FunctionHost

EXAMPLES = Path(__file__).parents[2] / "examples"


def copy_example(folder: Path) -> Path:
    """Its profile, where its tools may write."""
    ignored = shutil.ignore_patterns("models", "__pycache__")
    shutil.copytree(EXAMPLES, folder / "examples", ignore=ignored)
    return folder / "examples" / "agent" / "profile.yaml"


def is_soon(text: str) -> bool:
    days = (datetime.fromisoformat(text) - datetime.now()).days
    return 0 <= days <= 14


def tells_the_time(text: str) -> bool:
    time = json.loads(text)
    return abs(time["timestamp"] - datetime.now().timestamp()) < 60 and bool(time["timezone"])


def counts_files(text: str) -> bool:
    found = json.loads(text)
    return bool(found["file_types"] == {".py": 1, ".yaml": 1}) and bool(found["total_files"] == 2)


CALLS: list[tuple[str, str, Callable[[str], bool]]] = [
    ("multiply", '{"a": 12345, "b": 54321}', lambda text: text == "670592745"),
    ("multiply", '{"a": "1.5", "b": 3}', lambda text: text == "4.5"),
    ("add", '{"a": 12345, "b": "45668"}', lambda text: text == "58013"),
    ("is_prime", '{"n": 58013}', lambda text: text == "true"),
    ("is_prime", '{"n": 58011}', lambda text: text == "false"),
    ("is_prime", '{"n": 49}', lambda text: text == "false"),
    ("get_delivery_date", '{"order_id": 1017}', is_soon),
    ("get_current_time", "{}", tells_the_time),
    ("analyze_directory", "{}", counts_files),
    ("create_file", '{"name": "a.txt", "content": "é"}', lambda text: text == "File created."),
]


def test_each_tool_of_the_example_does_what_it_says(tmp_path: Path) -> None:
    profile = copy_example(tmp_path)
    loaded = load_profile(profile, {})

    async def body() -> None:
        tools = loaded.profile.tools
        host = await FunctionHost.open(tools, loaded.tool_dirs, os.environ)
        try:
            assert host.faults == {}
            assert {name for name, _, _ in CALLS} == set(host.tools) == set(tools)
            for name, written, is_right in CALLS:
                tool = host.tools[name]
                arguments: Any = check_arguments(written, tool.spec.parameters)
                assert not isinstance(arguments, ArgumentFault), arguments
                result = await tool.call(arguments, lambda progress: None)
                assert result.error is None
                assert is_right(result.text), (name, result)
            again = {"name": "a.txt", "content": "other"}
            refused = await host.tools["create_file"].call(again, lambda progress: None)
            assert refused.error == "failed"
            assert refused.text.startswith("FileExistsError: ")
            outside = again | {"name": "../a.txt"}
            refused = await host.tools["create_file"].call(outside, lambda progress: None)
            assert refused.error == "failed"
        finally:
            await host.close()

    asyncio.run(asyncio.wait_for(body(), 50))
    assert (profile.parent / "a.txt").read_text(encoding="utf-8") == "é"
    assert not (profile.parent.parent / "a.txt").exists()


def test_the_example_s_agents_use_its_model_and_its_tools() -> None:
    profile = load_profile(EXAMPLES / "agent" / "profile.yaml", {}).profile
    identifiers = {model.identifier for model in profile.models.values()}
    assert "helper" in profile.agents
    for agent in profile.agents.values():
        assert agent.model in identifiers
        assert set(agent.tools) <= set(profile.tools)


def test_every_tool_of_the_example_says_what_it_is_for(tmp_path: Path) -> None:
    loaded = load_profile(copy_example(tmp_path), {})

    async def body() -> None:
        host = await FunctionHost.open(loaded.profile.tools, loaded.tool_dirs, os.environ)
        try:
            for tool in host.tools.values():
                assert tool.spec.description
            order = host.tools["get_delivery_date"].spec.parameters["properties"]["order_id"]
            assert order == {"type": "string", "description": "The customer's order ID."}
        finally:
            await host.close()

    asyncio.run(asyncio.wait_for(body(), 50))
