"""A script being played: many sequences, each due at its own time. It computes nothing.

Seed, temperature and the other sampling settings are accepted and change nothing, for the text is
scripted; `max_tokens` and the context's end are obeyed.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import lmrun
from lmrun.engines.base import (
    EngineUsage,
    FinishReason,
    ImageSpan,
    ModelInfo,
    PromptProcessed,
    SequenceFailed,
    SequenceFinished,
    SequenceSpec,
    SequenceStats,
    StepEvent,
    TokenProduced,
)
from lmrun.engines.scripted.script import Crash, Reply, Script
from lmrun.engines.scripted.vocabulary import Vocabulary
from lmrun.errors import ContextOverflow, InvalidParameter, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.structured import StructuredOutput

LONGEST_WAIT_S = 0.01


@dataclass(slots=True, eq=False)
class _Sequence:
    """A reply on its way. `tokens`: one round of it; `total`: tokens in all rounds."""

    id: int
    prompt_length: int
    reply: Reply
    tokens: list[int]
    total: int
    limit: int
    limit_reason: FinishReason
    processed: int = 0
    produced: int = 0
    hung: bool = False


@dataclass(order=True, slots=True)
class _Due:
    """When a sequence says its next token, on the monotonic clock."""

    at: float
    order: int
    sequence: _Sequence = field(compare=False)


class ScriptedModel:
    """A loaded script. `memory`: what it holds because its script says so."""

    def __init__(
        self, script: Script, context_length: int, sequences: int, memory: bytearray
    ) -> None:
        self._script = script
        self._memory = memory
        self._vocabulary = Vocabulary(script)
        self._waiting: deque[_Sequence] = deque()
        self._prefilling: list[_Sequence] = []
        self._due: list[_Due] = []
        self._known: dict[int, _Sequence] = {}
        self._added = 0
        self._info = ModelInfo(
            engine="scripted",
            engine_version=lmrun.__version__,
            type="llm",
            architecture="scripted",
            context_length=context_length,
            max_sequences=sequences,
            vocab_size=self._vocabulary.size,
            embedding_length=0,
            chat_template=script.chat_template,
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def active(self) -> int:
        return len(self._known) - len(self._waiting)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """One token per UTF-8 byte: there are no special tokens to add or to parse."""
        return self._vocabulary.tokenize(text)

    def count_at_least(self, text: str) -> int:
        return len(text)

    def prepare_prompt(
        self, pieces: Sequence[str | bytes], *, add_special: bool
    ) -> tuple[tuple[int, ...], tuple[ImageSpan, ...]]:
        raise UnsupportedParameter("A scripted model takes no images.", param="images[0]")

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        return self._vocabulary.detokenize(tokens)

    def make_constraint(self, structured: StructuredOutput) -> Any:
        raise UnsupportedParameter("A scripted model cannot be constrained.", param="structured")

    def prepare_draft_model(self, path: str) -> None:
        raise UnsupportedParameter("A scripted model does not speculate.", param="draft_model")

    def add(self, spec: SequenceSpec) -> None:
        self._require_possible(spec)
        index = self._script.choose_reply(self.detokenize(spec.prompt).decode(errors="replace"))
        reply, tokens = self._script.replies[index], self._vocabulary.replies[index]
        room = self._info.context_length - len(spec.prompt)
        wanted = [spec.prediction.max_tokens, self._script.max_tokens]
        limit = min((most for most in wanted if most is not None and most >= 0), default=room + 1)
        sequence = _Sequence(
            id=spec.id,
            prompt_length=len(spec.prompt),
            reply=reply,
            tokens=tokens,
            total=len(tokens) * reply.repeat,
            limit=min(limit, room),
            limit_reason="maxPredictedTokensReached" if limit <= room else "contextLengthReached",
        )
        self._known[spec.id] = sequence
        self._waiting.append(sequence)

    def cancel(self, sequence: int) -> SequenceStats | None:
        found = self._known.pop(sequence, None)
        if found is None:
            return None
        if found in self._waiting:
            self._waiting.remove(found)
        elif found in self._prefilling:
            self._prefilling.remove(found)
        return SequenceStats()

    def step(self) -> list[StepEvent]:
        self._admit()
        if not self._known:
            self._due.clear()
            return []
        if self._script.step_seconds:
            time.sleep(self._script.step_seconds)
        events: list[StepEvent] = []
        for sequence in self._prefilling.copy():
            self._process_prompt(sequence, events)
        now = self._wait_for_the_next()
        ready = []
        while self._due and self._due[0].at <= now:
            ready.append(heapq.heappop(self._due))
        for due in ready:
            if self._known.get(due.sequence.id) is due.sequence:
                self._play(due, events)
        return events

    def embed(
        self, inputs: Sequence[Sequence[int]], dimensions: int | None = None
    ) -> list[list[float]]:
        raise UnsupportedParameter(
            "A scripted model gives no embeddings.",
            param="model",
            hint="Name an embedding model.",
        )

    def tokenize_pair(self, query: str, document: str) -> list[int]:
        raise UnsupportedParameter("A scripted model scores no documents.", param="model")

    def score(self, pairs: Sequence[Sequence[int]]) -> list[float]:
        raise UnsupportedParameter("A scripted model scores no documents.", param="model")

    def usage(self) -> EngineUsage:
        return EngineUsage()

    def rest(self) -> bool:
        return False

    def set_threads(self, threads: int) -> None:
        """A script needs no cores."""

    def close(self) -> None:
        self._known.clear()
        self._waiting.clear()
        self._prefilling.clear()
        self._due.clear()
        self._memory = bytearray()

    def _require_possible(self, spec: SequenceSpec) -> None:
        if spec.id in self._known:
            raise InvalidParameter(f"id: sequence {spec.id} is there already.", param="id")
        if not spec.prompt:
            raise InvalidParameter("prompt: it holds no token.", param="prompt")
        if len(spec.prompt) >= self._info.context_length:
            raise ContextOverflow(
                f"The prompt has {len(spec.prompt)} tokens and leaves no room for an answer in a "
                f"context of {self._info.context_length}.",
                param="prompt",
                hint="Shorten it, or raise the model's context_length.",
            )
        _require_scriptable(spec.prediction)
        self._vocabulary.require_known(spec.prompt, "prompt")
        self._vocabulary.require_known(list(spec.prediction.logit_bias), "logit_bias")

    def _admit(self) -> None:
        while self._waiting and self.active < self._info.max_sequences:
            self._prefilling.append(self._waiting.popleft())

    def _process_prompt(self, sequence: _Sequence, events: list[StepEvent]) -> None:
        sequence.processed = min(
            sequence.processed + self._script.prompt_tokens_per_step, sequence.prompt_length
        )
        events.append(PromptProcessed(sequence.id, sequence.processed))
        if sequence.processed == sequence.prompt_length:
            self._prefilling.remove(sequence)
            self._schedule(sequence, time.monotonic() + sequence.reply.seconds_before_first)

    def _schedule(self, sequence: _Sequence, at: float) -> None:
        self._added += 1
        heapq.heappush(self._due, _Due(at, self._added, sequence))

    def _wait_for_the_next(self) -> float:
        """The time at which something is due, or 10 ms from now: commands wait meanwhile."""
        now = time.monotonic()
        if self._due and self._due[0].at > now and not self._prefilling:
            time.sleep(min(self._due[0].at - now, LONGEST_WAIT_S))
            now = time.monotonic()
        return now

    def _play(self, due: _Due, events: list[StepEvent]) -> None:
        """The sequence's next token, or what its script has instead of it."""
        sequence, reply = due.sequence, due.sequence.reply
        if reply.crash is not None and reply.crash.after == sequence.produced:
            crash(reply.crash)
        if reply.fail is not None and reply.fail.after == sequence.produced:
            self._end(sequence, SequenceFailed(sequence.id, reply.fail.message), events)
            return
        if reply.hang is not None and reply.hang.after == sequence.produced and not sequence.hung:
            sequence.hung = True
            time.sleep(reply.hang.seconds)
        if sequence.produced < min(sequence.total, sequence.limit):
            token = sequence.tokens[sequence.produced % len(sequence.tokens)]
            sequence.produced += 1
            events.append(TokenProduced(sequence.id, token, self._vocabulary.pieces[token]))
        self._continue(sequence, due.at + reply.seconds_per_token, events)

    def _continue(self, sequence: _Sequence, at: float, events: list[StepEvent]) -> None:
        if sequence.produced == sequence.limit:
            finished = SequenceFinished(sequence.id, sequence.limit_reason)
            self._end(sequence, finished, events)
        elif sequence.produced == sequence.total and not _has_act_at_end(sequence):
            self._end(sequence, SequenceFinished(sequence.id, sequence.reply.finish), events)
        else:
            self._schedule(sequence, at)

    def _end(self, sequence: _Sequence, event: StepEvent, events: list[StepEvent]) -> None:
        del self._known[sequence.id]
        events.append(event)


def _require_scriptable(prediction: PredictionConfig) -> None:
    """Raises UnsupportedParameter for what would show in an answer and no script can say.

    How tokens are chosen shows nowhere: a script says what it says.
    """
    asked = {
        "logprobs": prediction.logprobs is not None,
        "stop_token_ids": bool(prediction.stop_token_ids),
        "adapters": bool(prediction.adapters),
        "context_overflow_policy": prediction.context_overflow_policy != "stopAtLimit",
    }
    for name, is_asked in asked.items():
        if is_asked:
            raise UnsupportedParameter(
                f"{name}: a scripted model cannot honour it.", param=name, hint="Leave it out."
            )


def crash(how: Crash) -> None:
    """End this process as the script says."""
    if how.signal is not None:
        os.kill(os.getpid(), how.signal)
    else:
        os._exit(how.exit_code or 0)


def _has_act_at_end(sequence: _Sequence) -> bool:
    """Whether the script has something in store after the last token, before the finish."""
    reply = sequence.reply
    acts = (reply.fail, reply.crash, None if sequence.hung else reply.hang)
    return any(act is not None and act.after == sequence.total for act in acts)
