"""What the room talks of: questions, replies, what was observed, what came of it. Values only.

They travel from the server that asks to the command that judges, and into JSON reports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from lmrun.chat.request import Request
from lmrun.settings.check import FinishReason
from lmrun.settings.prediction import PredictionConfig

CheckStatus = Literal["passed", "failed", "stale", "error"]
"""`failed`: the answer is not what was expected. `stale`: all of it is, but the golden answer was
made under another fingerprint, or is not there yet. `error`: there is no answer to judge."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked. `prediction`: only what the check chose."""

    model: str
    prompt: Request
    prediction: PredictionConfig


class Call(msgspec.Struct, frozen=True):
    """A tool call. `arguments`: JSON text, as the model wrote it."""

    name: str
    arguments: str


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is the same when an answer is the same."""

    text: str
    finish_reason: FinishReason
    reasoning: str = ""
    tool_calls: tuple[Call, ...] = ()


class Reply(msgspec.Struct, frozen=True):
    """An answer, and how it came. `fingerprint`: the instance's `system_fingerprint`.

    `ttft_s`: from when the model was loaded to the first token, None when none came.
    `generation_s`: from the first token to the end.
    """

    answer: Answer
    fingerprint: str | None
    ttft_s: float | None
    generation_s: float
    completion_tokens: int

    @property
    def tokens_per_second(self) -> float | None:
        """Without the first token, for which the prompt is computed; None for fewer than two."""
        if self.completion_tokens < 2 or self.generation_s <= 0:
            return None
        return (self.completion_tokens - 1) / self.generation_s


class Observation(msgspec.Struct, frozen=True):
    """All that one check asked: alone, and, where it wants that, again and beside others.

    `error`: why there is no answer; `seconds`: all of it.
    """

    seconds: float
    reply: Reply | None = None
    again: Reply | None = None
    beside_others: Reply | None = None
    error: str | None = None


class Failure(msgspec.Struct, frozen=True):
    """One expectation that is not met. `diff`: lines that show where, for people."""

    expectation: str
    message: str
    diff: str = ""


class CheckResult(msgspec.Struct, frozen=True):
    """What came of one check. `message`: why it is `stale` or an `error`."""

    name: str
    model: str
    status: CheckStatus
    seconds: float
    failures: tuple[Failure, ...] = ()
    message: str = ""
    reply: Reply | None = None


class CheckStarted(msgspec.Struct, frozen=True, tag="check.start", tag_field="event"):
    """A check is being asked."""

    name: str


class CheckObserved(msgspec.Struct, frozen=True, tag="check.end", tag_field="event"):
    """A check was asked; what was observed is for others to judge."""

    name: str
    observation: Observation


class ChecksEnded(msgspec.Struct, frozen=True, tag="checks.end", tag_field="event"):
    """The last event: all were asked."""


CheckEvent = CheckStarted | CheckObserved | ChecksEnded


class Ask(Protocol):
    """How a question is asked."""

    async def __call__(
        self, question: Question, on_first: Callable[[], None] = lambda: None
    ) -> Reply:
        """The whole answer. `on_first`: called when it begins. Cancelling it stops the generation.

        Raises LmrunError when there is none.
        """
        ...
