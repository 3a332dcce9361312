"""Loads that clients ask for: at the same time, given up, and against the profile's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.http import Port, Reply
from tests.support.profiles import HELLO, write_profile, write_script
from tests.support.server import Server, eventually, serving

LOAD, UNLOAD = "/api/v1/models/load", "/api/v1/models/unload"
SLOW_LOAD_S = 1.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def profile(home: Path) -> Path:
    write_script(home / "slow.scripted.json", HELLO, load={"seconds": SLOW_LOAD_S})
    write_script(home / "quick.scripted.json", HELLO)
    models = {
        "slow": {"source": "file:./slow.scripted.json", "state": "absent"},
        "quick": {"source": "file:./quick.scripted.json"},
    }
    return write_profile(home / "p.yaml", models)


@pytest.fixture(scope="module")
def _server(home: Path, profile: Path) -> Iterator[Server]:
    with serving(home, profile) as running:
        yield running


@pytest.fixture
def server(_server: Server, profile: Path) -> Server:
    """As the profile has it."""
    assert _server.apply(profile).converged
    return _server


def ask(server: Server, path: str, **body: Any) -> Reply:
    return Port(int(server.address.rpartition(":")[2])).ask("POST", path, body)


def ask_in_thread(server: Server, path: str, **body: Any) -> tuple[threading.Thread, list[Reply]]:
    replies: list[Reply] = []
    thread = threading.Thread(target=lambda: replies.append(ask(server, path, **body)))
    thread.start()
    return thread, replies


def test_two_that_ask_for_the_same_get_the_same(server: Server) -> None:
    asking = [ask_in_thread(server, LOAD, model="slow") for _ in range(2)]
    for thread, _ in asking:
        thread.join(20)
    answers = [replies[0].json for _, replies in asking]
    assert [it["instance_id"] for it in answers] == ["slow", "slow"]
    assert all(it["load_time_seconds"] > SLOW_LOAD_S / 2 for it in answers)
    assert len(server.model("slow").instances) == 1


def test_a_client_that_leaves_does_not_stop_its_load(server: Server) -> None:
    url = urlsplit(server.address)
    assert url.hostname is not None
    connection = HTTPConnection(url.hostname, url.port, timeout=20)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", LOAD, json.dumps({"model": "slow"}), headers)
    eventually(lambda: server.instance("slow"))
    connection.close()
    assert server.ready("slow").state == "ready"


def test_what_is_being_loaded_can_be_neither_loaded_otherwise_nor_unloaded(server: Server) -> None:
    thread, replies = ask_in_thread(server, LOAD, model="slow")
    eventually(lambda: server.instance("slow"))
    reply = ask(server, UNLOAD, instance_id="slow")
    assert (reply.status, reply.json["error"]["code"]) == (503, "model_not_ready")
    assert reply.header("retry-after") == "1"
    thread.join(20)
    assert replies[0].status == 200


def test_an_apply_gives_up_a_load_that_the_profile_does_not_want(
    server: Server, profile: Path
) -> None:
    thread, replies = ask_in_thread(server, LOAD, model="slow")
    eventually(lambda: server.instance("slow"))
    assert server.apply(profile).converged
    thread.join(20)
    assert replies[0].status == 503
    assert "another profile was applied" in replies[0].json["error"]["message"]
    assert server.instance("slow") is None


def test_a_model_of_the_profile_comes_back_by_hand(server: Server) -> None:
    pid = server.ready("quick").pid
    assert ask(server, UNLOAD, instance_id="quick").status == 200
    assert ask(server, LOAD, model="quick", context_length=256).status == 200
    again = server.ready("quick")
    assert again.pid != pid
    assert again.context_length == 256
