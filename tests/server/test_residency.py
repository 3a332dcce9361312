"""Models that requests load: once, for as long as they are used, and told apart from others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lmrun.reconcile.status import Condition
from tests.support.http import Port, Reply
from tests.support.profiles import HELLO, chat_body, write_profile, write_script
from tests.support.server import Server, eventually, free_port, serving

CHAT, MODELS = "/v1/chat/completions", "/v1/models"
LOAD, UNLOAD = "/api/v1/models/load", "/api/v1/models/unload"
MANY = 100


def port(server: Server) -> Port:
    return Port(int(server.address.rpartition(":")[2]))


def chat(server: Server, model: str, **fields: Any) -> Reply:
    return port(server).ask("POST", CHAT, chat_body("hi", model=model, **fields))


def code(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["error"]["code"]


def origin(server: Server, identifier: str) -> str | None:
    instance = server.instance(identifier)
    return instance.residency.origin if instance is not None else None


def ready_condition(server: Server, key: str) -> Condition:
    return next(it for it in server.model(key).conditions if it.type == "Ready")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_script(tmp_path / "a.scripted.json", HELLO)
    write_script(tmp_path / "slow.scripted.json", HELLO, load={"seconds": 0.5})
    write_script(tmp_path / "broken.scripted.json", HELLO, load={"error": "no luck"})
    return tmp_path


def model(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"source": f"file:./{name}.scripted.json", "state": "on_demand", **fields}


class House:
    """A server on a profile that can be written anew; `server`: the profile's section."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._port = free_port()

    def write(self, models: dict[str, Any], **server: Any) -> Path:
        path = self._folder / "p.yaml"
        return write_profile(path, models, port=self._port, server=server)

    def start(self, models: dict[str, Any], **server: Any) -> Server:
        return self._stack.enter_context(serving(self._folder, self.write(models, **server)))


@pytest.fixture
def house(folder: Path) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(folder, stack)


def test_the_first_request_loads_a_model(house: House) -> None:
    server = house.start({"a": model()})
    assert server.status.models[0].instances == ()
    assert ready_condition(server, "a").reason == "OnDemand"
    assert [it["id"] for it in port(server).ask("GET", MODELS).json["data"]] == ["a"]
    assert chat(server, "a").status == 200
    instance = server.ready("a")
    assert (instance.residency.origin, instance.residency.ttl_s) == ("jit", 3600)
    assert chat(server, "a").status == 200
    assert server.ready("a").pid == instance.pid


def test_a_hundred_first_requests_load_once(house: House) -> None:
    server = house.start({"slow": model("slow")}, limits={"queue": MANY})
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.append(chat(server, "slow"))) for _ in range(MANY)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [reply.status for reply in replies] == [200] * MANY
    assert server.log().count("Load slow") <= 1
    assert len(server.model("slow").instances) == 1
    assert server.model("slow").waiting == 0


