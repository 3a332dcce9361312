"""Asking the server's own models, in its process. It knows no HTTP and no check."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from lmrun.chat.answer import Answer as WholeAnswer
from lmrun.chat.events import Event, MessageDelta, ReasoningDelta, StopReason, ToolCallStart
from lmrun.chat.request import Prompt
from lmrun.checks.values import Answer, Call, Question, Reply
from lmrun.engines.base import ModelInfo
from lmrun.errors import EngineError
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.check import FinishReason
from lmrun.settings.prediction import PredictionConfig

_FINISH_REASONS: dict[StopReason, FinishReason] = {
    "eosFound": "stop",
    "stopStringFound": "stop",
    "maxPredictedTokensReached": "length",
    "contextLengthReached": "length",
    "toolCalls": "tool_calls",
}

Fingerprint = Callable[[InstanceSpec, ModelInfo | None], str | None]


class Instance(Protocol):
    """The instance of a lease."""

    @property
    def spec(self) -> InstanceSpec: ...

    @property
    def info(self) -> ModelInfo | None: ...


class Lease(Protocol):
    """The right to use an instance."""

    @property
    def instance(self) -> Instance: ...

    def generate(
        self, prompt: Prompt, prediction: PredictionConfig
    ) -> AsyncGenerator[Event, None]: ...


class Pool(Protocol):
    """Where leases come from; entering one may load the model first."""

    def acquire(self, name: str) -> AbstractAsyncContextManager[Lease]: ...


class PoolAsker:
    """Asks the models of `pool`; `fingerprint`: what names an instance's `system_fingerprint`."""

    def __init__(self, pool: Pool, fingerprint: Fingerprint) -> None:
        self._pool = pool
        self._fingerprint = fingerprint

    async def __call__(
        self, question: Question, on_first: Callable[[], None] = lambda: None
    ) -> Reply:
        """The whole answer. Raises what the pool and the lease raise."""
        async with self._pool.acquire(question.model) as lease:
            instance = lease.instance
            whole, started, first = WholeAnswer(), time.monotonic(), None
            async with aclosing(lease.generate(question.prompt, question.prediction)) as events:
                async for event in events:
                    whole.take(event)
                    if first is None and isinstance(event, _BEGINNINGS):
                        first = time.monotonic()
                        on_first()
            ended = time.monotonic()
            fingerprint = self._fingerprint(instance.spec, instance.info)
        return _to_reply(whole, fingerprint, first and first - started, ended - (first or ended))


_BEGINNINGS = (MessageDelta, ReasoningDelta, ToolCallStart)


def _to_reply(
    whole: WholeAnswer, fingerprint: str | None, ttft_s: float | None, generation_s: float
) -> Reply:
    if whole.end is None:
        raise EngineError("The generation ended without saying why.")
    answer = Answer(
        whole.text,
        _FINISH_REASONS[whole.end.stop_reason],
        reasoning=whole.reasoning,
        tool_calls=tuple(Call(call.name, call.arguments) for call in whole.tool_calls),
    )
    tokens = whole.end.usage.completion_tokens
    return Reply(answer, fingerprint, ttft_s, generation_s, tokens)
