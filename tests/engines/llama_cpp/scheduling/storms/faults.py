"""What may go wrong in a storm: no KV cell left, unusable logits, grammars and drafts that break.

Every fault is one that the real thing reports in just this way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from lmrun.engines.llama_cpp import drafting
from lmrun.engines.llama_cpp.constraints.constraint import Constraint
from lmrun.engines.llama_cpp.constraints.refusals import ConstraintFailed
from lmrun.engines.llama_cpp.context import Context
from lmrun.engines.llama_cpp.memory import Memory
from lmrun.engines.llama_cpp.sampling.outputs import LogitsUnusable
from lmrun.engines.llama_cpp.sampling.sampler import Sampler
from lmrun.engines.llama_cpp.speculation.draft_model import ModelDrafter
from lmrun.engines.llama_cpp.vision.encoded import EncodedImage
from lmrun.errors import EngineError

FAILS = "it fails for the sake of the test"
_CLUE = 3


class Continuations:
    """What followed three tokens when they were seen last."""

    def __init__(self) -> None:
        self._next: dict[tuple[int, ...], int] = {}

    def learn(self, tokens: Sequence[int]) -> None:
        for place in range(_CLUE, len(tokens)):
            self._next[tuple(tokens[place - _CLUE : place])] = tokens[place]

    def follow(self, tokens: Sequence[int]) -> int:
        """-1 when that is not known."""
        return self._next.get(tuple(tokens[-_CLUE:]), -1)


class WildGuesser:
    """A drafter that guesses whatever it costs: what came after the same tokens, and nonsense."""

    def __init__(self, random: Random, memory: Continuations) -> None:
        self._random = random
        self._memory = memory

    def propose(self, tokens: NDArray[np.int32], most: int, costs: object, rows: int) -> list[int]:
        end, guess = tokens[-_CLUE:].tolist(), list[int]()
        for _ in range(self._random.randint(0, most)):
            known = self._memory.follow(end + guess)
            guess.append(known if known >= 0 else self._random.randrange(500))
        return guess

    def observe(self, drafted: int, accepted: int) -> None:
        assert 0 <= accepted <= drafted > 0

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def guessing(random: Random, memory: Continuations) -> Iterator[None]:
    """Prompt lookup guesses wildly."""
    with patch.object(drafting, "PromptLookup", lambda: WildGuesser(random, memory)):
        yield


@contextmanager
def faults(random: Random) -> Iterator[None]:
    """Everything fails now and then."""
    with ExitStack() as stack:
        for kind, name, chance, fail in _FAULTS:
            whole = getattr(kind, name)
            failing = _make_failing(whole, random, chance, fail)
            stack.enter_context(patch.object(kind, name, failing))
        yield


def _make_failing(
    whole: Callable[..., Any], random: Random, chance: float, fail: Callable[[], Any]
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return fail() if random.random() < chance else whole(*args, **kwargs)

    return call


def _raise(kind: type[EngineError]) -> Callable[[], Any]:
    def fail() -> None:
        raise kind(FAILS)

    return fail


_FAULTS: tuple[tuple[type, str, float, Callable[[], Any]], ...] = (
    (Context, "decode", 0.03, lambda: None),
    (Memory, "restore", 0.2, lambda: False),
    (Sampler, "sample", 0.01, _raise(LogitsUnusable)),
    (Sampler, "score", 0.01, _raise(LogitsUnusable)),
    (Constraint, "accept", 0.01, _raise(ConstraintFailed)),
    (Constraint, "forced", 0.01, _raise(ConstraintFailed)),
    (Constraint, "count_allowed", 0.05, _raise(ConstraintFailed)),
    (ModelDrafter, "propose", 0.02, _raise(EngineError)),
    (EncodedImage, "decode", 0.1, _raise(EngineError)),
)
