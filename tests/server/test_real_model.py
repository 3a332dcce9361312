"""The main job on real input: a profile loads SmolLM2, and it answers OpenAI's client."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.support.profiles import write_profile
from tests.support.server import Server, serving
from tests.support.smollm2 import smollm2_path

PARIS: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    # Flash attention off: with it, results depend on the number of threads.
    model = {
        "source": f"file:{smollm2_path()}",
        "load": {"context_length": 512, "flash_attention": False},
        "preset": "brief",
    }
    presets = {"brief": {"prediction": {"max_tokens": 24, "temperature": 0.7}}}
    profile = write_profile(home / "p.yaml", {"smol": model}, presets=presets)
    with serving(home, profile) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_it_answers(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="smol", messages=PARIS, temperature=0)
    assert "Paris" in str(answer.choices[0].message.content)
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 10
    assert 0 < answer.usage.completion_tokens <= 24


def test_a_stream_says_the_same_as_the_whole_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="smol", messages=PARIS, temperature=0)
    stream = client.chat.completions.create(
        model="smol",
        messages=PARIS,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(deltas) == whole.choices[0].message.content
    assert len(deltas) > 5
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_seed_gives_the_same_text_twice(client: openai.OpenAI, temperature: float) -> None:
    texts = [
        client.chat.completions.create(
            model="smol", messages=PARIS, seed=42, temperature=temperature
        )
        .choices[0]
        .message.content
        for _ in range(2)
    ]
    assert texts[0] == texts[1]


def test_different_seeds_give_different_texts(client: openai.OpenAI) -> None:
    texts = {
        client.chat.completions.create(model="smol", messages=PARIS, seed=seed, temperature=1.5)
        .choices[0]
        .message.content
        for seed in range(3)
    }
    assert len(texts) > 1


def test_a_completion_continues_the_prompt_without_a_template(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="smol", prompt="One, two, three, four,", temperature=0, max_tokens=6
    )
    assert "five" in answer.choices[0].text
    assert answer.choices[0].finish_reason == "length"


def test_a_stop_string_ends_the_answer_and_is_not_said(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="smol", messages=PARIS, temperature=0, stop=["Paris"]
    )
    assert "Paris" not in str(answer.choices[0].message.content)
    assert answer.choices[0].finish_reason == "stop"


def test_logit_bias_reaches_the_model(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="smol", prompt="Hello", temperature=0, max_tokens=3, logit_bias={"2026": 100}
    )
    text = answer.choices[0].text
    piece = text[: len(text) // 3]
    assert piece
    assert text == piece * 3


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["smol"]


def test_an_unknown_model_is_not_found_and_no_other_answers(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="smol"):
        client.chat.completions.create(model="gpt-9", messages=PARIS)


def test_a_wrong_type_names_its_parameter(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(  # type: ignore[call-overload]
            model="smol", messages=PARIS, temperature="hot"
        )
    assert caught.value.param == "temperature"


def test_a_prompt_beyond_the_context_is_a_bad_request(client: openai.OpenAI) -> None:
    long: list[ChatCompletionMessageParam] = [{"role": "user", "content": "word " * 1000}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="smol", messages=long)
    assert caught.value.code == "context_length_exceeded"


def test_eight_clients_at_once_get_whole_answers(client: openai.OpenAI, server: Server) -> None:
    def ask(seed: int) -> str | None:
        answer = client.chat.completions.create(model="smol", messages=PARIS, seed=seed)
        return answer.choices[0].message.content

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert all(answers)
    instance = server.ready("smol")
    assert (instance.active, instance.waiting) == (0, 0)


def test_the_worker_maps_the_file_where_it_lies(server: Server) -> None:
    pid = server.ready("smol").pid
    assert str(smollm2_path()) in Path(f"/proc/{pid}/maps").read_text()
