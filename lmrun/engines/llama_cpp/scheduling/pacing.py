"""How much a step may hold, out of what steps of this context were seen to cost.

It changes no sequence and fills no batch.
"""

from __future__ import annotations

from collections.abc import Collection

from lmrun.engines.llama_cpp.loading.shape import ContextShape
from lmrun.engines.llama_cpp.scheduling import slices
from lmrun.engines.llama_cpp.scheduling.sequence import Sequence
from lmrun.engines.llama_cpp.speculation.costs import CostCurve

# Decode-only steps are all alike; measuring each would cost 35 µs of cold caches.
_OBSERVED_EVERY = 4


class Pacing:
    """The costs of one context of `shape`, kept up to date, and the decisions they lead to."""

    def __init__(self, shape: ContextShape) -> None:
        self._shape = shape
        self._pace = slices.Pace(apart=not shape.unified)
        self._costs = CostCurve()
        self._steps = 0
        self._held = 0
        self._mixed = 0
        self._is_probing = False

    def holds_back(self, streams: Collection[Sequence], prompts: Collection[Sequence]) -> bool:
        """Whether streams that have just begun wait in this step for the prompts that came with
        them. To be asked once in a step that has prompts."""
        gathers = bool(streams) and slices.may_gather(
            (stream.generated for stream in streams),
            sum(prompt.pending for prompt in prompts),
            self._shape.chunk,
            self._held,
        )
        self._held = self._held + 1 if gathers else 0
        return gathers

    def choose_budget(self, streams: int) -> int:
        """Prompt tokens of a step beside `streams` streams that do not wait; now and then none."""
        self._mixed = self._mixed + 1 if streams else 0
        self._is_probing = streams > 0 and self._mixed % slices.PROBE_EVERY == 0
        if not streams:
            return self._shape.chunk
        if self._is_probing:
            return 0
        return slices.choose_slice(self._pace, streams, self._shape.chunk)

    def guess(self, stream: Sequence, room: int, rows: int) -> list[int]:
        """Tokens that may follow in a stream, at most `room`, where guessing pays.

        `rows`: of the next decode, without these guesses. Raises EngineError when the stream's
        grammar or draft model breaks over it.
        """
        most = min(room, stream.longest_draft, stream.room - 1)
        if stream.drafter is None or stream.pending > 1 or most <= 0:
            return []
        drafts = stream.drafter.propose(stream.tokens, most, self._costs, rows)
        constraint = stream.sampler.constraint
        if drafts and constraint is not None:
            del drafts[constraint.count_allowed(drafts) :]
        return drafts

    def observe(
        self, streams: Collection[Sequence], tokens: int, seconds: float, *, has_prompts: bool
    ) -> None:
        """A decode of `tokens` rows took `seconds`, one row of each stream among them.

        Rows of guesses teach what guesses cost, not what prompts do: each has its logits.
        """
        self._steps += 1
        rows = len(streams)
        if any(stream.drafter is not None for stream in streams):
            if not has_prompts:
                self._costs.observe(tokens, seconds)
            if any(stream.drafts for stream in streams):
                return
        is_news = self._is_probing or rows not in self._pace.decode_s
        if tokens > rows or is_news or self._steps % _OBSERVED_EVERY == 0:
            extra = tokens - rows
            self._pace = slices.observe(self._pace, rows=rows, prompt_tokens=extra, seconds=seconds)
