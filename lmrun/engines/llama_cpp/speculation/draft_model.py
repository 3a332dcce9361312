"""A small second model that guesses how the large one goes on. It verifies nothing.

It keeps of every sequence what it has seen; a new proposal computes what is new, after cutting off
what turned out otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from llama_cpp import llama_cpp as native
from numpy.typing import NDArray

from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.batch import Batch
from lmrun.engines.llama_cpp.loading.native import NativeModel
from lmrun.engines.llama_cpp.prefixes.tree import common_length
from lmrun.engines.llama_cpp.sampling.outputs import Outputs
from lmrun.engines.llama_cpp.speculation.costs import CostCurve
from lmrun.engines.llama_cpp.speculation.lengths import Acceptance, Retry, choose_length
from lmrun.errors import EngineError

Tokens = NDArray[np.int32]

_END = -1
_WEIGHT = 0.2
_FIRST_TRY = 4
# The first token after one that was guessed wrong is harder than those behind it.
_BOUNDS, _RATES = (0,), (0.7, 0.8)


class Wish(NamedTuple):
    """At most `most` guesses are wanted after `tokens`, all tokens of the sequence `key`."""

    key: Hashable
    tokens: Tokens
    most: int


class _Seat:
    """A sequence's place in the draft model's context, and the tokens that are computed there."""

    def __init__(self, slot: int, context_length: int) -> None:
        self.slot = slot
        self.length = 0
        self._tokens = np.zeros(context_length, dtype=np.int32)

    @property
    def tokens(self) -> Tokens:
        return self._tokens[: self.length]

    def append(self, tokens: Tokens | int, count: int) -> None:
        self._tokens[self.length : self.length + count] = tokens
        self.length += count


@dataclass(slots=True)
class _Draft:
    """A guess in the making. `row`: of the last decode, where its next token's logits are."""

    seat: _Seat
    row: int
    most: int
    guess: list[int] = field(default_factory=list)


