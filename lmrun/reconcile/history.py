"""What has been applied: generations with who, how, what was planned and what came of it.

It knows no file of a profile: `lmrun.store.generations` keeps those.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from lmrun.errors import GenerationUnknown, LmrunError
from lmrun.profile.loader import LoadedProfile
from lmrun.reconcile.outcome import Outcome, Plan
from lmrun.reconcile.records import GenerationRecord, History, OutcomeRecord, PastAction
from lmrun.store.generations import (
    Generation,
    Generations,
    GenerationState,
    Origin,
    PastOutcome,
)

log = logging.getLogger("lmrun.reconcile")

_RETRY_S = 5.0


def read_history(generations: Generations) -> History:
    """Raises StoreError."""
    found = generations.history()
    current = 0 if generations.is_resting() or not found else found[0].number
    return History(tuple(to_record(it, is_current=it.number == current) for it in found))


def to_record(generation: Generation, *, is_current: bool) -> GenerationRecord:
    return GenerationRecord(
        number=generation.number,
        created=generation.created,
        author=generation.origin.author,
        how=generation.origin.how,
        state=generation.state,
        is_current=is_current,
        files=tuple(path for path, _ in generation.texts),
        plan=msgspec.json.decode(generation.plan, type=tuple[PastAction, ...]),
        outcomes=tuple(
            OutcomeRecord(it.kind, it.target, it.ended, it.seconds, it.error, it.tries)
            for it in generation.outcomes
        ),
    )


def summarise(plan: Plan) -> tuple[PastAction, ...]:
    """A plan without any value: one may come out of a variable that nobody wants to be kept."""
    return tuple(
        PastAction(it.kind, it.target, tuple(change.field for change in it.changes))
        for it in plan.actions
    )


def find_previous(generations: Generations, number: int | None, current: int) -> Generation:
    """Generation `number`, or the newest before `current` (0: nothing is wanted now) that has
    converged. Raises GenerationUnknown and StoreError."""
    if number is not None:
        return generations.find(number)
    previous = generations.last_good_before(current or None)
    if previous is None:
        raise GenerationUnknown(
            "There is no earlier generation that has converged.",
            hint="`lmrun history` lists those that are kept; name one.",
        )
    return previous


class Journal:
    """Writes down what the reconciler does. What cannot be written is kept until it can be, except
    a new generation: without it, nothing is accepted. `problem`: why the last thing was not
    written; None when it was."""

    def __init__(
        self, generations: Generations, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._generations = generations
        self._now = now
        self._unwritten: dict[int, dict[tuple[str, str], PastOutcome]] = {}
        self._unmarked: dict[int, GenerationState] = {}
        self.problem: LmrunError | None = None

    @property
    def retry_s(self) -> float:
        """When to call `write` again, at the latest."""
        return math.inf if self.problem is None else _RETRY_S

    def accept(self, loaded: LoadedProfile, plan: Plan, origin: Origin) -> int:
        """The number of a profile that is accepted now. Raises StoreError."""
        texts = [(str(source.path), source.text) for source in loaded.texts]
        summary = msgspec.json.encode(summarise(plan)).decode()
        with self._writing():
            return self._generations.add(str(loaded.root), texts, origin, summary).number

    def note(self, generation: int, outcome: Outcome) -> None:
        """An action has ended. It is written with the next `write`: a disk may be slow, and
        streams go on meanwhile."""
        ended = self._now().isoformat(timespec="milliseconds")
        past = PastOutcome(outcome.kind, outcome.target, ended, outcome.seconds, outcome.error)
        unwritten = self._unwritten.setdefault(generation, {})
        before = unwritten.get((past.kind, past.target))
        tries = before.tries + 1 if before else 1
        unwritten[past.kind, past.target] = replace(past, tries=tries)

    def mark(self, generation: int, state: GenerationState) -> None:
        """What has become of a generation, as far as that can be written now."""
        self._unmarked[generation] = state
        self.write()

    def write(self) -> None:
        """Keep what was noted, and whatever could not be kept before."""
        if not (self._unwritten or self._unmarked or self.problem):
            return
        try:
            with self._writing():
                if self.problem is not None:
                    self._generations.try_disk()
                self._write_all()
        except LmrunError as error:
            log.error("what was done is not written down yet: %s", error)

    def rest(self) -> None:
        """Nothing is wanted any more. Raises StoreError."""
        with self._writing():
            self._generations.rest()

    def _write_all(self) -> None:
        for generation, outcomes in [*self._unwritten.items()]:
            self._generations.note(generation, outcomes.values())
            del self._unwritten[generation]
        for generation, state in [*self._unmarked.items()]:
            with suppress(GenerationUnknown):
                # So many were accepted meanwhile that it is not kept any more.
                self._generations.mark(generation, state)
            del self._unmarked[generation]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Remember how it went."""
        try:
            yield
        except LmrunError as error:
            self.problem = error
            raise
        self.problem = None
