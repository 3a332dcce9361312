"""What goes wrong stays where it went wrong: crashes, vanished clients, bad files, taken ports."""

from __future__ import annotations

import json
import os
import signal
import socket
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.profiles import (
    HELLO,
    SLOW,
    ask,
    chat_body,
    posting,
    read_events,
    write_profile,
    write_script,
)
from tests.support.server import Server, eventually, free_port, serving
from tests.support.tiny_llama import write_tiny_llama


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    write_script(tmp_path / "a.scripted.json", SLOW, HELLO, prompt_tokens_per_step=8)
    return write_profile(
        tmp_path / "p.yaml",
        {"a": {"source": "file:./a.scripted.json", "load": {"max_parallel_predictions": 2}}},
    )


def test_a_killed_worker_ends_its_stream_with_a_typed_error_and_comes_back(
    tmp_path: Path, profile: Path
) -> None:
    with serving(tmp_path, profile) as server:
        pid = server.ready("a").pid
        assert pid is not None
        with posting(server.address, chat_body("slowly", stream=True)) as response:
            events = read_events(response)
            for _ in range(3):
                next(events)
            os.kill(pid, signal.SIGKILL)
            last = list(events)[-1]
        assert (last["error"]["type"], last["error"]["code"]) == ("engine_crashed", "signal_9")
        assert server.process.poll() is None
        server.ready("a", not_pid=pid)
        assert ask(server.address, "Hi") == "Hello world"


def test_a_killed_worker_is_a_status_for_a_request_that_has_no_answer_yet(
    tmp_path: Path, profile: Path
) -> None:
    with serving(tmp_path, profile) as server:
        pid = server.ready("a").pid
        assert pid is not None
        url = urlsplit(server.address)
        connection = HTTPConnection(str(url.hostname), url.port, timeout=30)
        headers = {"Content-Type": "application/json"}
        body = json.dumps(chat_body("slowly"))
        connection.request("POST", "/v1/chat/completions", body, headers)
        eventually(lambda: busy(server) == 1)
        os.kill(pid, signal.SIGKILL)
        response = connection.getresponse()
        assert (response.status, json.load(response)["error"]["type"]) == (500, "engine_crashed")
        connection.close()


def test_the_other_model_never_notices_a_crash(tmp_path: Path) -> None:
    counting = {"match": "count", "pieces": ["x"], "repeat": 60, "seconds_per_token": 0.02}
    for name in "ab":
        write_script(tmp_path / f"{name}.scripted.json", SLOW, counting, HELLO)
    models = {name: {"source": f"file:./{name}.scripted.json"} for name in "ab"}
    with serving(tmp_path, write_profile(tmp_path / "p.yaml", models)) as server:
        victim = server.ready("a").pid
        assert victim is not None
        with posting(server.address, chat_body("count", model="b", stream=True)) as response:
            events = read_events(response)
            next(events)
            os.kill(victim, signal.SIGKILL)
            text = "".join(it["choices"][0]["delta"].get("content") or "" for it in events)
        assert text.count("x") >= 59


def busy(server: Server) -> int:
    instance = server.instance("a")
    return instance.active + instance.waiting if instance else 0


def test_a_port_in_use_is_told_and_the_models_load_all_the_same(tmp_path: Path) -> None:
    write_script(tmp_path / "a.scripted.json")
    port = free_port()
    taken = write_profile(
        tmp_path / "p.yaml", {"a": {"source": "file:./a.scripted.json"}}, port=port
    )
    with socket.create_server(("127.0.0.1", port)), Server(tmp_path) as server:
        outcomes = {it.kind: it for it in server.outcomes(taken)}
        assert f"Port {port} on 127.0.0.1 is in use" in str(outcomes["Listen"].error)
        assert "server.port" in str(outcomes["Listen"].hint)
        assert outcomes["Load"].error is None
        assert "in use" in server.condition("Listening")


def test_a_foreground_server_ends_when_its_port_is_in_use(tmp_path: Path) -> None:
    port = free_port()
    write_script(tmp_path / "slow.scripted.json", load={"seconds": 60})
    slow = {"source": "file:./slow.scripted.json"}
    taken = write_profile(tmp_path / "p.yaml", {"slow": slow}, port=port)
    with socket.create_server(("127.0.0.1", port)):
        server = Server(tmp_path, str(taken))
        assert server.process.wait(20) == 1
        server.end()
        assert f"Port {port} on 127.0.0.1 is in use" in server.log()


BAD_MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "missing file": ({"source": "file:./gone.gguf"}, "gone.gguf"),
    "no model": ({"source": "file:./notes.txt"}, "no engine runs this kind of file"),
    "truncated": ({"source": "file:./truncated.gguf"}, "truncated.gguf"),
    "random bytes": ({"source": "file:./random.gguf"}, "random.gguf"),
    "script with a typo": ({"source": "file:./typo.scripted.json"}, "typo.scripted.json"),
    "package that is not there": (
        {"source": "package:lmrun-test-nowhere==1.0/m.gguf"},
        "lmrun-test-nowhere",
    ),
    "refused setting": (
        {"source": "file:./tiny.gguf", "load": {"context_length": 1_000_000}},
        "context_length",
    ),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_a_bad_model_is_a_clear_error_and_disturbs_no_stream(tmp_path: Path, case: str) -> None:
    write_script(tmp_path / "a.scripted.json")
    tiny = write_tiny_llama(tmp_path / "tiny.gguf")
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "truncated.gguf").write_bytes(tiny.read_bytes()[:5000])
    (tmp_path / "random.gguf").write_bytes(b"GGUF" + os.urandom(4096))
    (tmp_path / "typo.scripted.json").write_text('{"replys": []}')
    good = {"source": "file:./a.scripted.json"}
    port = free_port()
    first = write_profile(tmp_path / "p.yaml", {"a": good}, port=port)
    with serving(tmp_path, first, PIP_NO_INDEX="1") as server:
        pid = server.ready("a").pid
        with posting(server.address, chat_body("slowly", stream=True)) as response:
            events = read_events(response)
            next(events)
            model, message = BAD_MODELS[case]
            second = write_profile(tmp_path / "p.yaml", {"a": good, "bad": model}, port=port)
            (outcome,) = server.outcomes(second)
            assert message in f"{outcome.error} {outcome.hint}"
            assert "Traceback" not in str(outcome.error)
            assert server.ready("a").pid == pid
            assert "ticktick" in "".join(
                next(events)["choices"][0]["delta"]["content"].strip() for _ in range(3)
            )
        reasons = [it.message for it in server.model("bad").conditions]
        assert sum(str(outcome.error) in reason for reason in reasons) == 1, "told once"
        with posting(server.address, chat_body("Hi", model="bad")) as response:
            assert response.status == 503
            assert message in json.load(response)["error"]["message"]


def test_a_reload_to_a_bad_file_keeps_the_old_instance(tmp_path: Path) -> None:
    good = write_tiny_llama(tmp_path / "m.gguf")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(good.read_bytes()[:20_000])
    profile = write_profile(tmp_path / "p.yaml", {"a": {"source": "file:./m.gguf"}}, port=0)
    with serving(tmp_path, profile) as server:
        pid = server.ready("a").pid
        changed = write_profile(tmp_path / "p.yaml", {"a": {"source": "file:./bad.gguf"}}, port=0)
        (outcome,) = server.outcomes(changed)
        assert outcome.kind == "Reload"
        assert "bad.gguf" in str(outcome.error)
        assert server.ready("a").pid == pid
