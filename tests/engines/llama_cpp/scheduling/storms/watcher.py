"""What must be true after every step of a storm, and at its end. It draws nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lmrun.engines.base import (
    PromptProcessed,
    PromptScored,
    SequenceFailed,
    SequenceFinished,
    SequenceSpec,
    StepEvent,
    TokenProduced,
)
from lmrun.engines.llama_cpp.model import GenerationModel
from lmrun.engines.llama_cpp.scheduling.lane import Lane
from tests.engines.llama_cpp.scheduling.storms.requests import Request


@dataclass(slots=True)
class Watched:
    """One sequence and what came of it."""

    request: Request
    spec: SequenceSpec
    events: list[StepEvent] = field(default_factory=list)
    end: SequenceFinished | SequenceFailed | None = None
    is_cancelled: bool = False

    @property
    def tokens(self) -> list[int]:
        return [event.token for event in self.events if isinstance(event, TokenProduced)]

    @property
    def prompts(self) -> list[PromptProcessed]:
        return [event for event in self.events if isinstance(event, PromptProcessed)]

    @property
    def scores(self) -> list[PromptScored]:
        return [event for event in self.events if isinstance(event, PromptScored)]


class Watcher:
    """Follows one model from its load to its end. AssertionError says what is wrong."""

    def __init__(self, model: GenerationModel) -> None:
        self._model = model
        self.all: dict[int, Watched] = {}
        self.ended: list[int] = []

    @property
    def live(self) -> list[int]:
        return [id for id, it in self.all.items() if it.end is None and not it.is_cancelled]

    def add(self, request: Request, spec: SequenceSpec) -> None:
        self.all[spec.id] = Watched(request, spec)

    def cancel(self, id: int) -> None:
        self.all[id].is_cancelled = True

    def take(self, events: Iterable[StepEvent]) -> None:
        """The events of one step."""
        for event in events:
            watched = self.all[event.sequence]
            assert not watched.is_cancelled, f"{event} after a cancel"
            assert watched.end is None, f"{event} after {watched.end}"
            if isinstance(event, SequenceFinished | SequenceFailed):
                watched.end = event
                self.ended.append(event.sequence)
            else:
                watched.events.append(event)
        self._check_usage()
        for lane in lanes(self._model):
            _check_positions(lane)

    def check_idle(self) -> None:
        """Nothing is there any more, and everything was given back."""
        assert not self.live
        assert (self._model.active, self._model.waiting) == (0, 0)
        assert self._model.usage().kv_tokens_used == 0
        for lane in lanes(self._model):
            _check_empty(lane)
        for watched in self.all.values():
            if isinstance(watched.end, SequenceFinished):
                _check_finished(watched, watched.end, self._model.info.context_length)
        self._check_counts()

    def _check_usage(self) -> None:
        usage = self._model.usage()
        assert self._model.active + self._model.waiting == len(self.live)
        assert 0 <= usage.kv_tokens_used <= usage.kv_tokens
        assert usage.prefix_cache_bytes <= usage.prefix_cache_limit
        assert (usage.prefix_cache_bytes > 0) == (usage.prefix_cache_entries > 0)
        assert usage.accepted_tokens <= usage.drafted_tokens

    def _check_counts(self) -> None:
        usage, everything = self._model.usage(), self.all.values()
        assert usage.generated_tokens == sum(len(watched.tokens) for watched in everything)
        is_simple = all(
            isinstance(watched.end, SequenceFinished) and not watched.request.is_shifting
            for watched in everything
        )
        if is_simple:
            prompts = sum(len(watched.spec.prompt) for watched in everything)
            assert usage.prefilled_tokens + usage.cached_tokens == prompts


def lanes(model: GenerationModel) -> list[Lane]:
    return [model._batched, *([model._exact] if model._exact else [])]


def _check_positions(lane: Lane) -> None:
    """Every slot holds just the tokens that its sequence says are computed; one whose sequence has
    ended holds them until they are put away, or what rests there."""
    memory = lane._context.memory
    parking = {each.slot for each in lane._finished}
    held = {each.slot: each for each in lane._known.values() if each.slot >= 0}
    for slot in set(range(memory.slots)) - parking:
        last = memory.last_position(slot)
        if slot not in held:
            rest = lane._slots.rest_in(slot)
            length = len(rest.tokens) if rest else 0
            assert last == length - 1, f"the free slot {slot} holds {last + 1} of {length} tokens"
        elif not held[slot].images:
            assert last == held[slot].computed - 1, f"slot {slot}: {last}, {held[slot].computed}"


def _check_empty(lane: Lane) -> None:
    while lane.park_one():
        pass
    _check_positions(lane)
    assert lane.used_tokens == 0
    assert not lane._slots._used
    assert not lane._namespaces
    assert not (lane._waiting or lane._following or lane._prefilling or lane._streaming)


def _check_finished(watched: Watched, end: SequenceFinished, context_length: int) -> None:
    spec, tokens, settings = watched.spec, watched.tokens, watched.spec.prediction
    most = settings.max_tokens
    assert most < 0 or len(tokens) <= most
    if end.reason == "maxPredictedTokensReached":
        assert len(tokens) == most
    if end.reason == "contextLengthReached":
        assert len(spec.prompt) + len(tokens) == context_length
    assert not set(tokens) & set(settings.stop_token_ids)
    processed = [event.processed for event in watched.prompts]
    assert processed == sorted(set(processed))
    expected = len(spec.prompt)
    if watched.request.is_shifting:
        expected = min(processed[-1], expected)
    assert processed[-1] == expected
    assert all(event.cached < expected for event in watched.prompts)
    assert end.stats.accepted <= end.stats.drafted and end.stats.forced <= len(tokens)
    if settings.echo and settings.logprobs is not None and not end.stats.shifted:
        scored = [token.token for event in watched.scores for token in event.tokens]
        assert scored == list(spec.prompt[1:])
