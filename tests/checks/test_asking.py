"""Asking a pool: the whole answer, what it took, and the instance that gave it."""

from __future__ import annotations

import asyncio

import pytest

from lmrun.chat.events import (
    MessageDelta,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from lmrun.checks.asking import PoolAsker
from lmrun.checks.questions import to_question
from lmrun.checks.values import Answer, Call, Reply
from lmrun.engines.base import ModelInfo
from lmrun.errors import ModelNotFound
from lmrun.runtime.spec import InstanceSpec
from tests.checks.values import check, expecting
from tests.support.stand_in_pool import StandInPool

QUESTION = to_question(expecting(contains="x"))


def fingerprint(spec: InstanceSpec, info: ModelInfo | None) -> str:
    return f"{spec.identifier} on {info.engine if info else 'nothing'}"


def ask(pool: StandInPool) -> tuple[Reply, list[int]]:
    """The reply, and how many events had come when it began."""
    begun: list[int] = []
    asker = PoolAsker(pool, fingerprint)
    reply = asyncio.run(asker(QUESTION, lambda: begun.append(1)))
    return reply, begun


def test_the_events_are_folded_and_the_instance_names_its_fingerprint() -> None:
    pool = StandInPool()
    pool.said = (
        ReasoningDelta("Hm."),
        MessageDelta("Let me "),
        MessageDelta("see."),
        ToolCallStart(0, "random-id", "look"),
        ToolCallArguments(0, '{"n":'),
        ToolCallArguments(0, " 1}"),
    )
    reply, begun = ask(pool)
    expected = Answer("Let me see.", "stop", "Hm.", (Call("look", '{"n": 1}'),))
    assert reply.answer == expected
    assert reply.fingerprint == "assistant on scripted"
    assert reply.ttft_s is not None
    assert len(begun) == 1
    assert pool.predictions == [QUESTION.prediction]


def test_an_answer_without_text_has_no_first_token() -> None:
    pool = StandInPool(pieces=())
    reply, begun = ask(pool)
    assert (reply.ttft_s, reply.tokens_per_second, begun) == (None, None, [])


def test_a_model_that_nobody_has_is_an_error() -> None:
    unknown = to_question(check(expect={"contains": "x"}).model_copy(update={"model": "gone"}))
    with pytest.raises(ModelNotFound):
        asyncio.run(PoolAsker(StandInPool(), fingerprint)(unknown))