def test_all_who_wait_for_a_load_hear_why_it_failed(house: House) -> None:
    server = house.start({"broken": model("broken")})
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.append(chat(server, "broken"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    codes = {code(reply) for reply in replies}
    assert codes <= {(500, "load_failed"), (503, "model_not_ready")}
    assert (500, "load_failed") in codes
    # Not every request tries again.
    reply = chat(server, "broken")
    assert code(reply) == (503, "model_not_ready")
    assert "no luck" in reply.json["error"]["message"]
    assert 1 <= int(reply.header("retry-after") or 0) <= 10
    eventually(lambda: server.model("broken").instances == ())
    assert ready_condition(server, "broken").reason == "LoadFailed"


def test_the_line_for_a_load_has_an_end(house: House, folder: Path) -> None:
    write_script(folder / "slow.scripted.json", HELLO, load={"seconds": 3.0})
    server = house.start(
        {"slow": model("slow", load={"max_parallel_predictions": 1})}, limits={"queue": 1}
    )
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.append(chat(server, "slow"))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: server.model("slow").waiting == 2)
    refused = chat(server, "slow")
    assert code(refused) == (429, "queue_full")
    assert refused.header("retry-after") == "1"
    for thread in threads:
        thread.join(20)
    assert [reply.status for reply in replies] == [200, 200]


def test_without_jit_requests_load_nothing(house: House) -> None:
    server = house.start({"a": model()}, jit={"enabled": False})
    reply = chat(server, "a")
    assert code(reply) == (503, "model_not_ready")
    assert "server.jit.enabled" in reply.json["error"]["message"]
    assert port(server).ask("GET", MODELS).json["data"] == []
    assert port(server).ask("POST", LOAD, {"model": "a"}).status == 200
    assert origin(server, "a") == "hand"
    assert [it["id"] for it in port(server).ask("GET", MODELS).json["data"]] == ["a"]
    assert chat(server, "a").status == 200


def test_what_is_absent_is_loaded_by_nobody(house: House) -> None:
    server = house.start({"a": model(state="absent")})
    assert code(chat(server, "a")) == (503, "model_not_ready")
    assert code(chat(server, "b")) == (404, "model_not_found")


def test_an_idle_model_leaves_when_its_time_is_up(house: House) -> None:
    models = {
        "asked": model(),
        "own": model(ttl="1s"),
        "kept": model(ttl="1s", pinned=True),
        "declared": model(state="loaded", ttl="1s"),
    }
    server = house.start(models)
    for name in reversed(models):
        assert chat(server, name, ttl=2 if name == "asked" else 900).status == 200
    assert server.ready("asked").residency.ttl_s == 2
    # What the request says counts more than what the model does; neither counts for the others.
    assert server.ready("own").residency.ttl_s == 900
    assert server.ready("kept").residency.ttl_s is None
    assert server.ready("declared").residency.ttl_s is None
    eventually(lambda: server.instance("asked") is None)
    assert [origin(server, it) for it in models] == [None, "jit", "jit", "declared"]


def test_the_profile_s_new_time_counts_for_what_is_loaded(house: House, folder: Path) -> None:
    server = house.start({"a": model()})
    assert chat(server, "a").status == 200
    pid = server.ready("a").pid
    changed = house.write({"a": model(ttl="9m")})
    assert [it.kind for it in server.outcomes(changed)] == ["Update"]
    assert (server.ready("a").pid, server.ready("a").residency.ttl_s) == (pid, 540)
    loaded = house.write({"a": model(state="loaded")})
    assert [it.kind for it in server.outcomes(loaded)] == ["Update"]
    assert (server.ready("a").pid, origin(server, "a")) == (pid, "declared")
    back = house.write({"a": model()})
    assert [it.kind for it in server.outcomes(back)] == ["Update"]
    assert (server.ready("a").pid, origin(server, "a")) == (pid, "jit")
    assert server.apply(back).converged
    assert server.outcomes(back) == []


def test_an_idle_model_that_is_to_be_otherwise_goes_and_comes_back_so(
    house: House, folder: Path
) -> None:
    server = house.start({"a": model()})
    assert chat(server, "a").status == 200
    changed = house.write({"a": model(load={"context_length": 64})})
    assert [it.kind for it in server.outcomes(changed)] == ["Unload"]
    assert chat(server, "a").status == 200
    assert server.ready("a").context_length == 64


def test_what_was_unloaded_by_hand_comes_back_for_a_request(house: House) -> None:
    server = house.start({"a": model(state="loaded")})
    server.ready("a")
    assert port(server).ask("POST", UNLOAD, {"instance_id": "a"}).status == 200
    assert server.instance("a") is None
    assert chat(server, "a").status == 200
    assert origin(server, "a") == "declared"


def test_a_hand_load_may_have_a_time_too(house: House) -> None:
    server = house.start({"a": model()})
    assert port(server).ask("POST", LOAD, {"model": "a", "ttl": 1}).status == 200
    assert (origin(server, "a"), server.ready("a").residency.ttl_s) == ("hand", 1)
    eventually(lambda: server.instance("a") is None)


def test_several_instances_of_a_model_share_its_requests(house: House) -> None:
    instances = [
        {"identifier": "first"},
        {"identifier": "second", "load": {"context_length": 64}},
    ]
    server = house.start({"m": model(state="loaded", instances=instances)})
    lengths = {name: server.ready(name).context_length for name in ("first", "second")}
    assert lengths["second"] == 64 != lengths["first"]
    assert [it.identifier for it in server.model("m").instances] == ["first", "second"]
    assert [it["id"] for it in port(server).ask("GET", MODELS).json["data"]] == ["first", "second"]
    for name in ("m", "first", "second"):
        assert chat(server, name).status == 200
    assert chat(server, "second").json["model"] == "second"


def hold(server: Server, name: str) -> HTTPConnection:
    """A stream of `name` that has begun."""
    url = urlsplit(server.address)
    assert url.hostname is not None
    connection = HTTPConnection(url.hostname, url.port, timeout=20)
    headers = {"Content-Type": "application/json"}
    body = chat_body("hi", model=name, stream=True)
    connection.request("POST", CHAT, json.dumps(body), headers)
    response = connection.getresponse()
    assert response.status == 200
    assert response.readline().startswith(b"data: ")
    return connection


def test_one_at_a_time_means_so(house: House) -> None:
    server = house.start({name: model() for name in "abc"}, jit={"auto_evict": "one"})
    for name in "abc":
        assert chat(server, name).status == 200
        assert [it for it in "abc" if server.instance(it)] == [name]


def test_a_stream_is_waited_for_by_who_needs_its_room(house: House, folder: Path) -> None:
    paced = {"pieces": ["tick "], "repeat": 30, "seconds_per_token": 0.05}
    write_script(folder / "paced.scripted.json", paced)
    server = house.start({"paced": model("paced"), "a": model()}, jit={"auto_evict": "one"})
    connection = hold(server, "paced")
    pid = server.ready("paced").pid
    replies: list[Reply] = []
    thread = threading.Thread(target=lambda: replies.append(chat(server, "a")))
    thread.start()
    eventually(lambda: server.model("a").waiting == 1)
    assert server.ready("paced").pid == pid
    sock = connection.sock
    rest = b""
    while b"[DONE]" not in rest:
        rest += sock.recv(65536)
    assert rest.count(b"tick ") >= 25
    assert b'"error"' not in rest
    thread.join(20)
    assert [reply.status for reply in replies] == [200]
    assert server.instance("paced") is None
    connection.close()


def test_what_does_not_fit_is_refused_with_its_figures(house: House, folder: Path) -> None:
    write_script(folder / "large.scripted.json", HELLO, load={"memory_bytes": 400 * 2**20})
    models = {"large": model("large"), "a": model()}
    limit = {"limit": "300MiB"}
    server = house.start(models, memory=limit)
    reply = chat(server, "large")
    assert code(reply) == (507, "model_too_large")
    assert "needs 464.0 MiB of memory" in reply.json["error"]["message"]
    assert "300.0 MiB" in reply.json["error"]["message"]
    assert reply.header("x-should-retry") == "false"
    declared = models | {"declared": model("large", state="loaded")}
    (outcome,) = server.outcomes(house.write(declared, memory=limit))
    assert "464.0 MiB" in (outcome.error or "")
    assert ready_condition(server, "declared").reason == "ModelTooLarge"
    assert chat(server, "a").status == 200
    memory = server.status.server.memory
    assert memory is not None
    assert memory.limit_bytes == 300 * 2**20
    assert 0 < memory.claimed_bytes <= 300 * 2**20


def test_others_make_room_as_few_and_as_old_as_will_do(house: House, folder: Path) -> None:
    write_script(folder / "medium.scripted.json", HELLO, load={"memory_bytes": 60 * 2**20})
    write_script(folder / "large.scripted.json", HELLO, load={"memory_bytes": 150 * 2**20})
    server = house.start(
        {name: model("medium") for name in ("x", "y", "z")} | {"large": model("large")},
        memory={"limit": "480MiB"},
    )
    for name in ("x", "y", "z", "x"):
        assert chat(server, name).status == 200
    assert chat(server, "large").status == 200
    assert [it for it in ("x", "y", "z", "large") if server.instance(it)] == ["x", "z", "large"]
