"""llama.cpp's memory of one context: which sequence slot holds which positions. Effects only.

It decides nothing. Three things end the process and cannot be reached from here: copying a part
of a sequence between streams, a slot beyond the context's, and a state that llama.cpp did not
write itself (whoever keeps states vouches for them).
"""

from __future__ import annotations

import ctypes

import numpy as np
from llama_cpp import llama_cpp as native
from numpy.typing import NDArray

from lmrun.engines.llama_cpp.loading.native import Traits

_ALL = -1

State = NDArray[np.uint8]
"""What llama.cpp keeps of a sequence's positions, in its own format (`llama_state_seq_*`)."""


class Memory:
    """The slots 0 to `slots` - 1 of a context. `context`, `memory`: llama.cpp's pointers."""

    def __init__(self, context: int, memory: int, slots: int, traits: Traits) -> None:
        self._context = context
        self._memory = memory
        self.slots = slots
        self.traits = traits

    def clear(self, slot: int) -> None:
        """Empty a slot; cells that others share stay theirs."""
        native.llama_memory_seq_rm(self._memory, slot, _ALL, _ALL)

    def cut(self, slot: int, length: int) -> bool:
        """Keep the positions before `length`. False: this memory cannot, nothing has changed."""
        return bool(native.llama_memory_seq_rm(self._memory, slot, length, _ALL))

    def drop_beginning(self, slot: int, length: int) -> bool:
        """Remove the positions before `length`."""
        return bool(native.llama_memory_seq_rm(self._memory, slot, 0, length))

    def give(self, source: int, target: int, length: int) -> bool:
        """Give the empty `target` the first `length` positions of `source`: the same cells in a
        unified pool, else a copy of them. False: there was no room, `target` is empty.

        A memory that cannot be cut gives all that it holds, whatever `length` is. A copy is made at
        once and by way of RAM. llama.cpp's own, of a whole cache into another, would be made at the
        next decode, by when the source may hold something else.
        """
        if self.traits.can_share:
            native.llama_memory_seq_cp(self._memory, source, target, 0, length)
            return True
        if self.traits.unified:
            self.share_all(source, target)
            return True
        if not self.restore(target, self.export(source)):
            return False
        return not self.traits.can_cut or self.cut(target, length)

    def share_all(self, source: int, target: int) -> None:
        """Add all that `source` holds to `target`."""
        native.llama_memory_seq_cp(self._memory, source, target, _ALL, _ALL)

    def last_position(self, slot: int) -> int:
        """The highest position in a slot, -1 when it is empty."""
        return int(native.llama_memory_seq_pos_max(self._memory, slot))

    def measure(self, slot: int) -> int:
        """Bytes that `export` gives."""
        size: int = native.llama_state_seq_get_size(self._context, slot)
        return size

    def export(self, slot: int) -> State:
        """A copy of what a slot holds, in RAM."""
        size = self.measure(slot)
        state = np.empty(size, dtype=np.uint8)
        pointer = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        written: int = native.llama_state_seq_get_data(self._context, pointer, size, slot)
        return state[:written]

    def restore(self, slot: int, state: State) -> bool:
        """Put an exported state into an empty slot. False: there was no room, it is empty."""
        pointer = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        read: int = native.llama_state_seq_set_data(self._context, pointer, state.size, slot)
        if not read:
            self.clear(slot)
        return read > 0
