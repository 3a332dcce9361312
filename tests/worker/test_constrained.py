"""What of a request's structured output reaches the engine, and as what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lmrun.chat.messages import RawPrompt
from lmrun.errors import InvalidParameter, UnsupportedParameter
from lmrun.worker.frames import Generate
from lmrun.worker.prompts import PromptMaker
from tests.support.engines import Subject, make_subject
from tests.support.instances import make_spec, script

LARK = {"type": "lark", "grammar": 'start: "ab"'}


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Any]:
    spec = make_spec(tmp_path, script({"pieces": ["a"]}))
    with closing(Subject(spec.path).load()) as model:
        yield model


@pytest.fixture
def tiny_llama(tmp_path: Path) -> Iterator[Any]:
    with closing(make_subject("llama_cpp", tmp_path).load()) as model:
        yield model


def ask(prompt: str, **structured: Any) -> Generate:
    return Generate(7, RawPrompt(prompt), {"structured": structured})


def test_a_model_that_cannot_be_constrained_says_so(scripted: Any) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        PromptMaker(scripted, None).make_spec(ask("hi", **LARK))
    assert refused.value.param == "structured"


def test_unless_the_request_wants_no_more_than_is_possible(scripted: Any) -> None:
    spec, _ = PromptMaker(scripted, None).make_spec(ask("hi", **LARK, best_effort=True))
    assert spec.constraint is None and spec.prediction.structured is None
    scripted.add(spec)


def test_what_is_wrong_is_refused_all_the_same(tiny_llama: Any) -> None:
    wrong = {"type": "lark", "grammar": "start: nothing", "best_effort": True}
    with pytest.raises(InvalidParameter):
        PromptMaker(tiny_llama, None).make_spec(ask("hi", **wrong))


@pytest.mark.parametrize(("prompt", "is_open"), [("so <think>\n", True), ("so", False)])
def test_a_prompt_that_opened_reasoning_is_noticed(
    tiny_llama: Any, prompt: str, is_open: bool
) -> None:
    """Its answer may not begin with what is enforced: that comes behind the reasoning."""
    thought = {"start": "<think>", "end": "</think>"}
    spec, _ = PromptMaker(tiny_llama, None).make_spec(ask(prompt, **LARK, thought=thought))
    said = tiny_llama.tokenize("zz", add_special=False, parse_special=False)
    assert bool(spec.constraint.count_allowed(said)) == is_open
