"""Requests that wait for their turn: seen in the status, by class, no more than the limit says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.http import Port, Reply
from tests.support.profiles import chat_body, write_profile, write_script
from tests.support.server import Server, eventually, serving

CHAT = "/v1/chat/completions"
ENDLESS = {"pieces": ["tick "], "repeat": 100_000, "seconds_per_token": 0.01}
KEYS = {"fast": "f" * 40, "plain": "p" * 40}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model that computes one generation at a time, and three requests may wait."""
    folder = tmp_path_factory.mktemp("queue")
    write_script(folder / "m.scripted.json", ENDLESS)
    models = {"a": {"source": "file:./m.scripted.json", "load": {"max_parallel_predictions": 1}}}
    for name, key in KEYS.items():
        (folder / name).write_text(key)
        (folder / name).chmod(0o600)
    keys = [
        {"name": "fast", "key": f"${{file:{folder}/fast}}", "priority": "high"},
        {"name": "plain", "key": f"${{file:{folder}/plain}}"},
    ]
    section = {"limits": {"queue": 4, "streams_per_key": 50}, "api_keys": keys}
    with serving(folder, write_profile(folder / "p.yaml", models, server=section)) as running:
        yield running


class Crowd:
    """Requests in threads, and the order in which they were answered."""

    def __init__(self, server: Server) -> None:
        self._port = Port(int(server.address.rpartition(":")[2]))
        self.threads: list[threading.Thread] = []
        self.answered: list[str] = []
        self.replies: list[Reply] = []

    def send(self, name: str, key: str = "plain", **headers: str) -> None:
        def ask() -> None:
            body = chat_body("hi", max_tokens=5)
            self.replies.append(self.ask(body, key, **headers))
            self.answered.append(name)

        thread = threading.Thread(target=ask)
        thread.start()
        self.threads.append(thread)

    def ask(self, body: dict[str, Any], key: str = "plain", **headers: str) -> Reply:
        return self._port.ask("POST", CHAT, body, x_api_key=KEYS[key], **headers)


def queue(server: Server) -> list[tuple[int, str]]:
    instance = server.instance("a")
    assert instance is not None
    return [(it.position, it.priority) for it in instance.queue]


def test_the_line_is_seen_and_goes_by_class(server: Server) -> None:
    crowd = Crowd(server)
    with ExitStack() as stack:
        # One that is computed, and one that is in the engine already, so that none stands still.
        for _ in range(2):
            stack.enter_context(sending(server))
        eventually(lambda: _in_worker(server) == (1, 1))
        crowd.send("low", x_lmrun_priority="low")
        eventually(lambda: len(queue(server)) == 1)
        crowd.send("normal")
        eventually(lambda: len(queue(server)) == 2)
        crowd.send("high", "fast")
        eventually(lambda: queue(server) == [(1, "high"), (2, "normal"), (3, "low")])
        instance = server.instance("a")
        assert instance is not None
        assert (instance.active, instance.waiting) == (1, 4)
        assert instance.queue[2].waited_s >= instance.queue[0].waited_s
        # The limit: one in work, four that wait.
        started = time.monotonic()
        refused = crowd.ask(chat_body("hi"))
        assert (refused.status, refused.json["error"]["code"]) == (429, "queue_full")
        assert refused.header("retry-after") == "1"
        assert time.monotonic() - started < 1
    for thread in crowd.threads:
        thread.join(20)
    assert [reply.status for reply in crowd.replies] == [200] * 3
    assert crowd.answered == ["high", "normal", "low"]
    eventually(lambda: queue(server) == [])


def test_who_leaves_the_line_makes_room_in_it(server: Server) -> None:
    crowd = Crowd(server)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(sending(server))
        eventually(lambda: _in_worker(server) == (1, 1))
        with ExitStack() as leaving:
            for _ in range(3):
                leaving.enter_context(sending(server))
            eventually(lambda: len(queue(server)) == 3)
        eventually(lambda: queue(server) == [])
        crowd.send("next")
        eventually(lambda: queue(server) == [(1, "normal")])
    crowd.threads[0].join(20)
    assert [reply.status for reply in crowd.replies] == [200]


def _in_worker(server: Server) -> tuple[int, int]:
    instance = server.instance("a")
    assert instance is not None
    return instance.active, instance.waiting - len(instance.queue)


@contextmanager
def sending(server: Server) -> Iterator[None]:
    """A request for an endless stream, which nobody reads; leaving the block goes away."""
    url = urlsplit(server.address)
    assert url.hostname is not None
    connection = HTTPConnection(url.hostname, url.port, timeout=20)
    headers = {"Content-Type": "application/json", "x-api-key": KEYS["plain"]}
    connection.request("POST", CHAT, json.dumps(chat_body("hi", stream=True)), headers)
    try:
        yield
    finally:
        connection.close()
