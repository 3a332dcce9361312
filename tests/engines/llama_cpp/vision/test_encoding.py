"""Encoded images in a KV cache: the same text follows as after llama.cpp's own helper."""

from __future__ import annotations

import numpy as np
import pytest
from llama_cpp import llama_cpp as native

from lmrun.engines.base import ImageSpan
from lmrun.engines.llama_cpp.vision.vision import Vision
from lmrun.errors import EngineError
from tests.engines.llama_cpp.vision.bare import BATCH, TinyEye
from tests.support.pictures import encode, noise
from tests.support.tiny_vision import Projector

BEFORE, AFTER = "Here is a picture: ", " What is it?"
KINDS: tuple[Projector, ...] = ("mlp", "idefics3", "gemma3")
MANY = 24


def prepare(
    eye: TinyEye, vision: Vision, seed: int = 0
) -> tuple[tuple[int, ...], tuple[ImageSpan, ...]]:
    pieces: list[str | bytes] = [BEFORE, encode(noise(seed=seed)), AFTER]
    return vision.prepare(pieces, eye.vocabulary.tokenize, add_special=False)


def show(
    eye: TinyEye,
    context: int,
    prompt: tuple[int, ...],
    spans: tuple[ImageSpan, ...],
    *,
    slot: int = 0,
    batch_size: int = BATCH,
) -> int:
    """The whole prompt into the cache, texts and images in turn. The position after it."""
    position = 0
    for span in spans:
        eye.decode(context, list(prompt[position : span.begin]), position, slot)
        position = span.handle.decode(context, slot, span.begin, batch_size)
    eye.decode(context, list(prompt[position:]), position, slot)
    return len(prompt)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_text_is_that_of_llama_cpps_own_helper(eye: TinyEye, kind: Projector) -> None:
    with eye.open(kind) as vision, eye.context() as context:
        end = show(eye, context, *prepare(eye, vision))
        ours = eye.logits(context), eye.continue_greedily(context, end, 0, MANY)
    with eye.context() as context:
        native_end = eye.show_natively(context, kind, np.asarray(noise()), BEFORE, AFTER)
        theirs = eye.logits(context), eye.continue_greedily(context, native_end, 0, MANY)
    assert (end, ours[1]) == (native_end, theirs[1])
    np.testing.assert_array_equal(ours[0], theirs[0])


def test_another_image_leads_to_other_logits(eye: TinyEye) -> None:
    seen = []
    with eye.open() as vision:
        for seed in (0, 1):
            with eye.context() as context:
                show(eye, context, *prepare(eye, vision, seed))
                seen.append(eye.logits(context))
    assert not np.allclose(seen[0], seen[1])


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_is_deterministic(eye: TinyEye, kind: Projector) -> None:
    seen = []
    for _ in range(2):
        with eye.open(kind) as vision, eye.context() as context:
            show(eye, context, *prepare(eye, vision))
            seen.append(eye.logits(context))
    np.testing.assert_array_equal(seen[0], seen[1])


@pytest.mark.parametrize("batch_size", [1, 5, 16, 1000])
def test_an_image_may_be_taken_in_by_pieces_of_any_size(eye: TinyEye, batch_size: int) -> None:
    with eye.open() as vision, eye.context() as context:
        prompt, spans = prepare(eye, vision)
        end = show(eye, context, prompt, spans, batch_size=batch_size)
        answer = eye.continue_greedily(context, end, 0, MANY)
    with eye.open() as vision, eye.context() as context:
        end = show(eye, context, prompt, prepare(eye, vision)[1])
        assert eye.continue_greedily(context, end, 0, MANY) == answer


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_beside_it_is_not_disturbed(eye: TinyEye, kind: Projector) -> None:
    """Causal attention is back after an image whose tokens all see each other."""
    words = eye.vocabulary.tokenize("Once upon a time", add_special=False, parse_special=False)
    with eye.open(kind) as vision, eye.context() as context:
        show(eye, context, *prepare(eye, vision), slot=1)
        eye.decode(context, words, 0, 0)
        beside = eye.logits(context)
    with eye.context() as context:
        eye.decode(context, words, 0, 0)
        np.testing.assert_allclose(eye.logits(context), beside, atol=1e-4)


def test_a_full_cache_is_an_error_and_the_context_goes_on(eye: TinyEye) -> None:
    words = [65] * 60
    with eye.open("idefics3") as vision, eye.context(tokens=256) as context:
        (first, *_) = prepare(eye, vision)[1]
        for slot in range(2):
            eye.decode(context, words * 2, 0, slot)
        for position in range(120, 136, 4):
            first.handle.decode(context, 0, position, BATCH)
        with pytest.raises(EngineError, match="could not take in an image of 4 tokens"):
            first.handle.decode(context, 1, 120, BATCH)
        native.llama_memory_seq_rm(native.llama_get_memory(context), 1, 100, -1)
        assert first.handle.decode(context, 1, 100, BATCH) == 104


def test_an_image_too_large_for_one_decode_never_reaches_it(eye: TinyEye) -> None:
    with eye.open("gemma3") as vision, eye.context() as context:
        (span,) = prepare(eye, vision)[1]
        span.handle.tokens = BATCH + 1
        with pytest.raises(EngineError, match=f"in one decode, which takes {BATCH}"):
            span.handle.decode(context, 0, 0, BATCH)


def test_a_handle_may_be_closed_and_dropped(eye: TinyEye) -> None:
    with eye.open() as vision:
        (span,) = prepare(eye, vision)[1]
        span.handle.close()
        span.handle.close()
        del span
        prepare(eye, vision)
