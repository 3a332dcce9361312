"""What a sampler promises besides the choice: acceptance, scores, and no trust in numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from lmrun.engines.base import SequenceFinished, TokenProduced
from lmrun.engines.llama_cpp.sampling.chain import choose_seed
from lmrun.engines.llama_cpp.sampling.outputs import Logits, LogitsUnusable
from lmrun.engines.llama_cpp.sampling.sampler import Sampler
from lmrun.errors import InvalidParameter
from lmrun.settings.prediction import PredictionConfig
from tests.engines.llama_cpp.sampling.reference import Bench, open_bench
from tests.support.engines import Subject, drain, generate, spec, tokens_of

GREEDY: dict[str, Any] = {"temperature": 0, "repeat_penalty": 1}


@pytest.fixture(scope="module")
def bench(tiny: Subject) -> Iterator[Bench]:
    with open_bench(tiny) as opened:
        yield opened


def make_sampler(bench: Bench, constraint: Any = None, **chosen: Any) -> Sampler:
    prediction = PredictionConfig.model_validate(GREEDY | chosen)
    return Sampler(prediction, [65, 66], bench.vocabulary, constraint)


def flat(bench: Bench, **peaks: float) -> Logits:
    """All zero but the letters named."""
    logits = np.zeros(bench.vocabulary.size, dtype=np.float32)
    for letter, value in peaks.items():
        logits[ord(letter)] = value
    return logits


@dataclass
class Letters:
    """Allows the letters of a text, one after the other."""

    text: str
    accepted: list[int] = field(default_factory=list)

    def apply(self, logits: Logits) -> None:
        wanted = ord(self.text[len(self.accepted)])
        kept = logits[wanted]
        logits[:] = -math.inf
        logits[wanted] = kept

    def accept(self, token: int) -> None:
        self.accepted.append(token)


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"temperature": 1.5},
        {"temperature": 1.5, "top_k": 0, "min_p": 0, "top_p": 1},
        {"temperature": 1.0, "typical_p": 0.9, "min_p": 0, "top_p": 1},
        {"temperature": 1.0, "xtc_probability": 1, "xtc_threshold": 0, "min_p": 0, "top_p": 1},
        {"temperature": 0, "xtc_probability": 1, "xtc_threshold": 0, "min_p": 0, "top_p": 1},
        {"temperature": 1.0, "mirostat": 1},
        {"temperature": 1.0, "mirostat": 2},
        {"repeat_penalty": 1.5, "dry_multiplier": 5, "logit_bias": {72: -100}},
    ],
    ids=str,
)
def test_no_setting_chooses_what_a_constraint_forbids(bench: Bench, chosen: dict[str, Any]) -> None:
    constraint = Letters("HELLOHELLOHELLO")
    with closing(make_sampler(bench, constraint, **chosen)) as sampler:
        for letter in constraint.text:
            bench.put(flat(bench, X=9, Y=5))
            assert chr(sampler.sample(bench.outputs, 0)) == letter
            sampler.accept(ord(letter))
    assert bytes(constraint.accepted).decode() == constraint.text


def test_sampling_accepts_nothing_by_itself(bench: Bench) -> None:
    with closing(make_sampler(bench, presence_penalty=2.0, dry_multiplier=2.0)) as sampler:
        for _ in range(3):
            bench.put(flat(bench, C=3, D=2))
            assert sampler.sample(bench.outputs, 0) == ord("C")
        sampler.accept(ord("C"))
        bench.put(flat(bench, C=3, D=2))
        assert sampler.sample(bench.outputs, 0) == ord("D")


@pytest.mark.parametrize(
    "penalty",
    [
        {"repeat_penalty": 3.0},
        {"presence_penalty": 2.0},
        {"frequency_penalty": 2.0},
        {"dry_multiplier": 5.0, "dry_allowed_length": 1},
    ],
    ids=str,
)
def test_a_forced_token_counts_like_a_chosen_one(bench: Bench, penalty: dict[str, Any]) -> None:
    with closing(make_sampler(bench, **penalty)) as sampler:
        for letter in "CDC":
            sampler.accept(ord(letter))
        bench.put(flat(bench, D=3, E=2.5))
        assert sampler.sample(bench.outputs, 0) == ord("E")


BAD_ROWS = [
    {"C": math.nan},
    {"C": math.inf},
    {"C": math.inf, "D": math.nan},
    {"\0": math.nan},
]
SAMPLERS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0},
    {"temperature": 1.0, "top_k": 0, "top_p": 1, "min_p": 0},
    {"temperature": 1.0, "typical_p": 0.5, "xtc_probability": 0.5},
    {"temperature": 1.0, "mirostat": 1},
    {"temperature": 1.0, "mirostat": 2},
    {"repeat_penalty": 1.2, "presence_penalty": 1.0, "dry_multiplier": 1.0},
    {"logprobs": 3},
]


@pytest.mark.parametrize("row", BAD_ROWS, ids=str)
@pytest.mark.parametrize("chosen", SAMPLERS, ids=str)
def test_logits_that_are_no_numbers_are_an_error(
    bench: Bench, chosen: dict[str, Any], row: dict[str, float]
) -> None:
    with closing(make_sampler(bench, **chosen)) as sampler:
        bench.put(flat(bench, **row))
        with pytest.raises(LogitsUnusable, match="no usable prediction"):
            sampler.sample(bench.outputs, 0)


@pytest.mark.parametrize("chosen", SAMPLERS, ids=str)
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_row_without_any_number_is_an_error(
    bench: Bench, chosen: dict[str, Any], value: float
) -> None:
    with closing(make_sampler(bench, **chosen)) as sampler:
        bench.put(np.full(bench.vocabulary.size, value, dtype=np.float32))
        with pytest.raises(LogitsUnusable):
            sampler.sample(bench.outputs, 0)


@pytest.mark.parametrize("temperature", [1e-320, 1e-45, 1e-38, 1e-31, 1e-30, 1e-6])
def test_next_to_no_temperature_is_none(bench: Bench, temperature: float) -> None:
    with closing(make_sampler(bench, temperature=temperature, top_k=0, seed=1)) as sampler:
        for _ in range(20):
            bench.put(flat(bench, C=20.0, D=19.999))
            assert sampler.sample(bench.outputs, 0) == ord("C")


def score_directly(logits: Logits, token: int) -> float:
    """The definition, in Python's floats."""
    best = float(logits.max())
    return float(logits[token]) - best - math.log(sum(math.exp(x - best) for x in logits.tolist()))


