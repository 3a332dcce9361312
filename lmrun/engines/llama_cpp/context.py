"""One llama.cpp context as lanes use it: a batch to fill, a decode, logits and memory.

It knows no sequence and decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from llama_cpp import llama_cpp as native

from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.batch import Batch
from lmrun.engines.llama_cpp.loading.adapters import Adapter, set_adapters
from lmrun.engines.llama_cpp.loading.native import Traits
from lmrun.engines.llama_cpp.loading.shape import ContextShape
from lmrun.engines.llama_cpp.memory import Memory
from lmrun.engines.llama_cpp.sampling.outputs import Outputs
from lmrun.engines.llama_cpp.scheduling.sequence import Namespace
from lmrun.errors import EngineError

_NO_ROOM = 1


class Context:
    """`pointer`: llama.cpp's context. `adapters`: the loaded ones."""

    def __init__(
        self,
        pointer: int,
        shape: ContextShape,
        traits: Traits,
        vocab_size: int,
        adapters: Mapping[str, Adapter],
    ) -> None:
        self.pointer = pointer
        self.shape = shape
        self.batch = Batch(shape.capacity)
        self.outputs = Outputs(pointer, vocab_size)
        memory: int = native.llama_get_memory(pointer)
        self.memory = Memory(pointer, memory, shape.sequences + shape.scratch, traits)
        self._adapters = adapters
        self._in_use: Namespace = ()
        self._asynchronous: bool = native.llama_supports_gpu_offload()

    def decode(self) -> float | None:
        """Compute what is in the batch. Seconds it took; None when the KV pool has no room.

        Raises EngineError when llama.cpp fails.
        """
        begun = time.perf_counter()
        code: int = native.llama_decode(self.pointer, self.batch.native)
        if self._asynchronous:
            native.llama_synchronize(self.pointer)
        if code == _NO_ROOM:
            return None
        if code:
            raise EngineError(f"llama_decode failed ({code}): {native_log.read_reason()}")
        return time.perf_counter() - begun

    def use_adapters(self, namespace: Namespace) -> None:
        """From the next decode on, these and no others."""
        if namespace == self._in_use:
            return
        set_adapters(self.pointer, self._adapters, dict(namespace))
        self._in_use = namespace

    def set_threads(self, threads: int) -> None:
        native.llama_set_n_threads(self.pointer, threads, threads)

    def close(self) -> None:
        """Twice is once."""
        if self.pointer:
            native.llama_free(self.pointer)
            self.pointer = 0
