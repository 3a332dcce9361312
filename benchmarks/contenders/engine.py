"""lmrun's llama.cpp engine in this process: no worker, no server, every token seen as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from llama_cpp import llama_cpp as native

from benchmarks.answers import Answer, Refused
from benchmarks.contenders.base import END_TOKENS, ENGINE, THREADS, Place, Request
from lmrun.engines.base import LoadedModel, SequenceSpec, TokenProduced
from lmrun.engines.llama_cpp.engine import engine
from lmrun.errors import LmrunError
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig

INSIDE = (
    "llama_decode",
    "llama_synchronize",
    "llama_sampler_sample",
    "llama_sampler_apply",
    "llama_sampler_accept",
)
"""What counts as llama.cpp's own time; everything else of a step is overhead."""


class Engine:
    """Greedy by default; a request's `fields` are prediction settings."""

    name = ENGINE

    def __init__(self, place: Place) -> None:
        self._place = place
        self._loaded: LoadedModel | None = None
        self._next_id = 0

    async def start(self) -> None:
        setup = self._place.setup
        config = LoadConfig.model_validate(
            {
                "context_length": setup.context_length,
                "max_parallel_predictions": setup.parallel,
                **setup.load,
            }
        )
        self._loaded = engine.load(
            self._place.model, config, threads=THREADS, on_progress=lambda fraction: None
        )

    async def stop(self) -> None:
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    async def generate(self, *requests: Request) -> list[Answer]:
        began = time.perf_counter()
        times: dict[int, list[float]] = {self.add(request): [] for request in requests}
        while self.loaded.active or self.loaded.waiting:
            for sequence in self.step():
                times[sequence].append(time.perf_counter() - began)
        self.rest()
        return [Answer(began, tuple(at), at[-1], "", "length", {}) for at in times.values()]

    @property
    def loaded(self) -> LoadedModel:
        assert self._loaded is not None
        return self._loaded

    def add(self, request: Request) -> int:
        """Queue a request. Returns its sequence. Raises Refused."""
        self._next_id += 1
        prompt = self.loaded.tokenize(request.prompt, add_special=True, parse_special=False)
        prediction = make_prediction(request.tokens, request.fields)
        try:
            self.loaded.add(SequenceSpec(self._next_id, tuple(prompt), prediction))
        except LmrunError as error:
            raise Refused(error.message) from error
        return self._next_id

    def rest(self) -> None:
        """What the worker does when it has nothing to do."""
        while self.loaded.rest():
            pass

    def step(self) -> list[int]:
        """One step. The sequences that produced a token, once for each."""
        return [it.sequence for it in self.loaded.step() if isinstance(it, TokenProduced)]


def make_prediction(tokens: int, fields: Mapping[str, Any]) -> PredictionConfig:
    """Greedy, of a fixed length, where `fields` say nothing else."""
    return PredictionConfig.model_validate(
        {
            "temperature": 0,
            "repeat_penalty": 1,
            "max_tokens": tokens,
            "logit_bias": END_TOKENS,
            **fields,
        }
    )


class Inside:
    """Seconds spent in llama.cpp, and the size of every batch that was decoded."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.batches: list[int] = []


@contextmanager
def watch_native() -> Iterator[Inside]:
    """Times the calls in `INSIDE` while the block runs."""
    inside = Inside()
    plain = {name: getattr(native, name) for name in INSIDE}
    for name, function in plain.items():
        setattr(native, name, _time(function, inside, is_decode=name == "llama_decode"))
    try:
        yield inside
    finally:
        for name, function in plain.items():
            setattr(native, name, function)


def _time(function: Callable[..., Any], inside: Inside, *, is_decode: bool) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments)
        inside.seconds += time.perf_counter() - began
        if is_decode:
            inside.batches.append(arguments[1].n_tokens)
        return result

    return call
