"""What a fresh model says that nobody else uses: what every answer in a storm is measured by."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

import msgspec

from lmrun.engines.base import SequenceFinished, StepEvent, TokenLogprob, TokenProduced
from lmrun.errors import RequestError
from tests.engines.llama_cpp.scheduling.storms.requests import Request
from tests.engines.llama_cpp.scheduling.storms.watcher import Watched
from tests.engines.llama_cpp.scheduling.storms.worlds import World
from tests.support.engines import drain

TIE = 0.05
"""Log probabilities that are as close may swap places: batches of other sizes round differently."""

TIPPED = 0.25
"""How far apart a single one may be: of 1,024 that were 0.0006 apart on average, one was by 0.07,
each time the machine was busy. Rounding tips something over inside the model."""


@dataclass(slots=True)
class Comparison:
    """How many answers were compared, token by token, and how many of them parted at a tie."""

    answers: int = 0
    tokens: int = 0
    ties: int = 0


class Reference:
    """One world's model, for one sequence at a time."""

    def __init__(self, world: World) -> None:
        self._model = world.load_alone()

    def close(self) -> None:
        self._model.close()

    def compare(self, watched: Watched, comparison: Comparison) -> None:
        """AssertionError when an answer is not what the fresh model says, as far as it goes."""
        request = watched.request
        if not (request.is_greedy or request.is_strict):
            return
        if request.is_strict or request.may_shift_while_forced:
            self._compare_exactly(watched)
            return
        expected, end = self._answer(request)
        comparison.answers += 1
        for place, (token, wanted) in enumerate(zip(watched.tokens, expected, strict=False)):
            if token != wanted.token:
                difference = self._measure(request, expected[:place], token, wanted)
                assert difference < TIE, (
                    f"token {place} is {token}, not {wanted.token}: {difference:.3f} less likely; "
                    f"{watched.tokens[: place + 1]} of {watched.spec}"
                )
                comparison.ties += 1
                return
            comparison.tokens += 1
        if isinstance(watched.end, SequenceFinished):
            assert len(watched.tokens) == len(expected), watched.spec
            assert end is not None and watched.end.reason == end.reason
        self._compare_scores(watched, expected)

    def _compare_exactly(self, watched: Watched) -> None:
        events = self._run(watched.request)
        expected = [event.token for event in events if isinstance(event, TokenProduced)]
        if isinstance(watched.end, SequenceFinished):
            assert watched.tokens == expected, watched.spec
        else:
            assert watched.tokens == expected[: len(watched.tokens)], watched.spec

    def _compare_scores(self, watched: Watched, expected: list[TokenLogprob]) -> None:
        produced = [event for event in watched.events if isinstance(event, TokenProduced)]
        pairs = [
            (event.logprob.logprob, wanted.logprob)
            for event, wanted in zip(produced, expected, strict=False)
            if event.logprob is not None
        ]
        apart = [abs(found - wanted) for found, wanted in pairs]
        assert all(each < TIPPED for each in apart), f"{max(apart)} apart: {watched.spec}"
        assert not apart or median(apart) < TIE, f"{median(apart)} apart: {watched.spec}"

    def _answer(self, request: Request) -> tuple[list[TokenLogprob], SequenceFinished | None]:
        events = self._run(request, logprobs=20, echo=False)
        scores = [event.logprob for event in events if isinstance(event, TokenProduced)]
        end = events[-1]
        assert isinstance(end, SequenceFinished)
        return [score for score in scores if score is not None], end

    def _run(self, request: Request, **changes: Any) -> list[StepEvent]:
        spec = request.to_spec(1, self._model, prompt_lookup=False, **changes)
        spec = msgspec.structs.replace(spec, draft_model=None)
        self._model.add(spec)
        return drain(self._model)[1]

    def _measure(
        self, request: Request, before: list[TokenLogprob], token: int, wanted: TokenLogprob
    ) -> float:
        """By how much `token` is less likely than what the fresh model says there."""
        known = [other.logprob for other in wanted.top if other.token == token]
        if not known and len(request.pieces) == 1 and not request.is_shifting:
            known = [self._score(request, [score.token for score in before], token)]
        return abs(wanted.logprob - known[0]) if known else float("inf")

    def _score(self, request: Request, before: list[int], token: int) -> float:
        (prompt,) = request.pieces
        assert isinstance(prompt, tuple)
        settings = {"temperature": 0, "max_tokens": 0, "echo": True, "logprobs": 0}
        if "adapters" in request.settings:
            settings["adapters"] = request.settings["adapters"]
        again = Request(((*prompt, *before, token),), settings)
        try:
            self._model.add(again.to_spec(1, self._model))
        except RequestError:
            return float("-inf")  # it is the context's last token
        scored = [
            score for event in drain(self._model)[1] for score in getattr(event, "tokens", ())
        ]
        last: float = scored[-1].logprob
        return last
