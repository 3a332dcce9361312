"""Inputs that wait to be embedded or scored, and the turns in which that happens.

A turn is short, so that commands and heartbeats are never long in coming, and takes from all jobs
one after the other: many small requests share a batch, and a large one does not hold up the rest.
It knows no thread and no socket.
"""

from __future__ import annotations

import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from lmrun.engines.base import LoadedModel
from lmrun.errors import LmrunError
from lmrun.worker.frames import Embedded

_AIM_S = 0.2
_FIRST_ROOM = 256
_LEAST_ROOM, _MOST_ROOM = 64, 2048
_WEIGHT = 0.3
_PATIENCE = 8
_SLOWEST_TOKEN_S = 0.05


@dataclass(slots=True, eq=False)
class Job:
    """A request: `inputs` to embed, or pairs to score. `done`: the first so many are computed."""

    id: int
    inputs: tuple[tuple[int, ...], ...]
    dimensions: int | None = None
    scores: bool = False
    done: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that ended with an error."""

    id: int
    error: LmrunError


class Jobs:
    """The jobs of one model, run on the thread that owns it."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._jobs: deque[Job] = deque()
        self._token_s = 0.0

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def patience_s(self) -> float:
        """How long the next turn may take at worst: one input cannot be cut. 0 is nothing to do."""
        if not self._jobs:
            return 0.0
        job = self._jobs[0]
        token_s = _PATIENCE * self._token_s if self._token_s else _SLOWEST_TOKEN_S
        return len(job.inputs[job.done]) * token_s

    def add(self, job: Job) -> None:
        """Queue a job of at least one input. Raises what the model has against its kind."""
        if job.scores:
            self._model.score(())
        else:
            self._model.embed((), job.dimensions)
        self._jobs.append(job)

    def drop(self, id: int) -> None:
        """Forget a job; unknown ones are ignored."""
        self._jobs = deque(job for job in self._jobs if job.id != id)

    def run_turn(self) -> Sequence[Embedded | Failure]:
        """Compute some inputs, at least one: a part of the answer for every job that had a share.

        What the model raises ends the jobs of this turn.
        """
        taken = self._take()
        inputs = [job.inputs[job.done + offset] for job, offset in taken]
        begun = time.perf_counter()
        try:
            rows = self._compute(inputs)
        except LmrunError as error:
            for job, _ in taken:
                self.drop(job.id)
            return [Failure(id, error) for id in {job.id for job, _ in taken}]
        self._observe(sum(map(len, inputs)), time.perf_counter() - begun)
        first = self._jobs[0]
        answers = [self._answer(job, taken, inputs, rows) for job in _each_once(taken)]
        self._jobs = deque(job for job in self._jobs if job.done < len(job.inputs))
        if self._jobs and self._jobs[0] is first:
            self._jobs.rotate(-1)
        return answers

    def _take(self) -> list[tuple[Job, int]]:
        """One input of each job in turn, as many as fit; those of a kind with the first job."""
        first = self._jobs[0]
        sharing = [job for job in self._jobs if job.dimensions == first.dimensions]
        room, most = self._room(), self._model.info.max_sequences
        taken: list[tuple[Job, int]] = []
        offset = used = 0
        while sharing:
            for job in sharing:
                length = len(job.inputs[job.done + offset])
                if taken and (used + length > room or len(taken) == most):
                    return taken
                taken.append((job, offset))
                used += length
            offset += 1
            sharing = [job for job in sharing if job.done + offset < len(job.inputs)]
        return taken

    def _room(self) -> int:
        """Tokens of a turn, as many as take about 0.2 s."""
        if not self._token_s:
            return _FIRST_ROOM
        return min(max(int(_AIM_S / self._token_s), _LEAST_ROOM), _MOST_ROOM)

    def _compute(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        first = self._jobs[0]
        if first.scores:
            return [[score] for score in self._model.score(inputs)]
        return self._model.embed(inputs, first.dimensions)

    @staticmethod
    def _answer(
        job: Job,
        taken: Sequence[tuple[Job, int]],
        inputs: Sequence[Sequence[int]],
        rows: Sequence[Sequence[float]],
    ) -> Embedded:
        """The part of `job` in what was computed."""
        values = array("f")
        tokens = 0
        for (owner, _), own, row in zip(taken, inputs, rows, strict=True):
            if owner is job:
                values.extend(row)
                tokens += len(own)
                job.done += 1
        if sys.byteorder == "big":
            values.byteswap()
        return Embedded(job.id, values.tobytes(), tokens, is_last=job.done == len(job.inputs))

    def _observe(self, tokens: int, seconds: float) -> None:
        token_s = seconds / tokens
        self._token_s += (token_s - self._token_s) * (_WEIGHT if self._token_s else 1.0)


def _each_once(taken: Sequence[tuple[Job, int]]) -> list[Job]:
    return list(dict.fromkeys(job for job, _ in taken))
