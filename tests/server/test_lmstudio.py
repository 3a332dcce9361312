"""LM Studio's REST clients against a whole server: real files, real models, its own documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest

from tests.api.lmstudio import documents
from tests.api.lmstudio.documents import require_shape
from tests.api.lmstudio.sse import read_named_events
from tests.support.http import Port, Reply
from tests.support.profiles import write_profile, write_script
from tests.support.server import Server, eventually, serving
from tests.support.smollm2 import smollm2_path
from tests.support.tiny_bert import make_tiny_bert


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    bert = make_tiny_bert(gguf.PoolingType.MEAN).write(home / "tiny.gguf")
    write_script(home / "talker.scripted.json")
    models = {
        "huggingfacetb/smollm2": {"source": f"file:{smollm2_path()}", "identifier": "smol"},
        "tiny-bert": {"source": f"file:{bert}"},
        "acme/talker": {"source": "file:./talker.scripted.json", "state": "absent"},
        "elsewhere": {"source": "package:nobody==1/m.gguf", "state": "absent"},
    }
    with serving(home, write_profile(home / "p.yaml", models)) as running:
        yield running


def ask(server: Server, method: str, path: str, body: Any = None) -> Reply:
    return Port(int(server.address.rpartition(":")[2])).ask(method, path, body)


def answer(server: Server, method: str, path: str, body: Any = None) -> Any:
    reply = ask(server, method, path, body)
    assert reply.status == 200, reply.body
    return reply.json


def test_the_greeting_is_what_both_sdks_look_for(server: Server) -> None:
    assert answer(server, "GET", "/lmstudio-greeting") == {"lmstudio": True}


def test_v0_lists_models_as_documented(server: Server) -> None:
    listed = answer(server, "GET", "/api/v0/models")
    require_shape(listed, {"object": "list", "data": [documents.MODEL_V0]})
    talker, smol, bert = sorted(listed["data"], key=lambda model: model["id"] != "acme/talker")
    assert (talker["id"], talker["state"]) == ("acme/talker", "not-loaded")
    assert "loaded_context_length" not in talker
    assert smol == {
        "id": "smol",
        "object": "model",
        "type": "llm",
        "publisher": "huggingfacetb",
        "arch": "llama",
        "compatibility_type": "gguf",
        "quantization": "Q4_1",
        "state": "loaded",
        "max_context_length": 8192,
        "loaded_context_length": 4096,
    }
    assert (bert["type"], bert["arch"]) == ("embeddings", "bert")


@pytest.mark.parametrize("name", ["smol", "huggingfacetb/smollm2"])
def test_v0_finds_a_model_by_identifier_and_by_key(server: Server, name: str) -> None:
    model = answer(server, "GET", f"/api/v0/models/{name}")
    require_shape(model, documents.MODEL_V0)
    assert model["id"] == "smol"


@pytest.mark.parametrize("name", ["nobody", "elsewhere"])
def test_v0_knows_no_model_whose_file_is_not_here(server: Server, name: str) -> None:
    reply = ask(server, "GET", f"/api/v0/models/{name}")
    assert (reply.status, reply.code) == (404, "model_not_found")
    assert "smol" in reply.json["error"]["message"]


def test_v0_chats_as_documented(server: Server) -> None:
    request = {**documents.CHAT_REQUEST_V0, "model": "smol", "max_tokens": 12, "ttl": 300}
    chat = answer(server, "POST", "/api/v0/chat/completions", request)
    require_shape(chat, documents.CHAT_V0 | {"system_fingerprint": "…"})
    assert chat["stats"]["stop_reason"] in ("eosFound", "maxPredictedTokensReached")
    assert 0 < chat["stats"]["tokens_per_second"] < 10_000
    assert chat["model_info"] == {
        "arch": "llama",
        "quant": "Q4_1",
        "format": "gguf",
        "context_length": 4096,
    }
    assert chat["runtime"]["name"] == "llama.cpp"


def test_v0_completes_as_documented(server: Server) -> None:
    request = {**documents.COMPLETION_REQUEST_V0, "model": "smol"}
    completion = answer(server, "POST", "/api/v0/completions", request)
    require_shape(completion, documents.COMPLETION_V0)
    stats = completion["stats"]
    assert stats["time_to_first_token"] > 0
    assert stats["generation_time"] > 0


@pytest.mark.parametrize("path", ["/api/v0/chat/completions", "/api/v0/completions"])
def test_v0_streams_end_with_the_statistics(server: Server, path: str) -> None:
    request: dict[str, Any] = {"model": "smol", "max_tokens": 5, "stream": True, "n": 2}
    request |= {"prompt": "the"} if "chat" not in path else documents.CHAT_REQUEST_V0 | request
    reply = ask(server, "POST", path, request)
    *chunks, done = [line[6:] for line in reply.body.decode().split("\n\n") if line]
    assert done == "[DONE]"
    assert [index for index, chunk in enumerate(chunks) if '"stats"' in chunk] == [len(chunks) - 1]


def test_v0_embeds_as_documented(server: Server) -> None:
    request = {**documents.EMBEDDING_REQUEST_V0, "model": "tiny-bert"}
    vectors = answer(server, "POST", "/api/v0/embeddings", request)
    require_shape(vectors, documents.EMBEDDING_V0)


def test_v1_lists_models_as_documented(server: Server) -> None:
    models = {model["key"]: model for model in answer(server, "GET", "/api/v1/models")["models"]}
    assert sorted(models) == ["acme/talker", "huggingfacetb/smollm2", "tiny-bert"]
    smol, bert = models["huggingfacetb/smollm2"], models["tiny-bert"]
    require_shape(smol, documents.MODEL_V1)
    assert smol["size_bytes"] == smollm2_path().stat().st_size
    assert smol["quantization"] == {"name": "Q4_1", "bits_per_weight": 4}
    assert smol["params_string"] == "135M"
    assert [instance["id"] for instance in smol["loaded_instances"]] == ["smol"]
    assert smol["capabilities"] == {"vision": False, "trained_for_tool_use": False}
    require_shape(bert, documents.EMBEDDING_MODEL_V1)
    assert bert.keys() == documents.EMBEDDING_MODEL_V1.keys()
    assert models["acme/talker"]["loaded_instances"] == []


def test_v1_remembers_a_chat_across_a_restart(tmp_path: Path) -> None:
    script = {"match": "Mine is blue.*Hello world.*And mine", "pieces": ["Blue."]}
    write_script(tmp_path / "a.scripted.json", script, {"pieces": ["Hello", " world"]})
    profile = write_profile(tmp_path / "p.yaml", {"a": {"source": "file:./a.scripted.json"}})
    request: dict[str, Any] = {"model": "a", "input": "Mine is blue."}
    with serving(tmp_path, profile) as server:
        first = answer(server, "POST", "/api/v1/chat", request)
    request |= {"input": "And mine?", "previous_response_id": first["response_id"]}
    with serving(tmp_path, profile) as server:
        second = answer(server, "POST", "/api/v1/chat", request)
    assert second["output"] == [{"type": "message", "content": "Blue."}]


def test_v1_chats_as_documented(server: Server) -> None:
    request = {"model": "smol", "input": "My favorite color is blue.", "max_output_tokens": 8}
    chat = answer(server, "POST", "/api/v1/chat", request)
    require_shape(chat, documents.CHAT_V1)
    assert 0 < chat["stats"]["total_output_tokens"] <= 8
    request |= {"input": "What color?", "previous_response_id": chat["response_id"]}
    reply = ask(server, "POST", "/api/v1/chat", {**request, "stream": True})
    events = read_named_events(reply.body)
    assert [events[0][0], events[1][0], events[-1][0]] == [
        "chat.start",
        "prompt_processing.start",
        "chat.end",
    ]
    result = events[-1][1]["result"]
    require_shape(result, documents.CHAT_V1)
    assert result["stats"]["input_tokens"] > chat["stats"]["input_tokens"]
    said = "".join(document["content"] for name, document in events if name == "message.delta")
    assert result["output"] == [{"type": "message", "content": said}]


def test_v1_refuses_downloads_and_knows_what_is_here(server: Server) -> None:
    path = "/api/v1/models/download"
    assert answer(server, "POST", path, {"model": "smol"}) == {"status": "already_downloaded"}
    for body in ({"model": "ibm/granite-4-micro"}, {"model": "smol", "quantization": "Q8_0"}):
        reply = ask(server, "POST", path, body)
        assert (reply.status, reply.json["error"]["type"]) == (400, "not_implemented")
    reply = ask(server, "GET", f"{path}/status/job_493c7c9ded")
    assert (reply.status, reply.json["error"]["type"]) == (404, "job_not_found")


LOAD, UNLOAD = "/api/v1/models/load", "/api/v1/models/unload"


@pytest.fixture
def talker(server: Server) -> Iterator[str]:
    """A model that is declared absent, and unloaded again afterwards, however often."""
    yield "acme/talker"
    for name in ("acme/talker", "acme/talker:2"):
        if server.instance(name) is not None:
            answer(server, "POST", UNLOAD, {"instance_id": name})


def test_v1_loads_and_unloads_as_documented(server: Server, talker: str) -> None:
    body = {"model": talker, "context_length": 1024, "echo_load_config": True}
    loaded = answer(server, "POST", LOAD, body)
    require_shape(loaded, {**documents.LOAD_V1, "instance_id": talker})
    assert loaded["load_config"]["context_length"] == 1024
    assert server.ready(talker).context_length == 1024
    gone = answer(server, "POST", UNLOAD, {"instance_id": talker})
    assert gone == {"instance_id": talker}
    assert server.instance(talker) is None


def test_a_loaded_instance_that_has_what_is_asked_for_is_the_answer(
    server: Server, talker: str
) -> None:
    bodies: list[dict[str, Any]] = [{"context_length": 512}, {}, {"context_length": 512}]
    answers = [answer(server, "POST", LOAD, {"model": talker, **body}) for body in bodies]
    assert {it["instance_id"] for it in answers} == {talker}
    other = answer(server, "POST", LOAD, {"model": talker, "context_length": 256})
    assert other["instance_id"] == f"{talker}:2"
    assert "load_config" not in other
    assert server.ready(talker).context_length == 512


def test_a_hand_load_stays_until_a_profile_is_applied(
    server: Server, home: Path, talker: str
) -> None:
    answer(server, "POST", LOAD, {"model": talker})
    answer(server, "POST", UNLOAD, {"instance_id": "tiny-bert"})
    assert server.instance("tiny-bert") is None
    assert server.ready(talker).state == "ready"
    assert "acme/talker, tiny-bert" in server.condition("Converged")
    # A request for what was unloaded loads it again.
    answer(server, "POST", "/v1/embeddings", {"model": "tiny-bert", "input": "a"})
    assert server.ready("tiny-bert").residency.origin == "declared"
    assert server.apply(home / "p.yaml").converged
    assert server.instance(talker) is None
    assert server.ready("tiny-bert").state == "ready"


def test_a_hand_load_that_fails_leaves_nothing(server: Server, talker: str) -> None:
    reply = ask(server, "POST", LOAD, {"model": "smol", "num_experts": 4})
    assert reply.status == 422
    assert (reply.code, reply.json["error"]["param"]) == ("setting_refused", "num_experts")
    eventually(lambda: server.instance("smol:2") is None)
    eventually(lambda: server.condition("Converged").startswith("True"))
    assert server.ready("smol").state == "ready"


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        (LOAD, {"model": "nobody"}, 404, "model"),
        (LOAD, {"model": "elsewhere"}, 404, "model"),
        (LOAD, {}, 400, "model"),
        (LOAD, {"model": "smol", "context_length": 1}, 400, "context_length"),
        (LOAD, {"model": "smol", "path": "/etc/passwd"}, 400, "path"),
        (UNLOAD, {"instance_id": "nobody"}, 404, "instance_id"),
        (UNLOAD, {"instance_id": 3}, 400, "instance_id"),
    ],
)
def test_what_cannot_be_loaded_or_unloaded_is_named(
    server: Server, path: str, body: dict[str, Any], status: int, param: str
) -> None:
    reply = ask(server, "POST", path, body)
    assert (reply.status, reply.json["error"]["param"]) == (status, param)
