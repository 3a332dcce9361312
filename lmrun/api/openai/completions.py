"""/v1/completions: prompts as they stand, and what becomes of them. Pure; it knows no instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmrun.api.openai.answers.formats import Whole
from lmrun.api.openai.best import choose_best, without_logprobs
from lmrun.api.openai.requests import MAX_GENERATIONS, CompletionRequest
from lmrun.api.prompt_limits import check_text
from lmrun.chat.messages import RawPrompt, TokenPrompt
from lmrun.errors import InvalidParameter
from lmrun.settings.prediction import PredictionConfig


@dataclass(frozen=True, slots=True)
class Choices:
    """Of each prompt, how many answers are `generated`, and how many of them are `wanted`."""

    wanted: int
    generated: int


def to_raw_prompts(request: CompletionRequest) -> tuple[RawPrompt | TokenPrompt, ...]:
    """The prompts as they stand. Raises BodyTooLarge."""
    texts = request.prompt
    check_text(sum(len(text.encode()) for text in texts if isinstance(text, str)))
    return tuple(RawPrompt(text) if isinstance(text, str) else TokenPrompt(text) for text in texts)


def count_choices(request: CompletionRequest, prompts: int) -> Choices:
    """Raises InvalidParameter for a `best_of` that contradicts the rest, and for too many."""
    wanted = request.n or 1
    generated = request.best_of or wanted
    if generated < wanted:
        raise InvalidParameter(
            f"`best_of`: {generated} is less than `n`, the {wanted} that are wanted.",
            param="best_of",
        )
    if request.stream and generated > wanted:
        raise InvalidParameter(
            "`best_of`: the best is known at the end only, so it cannot be streamed.",
            param="best_of",
            hint="Leave out `stream`.",
        )
    if prompts * generated > MAX_GENERATIONS:
        raise InvalidParameter(
            f"`prompt`: {prompts} prompts with {generated} answers each are more than the "
            f"{MAX_GENERATIONS} that one request generates.",
            param="prompt",
        )
    return Choices(wanted, generated)


def rate(prediction: PredictionConfig, choices: Choices) -> PredictionConfig:
    """With log probabilities, where the best is chosen by them."""
    if choices.generated == choices.wanted or prediction.logprobs is not None:
        return prediction
    return prediction.overlay(PredictionConfig(logprobs=0))


def make_selection(
    request: CompletionRequest, choices: Choices
) -> Callable[[Sequence[Whole]], Sequence[Whole]]:
    """From all that was generated to what is answered."""

    def select(candidates: Sequence[Whole]) -> Sequence[Whole]:
        if choices.generated == choices.wanted:
            return candidates
        best = choose_best(
            candidates, choices.generated, choices.wanted, is_echoed=bool(request.echo)
        )
        return best if request.logprobs is not None else list(map(without_logprobs, best))

    return select
