"""What a model says that has never seen anything else: what reuse of caches is measured by."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any

from lmrun.engines.base import LoadedModel, PromptProcessed, SequenceSpec, StepEvent
from tests.support.engines import Subject, drain, generate, tokens_of

GREEDY: dict[str, Any] = {"temperature": 0, "repeat_penalty": 1.0}
EXACT: dict[str, Any] = {"flash_attention": False}
"""Load settings with which cutting a prompt elsewhere changes no logits."""


def expected(subject: Subject, wanted: SequenceSpec, **settings: Any) -> list[int]:
    """The tokens of one sequence in a model of its own."""
    with closing(subject.load(**EXACT, **settings)) as fresh:
        return generate(fresh, wanted)


def cached(events: Iterable[StepEvent]) -> int:
    """Tokens of its prompt that a sequence did not compute."""
    return max(event.cached for event in events if isinstance(event, PromptProcessed))


def run_as_expected(
    model: LoadedModel, subject: Subject, *wanted: SequenceSpec
) -> dict[int, list[StepEvent]]:
    """All at once, to their ends; each says what it would say alone."""
    for each in wanted:
        model.add(each)
    events = drain(model)
    for each in wanted:
        assert tokens_of(events[each.id]) == expected(subject, each)
    return events
