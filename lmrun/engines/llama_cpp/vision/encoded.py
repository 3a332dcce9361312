"""An encoded image: embeddings, and how they enter a KV cache. It knows no file and no pixels."""

from __future__ import annotations

import ctypes
import hashlib
import weakref
from collections import OrderedDict

import numpy as np
from llama_cpp import llama_cpp as native
from llama_cpp import mtmd_cpp as mtmd
from numpy.typing import NDArray

from lmrun.errors import EngineError

_FLOAT_P = ctypes.POINTER(ctypes.c_float)
_SIGN_BIT = np.uint32(0x8000_0000)

Embeddings = NDArray[np.float32]


class EncodedImage:
    """One piece of an image, encoded: what `ImageSpan.handle` is for this engine.

    `tokens`: KV cells that it fills. `positions`: how far it moves the sequence's position; with
    M-RoPE fewer than `tokens`. `causal`: False when its tokens see each other in both directions.
    It outlives the context that it is decoded into, but not the `Vision` that made it.
    """

    def __init__(self, mtmd_context: int, chunk: int, embeddings: Embeddings) -> None:
        self._mtmd = mtmd_context
        self._embeddings = embeddings
        self.tokens = len(embeddings)
        self.positions: int = mtmd.mtmd_input_chunk_get_n_pos(chunk)
        self.causal = not mtmd.mtmd_decode_use_non_causal(mtmd_context, chunk)
        # Without the pixels, which only the encoder needs.
        self._chunk: int = mtmd.mtmd_input_chunk_get_placeholder(chunk)
        self.close = weakref.finalize(self, mtmd.mtmd_input_chunk_free, self._chunk)
        """Free what llama.cpp holds of it; twice is once, and not needed: its end does it too."""

    def decode(self, context: int, slot: int, position: int, batch_size: int) -> int:
        """Put the image into the KV cache of sequence `slot` at `position`, `batch_size` tokens
        per decode. On the thread of `context` only; no token gets an output.

        Returns the position after it. Raises EngineError when llama.cpp refuses, most likely for
        want of KV cells; a part may be there then. An image that is not causal goes in one decode,
        whatever `batch_size`, or is refused.
        """
        room: int = native.llama_n_ubatch(context)
        if not self.causal and self.tokens > room:
            # llama.cpp would end the process.
            raise EngineError(
                f"An image of {self.tokens} tokens must be in one decode, which takes {room} here."
            )
        batch = min(batch_size, room) if self.causal else room
        after = ctypes.c_int32(0)
        code: int = mtmd.mtmd_helper_decode_image_chunk(
            self._mtmd,
            context,
            self._chunk,
            self._embeddings.ctypes.data_as(_FLOAT_P),
            position,
            slot,
            batch,
            ctypes.byref(after),
            mtmd.mtmd_helper_post_decode_callback(0),
            None,
        )
        if code:
            raise EngineError(
                f"llama.cpp could not take in an image of {self.tokens} tokens ({code})."
            )
        return position + self.positions


class EmbeddingCache:
    """The embeddings of the images seen last, up to `limit` bytes: a conversation sends its images
    again with every turn. Not safe for use by several threads at a time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[bytes, Embeddings] = OrderedDict()
        self.bytes = 0

    def find(self, key: bytes) -> Embeddings | None:
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def add(self, key: bytes, embeddings: Embeddings) -> None:
        """Keep them, in place of those that were not used for longest."""
        self._held[key] = embeddings
        self.bytes += embeddings.nbytes
        while self.bytes > self._limit:
            _, oldest = self._held.popitem(last=False)
            self.bytes -= oldest.nbytes


def make_pseudo_tokens(key: bytes, count: int) -> list[int]:
    """`count` numbers below 0 that stand for an image in a prompt: equal for equal keys alone.

    Every position has 31 bits of its own, so that different images agree in all of them by
    accident about as often as different prompts would agree in token ids.
    """
    numbers = np.frombuffer(hashlib.shake_256(key).digest(4 * count), dtype="<u4") | _SIGN_BIT
    return [int(number) for number in numbers.view(np.int32)]