@pytest.mark.parametrize("chosen", [{}, {"temperature": 1.0, "seed": 3}], ids=str)
def test_scores_are_those_of_the_model_whatever_the_settings(
    bench: Bench, chosen: dict[str, Any]
) -> None:
    logits = np.random.default_rng(1).normal(0, 3, bench.vocabulary.size).astype(np.float32)
    bias = {"logit_bias": {67: 100.0}}
    with closing(make_sampler(bench, logprobs=4, **bias, **chosen)) as sampler:
        assert sampler.wants_scores
        bench.put(logits)
        token = sampler.sample(bench.outputs, 0)
        score = sampler.score(bench.outputs, 0, token)
    assert (score.token, score.piece) == (67, b"C")
    assert score.logprob == pytest.approx(score_directly(logits, 67), abs=1e-5)
    likeliest = sorted(range(len(logits)), key=lambda token: -logits[token])[:4]
    assert [each.token for each in score.top] == likeliest
    for each in score.top:
        assert each.logprob == pytest.approx(score_directly(logits, each.token), abs=1e-5)
        assert each.piece == bench.vocabulary.detokenize([each.token])
        assert each.top == ()


def test_a_token_that_was_not_chosen_is_scored_by_the_row_as_it_is(bench: Bench) -> None:
    with closing(make_sampler(bench, logprobs=0, presence_penalty=1.0)) as sampler:
        bench.put(flat(bench, C=5))
        assert sampler.sample(bench.outputs, 0) == ord("C")
        sampler.score(bench.outputs, 0, ord("C"))
        sampler.accept(ord("C"))
        logits = flat(bench, D=4)
        bench.put(logits)
        score = sampler.score(bench.outputs, 0, ord("D"))
    assert score.logprob == pytest.approx(score_directly(logits, ord("D")), abs=1e-5)
    assert score.top == ()


def test_equally_likely_tokens_are_listed_by_id(bench: Bench) -> None:
    with closing(make_sampler(bench, logprobs=20)) as sampler:
        bench.put(flat(bench, Z=1, Y=1, C=1))
        score = sampler.score(bench.outputs, 0, ord("C"))
    assert [each.token for each in score.top[:3]] == [ord(letter) for letter in "CYZ"]


def test_who_asks_for_no_scores_has_none(bench: Bench) -> None:
    with closing(make_sampler(bench)) as sampler:
        assert not sampler.wants_scores


@pytest.mark.parametrize("breaker", ["é" * 21, "a\0b"])
def test_a_sequence_breaker_that_would_be_cut_is_refused(bench: Bench, breaker: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        make_sampler(bench, dry_multiplier=1.0, dry_sequence_breakers=[breaker])
    assert caught.value.param == "dry_sequence_breakers"


def test_closing_twice_does_nothing_more(bench: Bench) -> None:
    sampler = make_sampler(bench, temperature=1.0, dry_multiplier=1.0)
    sampler.close()
    sampler.close()


def test_no_seed_means_a_random_one_to_llama_cpp() -> None:
    assert choose_seed(2**32 - 1) == 2**32 - 2
    assert choose_seed(5) == 5
    assert len({choose_seed(None) for _ in range(5)}) > 1


def test_an_answer_ends_before_a_stop_token(tiny: Subject) -> None:
    with closing(tiny.load()) as model:
        answer = generate(model, spec(1, max_tokens=30, **GREEDY))
        stop = answer[7]
        events = []
        model.add(spec(1, max_tokens=30, stop_token_ids=[stop], **GREEDY))
        events = drain(model)[1]
    assert tokens_of(events) == answer[: answer.index(stop)]
    last = events[-1]
    assert isinstance(last, SequenceFinished)
    assert last.reason == "eosFound"


def test_every_token_has_its_logprob_when_asked_for(tiny: Subject) -> None:
    with closing(tiny.load()) as model:
        model.add(spec(1, max_tokens=6, logprobs=2, **GREEDY))
        produced = [event for event in drain(model)[1] if isinstance(event, TokenProduced)]
        assert [each.logprob.token for each in produced if each.logprob] == tokens_of([*produced])
        for each in produced:
            assert each.logprob is not None
            assert each.logprob.top[0].token == each.token
        model.add(spec(2, max_tokens=6, **GREEDY))
        assert {e.logprob for e in drain(model)[2] if isinstance(e, TokenProduced)} == {None}
