"""Engines under test, seen only through the contract, and ways to run them to an end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmrun.engines.base import (
    LoadedModel,
    SequenceFailed,
    SequenceFinished,
    SequenceSpec,
    StepEvent,
    TokenProduced,
)
from lmrun.engines.registry import choose_engine, get_engine
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from tests.support.tiny_llama import write_tiny_llama

MOST_STEPS = 20_000
END = "<|im_end|>"
CONTRACT_SCRIPT = {
    "prompt_tokens_per_step": 16,
    "replies": [
        {"match": "END", "pieces": []},
        {"pieces": ["one ", "two ", {"hex": "c3"}, {"hex": "a9"}], "repeat": 1000},
    ],
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A model file and what is needed to drive it without knowing its engine.

    Its answers never end by themselves within a small context, except those of `ending`.
    """

    path: Path

    @property
    def name(self) -> str:
        return choose_engine(self.path)

    def load(
        self, *, on_progress: Callable[[float], None] = lambda fraction: None, **settings: Any
    ) -> LoadedModel:
        """Loaded with one thread and slices of 16 prompt tokens, unless `settings` say more."""
        config = LoadConfig.model_validate({"eval_batch_size": 16, **settings})
        return get_engine(self.name).load(self.path, config, threads=1, on_progress=on_progress)

    def ending(self, model: LoadedModel, sequence: int) -> SequenceSpec:
        """A sequence that ends by itself at once."""
        (last,) = model.tokenize(END, add_special=False, parse_special=True)[-1:]
        bias = {last: 100.0} if self.name == "llama_cpp" else {}
        prompt = model.tokenize("END", add_special=False, parse_special=False)
        prediction = PredictionConfig(temperature=0, logit_bias=bias)
        return SequenceSpec(sequence, tuple(prompt), prediction)


def make_subject(engine: str, folder: Path) -> Subject:
    """The tiny llama, or a script that talks as long."""
    if engine == "llama_cpp":
        return Subject(write_tiny_llama(folder / "tiny.gguf", seed=1))
    path = folder / "contract.scripted.json"
    path.write_text(json.dumps(CONTRACT_SCRIPT))
    return Subject(path)


def spec(sequence: int, prompt_length: int = 5, **prediction: Any) -> SequenceSpec:
    """A sequence with a prompt of that many tokens; the same one for the same arguments."""
    prompt = tuple(32 + (7 * position + sequence) % 90 for position in range(prompt_length))
    return SequenceSpec(sequence, prompt, PredictionConfig.model_validate(prediction))


def drain(model: LoadedModel) -> dict[int, list[StepEvent]]:
    """Step until nothing is left; the events of each sequence, in order. What has ended is put
    away at the beginning of a step: there is one more."""
    events: dict[int, list[StepEvent]] = {}
    for _ in range(MOST_STEPS):
        if not (model.active or model.waiting):
            assert model.step() == []
            return events
        for event in model.step():
            events.setdefault(event.sequence, []).append(event)
    raise AssertionError(f"{model.active} + {model.waiting} sequences did not end")


def generate(model: LoadedModel, wanted: SequenceSpec) -> list[int]:
    """The tokens of one sequence that has the model for itself."""
    model.add(wanted)
    return tokens_of(drain(model)[wanted.id])


def tokens_of(events: list[StepEvent]) -> list[int]:
    return [event.token for event in events if isinstance(event, TokenProduced)]


def is_last(event: StepEvent) -> bool:
    return isinstance(event, SequenceFinished | SequenceFailed)
