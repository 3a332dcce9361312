"""The tokens of one `llama_decode`, in arrays that are made once. It knows no sequence's meaning.

`llama_batch_init` would give arrays behind ctypes pointers, 100 ns for each write; numpy arrays
take a whole prompt slice in one.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as native
from numpy.typing import NDArray

_INT32_P = ctypes.POINTER(ctypes.c_int32)
_INT8_P = ctypes.POINTER(ctypes.c_int8)


class Batch:
    """Room for `capacity` tokens; each belongs to one sequence slot. `size`: tokens in it."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._tokens = np.zeros(capacity, dtype=np.int32)
        self._positions = np.zeros(capacity, dtype=np.int32)
        self._slots = np.zeros(capacity, dtype=np.int32)
        self._outputs = np.zeros(capacity, dtype=np.int8)
        self._counts = np.ones(capacity, dtype=np.int32)
        # A memoryview takes a single number in half the time that the array does.
        self._columns = tuple(
            column.data for column in (self._tokens, self._positions, self._slots)
        )
        self._slot_pointers = self._slots.ctypes.data + 4 * np.arange(capacity, dtype=np.uintp)
        self._native = self._make_native()

    @property
    def native(self) -> Any:
        """The batch as llama.cpp takes it, valid until the next change."""
        self._native.n_tokens = self.size
        return self._native

    def clear(self) -> None:
        self.size = 0

    def add_token(self, token: int, position: int, slot: int) -> int:
        """One token whose logits are wanted. Returns its row."""
        row = self.size
        tokens, positions, slots = self._columns
        tokens[row] = token
        positions[row] = position
        slots[row] = slot
        self._outputs[row] = 1
        self.size = row + 1
        return row

    def add_slice(self, tokens: NDArray[np.int32], position: int, slot: int, *, output: str) -> int:
        """Consecutive tokens from `position` on. Returns the row of the last one.

        `output`: for which of them llama.cpp computes a result: `none`, `last` or `all`.
        """
        outputs = {"none": 0, "last": 1, "all": len(tokens)}[output]
        return self.add_rows(tokens, position, slot, outputs=outputs)

    def add_rows(self, tokens: NDArray[np.int32], position: int, slot: int, *, outputs: int) -> int:
        """Consecutive tokens from `position` on. Returns the row of the last one.

        `outputs`: for the last so many of them llama.cpp computes a result.
        """
        begin, end = self.size, self.size + len(tokens)
        self._tokens[begin:end] = tokens
        self._positions[begin:end] = np.arange(position, position + len(tokens))
        self._slots[begin:end] = slot
        self._outputs[begin : end - outputs] = 0
        self._outputs[end - outputs : end] = 1
        self.size = end
        return end - 1

    def _make_native(self) -> Any:
        batch: Any = native.llama_batch()
        batch.token = self._tokens.ctypes.data_as(_INT32_P)
        batch.pos = self._positions.ctypes.data_as(_INT32_P)
        batch.n_seq_id = self._counts.ctypes.data_as(_INT32_P)
        batch.seq_id = self._slot_pointers.ctypes.data_as(ctypes.POINTER(_INT32_P))
        batch.logits = self._outputs.ctypes.data_as(_INT8_P)
        return batch
