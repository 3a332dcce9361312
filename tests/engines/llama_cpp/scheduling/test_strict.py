"""`deterministic: strict`: the same request gives the same tokens, whatever else happens.

`make exactness` runs the same comparison with 200 requests on the real model.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from lmrun.engines.base import TokenProduced
from lmrun.errors import LoadFailed, UnsupportedParameter
from tests.support.engines import Subject, drain, generate, spec, tokens_of
from tests.support.exact_answers import (
    answer,
    answer_disturbed,
    answer_elsewhere,
    load,
    make_requests,
)
from tests.support.smollm2 import smollm2_path

REQUESTS = int(os.environ.get("LMRUN_EXACT_REQUESTS", "12"))
BULK = "LMRUN_EXACT_REQUESTS" in os.environ


@pytest.fixture(scope="module")
def path(tiny: Subject) -> Path:
    return smollm2_path() if BULK else tiny.path


@pytest.mark.timeout(3600 if BULK else 240)
def test_the_same_tokens_in_every_situation(path: Path) -> None:
    requests = make_requests(REQUESTS)
    # Two spinning threads beside other work are slow: in the suite only the fresh process has two.
    with closing(load(path, threads=2 if BULK else 1)) as model:
        alone = answer(model, requests)
        assert answer(model, requests) == alone, "repeated"
        assert answer_disturbed(model, requests) == alone, "beside eight others"
        for number in range(20):
            generate(model, spec(10**6 + number, prompt_length=3 * number + 1, max_tokens=3))
        assert answer(model, requests) == alone, "after twenty others"
        for request in requests:
            model.add(request)
            model.step()
            model.cancel(request.id)
        assert answer(model, requests) == alone, "after being cancelled"
        model.set_threads(1)
        assert answer(model, requests) == alone, "with one thread"
    assert answer_elsewhere(path, REQUESTS, threads=2) == alone, "after a restart"
    assert len({tuple(tokens) for tokens in alone}) > REQUESTS // 2


def test_who_is_not_strict_need_not_wait(tiny: Subject) -> None:
    with closing(tiny.load(max_parallel_predictions=2)) as model:
        for number in range(3):
            model.add(spec(number, max_tokens=30, deterministic="strict"))
        model.add(spec(8, max_tokens=10))
        model.add(spec(9, max_tokens=10))
        assert (model.active, model.waiting) == (0, 5)
        ended: list[int] = []
        while model.active or model.waiting:
            ended += [e.sequence for e in model.step() if type(e).__name__ == "SequenceFinished"]
        assert ended == [8, 9, 0, 1, 2]


def test_strict_requests_reuse_nothing(tiny: Subject) -> None:
    with closing(tiny.load()) as model:
        generate(model, spec(1, prompt_length=100, max_tokens=4))
        model.add(spec(1, prompt_length=100, max_tokens=4, deterministic="strict"))
        events = drain(model)[1]
        assert {getattr(event, "cached", 0) for event in events} == {0}


def test_without_memory_for_a_strict_context_only_that_request_fails(
    tiny: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> int:
        raise LoadFailed("There is no memory for it.")

    strict = spec(1, max_tokens=5, deterministic="strict")
    with closing(tiny.load()) as model:
        model.add(spec(2, max_tokens=5))
        with monkeypatch.context() as patched:
            patched.setattr("lmrun.engines.llama_cpp.model.make_strict_context", fail)
            with pytest.raises(LoadFailed):
                model.add(strict)
        assert set(drain(model)) == {2}
        assert len(generate(model, strict)) == 5


@pytest.mark.parametrize("name", ["prompt_lookup", "draft_model"])
def test_strictness_and_speculation_exclude_each_other(tiny: Subject, name: str) -> None:
    value = True if name == "prompt_lookup" else "other"
    with closing(tiny.load()) as model, pytest.raises(UnsupportedParameter) as refused:
        model.add(spec(1, 5, deterministic="strict", **{name: value}))
    assert refused.value.param == name


def test_strict_answers_with_forced_tokens_repeat_beside_others(tiny: Subject) -> None:
    structured = {"type": "regex", "regex": "abcdefghijklmnop[a-z]{8}qrstuvw[0-9]{3}"}
    wanted = spec(1, structured=structured, deterministic="strict", seed=3, max_tokens=60)
    with closing(tiny.load()) as model:
        alone = generate(model, wanted)
        for number in range(2, 6):
            model.add(spec(number, prompt_length=20 * number, max_tokens=50))
        model.add(wanted)
        assert tokens_of(drain(model)[1]) == alone


def test_a_strict_prompt_can_be_scored(tiny: Subject) -> None:
    wanted = spec(1, prompt_length=40, echo=True, logprobs=2, deterministic="strict", max_tokens=3)
    with closing(tiny.load()) as model:
        model.add(wanted)
        events = drain(model)[1]
        scored = [token for event in events for token in getattr(event, "tokens", ())]
        assert [token.token for token in scored] == list(wanted.prompt[1:])
        assert all(token.logprob <= 0 and len(token.top) == 2 for token in scored)
        produced = [event for event in events if isinstance(event, TokenProduced)]
        assert all(event.logprob is not None for event in produced)
