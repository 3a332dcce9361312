"""Everything about an answer's form on a real model: choices, log probabilities, echo, limits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.support.profiles import posting, write_profile
from tests.support.server import Server, serving
from tests.support.smollm2 import smollm2_path
from tests.support.tiny_llama import write_tiny_llama

PARIS: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]
USAGE: Any = {"include_usage": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    model: dict[str, Any] = {
        "source": f"file:{smollm2_path()}",
        "load": {"context_length": 512, "flash_attention": False, "max_parallel_predictions": 4},
        "preset": "brief",
    }
    tiny = write_tiny_llama(home / "tiny.gguf", seed=1)
    likeliest = {"max_tokens": 12, "temperature": 0, "repeat_penalty": 1}
    models = {"smol": model, "tiny": {"source": f"file:{tiny}"}}
    presets = {"brief": {"prediction": likeliest}}
    profile = write_profile(home / "p.yaml", models, presets=presets)
    with serving(home, profile) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_seeded_choices_differ_and_each_can_be_had_alone(client: openai.OpenAI) -> None:
    settings: dict[str, Any] = {"temperature": 1.5, "extra_body": {"deterministic": "strict"}}
    answer = client.chat.completions.create(model="smol", messages=PARIS, n=3, seed=7, **settings)
    texts = [choice.message.content for choice in answer.choices]
    assert len(set(texts)) == 3
    alone = client.chat.completions.create(model="smol", messages=PARIS, seed=9, **settings)
    assert alone.choices[0].message.content == texts[2]


def test_greedy_choices_are_equal_and_more_than_fit_at_once_wait(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="smol", messages=PARIS, n=8, max_tokens=4)
    assert len({choice.message.content for choice in answer.choices}) == 1
    assert len(answer.choices) == 8
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 32


def test_chat_streams_choices_with_log_probabilities_and_usage(client: openai.OpenAI) -> None:
    settings: dict[str, Any] = {"model": "smol", "messages": PARIS, "n": 2, "logprobs": True}
    # Two answers are compared, which may be decoded in different company.
    settings["extra_body"] = {"deterministic": "strict"}
    whole = client.chat.completions.create(top_logprobs=3, **settings)
    chunks = list(
        client.chat.completions.create(
            top_logprobs=3, stream=True, stream_options=USAGE, **settings
        )
    )
    texts: dict[int, str] = {0: "", 1: ""}
    tokens: dict[int, list[Any]] = {0: [], 1: []}
    for chunk in chunks[:-1]:
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        if choice.logprobs is not None:
            tokens[choice.index] += choice.logprobs.content or []
    for index, choice in enumerate(whole.choices):
        assert texts[index] == choice.message.content
        assert choice.logprobs is not None
        assert [t.token for t in tokens[index]] == [t.token for t in choice.logprobs.content or []]
        assert "".join(token.token for token in tokens[index]).startswith(texts[index])
        for token in tokens[index]:
            assert len(token.top_logprobs) == 3
            # Greedy: the chosen one is the likeliest.
            assert token.top_logprobs[0].token == token.token
            assert token.logprob == pytest.approx(token.top_logprobs[0].logprob)
            assert sum(math.exp(each.logprob) for each in token.top_logprobs) <= 1 + 1e-6
            assert bytes(token.bytes or []).decode(errors="replace") == token.token
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 2 * len(tokens[0])


def test_whoever_has_read_an_answer_finds_its_tokens_in_the_status(
    server: Server, client: openai.OpenAI
) -> None:
    for _ in range(3):
        before = count_generated(server)
        answer = client.chat.completions.create(model="smol", messages=PARIS)
        assert answer.usage is not None
        assert count_generated(server) == before + answer.usage.completion_tokens


def count_generated(server: Server) -> int:
    """What the engine has generated, as the status says it."""
    instance = server.instance("smol")
    assert instance is not None and instance.usage is not None
    return instance.usage.generated_tokens


def test_who_asks_for_no_log_probabilities_gets_none(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="smol", messages=PARIS, logprobs=False)
    assert answer.choices[0].logprobs is None


def test_the_tokens_of_a_stop_string_are_not_reported(client: openai.OpenAI) -> None:
    settings: dict[str, Any] = {"model": "smol", "messages": PARIS, "logprobs": True}
    free = client.chat.completions.create(**settings).choices[0]
    stop = str(free.message.content)[9:14]
    cut = client.chat.completions.create(stop=stop, **settings).choices[0]
    text = str(cut.message.content)
    assert text == str(free.message.content).split(stop)[0]
    assert cut.logprobs is not None
    tokens = [token.token for token in cut.logprobs.content or []]
    assert "".join(tokens[:-1]) == text[: len("".join(tokens[:-1]))] != text
    assert "".join(tokens).startswith(text)


def test_a_completion_lists_tokens_and_their_places(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="smol", prompt="One, two, three,", logprobs=2, max_tokens=6, n=2
    )
    for choice in answer.choices:
        logprobs = choice.logprobs
        assert logprobs is not None
        assert logprobs.tokens is not None
        assert logprobs.text_offset is not None
        assert logprobs.top_logprobs is not None
        assert "".join(logprobs.tokens) == choice.text
        for token, offset, top in zip(
            logprobs.tokens, logprobs.text_offset, logprobs.top_logprobs, strict=True
        ):
            assert choice.text[offset : offset + len(token)] == token
            assert len(top) == 2
            assert token in top


def test_a_prompt_is_scored_without_generating(client: openai.OpenAI) -> None:
    prompt = "The capital of France is Paris , and"
    answer = client.completions.create(
        model="smol", prompt=prompt, echo=True, logprobs=1, max_tokens=0
    )
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == (prompt, "length")
    logprobs = choice.logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    assert "".join(logprobs.tokens or []) == prompt
    first, *rest = logprobs.token_logprobs
    assert first is None
    assert all(each < 0 for each in rest)
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.usage.prompt_tokens) == (0, len(rest) + 1)


def test_an_echoed_prompt_is_scored_as_the_same_text_generated(client: openai.OpenAI) -> None:
    prompt = "One, two, three,"
    said = client.completions.create(model="smol", prompt=prompt, logprobs=0, max_tokens=6)
    assert said.choices[0].logprobs is not None
    echoed = client.completions.create(
        model="smol", prompt=prompt + said.choices[0].text, logprobs=0, echo=True, max_tokens=0
    )
    assert echoed.choices[0].logprobs is not None
    expected = said.choices[0].logprobs.token_logprobs
    assert expected is not None
    got = (echoed.choices[0].logprobs.token_logprobs or [])[-len(expected) :]
    assert got == pytest.approx(expected, abs=0.05)


def test_an_echo_streams_before_the_answer(client: openai.OpenAI) -> None:
    settings: dict[str, Any] = {"model": "smol", "prompt": "One, two, three,", "echo": True}
    whole = client.completions.create(logprobs=0, **settings).choices[0]
    text = ""
    offsets: list[int] = []
    for chunk in client.completions.create(stream=True, logprobs=0, **settings):
        text += chunk.choices[0].text
        if chunk.choices[0].logprobs is not None:
            offsets += chunk.choices[0].logprobs.text_offset or []
    assert text == whole.text
    assert text.startswith("One, two, three,")
    assert whole.logprobs is not None
    assert offsets == whole.logprobs.text_offset
    assert offsets[0] == 0


def test_an_answer_ends_before_a_stop_token(client: openai.OpenAI) -> None:
    settings: dict[str, Any] = {"model": "smol", "prompt": "One,", "logit_bias": {"2026": 100}}
    assert client.completions.create(**settings).choices[0].text
    (cut,) = client.completions.create(extra_body={"stop_token_ids": [2026]}, **settings).choices
    assert (cut.text, cut.finish_reason) == ("", "stop")


@pytest.mark.parametrize(
    "settings",
    [
        {"typical_p": 0.5},
        {"xtc_probability": 1.0, "xtc_threshold": 0.01},
        {"mirostat": 1},
        {"mirostat": 2, "mirostat_tau": 2.0, "mirostat_eta": 0.2},
        {"dry_multiplier": 50.0, "dry_allowed_length": 0},
        {"min_p": 0.9},
        {"top_k": 1},
        {"repeat_penalty": 2.0, "temperature": 0},
    ],
    ids=str,
)
def test_every_sampling_setting_reaches_the_model(
    client: openai.OpenAI, settings: dict[str, Any]
) -> None:
    def ask(**chosen: Any) -> str:
        body = {"temperature": 1.0, "seed": 3, **chosen}
        answer = client.completions.create(
            model="tiny", prompt="the cat sat, the cat", max_tokens=40, extra_body=body
        )
        return answer.choices[0].text

    plain = {name: value for name, value in settings.items() if name == "temperature"}
    assert ask(**settings) != ask(**plain)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"logit_bias": {"512": 1}}, 400, "logit_bias"),
        ({"logit_bias": {"2147483647": 1}}, 400, "logit_bias"),
        ({"logit_bias": {str(token): 1 for token in range(1025)}}, 400, "logit_bias"),
        ({"stop_token_ids": [512]}, 400, "stop_token_ids"),
        ({"stop_token_ids": list(range(65))}, 400, "stop_token_ids"),
        ({"stop": ["x"] * 1000}, 400, "stop"),
        ({"n": 9}, 400, "n"),
        ({"n": 10**9}, 400, "n"),
        ({"best_of": 0}, 400, "best_of"),
        ({"best_of": 129}, 400, "best_of"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"logprobs": 21}, 400, "logprobs"),
        ({"dry_multiplier": 1, "dry_sequence_breakers": ["é" * 21]}, 400, "dry_sequence_breakers"),
        ({"adapters": {"nobody": 1.0}}, 400, "adapters"),
        ({"prompt": "x" * 10_000_000}, 413, None),
        ({"prompt": "x " * 4_000_000}, 400, "prompt"),
        ({"prompt": " " * 8_000_000}, 400, "prompt"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_request_is_refused_and_the_worker_lives(
    server: Server, client: openai.OpenAI, body: dict[str, Any], status: int, param: str | None
) -> None:
    pid = server.ready("tiny").pid
    with posting(
        server.address, {"model": "tiny", "prompt": "hi", **body}, "/v1/completions"
    ) as response:
        answer = response.read()
        assert response.status == status, answer
    if param is not None:
        assert f'"param":"{param}' in answer.decode()
    assert client.completions.create(model="tiny", prompt="hi", max_tokens=1).choices
    assert server.ready("tiny").pid == pid
