"""Requests that wait for their turn: seen in the status, by class, no more than the limit says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
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


def queue(server: Server) -> list[tuple[int, str]]:
    instance = server.instance("a")
    assert instance is not None
    return [(it.position, it.priority) for it in instance.queue]


def test_the_line_is_seen_and_goes_by_class(server: Server) -> None:
    with filled(server) as in_worker, ExitStack() as waiting:
        waiting.enter_context(sending(server, x_lmrun_priority="low"))
        eventually(lambda: queue(server) == [(1, "low")])
        waiting.enter_context(sending(server))
        eventually(lambda: queue(server) == [(1, "normal"), (2, "low")])
        waiting.enter_context(sending(server, "fast"))
        eventually(lambda: queue(server) == [(1, "high"), (2, "normal"), (3, "low")])
        instance = server.instance("a")
        assert instance is not None
        assert (instance.active, instance.waiting) == (1, 4)
        assert instance.queue[2].waited_s >= instance.queue[0].waited_s
        in_worker.pop().close()
        eventually(lambda: queue(server) == [(1, "normal"), (2, "low")])
        in_worker.pop().close()
        eventually(lambda: queue(server) == [(1, "low")])
    eventually(lambda: queue(server) == [])


def test_a_line_that_is_full_refuses_at_once(server: Server) -> None:
    with filled(server), ExitStack() as waiting:
        for _ in range(3):
            waiting.enter_context(sending(server))
        eventually(lambda: len(queue(server)) == 3)
        # The limit: one in work, four that wait.
        started = time.monotonic()
        refused = ask(server)
        assert (refused.status, refused.json["error"]["code"]) == (429, "queue_full")
        assert refused.header("retry-after") == "1"
        assert time.monotonic() - started < 1


def test_who_leaves_the_line_makes_room_in_it(server: Server) -> None:
    with ThreadPoolExecutor() as threads:
        with filled(server):
            with ExitStack() as leaving:
                for _ in range(3):
                    leaving.enter_context(sending(server))
                eventually(lambda: len(queue(server)) == 3)
            eventually(lambda: queue(server) == [])
            answer = threads.submit(ask, server)
            eventually(lambda: queue(server) == [(1, "normal")])
        assert answer.result(20).status == 200


@contextmanager
def filled(server: Server) -> Iterator[list[ExitStack]]:
    """One endless stream that is computed, and one in the engine already, so that it never stands
    still: whoever comes now waits in line. Closing one of them makes room for the next."""
    eventually(lambda: _in_worker(server) == (0, 0))
    with ExitStack() as stack:
        streams = [stack.enter_context(ExitStack()) for _ in range(2)]
        for stream in streams:
            stream.enter_context(sending(server))
        eventually(lambda: _in_worker(server) == (1, 1))
        yield streams


def _in_worker(server: Server) -> tuple[int, int]:
    instance = server.instance("a")
    assert instance is not None
    return instance.active, instance.waiting - len(instance.queue)


def ask(server: Server) -> Reply:
    """A short answer, whole."""
    port = Port(int(server.address.rpartition(":")[2]))
    return port.ask("POST", CHAT, chat_body("hi", max_tokens=5), x_api_key=KEYS["plain"])


@contextmanager
def sending(server: Server, key: str = "plain", **headers: str) -> Iterator[None]:
    """A request for an endless stream, which nobody reads; leaving the block goes away."""
    url = urlsplit(server.address)
    assert url.hostname is not None
    connection = HTTPConnection(url.hostname, url.port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"Content-Type": "application/json", "x-api-key": KEYS[key], **named}
    connection.request("POST", CHAT, json.dumps(chat_body("hi", stream=True)), fields)
    try:
        yield
    finally:
        connection.close()
