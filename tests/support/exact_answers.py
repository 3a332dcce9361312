"""Strict answers in a process of their own: `python -m tests.support.exact_answers MODEL COUNT
THREADS` prints the token ids of COUNT strict requests as JSON.

Also the requests themselves, and what disturbs them, for whoever compares.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from lmrun.engines.base import LoadedModel, SequenceSpec, StepEvent
from lmrun.engines.llama_cpp.engine import engine
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from tests.support.engines import tokens_of

DISTURBERS = 8
_SEEDS = (0, 42, 2**32 - 1)
_FIRST_DISTURBER = 1_000_000


def make_requests(count: int) -> list[SequenceSpec]:
    """Strict requests of all kinds: greedy and T = 0.8, prompts from 1 to 120 tokens."""
    return [_make_request(number) for number in range(count)]


def _make_request(number: int) -> SequenceSpec:
    length = 1 + (37 * number) % 120
    prompt = tuple(33 + (7 * position + 5 * number) % 90 for position in range(length))
    sampling: dict[str, Any] = {"temperature": 0.0} if number % 2 else {"temperature": 0.8}
    prediction = PredictionConfig.model_validate(
        {
            **sampling,
            "seed": _SEEDS[number % len(_SEEDS)] ^ number,
            "max_tokens": 8 + number % 24,
            "deterministic": "strict",
        }
    )
    return SequenceSpec(number, prompt, prediction)


def load(path: Path, threads: int = 2) -> LoadedModel:
    """With flash attention and room for the disturbers, as a user has it."""
    config = LoadConfig(context_length=256, max_parallel_predictions=DISTURBERS)
    return engine.load(path, config, threads=threads, on_progress=lambda fraction: None)


def answer(model: LoadedModel, requests: Iterable[SequenceSpec]) -> list[list[int]]:
    """Each request with the model for itself."""
    return [tokens_of(_run(model, request)) for request in requests]


def answer_disturbed(model: LoadedModel, requests: Iterable[SequenceSpec]) -> list[list[int]]:
    """Each request beside eight others, which begin like it, or not, and never end meanwhile."""
    answers = []
    for request in requests:
        _keep_busy(model, request)
        answers.append(tokens_of(_run(model, request)))
    for sequence in range(DISTURBERS):
        model.cancel(_FIRST_DISTURBER + sequence)
    return answers


def answer_elsewhere(path: Path, count: int, threads: int) -> list[list[int]]:
    """The answers of a fresh process."""
    command = [sys.executable, "-m", "tests.support.exact_answers"]
    finished = subprocess.run(
        [*command, str(path), str(count), str(threads)],
        capture_output=True,
        check=True,
        # As workers have it: threads that spin long are slow beside other work.
        env={**os.environ, "GOMP_SPINCOUNT": "1000"},
    )
    answers: list[list[int]] = json.loads(finished.stdout)
    return answers


def _keep_busy(model: LoadedModel, request: SequenceSpec) -> None:
    for sequence in range(DISTURBERS):
        id = _FIRST_DISTURBER + sequence
        model.cancel(id)
        prompt = (*request.prompt[: 10 * sequence], *range(40, 45 + sequence))
        prediction = PredictionConfig(temperature=1.0, seed=sequence)
        model.add(SequenceSpec(id, prompt, prediction))


def _run(model: LoadedModel, request: SequenceSpec) -> list[StepEvent]:
    model.add(request)
    events: list[StepEvent] = []
    while not any(type(event).__name__ == "SequenceFinished" for event in events):
        events += [event for event in model.step() if event.sequence == request.id]
    return events


def main() -> None:
    path, count, threads = sys.argv[1:]
    with closing(load(Path(path), int(threads))) as model:
        print(json.dumps(answer(model, make_requests(int(count)))))


if __name__ == "__main__":
    main()
