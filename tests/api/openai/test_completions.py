"""/v1/completions with OpenAI's client: several prompts, token ids, the best of several answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from starlette.types import ASGIApp

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.api.openai.answers.formats import Whole
from lmrun.api.openai.best import choose_best
from lmrun.api.openai.completions import Choices, count_choices, rate, to_raw_prompts
from lmrun.api.openai.requests import MAX_PROMPTS
from lmrun.api.prompt_limits import MAX_TEXT_BYTES
from lmrun.chat.answer import fold
from lmrun.chat.events import ChatEnd, MessageDelta, TokenLogprob, Usage
from lmrun.chat.messages import RawPrompt, TokenPrompt
from lmrun.errors import BodyTooLarge, InvalidParameter
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from tests.api.openai.bodies import completion
from tests.support.http import Port, listening
from tests.support.instances import describe, open_pool
from tests.support.smollm2 import smollm2_path

FRANCE = "The capital of France is"
ITALY = "The capital of Italy is"


@dataclass
class Live:
    port: Port
    client: openai.OpenAI

    def complete(self, **parameters: Any) -> openai.types.Completion:
        given = {"model": "smollm2", "max_tokens": 6, "seed": 7, **parameters}
        answer: openai.types.Completion = self.client.completions.create(**given)
        return answer

    def tokenize(self, text: str) -> list[int]:
        tokens: list[int] = self.port.ask(
            "POST", "/tokenize", {"model": "smollm2", "content": text}
        ).json["tokens"]
        return tokens


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        load = LoadConfig(context_length=512, max_parallel_predictions=8)
        async with open_pool(describe(smollm2_path(), "smollm2", load=load)) as pool:
            yield build_app(pool, Door)

    with (
        listening(make_app) as port,
        openai.OpenAI(base_url=f"{port.url}/v1", api_key="any", max_retries=0) as client,
    ):
        yield Live(port, client)


def test_several_prompts_are_answered_in_their_order(live: Live) -> None:
    answer = live.complete(prompt=[FRANCE, ITALY], temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert "Paris" in answer.choices[0].text and "Rome" in answer.choices[1].text
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(live.tokenize(FRANCE)) + len(live.tokenize(ITALY))


def test_every_prompt_has_all_its_choices_before_the_next(live: Live) -> None:
    answer = live.complete(prompt=[FRANCE, ITALY], n=2, echo=True, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    starts = [choice.text.startswith(FRANCE) for choice in answer.choices]
    assert starts == [True, True, False, False]


def test_what_is_said_to_a_prompt_does_not_depend_on_the_others(live: Live) -> None:
    strict = {"deterministic": "strict"}
    alone = live.complete(prompt=ITALY, n=2, extra_body=strict).choices
    among = live.complete(prompt=[FRANCE, ITALY], n=2, extra_body=strict).choices[2:]
    assert [choice.text for choice in alone] == [choice.text for choice in among]


def test_streamed_prompts_are_the_whole_ones(live: Live) -> None:
    parameters: dict[str, Any] = {"prompt": [FRANCE, ITALY], "n": 2, "temperature": 0}
    whole = [choice.text for choice in live.complete(**parameters).choices]
    texts, usage = [""] * 4, None
    stream = live.client.completions.create(
        model="smollm2",
        max_tokens=6,
        stream=True,
        stream_options={"include_usage": True},
        **parameters,
    )
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == whole
    assert usage is not None and usage.completion_tokens == 4 * 6


def test_token_ids_are_a_prompt_like_their_text(live: Live) -> None:
    tokens = live.tokenize(FRANCE)
    by_text = live.complete(prompt=FRANCE, temperature=0)
    for prompt in (tokens, [tokens]):
        by_tokens = live.complete(prompt=prompt, temperature=0)
        assert by_tokens.choices[0].text == by_text.choices[0].text
        assert by_tokens.usage is not None
        assert by_tokens.usage.prompt_tokens == len(tokens)


def test_token_ids_are_given_back_as_text(live: Live) -> None:
    echoed = live.complete(prompt=live.tokenize(FRANCE), echo=True, max_tokens=0, logprobs=0)
    assert echoed.choices[0].text == FRANCE
    assert echoed.choices[0].logprobs is not None
    assert "".join(echoed.choices[0].logprobs.tokens or []) == FRANCE


def test_the_best_is_the_likeliest_per_token(live: Live) -> None:
    """Candidate i is generated with seed + i: the same ones as with `n`."""
    parameters: dict[str, Any] = {
        "prompt": FRANCE,
        "temperature": 1.5,
        "logprobs": 0,
        "extra_body": {"deterministic": "strict"},
    }
    everyone = live.complete(n=4, **parameters).choices

    def mean(choice: Any) -> float:
        logprobs: list[float] = choice.logprobs.token_logprobs
        return sum(logprobs) / len(logprobs)

    wanted = [choice.text for choice in sorted(everyone, key=mean, reverse=True)[:2]]
    answer = live.complete(n=2, best_of=4, **parameters)
    assert [choice.text for choice in answer.choices] == wanted
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage is not None and answer.usage.completion_tokens == 4 * 6
    assert answer.usage.prompt_tokens == len(live.tokenize(FRANCE))
    quiet = live.complete(n=2, best_of=4, **{**parameters, "logprobs": None})
    assert [choice.text for choice in quiet.choices] == wanted
    assert all(choice.logprobs is None for choice in quiet.choices)


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"prompt": ["a", "word " * 600]}, "prompt[1]"),
        ({"prompt": [[1], [10**6]]}, "prompt[1]"),
        ({"prompt": [10**6]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [["a"]]}, "prompt[0][0]"),
        ({"prompt": ["a"] * (MAX_PROMPTS + 1)}, "prompt"),
        ({"prompt": ["a"] * MAX_PROMPTS, "n": 2}, "prompt"),
        ({"prompt": "a", "n": 2, "best_of": 1}, "best_of"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "best_of"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
    ],
)
def test_what_is_wrong_is_named(live: Live, parameters: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        live.complete(**parameters)
    assert refused.value.param == param


def test_prompts_come_as_they_stand() -> None:
    assert to_raw_prompts(completion(prompt="hi")) == (RawPrompt("hi"),)
    assert to_raw_prompts(completion(prompt=[1, 2])) == (TokenPrompt((1, 2)),)
    with pytest.raises(BodyTooLarge):
        to_raw_prompts(completion(prompt=["ü" * (MAX_TEXT_BYTES // 4)] * 3))


@pytest.mark.parametrize(
    ("chosen", "choices"),
    [
        ({}, Choices(1, 1)),
        ({"n": 8}, Choices(8, 8)),
        ({"best_of": 1}, Choices(1, 1)),
        ({"best_of": 4}, Choices(1, 4)),
        ({"n": 3, "best_of": 3, "stream": True}, Choices(3, 3)),
    ],
)
def test_as_many_choices_as_asked_for(chosen: dict[str, Any], choices: Choices) -> None:
    assert count_choices(completion(**chosen), 1) == choices


def test_candidates_are_rated_only_where_some_are_left_out() -> None:
    plain, scored = PredictionConfig(), PredictionConfig(logprobs=3)
    assert rate(plain, Choices(2, 2)) == plain
    assert rate(plain, Choices(1, 2)).logprobs == 0
    assert rate(scored, Choices(1, 2)) == scored


def test_too_many_generations_are_refused_before_any() -> None:
    with pytest.raises(InvalidParameter, match="100 prompts with 4 answers"):
        count_choices(completion(n=2, best_of=4), 100)


def make_candidate(text: str, *logprobs: float | None, prompt_tokens: int = 0) -> Whole:
    tokens = tuple(TokenLogprob(b"x", logprob) for logprob in logprobs)
    end = ChatEnd("eosFound", Usage(prompt_tokens, len(logprobs)))
    return Whole(fold([MessageDelta(text, tokens), end]), end)


def test_the_best_of_each_prompt_are_chosen() -> None:
    candidates = [
        make_candidate("a", -3.0, -3.0),
        make_candidate("b", -1.0, -1.0, -1.0),
        make_candidate("c"),
        make_candidate("d", -0.5),
    ]
    best = choose_best(candidates, 2, 1, is_echoed=False)
    assert [choice.answer.text for choice in best] == ["b", "d"]


def test_an_echoed_prompt_says_nothing_of_the_answer() -> None:
    candidates = [
        make_candidate("a", None, -9.0, -2.0, prompt_tokens=2),
        make_candidate("b", None, -9.0, -1.0, -1.0, -1.0, -1.0, prompt_tokens=2),
    ]
    best = choose_best(candidates, 2, 2, is_echoed=True)
    assert [choice.answer.text for choice in best] == ["b", "a"]
