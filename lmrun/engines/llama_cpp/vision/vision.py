"""A projector beside a text model: prompts with images become tokens and encoded images.

It knows no sequence and no KV cache. Everything here happens on the caller's thread, which is not
the one that decodes.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from llama_cpp import llama_cpp as native
from llama_cpp import mtmd_cpp as mtmd

from lmrun.chat.messages import MAX_IMAGES
from lmrun.engines.base import ImageSpan
from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.vision.decoding import decode_image
from lmrun.engines.llama_cpp.vision.encoded import (
    EmbeddingCache,
    Embeddings,
    EncodedImage,
    make_pseudo_tokens,
)
from lmrun.engines.llama_cpp.vision.projector import Projector, read_projector, refuse
from lmrun.errors import EngineError, InvalidParameter

MAX_CACHED_BYTES = 64 * 2**20

_BYTES_P = ctypes.POINTER(ctypes.c_uint8)
_TRIAL = (2000, 1000)
"""Width and height of an image that large models see in pieces."""
_NUMBERS_IMAGES = "hunyuanvl"
"""The one kind of projector whose positions count the images of a prompt."""


class Tokenize(Protocol):
    """Text to token ids, callable from any thread."""

    def __call__(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...


class Vision:
    """An open projector. `prepare` may be called from any thread; it encodes one at a time."""

    def __init__(
        self, mtmd_context: int, projector: Projector, width: int, batch_tokens: int
    ) -> None:
        self._mtmd = mtmd_context
        self._projector = projector
        self._width = width
        self._batch_tokens = batch_tokens
        self._cache = EmbeddingCache(MAX_CACHED_BYTES)
        self._lock = threading.Lock()
        self.encoded = 0
        """Pieces of images that the encoder has computed, those from its cache not counted."""

    def prepare(
        self, pieces: Sequence[str | bytes], tokenize: Tokenize, *, add_special: bool
    ) -> tuple[tuple[int, ...], tuple[ImageSpan, ...]]:
        """The prompt of texts and image files in their order.

        Where an image stands, the prompt has numbers below 0 made of its pixels and the projector,
        one per position; each ImageSpan's handle is an `EncodedImage`. Large images may be several
        spans with text of the model's own between them.

        Raises InvalidParameter, with `images[n]` as its `param`, for an image that cannot be
        decoded or does not fit, and for more than MAX_IMAGES; EngineError when encoding fails.
        """
        images = [piece for piece in pieces if isinstance(piece, bytes)]
        self._require_count(len(images))
        prompt: list[int] = []
        spans: list[ImageSpan] = []
        if not pieces or isinstance(pieces[0], bytes):
            prompt += tokenize("", add_special=add_special, parse_special=True)
        seen = 0
        for index, piece in enumerate(pieces):
            if isinstance(piece, str):
                is_first = add_special and index == 0
                prompt += tokenize(piece, add_special=is_first, parse_special=True)
                continue
            self._add_image(piece, f"images[{seen}]", prompt, spans)
            seen += 1
        return tuple(prompt), tuple(spans)

    def lacks_tokens(self) -> bool:
        """Whether the projector sets pieces of an image apart by tokens that the text model does
        not have: llama.cpp writes -1 for them and would end the process later."""
        with self._cut(*_TRIAL, None, "") as chunks:
            texts = [
                _read_text(chunk)
                for chunk in chunks
                if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT
            ]
        return any(token < 0 for text in texts for token in text)

    def close(self) -> None:
        """Free it, after the image that is being encoded. Twice is once."""
        with self._lock:
            if self._mtmd:
                mtmd.mtmd_free(self._mtmd)
                self._mtmd = 0

    def _require_count(self, images: int) -> None:
        most = 1 if self._projector.kind == _NUMBERS_IMAGES else MAX_IMAGES
        if images > most:
            raise InvalidParameter(
                f"The prompt has {images} images; at most {most} are taken.",
                param=f"images[{most}]",
            )

    def _add_image(
        self, data: bytes, param: str, prompt: list[int], spans: list[ImageSpan]
    ) -> None:
        pixels = decode_image(data, param)
        height, width = pixels.shape[:2]
        key = hashlib.sha256(self._projector.digest + f"{width}x{height}".encode())
        key.update(pixels.data)
        data_pointer = pixels.ctypes.data_as(_BYTES_P)
        with self._lock, self._cut(width, height, data_pointer, param) as chunks:
            del pixels, data_pointer  # llama.cpp has a copy
            for number, chunk in enumerate(chunks):
                if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
                    prompt += _read_text(chunk)
                    continue
                piece_key = key.digest() + number.to_bytes(4, "little")
                image = self._encode(chunk, piece_key, param)
                spans.append(ImageSpan(len(prompt), image.positions, image))
                prompt += make_pseudo_tokens(piece_key, image.positions)

    @contextmanager
    def _cut(self, width: int, height: int, data: Any, param: str) -> Iterator[list[int]]:
        """The image as the model's own pieces of text and picture, valid inside the block.

        Without `data` they are there too, except what is to be encoded.
        """
        if not self._mtmd:
            raise EngineError("The model is being unloaded.")
        bitmap = mtmd.mtmd_bitmap_init(width, height, data)
        chunks = mtmd.mtmd_input_chunks_init()
        try:
            part = mtmd.mtmd_input_part(None, bitmap)
            parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
            code = mtmd.mtmd_tokenize_from_parts(self._mtmd, chunks, parts, 1, False)
            mtmd.mtmd_bitmap_free(bitmap)
            bitmap = None
            if code:
                raise InvalidParameter(
                    f"The model's image processor refuses {width} x {height} pixels: "
                    f"{native_log.read_reason()}",
                    param=param,
                )
            count: int = mtmd.mtmd_input_chunks_size(chunks)
            yield [mtmd.mtmd_input_chunks_get(chunks, index) for index in range(count)]
        finally:
            if bitmap is not None:
                mtmd.mtmd_bitmap_free(bitmap)
            mtmd.mtmd_input_chunks_free(chunks)

    def _encode(self, chunk: int, key: bytes, param: str) -> EncodedImage:
        tokens: int = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        if mtmd.mtmd_decode_use_non_causal(self._mtmd, chunk) and tokens > self._batch_tokens:
            # llama.cpp would end the process.
            raise InvalidParameter(
                f"The image has {tokens} tokens that must be in one decode, which takes "
                f"{self._batch_tokens}.",
                param=param,
                hint=f"Set the model's eval_batch_size to at least {tokens}.",
            )
        embeddings = self._cache.find(key)
        if embeddings is None:
            embeddings = self._run_encoder(chunk, tokens)
            self._cache.add(key, embeddings)
        return EncodedImage(self._mtmd, chunk, embeddings)

    def _run_encoder(self, chunk: int, tokens: int) -> Embeddings:
        if mtmd.mtmd_encode_chunk(self._mtmd, chunk):
            raise EngineError(f"The image could not be encoded: {native_log.read_reason()}")
        self.encoded += 1
        pointer = mtmd.mtmd_get_output_embd(self._mtmd)
        return np.ctypeslib.as_array(pointer, (tokens, self._width)).copy()


def open_vision(
    model: int, path: Path, *, threads: int, batch_tokens: int, use_gpu: bool = False
) -> Vision:
    """Open the projector at `path` for the text model at the pointer `model`.

    `threads`: of the encoder. `batch_tokens`: the most tokens of one decode (`n_ubatch`) in every
    context that images will go into. Raises ModelInvalid for a damaged file, SettingRefused with
    `load.mmproj` for one that is no projector for images or not this model's.
    """
    projector = read_projector(path)
    mtmd.mtmd_helper_log_set(native_log.keep, None)
    parameters: Any = mtmd.mtmd_context_params_default()
    parameters.use_gpu = use_gpu
    parameters.n_threads = threads
    parameters.print_timings = False
    context: int | None = mtmd.mtmd_init_from_file(os.fsencode(path), model, parameters)
    if not context:
        raise refuse(path, f"llama.cpp says {native_log.read_reason()}")
    width: int = native.llama_model_n_embd_inp(model)
    vision = Vision(context, projector, width, batch_tokens)
    if vision.lacks_tokens():
        vision.close()
        raise refuse(path, "the model lacks tokens that it puts around pieces of an image")
    return vision


def _read_text(chunk: int) -> list[int]:
    count = ctypes.c_size_t(0)
    tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
    return list(tokens[: count.value])
