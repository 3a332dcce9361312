"""Images over a real port, with Anthropic's client: in a question, and in a tool's result."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.support.pictures import encode, noise
from tests.support.profiles import write_profile
from tests.support.server import Server, serving
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_vision import write_tiny_projector

PICTURE = encode(noise(), "PNG")
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    text = write_tiny_llama(home / "text.gguf", seed=1)
    eye = write_tiny_projector(home / "eye.gguf")
    model = {"source": f"file:{text}", "load": {"mmproj": f"file:{eye}", "context_length": 2048}}
    with serving(home, write_profile(home / "p.yaml", {"seeing": model})) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.address, api_key="any", max_retries=0) as client:
        yield client


def picture(data: bytes = PICTURE) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    source = {"type": "base64", "media_type": "image/png", "data": encoded}
    return {"type": "image", "source": source}


def ask(client: anthropic.Anthropic, *messages: tuple[str, Any]) -> Any:
    given: Any = [{"role": role, "content": content} for role, content in messages]
    return client.messages.create(model="seeing", max_tokens=4, messages=given)


def test_a_picture_costs_the_tokens_that_are_counted(client: anthropic.Anthropic) -> None:
    content = [{"type": "text", "text": "What is this?"}, picture()]
    usage = ask(client, ("user", content)).usage
    counted: Any = [{"role": "user", "content": content}]
    total = client.messages.count_tokens(model="seeing", messages=counted).input_tokens
    assert usage.input_tokens + usage.cache_read_input_tokens == total
    assert (
        total
        > client.messages.count_tokens(
            model="seeing", messages=[{"role": "user", "content": "What is this?"}]
        ).input_tokens
    )


def test_a_tool_may_give_a_picture(client: anthropic.Anthropic) -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [picture()]}
    message = ask(client, ("user", "Look!"), ("assistant", [CALL]), ("user", [result]))
    assert message.stop_reason in ("end_turn", "max_tokens")


def test_a_broken_picture_is_a_400_that_names_its_place(client: anthropic.Anthropic) -> None:
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "text", "text": "see"}, picture(PICTURE[:50])],
    }
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(
            client,
            ("user", [picture(), {"type": "text", "text": "Look!"}]),
            ("assistant", [CALL]),
            ("user", [result]),
        )
    assert isinstance(caught.value.body, dict)
    place = "messages[2].content[0].content[1].source.data"
    assert caught.value.body["error"]["details"]["param"] == place
