"""From logits to tokens: what a sequence says next, and what a grammar or a draft adds to it.

It knows one sequence at a time and fills no batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lmrun.engines.base import (
    FinishReason,
    PromptScored,
    StepEvent,
    TokenLogprob,
    TokenProduced,
)
from lmrun.engines.llama_cpp.context import Context
from lmrun.engines.llama_cpp.sampling.sampler import Constraint
from lmrun.engines.llama_cpp.scheduling.sequence import Sequence
from lmrun.engines.llama_cpp.vocabulary import Vocabulary

Finish = Callable[[Sequence, FinishReason, list[StepEvent]], None]


@dataclass(slots=True)
class Counters:
    """Tokens since the model was loaded."""

    prefilled: int = 0
    cached: int = 0
    generated: int = 0
    drafted: int = 0
    accepted: int = 0


class Advancer:
    """Takes tokens out of the logits of the last decode. `finish`: what ends a sequence."""

    def __init__(
        self, context: Context, vocabulary: Vocabulary, counters: Counters, finish: Finish
    ) -> None:
        self._outputs = context.outputs
        self._memory = context.memory
        self._vocabulary = vocabulary
        self._counters = counters
        self._finish = finish

    def advance(self, sequence: Sequence, events: list[StepEvent]) -> None:
        """The next token, and as many drafted ones as it confirms.

        A draft is accepted when it is what the sampler chooses at its place, out of the logits of
        the very batch that holds it.
        """
        if not sequence.drafts:
            self._produce(sequence, sequence.row, events)
            return
        base, matched, drafts = sequence.computed, 0, sequence.drafts
        sequence.drafts = []
        self._count(sequence, drafted=len(drafts))
        while self._produce(sequence, sequence.row + matched, events):
            while matched < len(drafts) and sequence.matches(base + matched, drafts[matched]):
                matched += 1
                self._count(sequence, accepted=1)
            sequence.computed = base + matched
            if sequence.pending:
                break
        if sequence.drafter is not None:
            sequence.drafter.observe(len(drafts), matched)
        if matched < len(drafts) and sequence.is_live:
            self._memory.cut(sequence.slot, sequence.computed)

    def score_prompt(
        self, sequence: Sequence, taken: int, row: int, events: list[StepEvent]
    ) -> None:
        """Log probabilities of what follows each of the last `taken` tokens that were computed, the
        last one in `row`, in the prompt.

        Raises EngineError when the logits hold something that is no number.
        """
        scored = []
        for back in range(taken, 0, -1):
            position = sequence.computed - back + 1
            if position < sequence.length:
                token = int(sequence.tokens[position])
                scored.append(sequence.sampler.score(self._outputs, row - back + 1, token))
        events.append(PromptScored(sequence.id, tuple(scored)))

    def _produce(self, sequence: Sequence, row: int, events: list[StepEvent]) -> bool:
        """One token out of the logits of `row`. Whether the sequence goes on."""
        sampler = sequence.sampler
        token = sampler.sample(self._outputs, row)
        score = sampler.score(self._outputs, row, token) if sampler.wants_scores else None
        return self._take(sequence, token, score, events) and (
            sampler.constraint is None or self._follow_grammar(sequence, sampler.constraint, events)
        )

    def _take(
        self,
        sequence: Sequence,
        token: int,
        logprob: TokenLogprob | None,
        events: list[StepEvent],
    ) -> bool:
        piece = self._vocabulary.piece(token)
        if piece is None or token in sequence.stop_tokens:
            self._finish(sequence, "eosFound", events)
            return False
        if sequence.reveals_special and not piece:
            piece = self._vocabulary.render(token)
        sequence.append(token)
        sequence.generated += 1
        self._counters.generated += 1
        events.append(TokenProduced(sequence.id, token, piece, logprob))
        if sequence.generated == sequence.limit:
            self._finish(sequence, sequence.limit_reason, events)
            return False
        sequence.sampler.accept(token)
        return True

    def _follow_grammar(
        self, sequence: Sequence, constraint: Constraint, events: list[StepEvent]
    ) -> bool:
        """What the grammar leaves no choice about needs no decode of its own, nor does its end.

        Tokens whose log probabilities are wanted do.
        """
        if not sequence.sampler.wants_scores:
            for token in constraint.forced(sequence.limit - sequence.generated):
                sequence.forced += 1
                if not self._take(sequence, token, None, events):
                    return False
        if constraint.must_end:
            self._finish(sequence, "eosFound", events)
            return False
        return True

    def _count(self, sequence: Sequence, *, drafted: int = 0, accepted: int = 0) -> None:
        sequence.drafted += drafted
        sequence.accepted += accepted
        self._counters.drafted += drafted
        self._counters.accepted += accepted
