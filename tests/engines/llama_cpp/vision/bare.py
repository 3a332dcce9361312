"""A tiny text model with a context and a projector, and llama.cpp's own way to show it an image."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as native
from llama_cpp import mtmd_cpp as mtmd
from numpy.typing import NDArray

from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.vision.vision import Vision, open_vision
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from tests.support.tiny_llama import TinyShape, write_tiny_llama
from tests.support.tiny_vision import MARKERS, Projector, write_tiny_projector

BATCH = 64
CONTEXT = 2048


class TinyEye:
    """The model's weights, and contexts and projectors on them. Free it with `close`."""

    def __init__(self, folder: Path) -> None:
        native_log.install()
        native.llama_backend_init()
        self.folder = folder
        self.text_path = write_tiny_llama(
            folder / "text.gguf", seed=1, shape=TinyShape(layers=2), markers=MARKERS
        )
        parameters = native.llama_model_default_params()
        self.model: int = native.llama_model_load_from_file(
            str(self.text_path).encode(), parameters
        )
        self.vocabulary = Vocabulary(native.llama_model_get_vocab(self.model))

    def close(self) -> None:
        native.llama_model_free(self.model)

    @contextmanager
    def open(
        self, kind: Projector = "mlp", *, batch_tokens: int = BATCH, **options: Any
    ) -> Iterator[Vision]:
        """An open projector of that kind."""
        path = write_tiny_projector(self.folder / f"{kind}.gguf", kind=kind, **options)
        vision = open_vision(self.model, path, threads=1, batch_tokens=batch_tokens)
        try:
            yield vision
        finally:
            vision.close()

    @contextmanager
    def context(self, *, sequences: int = 2, tokens: int = CONTEXT) -> Iterator[int]:
        """A context with flash attention off."""
        parameters = native.llama_context_default_params()
        parameters.n_ctx = tokens
        parameters.n_batch = parameters.n_ubatch = BATCH
        parameters.n_seq_max = sequences
        parameters.kv_unified = True
        parameters.n_threads = parameters.n_threads_batch = 1
        parameters.flash_attn_type = native.LLAMA_FLASH_ATTN_TYPE_DISABLED
        context = native.llama_init_from_model(self.model, parameters)
        try:
            yield context
        finally:
            native.llama_free(context)

    def decode(self, context: int, tokens: list[int], position: int, slot: int) -> None:
        """Put text into the cache, the last token's logits wanted."""
        for begin in range(0, len(tokens), BATCH):
            part = tokens[begin : begin + BATCH]
            batch = native.llama_batch_init(len(part), 0, 1)
            batch.n_tokens = len(part)
            for index, token in enumerate(part):
                batch.token[index] = token
                batch.pos[index] = position + begin + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = slot
                batch.logits[index] = begin + index == len(tokens) - 1
            assert native.llama_decode(context, batch) == 0
            native.llama_batch_free(batch)

    def continue_greedily(self, context: int, position: int, slot: int, count: int) -> list[int]:
        """The likeliest tokens after what was decoded last."""
        answer: list[int] = []
        while len(answer) < count:
            answer.append(int(self.logits(context).argmax()))
            self.decode(context, answer[-1:], position + len(answer) - 1, slot)
        return answer

    def logits(self, context: int) -> NDArray[np.float32]:
        """Of the last token."""
        pointer = native.llama_get_logits_ith(context, -1)
        return np.ctypeslib.as_array(pointer, (self.vocabulary.size,)).copy()

    def show_natively(
        self, context: int, kind: Projector, pixels: NDArray[np.uint8], before: str, after: str
    ) -> int:
        """Text, image and text by llama.cpp's own helper, into sequence 0. The position after."""
        parameters = mtmd.mtmd_context_params_default()
        parameters.use_gpu, parameters.n_threads = False, 1
        path = str(self.folder / f"{kind}.gguf").encode()
        eye = mtmd.mtmd_init_from_file(path, self.model, parameters)
        height, width = pixels.shape[:2]
        data = pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmaps = (ctypes.c_void_p * 1)(mtmd.mtmd_bitmap_init(width, height, data))
        said = f"{before}{mtmd.mtmd_default_marker().decode()}{after}".encode()
        text = mtmd.mtmd_input_text(said, len(said), False, True)
        chunks = mtmd.mtmd_input_chunks_init()
        assert mtmd.mtmd_tokenize(eye, chunks, ctypes.byref(text), bitmaps, 1) == 0
        end = ctypes.c_int32(0)
        code = mtmd.mtmd_helper_eval_chunks(
            eye, context, chunks, 0, 0, BATCH, True, ctypes.byref(end)
        )
        assert code == 0
        mtmd.mtmd_input_chunks_free(chunks)
        mtmd.mtmd_bitmap_free(bitmaps[0])
        mtmd.mtmd_free(eye)
        return end.value
