"""Images over a real port, with OpenAI's client: one model sees, another says it does not."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from tests.support.pictures import encode, noise
from tests.support.profiles import write_profile
from tests.support.server import Server, serving
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_vision import write_tiny_projector

PICTURE = encode(noise(), "JPEG")
PLACE = "messages[0].content[1].image_url.url"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    text = write_tiny_llama(home / "text.gguf", seed=1)
    eye = write_tiny_projector(home / "eye.gguf")
    models: dict[str, dict[str, Any]] = {
        "seeing": {"source": f"file:{text}", "load": {"mmproj": f"file:{eye}"}},
        "blind": {"source": f"file:{text}"},
    }
    with serving(home, write_profile(home / "p.yaml", models)) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def show(data: bytes, kind: str = "image/jpeg") -> list[ChatCompletionMessageParam]:
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": url, "detail": "auto"}},
            ],
        }
    ]


def ask(
    client: openai.OpenAI, messages: list[ChatCompletionMessageParam], model: str = "seeing"
) -> ChatCompletion:
    return client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=4
    )


def test_a_picture_is_answered_and_again_from_the_cache(client: openai.OpenAI) -> None:
    first, second = ask(client, show(PICTURE)), ask(client, show(PICTURE))
    assert first.choices[0].message.content == second.choices[0].message.content
    assert second.usage is not None and second.usage.prompt_tokens_details is not None
    assert second.usage.prompt_tokens_details.cached_tokens == second.usage.prompt_tokens - 1


@pytest.mark.parametrize(
    ("model", "data", "says", "code"),
    [
        ("blind", PICTURE, "The model 'blind' takes no images", "unsupported_parameter"),
        ("seeing", b"GIF89a" + bytes(40), "a GIF image", "invalid_parameter"),
        ("seeing", PICTURE[: len(PICTURE) // 2], "cannot be decoded", "invalid_parameter"),
        ("seeing", b"", "an empty file", "invalid_parameter"),
    ],
)
def test_a_refused_picture_is_a_400_that_names_it(
    client: openai.OpenAI, model: str, data: bytes, says: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as refused:
        ask(client, show(data), model)
    assert (refused.value.param, refused.value.code) == (PLACE, code)


def test_the_same_worker_goes_on_after_bad_pictures(server: Server, client: openai.OpenAI) -> None:
    before = server.ready("seeing").pid
    for data in (b"x", PICTURE[:50], PICTURE + bytes(100)):
        try:
            ask(client, show(data))
        except openai.BadRequestError:
            continue
    assert ask(client, show(PICTURE)).choices[0].message.content is not None
    assert server.ready("seeing").pid == before


def test_the_server_fetches_nothing(client: openai.OpenAI) -> None:
    messages = show(PICTURE)
    messages[0]["content"][1]["image_url"]["url"] = "https://example.com/a.png"  # type: ignore[index]
    with pytest.raises(openai.BadRequestError, match="fetches nothing") as refused:
        ask(client, messages)
    assert refused.value.param == "messages[0].content"