class DraftModel:
    """A loaded model that guesses greedily for several sequences at a time.

    `shared`: token ids below it mean the same here and in the model it guesses for. `token_s`:
    what one guess takes, in seconds, 0 before the first. With more sequences than its context
    has room for, the one that was served longest ago is forgotten.
    """

    def __init__(self, model: NativeModel, shared: int) -> None:
        assert model.memory is not None
        self._model = model
        self._memory = model.memory
        self._shared = shared
        self._length = model.info.context_length
        self._batch = Batch(model.shape.capacity)
        self._outputs = Outputs(model.context, model.info.vocab_size)
        self._free = [_Seat(slot, self._length) for slot in range(model.shape.sequences)]
        self._seats: dict[Hashable, _Seat] = {}
        self.token_s = 0.0

    def propose(self, key: Hashable, tokens: Tokens, most: int) -> list[int]:
        """What most likely follows `tokens`, at most `most` tokens; see `propose_many`."""
        return self.propose_many([Wish(key, tokens, most)])[0]

    def propose_many(self, wishes: Sequence[Wish]) -> list[list[int]]:
        """The likeliest continuation of each sequence, token by token, all in the same decodes.

        Nothing for a sequence of which more was new than one decode takes (it gets the rest next
        time), that is longer than this context, or that holds what the vocabularies do not share.
        Raises EngineError when llama.cpp fails.
        """
        drafts = self._catch_up(wishes)
        active = list(drafts.values())
        while active:
            for draft in active:
                logits = self._outputs.read(draft.row)[: self._shared]
                draft.guess.append(int(logits.argmax()))
            active = [draft for draft in active if len(draft.guess) < draft.most]
            self._advance(active)
        return [drafts[index].guess if index in drafts else [] for index in range(len(wishes))]

    def forget(self, key: Hashable) -> None:
        """Free what is kept of a sequence; unknown ones are ignored."""
        seat = self._seats.pop(key, None)
        if seat is not None:
            self._cut(seat, 0)
            self._free.append(seat)

    def set_threads(self, threads: int) -> None:
        """Use at most `threads` CPU threads from now on."""
        self._model.set_threads(threads)

    def close(self) -> None:
        """Free the model. Twice is once."""
        self._model.close()

    def _catch_up(self, wishes: Sequence[Wish]) -> dict[int, _Draft]:
        """Compute what is new, in one decode; whoever is up to date then, by its wish's index."""
        drafts: dict[int, _Draft] = {}
        self._batch.clear()
        for index, wish in enumerate(wishes[: self._model.shape.sequences]):
            most = min(wish.most, self._length - len(wish.tokens))
            if most > 0 and len(wish.tokens):
                seat = self._find_seat(wish.key)
                row = self._add_new(seat, wish.tokens)
                if row is not None:
                    drafts[index] = _Draft(seat, row, most)
        if self._batch.size:
            self._decode()
        return drafts

    def _advance(self, drafts: Sequence[_Draft]) -> None:
        """Compute the newest guess of each."""
        if not drafts:
            return
        begun = time.perf_counter()
        self._batch.clear()
        for draft in drafts:
            token, seat = draft.guess[-1], draft.seat
            draft.row = self._batch.add_token(token, seat.length, seat.slot)
            seat.append(token, 1)
        self._decode()
        seconds = (time.perf_counter() - begun) / len(drafts)
        self.token_s += (seconds - self.token_s) * (_WEIGHT if self.token_s else 1.0)

    def _add_new(self, seat: _Seat, tokens: Tokens) -> int | None:
        """Put what `seat` has not seen into the batch. The last token's row, if it is in."""
        known = min(common_length(seat.tokens, tokens), len(tokens) - 1)
        self._cut(seat, known)
        new = tokens[known : known + self._batch.capacity - self._batch.size]
        if not len(new) or new.min() < 0 or new.max() >= self._shared:
            return None
        is_last = known + len(new) == len(tokens)
        row = self._batch.add_rows(new, known, seat.slot, outputs=int(is_last))
        seat.append(new, len(new))
        return row if is_last else None

    def _find_seat(self, key: Hashable) -> _Seat:
        """The seat of a sequence, now the most recently used one."""
        if key not in self._seats and not self._free:
            self.forget(next(iter(self._seats)))
        seat = self._seats.pop(key) if key in self._seats else self._free.pop()
        self._seats[key] = seat
        return seat

    def _cut(self, seat: _Seat, length: int) -> None:
        if length < seat.length:
            native.llama_memory_seq_rm(self._memory, seat.slot, length, _END)
            seat.length = length

    def _decode(self) -> None:
        code: int = native.llama_decode(self._model.context, self._batch.native)
        if code:
            raise EngineError(
                f"llama_decode failed for the draft model ({code}): {native_log.read_reason()}"
            )
        if self._model.asynchronous:
            native.llama_synchronize(self._model.context)


class ModelDrafter:
    """A drafter for one sequence, known to the draft model by `key`."""

    def __init__(self, model: DraftModel, key: Hashable) -> None:
        self._model = model
        self._key = key
        self._acceptance = Acceptance(_BOUNDS, _RATES)
        self._retry = Retry()

    def propose(self, tokens: Tokens, most: int, costs: CostCurve, rows: int) -> list[int]:
        """What the draft model says, as much of it as pays; rarely a little that may not."""
        length = choose_length(self._acceptance, 0, most, costs, rows, self._model.token_s)
        if length:
            self._retry.reset()
        elif self._retry.is_due():
            length = min(_FIRST_TRY, most)
        return self._model.propose(self._key, tokens, length) if length else []

    def observe(self, drafted: int, accepted: int) -> None:
        """Learn how good it is."""
        self._acceptance.learn(0, accepted, missed=accepted < drafted)

    def close(self) -> None:
        """The draft model forgets the sequence."""
        self._model.forget(self._key)
