"""What precedes a lazy grammar: anything, up to a trigger, and reasoning in which none counts.

It knows no grammar. Its states are values, so that guessed tokens can be tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lmrun.engines.llama_cpp.constraints.triggers import Trigger

_NOTHING = np.array([], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class State:
    """`before`: reasoning may still begin. `tail`: the end of the text that may become a mark or a
    trigger."""

    place: Literal["before", "inside", "behind"]
    tail: bytes = b""


class FreeText:
    """`thought`: the marks of reasoning at the answer's beginning, if the model has any; `is_open`:
    the answer begins inside. `pieces`: what each token adds to the text."""

    def __init__(
        self,
        trigger: Trigger,
        pieces: Sequence[bytes],
        thought: tuple[bytes, bytes] | None = None,
        *,
        is_open: bool = False,
    ) -> None:
        self._trigger = trigger
        self._pieces = pieces
        self._start, self._end = thought or (b"", b"")
        if thought is None:
            self.beginning = State("behind")
        else:
            self.beginning = State("inside" if is_open else "before")

    def banned(self, state: State) -> NDArray[np.int64]:
        """Tokens that would complete a trigger and go on as the grammar does not, ascending."""
        if state.place == "inside":
            return _NOTHING
        tail = state.tail
        if state.place == "before":
            tail, _ = self._trigger.search_text(tail)
        return self._trigger.banned(tail)

    def advance(self, state: State, token: int) -> tuple[State, bytes | None]:
        """After `token`: the state, and the grammar's first text once a trigger is complete."""
        text = state.tail + self._pieces[token]
        if state.place == "before":
            text = text.lstrip()
            if text.startswith(self._start):
                state, text = State("inside"), text[len(self._start) :]
            elif self._start.startswith(text):
                return State("before", text), None
        if state.place == "inside":
            begin = text.find(self._end)
            if begin < 0:
                return State("inside", _cut(text, len(self._end) - 1)), None
            text = text[begin + len(self._end) :]
        tail, found = self._trigger.search_text(text)
        return State("behind", tail), found


def _cut(text: bytes, most: int) -> bytes:
    return text[-most:] if most else b""
