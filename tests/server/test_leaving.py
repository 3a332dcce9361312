"""A client that leaves takes its work with it, wherever the request is by then."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.profiles import HELLO, SLOW, ask, chat_body, write_profile, write_script
from tests.support.server import Server, eventually, serving

LATE = {"match": "late", "pieces": ["now"], "seconds_before_first": 60.0}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    # 3,000 tokens of prompt take 375 steps of 20 ms: time enough to leave in the middle of them.
    pace = {"prompt_tokens_per_step": 8, "step_seconds": 0.02}
    write_script(home / "a.scripted.json", SLOW, LATE, HELLO, **pace)
    model = {"source": "file:./a.scripted.json", "load": {"max_parallel_predictions": 2}}
    with serving(home, write_profile(home / "p.yaml", {"a": model})) as running:
        yield running


def busy(server: Server) -> int:
    instance = server.instance("a")
    return instance.active + instance.waiting if instance else 0


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("moment", ["queued", "prefill", "before first token", "mid-stream"])
def test_a_client_that_leaves_frees_its_sequence(server: Server, moment: str, stream: bool) -> None:
    others = [_start(server, "slowly") for _ in range(2 if moment == "queued" else 0)]
    eventually(lambda: busy(server) == len(others))
    prompt = {
        "queued": "Hi",
        "prefill": "slowly " + "x" * 3000,
        "before first token": "late",
        "mid-stream": "slowly",
    }[moment]
    leaving = _start(server, prompt, stream=stream)
    eventually(lambda: busy(server) == len(others) + 1)
    if moment == "mid-stream" and stream:
        assert leaving.recv(4096)
    leaving.close()
    eventually(lambda: busy(server) == len(others), within_s=1.0)
    for other in others:
        other.close()
    eventually(lambda: busy(server) == 0, within_s=1.0)
    assert ask(server.address, "Hi") == "Hello world"


def _start(server: Server, prompt: str, *, stream: bool = True) -> socket.socket:
    """A request whose answer nobody has read yet."""
    url = urlsplit(server.address)
    body = json.dumps(chat_body(prompt, stream=stream)).encode()
    connection = socket.create_connection((url.hostname, url.port), timeout=10)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection
