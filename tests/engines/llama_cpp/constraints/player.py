"""Plays a constraint with random allowed tokens, as a model without opinions would."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from lmrun.engines.llama_cpp.constraints.compiler import ConstraintCompiler
from lmrun.engines.llama_cpp.constraints.constraint import Constraint
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from lmrun.errors import InvalidParameter
from lmrun.settings.structured import StructuredOutput

_PARSE: TypeAdapter[StructuredOutput] = TypeAdapter(StructuredOutput)
MOST_TOKENS = 1000


@dataclass(frozen=True, slots=True)
class Player:
    compiler: ConstraintCompiler
    vocabulary: Vocabulary
    all_ends: tuple[int, ...]

    def compile(self, **structured: Any) -> Constraint:
        return self.compiler.compile(_PARSE.validate_python(structured))

    def refusal(self, **structured: Any) -> InvalidParameter:
        """The error of something that must not compile."""
        try:
            self.compile(**structured)
        except InvalidParameter as error:
            return error
        raise AssertionError("it was accepted")

    def allowed(self, constraint: Constraint) -> NDArray[np.int64]:
        """Ids of the tokens that may come next."""
        logits = np.zeros(self.vocabulary.size, dtype=np.float32)
        constraint.apply(logits)
        assert set(np.unique(logits)) <= {0.0, -np.inf}
        return np.flatnonzero(logits == 0)

    def ends(self, tokens: NDArray[np.int64]) -> list[int]:
        """Those of `tokens` that end a sequence."""
        return [end for end in self.all_ends if end in tokens]

    def play(self, constraint: Constraint, seed: int, *, use_forced: bool = True) -> str:
        """A random text to its end, checking every step's promises."""
        choose = random.Random(seed)
        said: list[int] = []
        while len(said) < MOST_TOKENS and not constraint.must_end:
            forced = constraint.forced(100)
            if forced and use_forced:
                self.accept(constraint, said, forced)
                continue
            allowed = self.allowed(constraint)
            ends = self.ends(allowed)
            assert bool(ends) == constraint.is_complete
            going_on = np.setdiff1d(allowed, ends)
            if ends and (not len(going_on) or choose.random() < 0.3):
                break
            self.accept(constraint, said, [int(going_on[choose.randrange(len(going_on))])])
        assert constraint.is_complete, "it came to no end"
        return self.text(said)

    def accept(self, constraint: Constraint, said: list[int], tokens: list[int]) -> None:
        assert constraint.count_allowed(tokens) == len(tokens)
        for token in tokens:
            constraint.accept(token)
        said += tokens

    def takes(self, constraint: Constraint, text: str) -> bool:
        """Whether `text` is a whole answer, said in single bytes."""
        tokens = [self.byte_token(value) for value in text.encode()]
        if constraint.count_allowed(tokens) < len(tokens):
            return False
        for token in tokens:
            constraint.accept(token)
        return constraint.is_complete

    def byte_token(self, value: int) -> int:
        wanted = bytes([value])
        return next(t for t in range(self.vocabulary.size) if self.vocabulary.piece(t) == wanted)

    def tokenize(self, text: str) -> list[int]:
        return self.vocabulary.tokenize(text, add_special=False, parse_special=False)

    def text(self, tokens: list[int]) -> str:
        return b"".join(self.vocabulary.piece(token) or b"" for token in tokens).decode()
