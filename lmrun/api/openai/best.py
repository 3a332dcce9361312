"""`best_of`: the likeliest of several answers to one prompt, per token. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lmrun.api.openai.answers.formats import Whole


def choose_best(
    candidates: Sequence[Whole], generated: int, wanted: int, *, is_echoed: bool
) -> list[Whole]:
    """The best `wanted` of every `generated` candidates, which are those of one prompt; best first.

    `is_echoed`: their log probabilities begin with those of the prompt, which say nothing of them.
    """

    def rate(candidate: Whole) -> float:
        skipped = candidate.end.usage.prompt_tokens if is_echoed else 0
        said = [token.logprob for token in candidate.answer.logprobs[skipped:]]
        known = [logprob for logprob in said if logprob is not None]
        return sum(known) / len(known) if known else -math.inf

    best: list[Whole] = []
    for start in range(0, len(candidates), generated):
        of_prompt = candidates[start : start + generated]
        best += sorted(of_prompt, key=rate, reverse=True)[:wanted]
    return best


def without_logprobs(choice: Whole) -> Whole:
    """The same without what was needed to rate it: nobody asked for it."""
    choice.answer.logprobs.clear()
    return choice
