"""Tools end to end: a real server and a real model, through `lmrun act`, agents and `lmrun.act`.

The tasks are those of LM Studio's documentation; nothing forces a call.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest

import lmrun
from lmrun.tools.act.events import ActEvent, CallSucceeded
from tests.support.screen import Screen
from tests.support.server import Server, serving
from tests.support.tool_files import write_agent_profile

MULTIPLY = "What is the result of 12345 multiplied by 54321?"
PRIME = "Is the result of 12345 + 45668 a prime? Think step by step."
CREATE = "Please create a file named output.txt with your understanding of the meaning of life."

COMMAND = [sys.executable, "-P", "-m", "lmrun"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with serving(home, write_agent_profile(home, create_file="ask")) as running:
        yield running


def make_environment(server: Server) -> dict[str, str]:
    return {**os.environ, "LMRUN_HOME": str(server.home.root), "TERM": "dumb"}


def lmrun_act(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=make_environment(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def read_calls(output: str) -> list[tuple[str, str]]:
    events = [json.loads(line) for line in output.splitlines()]
    return [(it["name"], it["text"]) for it in events if it["type"] == "tool_call.success"]


def test_act_multiplies(server: Server) -> None:
    done = lmrun_act(server, "act", "-m", "assistant", "-t", "multiply", MULTIPLY)

    assert done.returncode == 0, done.stderr
    assert "670592745" in done.stdout.replace(",", "")
    assert "✓ multiply(a=12345, b=54321) → 670592745" in done.stderr


def test_act_takes_two_rounds_of_calls_to_find_a_prime(server: Server) -> None:
    done = lmrun_act(server, "act", "-t", "add", "-t", "is_prime", "--json", PRIME)

    assert done.returncode == 0, done.stderr
    assert read_calls(done.stdout) == [("add", "58013"), ("is_prime", "true")]
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert [it["round"] for it in rounds if it["type"] == "round.start"] == [0, 1, 2]


def test_act_creates_a_file_when_somebody_agrees(server: Server) -> None:
    file = server.home.root / "output.txt"
    asked = [*COMMAND, "act", "-t", "create_file", CREATE]
    screen = Screen(asked, make_environment(server))
    screen.read_until("Run it?", within_s=40)
    assert "output.txt" in screen.text
    assert not file.exists()
    screen.type("y\n")

    assert screen.end() == 0, screen.text
    assert file.read_text()


def test_act_without_a_terminal_creates_no_file(server: Server) -> None:
    done = lmrun_act(server, "act", "-t", "create_file", CREATE.replace("output", "other"))

    assert "denied" in done.stderr
    assert not (server.home.root / "other.txt").exists()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="lm-studio") as client:
        yield client


def test_an_openai_client_gets_an_agent_by_naming_a_model(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": MULTIPLY}]
    answer = client.chat.completions.create(model="helper", messages=messages)
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert "670592745" in (choice.message.content or "").replace(",", "")
    assert choice.message.tool_calls is None


def test_an_openai_client_sees_the_steps_when_it_asks(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": MULTIPLY}]
    stream = client.chat.completions.create(
        model="calculator",
        messages=messages,
        stream=True,
        extra_headers={"x-lmrun-steps": "true"},
    )
    text, reasoning = "", ""
    for chunk in stream:
        delta: Any = chunk.choices[0].delta
        text += delta.content or ""
        reasoning += getattr(delta, "reasoning_content", None) or ""
    assert "670592745" in text.replace(",", "")
    assert "multiply(" in reasoning and "→ 670592745" in reasoning


def test_models_are_listed_with_agents(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"assistant", "calculator", "helper"}


def multiply(a: float, b: float) -> float:
    """Given two numbers a and b. Returns the product of them."""
    return a * b


def test_a_python_program_brings_its_own_functions(server: Server) -> None:
    heard: list[ActEvent] = []
    end = lmrun.act(
        "assistant", MULTIPLY, [multiply], base_url=server.address, on_event=heard.append
    )
    assert "670592745" in end.text.replace(",", "")
    assert (end.rounds, end.calls) == (2, 1)
    (result,) = [event for event in heard if isinstance(event, CallSucceeded)]
    assert result.name == "multiply"
