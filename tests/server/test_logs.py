"""The log of a real server: over the control socket, by the command line, in its file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.support.profiles import ask, write_profile, write_script
from tests.support.server import Server, eventually, serving

MODELS = {"a": {"source": "file:./a.scripted.json"}}


@contextmanager
def following(server: Server, *options: str) -> Iterator[Iterator[dict[str, Any]]]:
    """`lmrun logs --json` beside the server; ends as Ctrl-C ends it."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "lmrun", "logs", "--json", *options],
        env={"LMRUN_HOME": str(server.home.root), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        try:
            yield map(json.loads, process.stdout)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)


def until(events: Iterator[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(event for event in events if event["type"] == kind)


def test_the_command_line_needs_no_key_and_sees_prompts_and_lines(tmp_path: Path) -> None:
    write_script(tmp_path / "a.scripted.json")
    key = "k" * 40
    keys = [{"name": "ci", "key": "${env:CI_KEY}"}]
    profile = write_profile(tmp_path / "p.yaml", MODELS, server={"api_keys": keys})
    with serving(tmp_path, profile, CI_KEY=key) as server, following(server) as events:
        # Lines of the past come first; whoever has one listens.
        assert until(events, "server.log")["logger"] == "lmrun.server"
        answer = ask_with_key(server.address, key, "Hi")
        assert until(events, "llm.prediction.input")["input"].count("Hi") == 1
        assert until(events, "llm.prediction.output")["output"] == answer == "Hello world"
        line = next(it for it in events if it.get("logger") == "lmrun.access")
        assert line["fields"]["key"] == "ci"
        assert key not in json.dumps(line)
    assert key not in server.log()


def ask_with_key(address: str, key: str, prompt: str) -> str:
    import urllib.request

    body = {"model": "a", "messages": [{"role": "user", "content": prompt}]}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "X-Api-Key": key},
    )
    with urlopen(request, timeout=30) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])


def test_the_log_follows_the_profile_without_a_restart(tmp_path: Path) -> None:
    write_script(tmp_path / "a.scripted.json")
    profile = write_profile(tmp_path / "p.yaml", MODELS)
    with serving(tmp_path, profile) as server:
        port = int(server.address.rpartition(":")[2])
        pid = server.process.pid
        ask(server.address, "first secret")
        eventually(lambda: "POST /v1/chat/completions 200" in server.log())
        assert "first secret" not in server.log()
        log = {"prompts": True, "format": "json"}
        write_profile(tmp_path / "p.yaml", MODELS, port=port, server={"log": log})
        assert server.apply(profile).converged
        ask(server.address, "second one")
        eventually(lambda: "second one" in server.log())
        last = [json.loads(it) for it in server.log().splitlines() if it.startswith("{")]
        assert any(it["logger"] == "lmrun.prompts" and "second one" in it["input"] for it in last)
        quiet = {"level": "error"}
        write_profile(tmp_path / "p.yaml", MODELS, port=port, server={"log": quiet})
        assert server.apply(profile).converged
        size = len(server.log())
        ask(server.address, "third")
        assert len(server.log()) == size
        assert server.process.pid == pid


def test_metrics_and_the_end_of_followers(tmp_path: Path) -> None:
    write_script(tmp_path / "a.scripted.json")
    profile = write_profile(tmp_path / "p.yaml", MODELS)
    with serving(tmp_path, profile) as server:
        ask(server.address, "Hi")
        with urlopen(f"{server.address}/metrics", timeout=30) as response:
            text = response.read().decode()
        assert 'lmrun_generations_total{model="a",outcome="finished"} 1.0' in text
        with following(server, "--server") as events:
            until(events, "server.log")
            server.control.down()
            # The stream ends with the server, and so does the command.
            assert all(event["type"] == "server.log" for event in events)
        server.process.wait(20)
