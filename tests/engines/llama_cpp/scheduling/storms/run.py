"""One storm: a model, requests that come and go at random, and somebody who watches.

As a program: `python -m tests.engines.llama_cpp.scheduling.storms.run FOLDER KIND FIRST COUNT`,
with the first seed and how many there are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from lmrun.engines.base import SequenceFailed, SequenceFinished
from lmrun.engines.llama_cpp.model import GenerationModel
from lmrun.errors import RequestError
from tests.engines.llama_cpp.scheduling.storms.faults import Continuations, faults, guessing
from tests.engines.llama_cpp.scheduling.storms.reference import Comparison, Reference
from tests.engines.llama_cpp.scheduling.storms.requests import Requests
from tests.engines.llama_cpp.scheduling.storms.watcher import Watcher
from tests.engines.llama_cpp.scheduling.storms.worlds import World, Worlds

REQUESTS = 24
MOST_STEPS = 20_000


@dataclass(slots=True)
class Seen:
    """What storms saw, in counts."""

    storms: int = 0
    refused: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    generated: int = 0
    cached: int = 0
    drafted: int = 0
    accepted: int = 0
    forced: int = 0
    shifted: int = 0
    reloads: int = 0
    comparison: Comparison = field(default_factory=Comparison)


class Storm:
    """One model under changing load."""

    def __init__(self, world: World, random: Random, seen: Seen) -> None:
        self._world = world
        self._random = random
        self._seen = seen
        self._requests = Requests(world, random)
        self._continuations = Continuations()
        self._watchers: list[Watcher] = []
        self._ids = iter(range(1, 1_000_000))

    def rage(self) -> None:
        """Load, storm, close; sometimes twice, with what the first one left in files."""
        with ExitStack() as stack:
            if self._random.random() < 0.8:
                stack.enter_context(guessing(self._random, self._continuations))
            if self._random.random() < 0.4:
                stack.enter_context(faults(self._random))
            self._live()
            if self._world.attachments.cache_store is not None:
                self._seen.reloads += 1
                self._live()
        self._compare()

    def _live(self) -> None:
        model = self._world.load()
        watcher = Watcher(model)
        self._watchers.append(watcher)
        try:
            self._blow(model, watcher)
            watcher.check_idle()
            self._count(model, watcher)
            if self._random.random() < 0.3:
                self._add(model, watcher)
                model.step()
        finally:
            model.close()
        for id in watcher.live:
            watcher.cancel(id)

    def _blow(self, model: GenerationModel, watcher: Watcher) -> None:
        left = REQUESTS
        haste, cancels = self._random.choice([0.05, 0.3, 1]), self._random.choice([0, 0.03, 0.2])
        for _ in range(MOST_STEPS):
            while left and self._random.random() < haste:
                left -= 1
                self._add(model, watcher)
            if watcher.live and self._random.random() < cancels:
                id = self._random.choice(watcher.live)
                model.cancel(id)
                watcher.cancel(id)
            if not left and not watcher.live:
                return
            if self._random.random() < 0.1:
                model.rest()
            watcher.take(model.step())
            self._learn(watcher)
        raise AssertionError(f"{len(watcher.live)} sequences did not end")

    def _add(self, model: GenerationModel, watcher: Watcher) -> None:
        request = self._requests.draw()
        spec = request.to_spec(next(self._ids), model)
        before = model.active + model.waiting
        try:
            model.add(spec)
        except RequestError:
            assert model.active + model.waiting == before
            self._seen.refused += 1
            return
        watcher.add(request, spec)

    def _learn(self, watcher: Watcher) -> None:
        for id in watcher.ended:
            watched = watcher.all[id]
            self._continuations.learn([*watched.spec.prompt, *watched.tokens])
        watcher.ended.clear()
        if watcher.all and self._random.random() < 0.02:
            watched = self._random.choice(list(watcher.all.values()))
            if not watched.spec.images:
                self._requests.learn((*watched.spec.prompt, *watched.tokens))

    def _count(self, model: GenerationModel, watcher: Watcher) -> None:
        seen, usage = self._seen, model.usage()
        seen.generated += usage.generated_tokens
        seen.cached += usage.cached_tokens
        seen.drafted += usage.drafted_tokens
        seen.accepted += usage.accepted_tokens
        for watched in watcher.all.values():
            seen.cancelled += watched.is_cancelled
            seen.failed += isinstance(watched.end, SequenceFailed)
            if isinstance(watched.end, SequenceFinished):
                seen.finished += 1
                seen.forced += watched.end.stats.forced
                seen.shifted += watched.end.stats.shifted

    def _compare(self) -> None:
        reference = Reference(self._world)
        try:
            for watcher in self._watchers:
                for watched in watcher.all.values():
                    reference.compare(watched, self._seen.comparison)
        finally:
            reference.close()


def run(folder: Path, kind: str, seeds: range) -> Iterator[tuple[int, Seen]]:
    """A storm for each seed: before it, the seed and what was seen until then; last, the end."""
    seen, worlds = Seen(), Worlds(folder)
    for seed in seeds:
        yield seed, seen
        random = Random(f"{kind} {seed}")
        Storm(worlds.draw(kind, random), random, seen).rage()
        seen.storms += 1
    yield seeds.stop, seen


def main(folder: str, kind: str, first: str, count: str) -> None:
    """Print each seed before its storm, so that a process that dies says where."""
    for seed, seen in run(Path(folder), kind, range(int(first), int(first) + int(count))):
        print(f"{kind} {seed}: {seen}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
