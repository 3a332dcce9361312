"""What a decode computed, row by row, as numpy arrays. It knows no sequence and no sampling."""

from __future__ import annotations

import ctypes
import math
from typing import Any, cast

import numpy as np
from llama_cpp import llama_cpp as native
from numpy.typing import NDArray

from lmrun.errors import EngineError

Logits = NDArray[np.float32]

# llama_get_logits_ith as a plain address: its binding makes a pointer object, which numpy takes
# ten times as long to turn into an array.
_address_of_logits = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)(
    ctypes.cast(cast(Any, native.llama_get_logits_ith), ctypes.c_void_p).value or 0
)


class LogitsUnusable(EngineError):
    """A row of logits from which no token can be chosen. It ends one sequence, not the model."""


def require_number(best: float) -> None:
    """`best`: a row's largest logit, which is NaN if any is. Raises LogitsUnusable."""
    if not -math.inf < best < math.inf:
        raise LogitsUnusable(
            f"The model gives no usable prediction: its best logit is {best}.",
            hint="The model file may be damaged, or its weights overflow.",
        )


class Outputs:
    """The logits of a context's last decode: arrays on llama.cpp's memory, made once per address.

    Each context has its own; a sampler takes rows of any.
    """

    def __init__(self, context: int, vocab_size: int) -> None:
        self.context = context
        self._row_type = ctypes.c_float * vocab_size
        self._views: dict[int, Logits] = {}

    def read(self, row: int) -> Logits:
        """The logits of a batch row, valid and changeable until the next decode."""
        address = _address_of_logits(self.context, row)
        view = self._views.get(address)
        if view is None:
            memory = memoryview(self._row_type.from_address(address))
            view = self._views[address] = np.frombuffer(memory, np.float32)
        return view
